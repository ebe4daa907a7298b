package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

const (
	recoveryName  = "left"
	recoveryLimit = 100 // that of a coordinator by default
	// callTakes is how long each call takes on the participants of a recovery:
	// a good network. Calls that take no time are never many at a time.
	callTakes = time.Millisecond
)

// recovery measures how long it takes to finish what was left behind.
func (b *bench) recovery(ctx context.Context, s store) error {
	if b.unfinished == 0 {
		return nil
	}
	b.say("%s: %d unfinished transactions to recover", s.kind(), b.unfinished)
	r, err := recoverFrom(ctx, s, b.unfinished)
	if err := errors.Join(err, s.remove(context.WithoutCancel(ctx), recoveryName)); err != nil {
		return err
	}
	t := &table{
		title: fmt.Sprintf("Recovery, at most %d transactions at a time, %v for each call on a participant", recoveryLimit, callTakes),
		columns: []string{
			">unfinished", ">opened in", ">recovered in", ">per second", ">calls at a time, at most",
		},
	}
	t.add(count(float64(b.unfinished)), length(r.opened), length(r.recovered),
		count(float64(b.unfinished)/r.recovered.Seconds()), fmt.Sprint(r.peak))
	t.write(b.out, b.markdown)
	b.goals = append(b.goals, goal{
		journal: s.kind(), what: "calls on participants at a time while recovering",
		measured: float64(r.peak), wanted: 2 * recoveryLimit,
	})
	return nil
}

type recovered struct {
	opened, recovered time.Duration
	peak              int64
}

// recoverFrom leaves n transactions behind in a journal, undecided and in time,
// and finishes them.
func recoverFrom(ctx context.Context, s store, n int) (r recovered, err error) {
	if err := s.fill(ctx, recoveryName, false, n); err != nil {
		return r, err
	}
	start := time.Now()
	j, err := s.open(ctx, recoveryName)
	if err != nil {
		return r, err
	}
	r.opened = time.Since(start)
	calls := &gauge{}
	c, err := twophase.NewCoordinator(j,
		twophase.WithParticipant("store", counted{newInstant("packet-100001"), calls}),
		twophase.WithParticipant("delivery", counted{newInstant("agent-100001"), calls}),
		twophase.WithRecoveryLimit(recoveryLimit),
		twophase.WithoutBackgroundRecovery(),
	)
	if err != nil {
		return r, errors.Join(err, j.close())
	}
	defer func() { err = errors.Join(err, closeBoth(c, j)) }()
	start = time.Now()
	done, err := c.Recover(ctx)
	r.recovered, r.peak = time.Since(start), calls.peak.Load()
	if err == nil && (done.Finished != n || done.Stuck != 0) {
		err = fmt.Errorf("%d transactions were left and recovery finished %d, with %d stuck", n, done.Finished, done.Stuck)
	}
	return r, err
}

// counted is a participant that counts the calls under way, of all who share
// the gauge.
type counted struct {
	twophase.Participant
	calls *gauge
}

// Reserve implements [twophase.Participant].
func (c counted) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	defer c.calls.one(ctx)()
	return c.Participant.Reserve(ctx, req)
}

// Assign implements [twophase.Participant].
func (c counted) Assign(ctx context.Context, key twophase.Key) error {
	defer c.calls.one(ctx)()
	return c.Participant.Assign(ctx, key)
}

// gauge counts what is under way, and remembers the most.
type gauge struct{ now, peak atomic.Int64 }

// one counts a call that takes a while, until it is told that it has ended.
func (g *gauge) one(ctx context.Context) (end func()) {
	now := g.now.Add(1)
	for peak := g.peak.Load(); now > peak && !g.peak.CompareAndSwap(peak, now); peak = g.peak.Load() {
	}
	pause(ctx, callTakes)
	return func() { g.now.Add(-1) }
}
