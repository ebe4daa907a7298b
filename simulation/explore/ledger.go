package explore

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// ledger is the journal, watched for what it promises and for what is durable.
type ledger struct {
	twophase.Journal
	breach func(format string, args ...any)
	epoch  int64 // the highest that was handed out
	state  twophase.State
}

// stands returns what is durable of the transaction, and whether anything is.
func (l *ledger) stands() (twophase.Record, bool) {
	record, err := l.Get(context.Background(), transaction)
	return record, err == nil
}

// watch sees that a decision, once made, stays.
func (l *ledger) watch() {
	record, ok := l.stands()
	before := l.state
	if ok {
		l.state = record.State
	}
	switch {
	case !ok && before != 0:
		l.breach("I5: the record of %v is lost", before)
	case before > twophase.StateBegun && (before == twophase.StateAssigned) != (record.State == twophase.StateAssigned),
		before == twophase.StateReleased && record.State != before:
		l.breach("I2: what was decided %v becomes %v", before, record.State)
	}
}

// Claim implements [twophase.Journal].
func (l *ledger) Claim(ctx context.Context, owner string, lease time.Duration, limit int) ([]twophase.Record, error) {
	records, err := l.Journal.Claim(ctx, owner, lease, limit)
	for _, r := range records {
		if r.Epoch <= max(l.epoch, 1) {
			l.breach("a claim is not told from the one before: epoch %d", r.Epoch)
		}
		l.epoch = r.Epoch
	}
	return records, err
}

// Yield implements [twophase.Journal].
func (l *ledger) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	before, _ := l.stands()
	err := l.Journal.Yield(ctx, id, owner, epoch, delay, trouble)
	after, _ := l.stands()
	if (before.Owner != owner || before.Epoch != epoch) && before.Attempts != after.Attempts {
		l.breach("a claim of epoch %d is given back by that of epoch %d", before.Epoch, epoch)
	}
	return err
}

// claimable reports whether a claim would find the transaction.
func (l *ledger) claimable() bool {
	record, ok := l.stands()
	return ok && !record.Finished() && record.Lease <= 0
}

// books returns what is recorded, in a form that equals that of equal books.
// Owners are called as the sides are.
func (l *ledger) books(sides []*side) string {
	record, ok := l.stands()
	if !ok {
		return "no record"
	}
	owner := record.Owner
	for _, s := range sides {
		if s.owner == owner {
			owner = s.name
		}
	}
	return fmt.Sprintf("%s by %s, epoch %d, attempts %d, free to claim %t, late %t",
		work(record), owner, record.Epoch, record.Attempts, record.Lease <= 0, record.Deadline <= 0)
}
