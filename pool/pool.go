// Package pool is a participant in memory. It owns granular resources, grouped
// by kind: packets by food, agents by area.
//
//	store, err := pool.New()
//	if err != nil {
//		return err
//	}
//	err = store.Restock("masala dosa", "packet-1", "packet-2")
//
// A step of a transaction asks it for resources with a [Want] as the payload,
// or with a type of one's own (see [For]):
//
//	{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}}
//
// # What is guaranteed
//
//   - A resource is held by one key at most. Who wants several gets all or none.
//   - Free resources are given in the order in which they came. One whose
//     reservation ran out comes when it is needed, or looked at.
//   - A reservation that is not assigned ends at the very instant that it was
//     promised to. No goroutine is needed for that: whoever asks, and whoever
//     takes, reads the clock under the lock.
//   - What was answered is answered again, as [twophase.Participant] demands,
//     for as long as [WithRetention] says.
//
// # What it costs
//
// Reserve, Assign and Release take constant time, however many resources and
// reservations there are. The number of different holds under way at once adds
// its logarithm; in most services it is one. A finished key takes some 350
// bytes until its retention is over.
//
// # What it does not do
//
// The books are lost with the process. What has to outlive it belongs in a
// database. And what is assigned stays on the books until it is released, or
// until the service says that it has done its work: see [Pool.Consume].
package pool

import (
	"context"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/queue"
)

// Pool is a [twophase.Participant] that keeps its books in memory. It is safe
// for concurrent use. Make it with [New].
type Pool struct {
	config *config

	mu        sync.Mutex
	kinds     map[string]*kind        // by name, those that have resources
	resources map[string]*resource    // by id
	entries   map[twophase.Key]*entry // what was ever asked, until it is forgotten
	finished  queue.Queue[entry]      // those released, expired and consumed, in that order
}

var _ twophase.Participant = (*Pool)(nil)

// New returns a pool that has no resources yet: see [Pool.Restock].
func New(options ...Option) (*Pool, error) {
	c, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	return &Pool{
		config:    c,
		kinds:     map[string]*kind{},
		resources: map[string]*resource{},
		entries:   map[twophase.Key]*entry{},
	}, nil
}

// Reserve implements [twophase.Participant]: it holds what the payload wants.
func (p *Pool) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return twophase.Reservation{}, err
	}
	fingerprint := twophase.FingerprintOf(req.Payload)
	want, refusal := p.config.wanted(req)

	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	e := p.entry(req.Key)
	verdict := e.Reserve(fingerprint, req.Hold, now)
	if verdict.Take {
		// Only here does it matter whether the payload makes sense: a key that
		// has an entry is answered from it.
		if refusal != nil {
			return twophase.Reservation{}, refusal
		}
		if err := p.take(e, want, now); err != nil {
			return twophase.Reservation{}, err
		}
	}
	if err := p.store(e, verdict, now); err != nil {
		return twophase.Reservation{}, err
	}
	return twophase.Reservation{
		Resources: e.ids(),
		TimeLeft:  e.TimeLeft(now),
		Assigned:  e.State == twophase.EntryAssigned,
	}, nil
}

// Assign implements [twophase.Participant].
func (p *Pool) Assign(ctx context.Context, key twophase.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	e := p.entry(key)
	return p.store(e, e.Assign(now), now)
}

// Release implements [twophase.Participant].
func (p *Pool) Release(ctx context.Context, key twophase.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entry(key)
	return p.store(e, e.Release(), time.Now())
}
