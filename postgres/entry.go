package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
)

// storedEntry is a [twophase.Entry] as it was when it was locked, with what it
// holds, and the database's clock from then on.
type storedEntry struct {
	twophase.Entry
	key       twophase.Key
	resources []string
	details   *string
	now       time.Time
}

// reservation is the answer to a Reserve that finds e.
func (e *storedEntry) reservation() twophase.Reservation {
	r := twophase.Reservation{
		Resources: e.resources, TimeLeft: e.TimeLeft(e.now), Assigned: e.State == twophase.EntryAssigned,
	}
	if e.details != nil {
		r.Details = json.RawMessage(*e.details)
	}
	return r
}

// scan reads what [loaded] names, between a number and the clock.
func (e *storedEntry) scan(rows pgx.Rows) (n int64, err error) {
	var state int64
	var fingerprint []byte
	err = rows.Scan(&n, &e.key.Transaction, &e.key.Step, &state, &fingerprint, &e.Expires, &e.resources, &e.details, &e.now)
	if err != nil {
		return 0, err
	}
	e.State = twophase.EntryState(state)
	if len(fingerprint) > 0 && copy(e.Fingerprint[:], fingerprint) != len(fingerprint) {
		return 0, fmt.Errorf("the fingerprint of %s has %d bytes", e.key, len(fingerprint))
	}
	return n, nil
}

// asked is a call on a key, and what came of it.
type asked struct {
	call        call
	key         twophase.Key
	fingerprint twophase.Fingerprint // of a Reserve

	found   bool // the key had an entry, or has got a tombstone
	entry   storedEntry
	verdict twophase.Verdict
	err     error // it could not be asked
}

// askAll judges calls on different keys in one transaction, and keeps a tombstone
// for each Release that finds nothing. A Release that found nothing, and yet
// something when it was to keep that, is not found and has to be asked again.
func (s *entryStore) askAll(ctx context.Context, batch []*asked) error {
	transactions, steps := make([]string, len(batch)), make([]string, len(batch))
	fingerprints, kinds := make([][]byte, len(batch)), make([]int64, len(batch))
	var released []int
	for i, a := range batch {
		transactions[i], steps[i], kinds[i] = a.key.Transaction, a.key.Step, int64(a.call)
		fingerprints[i] = []byte{}
		if a.call == callReserve {
			fingerprints[i] = a.fingerprint[:]
		}
		if a.call == callRelease {
			released = append(released, i)
		}
	}
	return s.transact(ctx, func(queue *pgx.Batch) {
		queue.Queue(s.sql.judge, s.participant, transactions, steps, kinds, fingerprints).Query(func(rows pgx.Rows) error {
			return judgeInto(rows, batch)
		})
		if len(released) > 0 {
			queue.Queue(s.sql.tombstone, s.participant, pick(transactions, released), pick(steps, released)).
				Query(func(rows pgx.Rows) error { return tombstonesInto(rows, batch) })
		}
	})
}

// judgeInto asks the entries that were found for the answers. What they say is
// stored already: by the rules that are Entry's own.
func judgeInto(rows pgx.Rows, batch []*asked) error {
	for _, a := range batch {
		a.found = false
	}
	for rows.Next() {
		var e storedEntry
		n, err := e.scan(rows)
		if err != nil {
			return err
		}
		a := batch[n-1]
		a.found, a.entry, a.verdict = true, e, a.call.judge(e.Entry, a.fingerprint, e.now)
	}
	return rows.Err()
}

func tombstonesInto(rows pgx.Rows, batch []*asked) error {
	kept := map[twophase.Key]bool{}
	var key twophase.Key
	_, err := pgx.ForEachRow(rows, []any{&key.Transaction, &key.Step}, func() error {
		kept[key] = true
		return nil
	})
	for _, a := range batch {
		if a.call == callRelease && !a.found && kept[a.key] {
			a.found, a.verdict = true, twophase.Entry{}.Release()
		}
	}
	return err
}

// ask judges a single call.
func (s *entryStore) ask(ctx context.Context, a *asked) error {
	return s.askAll(ctx, []*asked{a})
}

// rounds divides a batch so that no key occurs twice in a round and the keys of
// each are in order: rounds that meet lock their rows in the same order.
func rounds[T any](batch []T, keyOf func(T) twophase.Key) [][]T {
	sorted := slices.Clone(batch)
	slices.SortStableFunc(sorted, func(a, b T) int { return compareKeys(keyOf(a), keyOf(b)) })
	var all [][]T
	n := 0
	for i, item := range sorted {
		if i > 0 && keyOf(item) == keyOf(sorted[i-1]) {
			n++
		} else {
			n = 0
		}
		if n == len(all) {
			all = append(all, nil)
		}
		all[n] = append(all[n], item)
	}
	return all
}

func compareKeys(a, b twophase.Key) int {
	return cmp.Or(cmp.Compare(a.Transaction, b.Transaction), cmp.Compare(a.Step, b.Step))
}

// pick returns the elements at those places.
func pick[T any](all []T, places []int) []T {
	picked := make([]T, len(places))
	for i, place := range places {
		picked[i] = all[place]
	}
	return picked
}
