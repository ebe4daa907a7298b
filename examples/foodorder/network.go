package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// Faults are those of the network between the services.
type Faults struct {
	// Fail is how often a call does not arrive, and Lose how often it does but
	// its reply does not: shares of all calls, from 0 to 1. The caller cannot
	// tell one from the other.
	Fail, Lose float64
	// Latency is the longest that a request or a reply is on its way.
	Latency time.Duration
	// Seed chooses the calls that are hit.
	Seed uint64
}

// plan returns what happens to each call, for [twophasetest.NewFaultyParticipant].
func (f Faults) plan() twophasetest.Plan {
	rates := twophasetest.Rates{LoseRequest: f.Fail, LoseReply: f.Lose}
	if f.Latency > 0 {
		rates.Delay, rates.Longest = 1, f.Latency
	}
	return twophasetest.Seeded(f.Seed, rates)
}

// traffic is a [twophase.Observer] that counts calls.
type traffic struct{ calls, lost atomic.Int64 }

// Observe implements [twophase.Observer].
func (t *traffic) Observe(_ context.Context, e twophase.Event) {
	if e.Kind != twophase.EventCall {
		return
	}
	t.calls.Add(1)
	if errors.Is(e.Err, twophasetest.ErrLost) {
		t.lost.Add(1)
	}
}
