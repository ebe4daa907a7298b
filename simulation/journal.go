package simulation

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// journal is the journal as the world has it: it sees what is durable.
type journal struct {
	endpoint
	world *world
	inner twophase.Journal
}

func newJournal(w *world) *journal {
	return &journal{
		endpoint: endpoint{
			name: journalName, outages: w.outagesOf(journalName),
			refusal: fmt.Errorf("%w: connection refused", twophase.ErrUnavailable),
		},
		world: w, inner: w.settings.journal(twophase.NewMemoryJournal()),
	}
}

// record returns what is durable of a transaction; its State is 0 if nothing is.
func (j *journal) record(id string) twophase.Record {
	record, err := j.inner.Get(context.Background(), id)
	if err != nil {
		return twophase.Record{}
	}
	return record
}

// remoteJournal is the journal as one process reaches it.
type remoteJournal struct {
	process *process
	journal *journal
}

// write sends a call that concerns one transaction, and lets the world see what
// it changes.
func write[T any](
	ctx context.Context, r *remoteJournal, label, id string, kinds []faultKind, op journalOp,
	do func(ctx context.Context) (T, error),
) (T, error) {
	j := r.journal
	return send(ctx, r.process, &j.endpoint, r.process.name+" "+label, kinds, func(m *message) served[T] {
		before := j.record(id)
		value, err := do(context.Background())
		after := j.record(id)
		j.world.note(m.label, m.n, outcome(err)+", "+stateOf(after))
		j.world.coverage.journal(op, before)
		j.world.recordChanged(id, before, after)
		return served[T]{value: value, err: err}
	})
}

func stateOf(r twophase.Record) string {
	if r.State == 0 {
		return "none"
	}
	return r.State.String()
}

// begun is what Begin returns.
type begun struct {
	standing twophase.Record
	created  bool
}

// Begin implements [twophase.Journal].
func (r *remoteJournal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	label := "begin " + record.ID
	if record.State != twophase.StateBegun {
		label += " as " + record.State.String()
	}
	r.journal.world.sends(r.process, record.ID, phaseReserving)
	b, err := write(ctx, r, label, record.ID, writeFaults, opBegin(record), func(ctx context.Context) (b begun, err error) {
		b.standing, b.created, err = r.journal.inner.Begin(ctx, record)
		return b, err
	})
	r.journal.world.heardBegin(r.process, record.ID, b, err)
	return b.standing, b.created, err
}

// Decide implements [twophase.Journal].
func (r *remoteJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	label := fmt.Sprintf("decide %s %s", d.State, id)
	r.journal.world.sendsDecide(r.process, id, d)
	standing, err := write(ctx, r, label, id, writeFaults, opDecide(d), func(ctx context.Context) (twophase.Decision, error) {
		return r.journal.inner.Decide(ctx, id, d)
	})
	r.journal.world.heardDecision(r.process, id, standing, err)
	return standing, err
}

// Released implements [twophase.Journal].
func (r *remoteJournal) Released(ctx context.Context, id string, steps []string) error {
	label := fmt.Sprintf("released %s %s", id, strings.Join(steps, ","))
	_, err := write(ctx, r, label, id, writeFaults, opReleased, func(ctx context.Context) (none struct{}, err error) {
		return none, r.journal.inner.Released(ctx, id, steps)
	})
	r.journal.world.heardReleased(r.process, id, err)
	return err
}

// Claim implements [twophase.Journal].
func (r *remoteJournal) Claim(ctx context.Context, owner string, lease time.Duration, limit int) ([]twophase.Record, error) {
	j := r.journal
	return send(ctx, r.process, &j.endpoint, r.process.name+" claim", upkeepFaults, func(m *message) served[[]twophase.Record] {
		records, err := j.inner.Claim(context.Background(), owner, lease, limit)
		for _, record := range records {
			j.world.note(m.label, m.n, record.ID)
			j.world.claimed(r.process, record)
		}
		return served[[]twophase.Record]{value: records, err: err}
	})
}

// Renew implements [twophase.Journal].
func (r *remoteJournal) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	j := r.journal
	_, err := send(ctx, r.process, &j.endpoint, r.process.name+" renew", upkeepFaults, func(m *message) served[struct{}] {
		for _, id := range ids {
			j.world.renewed(id, owner, lease)
		}
		j.world.note(m.label, m.n, "")
		return served[struct{}]{err: j.inner.Renew(context.Background(), owner, lease, ids)}
	})
	return err
}

// Yield implements [twophase.Journal]. The delay is drawn anew: the coordinator's
// own is random, and no seed governs it.
func (r *remoteJournal) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	j := r.journal
	label := fmt.Sprintf("yield %s epoch %d", id, epoch)
	_, err := send(ctx, r.process, &j.endpoint, r.process.name+" "+label, writeFaults, func(m *message) served[struct{}] {
		before := j.record(id)
		longest := min(time.Second<<min(before.Attempts, 20), 5*time.Minute)
		delay = m.dice.between(longest*3/4, longest*5/4)
		err := j.inner.Yield(context.Background(), id, owner, epoch, delay, trouble)
		j.world.note(m.label, m.n, outcome(err))
		j.world.yielded(r.process, before, j.record(id), owner, epoch)
		return served[struct{}]{err: err}
	})
	return err
}

// Get implements [twophase.Journal].
func (r *remoteJournal) Get(ctx context.Context, id string) (twophase.Record, error) {
	record, err := write(ctx, r, "get "+id, id, upkeepFaults, opGet, func(ctx context.Context) (twophase.Record, error) {
		return r.journal.inner.Get(ctx, id)
	})
	r.journal.world.heardGet(r.process, id, record, err)
	return record, err
}

// List implements [twophase.Journal]. Nothing that the simulation checks depends
// on how it fails.
func (r *remoteJournal) List(ctx context.Context, filter twophase.Filter) iter.Seq2[twophase.Record, error] {
	return r.journal.inner.List(ctx, filter)
}

// Prune implements [twophase.Journal].
func (r *remoteJournal) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	j := r.journal
	return send(ctx, r.process, &j.endpoint, r.process.name+" prune", upkeepFaults, func(m *message) served[int] {
		n, err := j.inner.Prune(context.Background(), age, limit)
		if n > 0 {
			j.world.pruned()
		}
		j.world.note(m.label, m.n, fmt.Sprint(n))
		return served[int]{value: n, err: err}
	})
}
