package twophasetest

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// FaultyJournal is a journal behind a network that loses, repeats and delays.
// Make it with [NewFaultyJournal].
type FaultyJournal struct {
	journal twophase.Journal
	wire    *wire
}

// NewFaultyJournal returns a journal whose calls meet the faults of a plan. If
// the plan has late deliveries, end it with Stop.
//
// Lost is told as [ErrLost], which leaves open what was written. A plan that
// loses replies with [twophase.ErrUnavailable] makes it a journal that lies.
func NewFaultyJournal(journal twophase.Journal, plan Plan) *FaultyJournal {
	return &FaultyJournal{journal: journal, wire: newWire(plan)}
}

// Begin implements [twophase.Journal].
func (f *FaultyJournal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	record = cloned(record) // a late delivery outlives the caller's
	type begun struct {
		standing twophase.Record
		created  bool
	}
	b, err := send(ctx, f.wire, CallBegin, keyOf(record.ID), func(ctx context.Context) (begun, error) {
		standing, created, err := f.journal.Begin(ctx, record)
		return begun{standing, created}, err
	})
	return b.standing, b.created, err
}

// Decide implements [twophase.Journal].
func (f *FaultyJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	d.Reservations = slices.Clone(d.Reservations)
	return send(ctx, f.wire, CallDecide, keyOf(id), func(ctx context.Context) (twophase.Decision, error) {
		return f.journal.Decide(ctx, id, d)
	})
}

// Released implements [twophase.Journal].
func (f *FaultyJournal) Released(ctx context.Context, id string, steps []string) error {
	steps = slices.Clone(steps)
	return f.send(ctx, CallReleased, keyOf(id), func(ctx context.Context) error {
		return f.journal.Released(ctx, id, steps)
	})
}

// Claim implements [twophase.Journal].
func (f *FaultyJournal) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) ([]twophase.Record, error) {
	return send(ctx, f.wire, CallClaim, twophase.Key{}, func(ctx context.Context) ([]twophase.Record, error) {
		return f.journal.Claim(ctx, owner, lease, limit)
	})
}

// Renew implements [twophase.Journal].
func (f *FaultyJournal) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	ids = slices.Clone(ids)
	return f.send(ctx, CallRenew, twophase.Key{}, func(ctx context.Context) error {
		return f.journal.Renew(ctx, owner, lease, ids)
	})
}

// Yield implements [twophase.Journal].
func (f *FaultyJournal) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	return f.send(ctx, CallYield, keyOf(id), func(ctx context.Context) error {
		return f.journal.Yield(ctx, id, owner, epoch, delay, trouble)
	})
}

// Get implements [twophase.Journal].
func (f *FaultyJournal) Get(ctx context.Context, id string) (twophase.Record, error) {
	return send(ctx, f.wire, CallGet, keyOf(id), func(ctx context.Context) (twophase.Record, error) {
		return f.journal.Get(ctx, id)
	})
}

// List implements [twophase.Journal]. Its faults meet the call as a whole: it
// gives everything, or an error and nothing else.
func (f *FaultyJournal) List(ctx context.Context, filter twophase.Filter) iter.Seq2[twophase.Record, error] {
	return func(yield func(twophase.Record, error) bool) {
		if err := f.send(ctx, CallList, twophase.Key{}, func(context.Context) error { return nil }); err != nil {
			yield(twophase.Record{}, err)
			return
		}
		f.journal.List(ctx, filter)(yield)
	}
}

// Prune implements [twophase.Journal].
func (f *FaultyJournal) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	return send(ctx, f.wire, CallPrune, twophase.Key{}, func(ctx context.Context) (int, error) {
		return f.journal.Prune(ctx, age, limit)
	})
}

// Wait returns when everything that is still to arrive late has arrived.
func (f *FaultyJournal) Wait() { f.wire.settle() }

// Stop abandons what is still to arrive late, ends the context of what has
// arrived and is not answered, and waits for that.
func (f *FaultyJournal) Stop() { f.wire.end() }

func (f *FaultyJournal) send(ctx context.Context, call twophase.Call, key twophase.Key, do func(context.Context) error) error {
	_, err := send(ctx, f.wire, call, key, func(ctx context.Context) (nothing, error) { return nothing{}, do(ctx) })
	return err
}

// keyOf is the key of a call on a journal that names a transaction.
func keyOf(id string) twophase.Key { return twophase.Key{Transaction: id} }
