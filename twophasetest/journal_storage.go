package twophasetest

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// storage is what a suite may do with the storage of a journal.
type storage struct {
	reopen  func(t testing.TB, journal twophase.Journal) twophase.Journal
	another func(t testing.TB, journal twophase.Journal) twophase.Journal
}

// Reopened lets [TestJournal] check that a journal is durable. Reopen ends the
// instance that it is given and opens one on the same storage, which it closes
// by t.Cleanup. The more abruptly it ends the first, the more is proved: an end
// that gives it no time to write is best.
func Reopened(reopen func(t testing.TB, journal twophase.Journal) twophase.Journal) Option {
	return func(c *config) { c.reopen = reopen }
}

// Shared lets [TestJournal] check that a journal may be used by several
// coordinators at once, each with an instance of its own. Another opens one
// more instance on the storage of the one that it is given, and closes it by
// t.Cleanup. All calls then take turns among several instances, so that every
// subtest checks what one of them knows of what another has done.
func Shared(another func(t testing.TB, journal twophase.Journal) twophase.Journal) Option {
	return func(c *config) { c.another = another }
}

// instances is among how many the calls take turns.
const instances = 3

// newLedger returns the ledger of one check, on as many instances as there may
// be.
func newLedger(t testing.TB, c config, journal twophase.Journal) *ledger {
	if c.another == nil {
		return &ledger{clock: c.clock, journal: journal}
	}
	all := []twophase.Journal{journal}
	for len(all) < instances {
		all = append(all, c.another(t, journal))
	}
	var calls atomic.Int64
	return &ledger{clock: c.clock, journal: eachCall(func() twophase.Journal {
		return all[int(calls.Add(1))%len(all)]
	})}
}

// eachCall is a journal that is found anew for each call.
type eachCall func() twophase.Journal

func (next eachCall) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	return next().Begin(ctx, record)
}

func (next eachCall) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	return next().Decide(ctx, id, d)
}

func (next eachCall) Released(ctx context.Context, id string, steps []string) error {
	return next().Released(ctx, id, steps)
}

func (next eachCall) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) ([]twophase.Record, error) {
	return next().Claim(ctx, owner, lease, limit)
}

func (next eachCall) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	return next().Renew(ctx, owner, lease, ids)
}

func (next eachCall) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	return next().Yield(ctx, id, owner, epoch, delay, trouble)
}

func (next eachCall) Get(ctx context.Context, id string) (twophase.Record, error) {
	return next().Get(ctx, id)
}

func (next eachCall) List(ctx context.Context, filter twophase.Filter) iter.Seq2[twophase.Record, error] {
	return next().List(ctx, filter)
}

func (next eachCall) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	return next().Prune(ctx, age, limit)
}
