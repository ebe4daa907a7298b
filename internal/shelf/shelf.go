// Package shelf is a small participant for tests, and the ways to break it: those
// that test suites of participants must catch.
package shelf

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Shelf is a minimal participant that understands the payloads of a pool: a lock,
// the entries by key, and who holds each resource. Its methods may be called
// concurrently.
//
// The functions among its fields are its steps. A test may replace them, to break
// them, before the first call. They are called under the lock.
type Shelf struct {
	Identify     func(key twophase.Key) string
	JudgeReserve func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict
	JudgeAssign  func(e *Held, now time.Time) twophase.Verdict
	JudgeRelease func(e *Held) twophase.Verdict
	JudgeExpiry  func(e *Held, now time.Time) twophase.Verdict
	Between      func(call twophase.Call, e *Held)                     // the verdict, and what follows from it
	Pick         func(e *Held, want pool.Want, now time.Time) []string // fewer than wanted is refused
	Refused      func(id string, e *Held, v twophase.Verdict)          // what is refused
	Free         func(e *Held)                                         // what the entry holds
	Answer       func(e *Held, now time.Time) twophase.Reservation     // to a Reserve

	Details json.RawMessage // of each reservation

	// Off is how early or late is a shelf that takes one instant for another, and
	// Tombstone how long one is kept that is not kept for long enough. They are as
	// hard to notice as they can be where time is exact, unless set.
	Off, Tombstone time.Duration

	mu          sync.Mutex
	entries     map[string]*Held
	resources   map[string][]string // by kind
	holders     map[string]*Held
	slowRelease bool // of orders
}

// Held is what a shelf has stored under a key.
type Held struct {
	twophase.Entry
	Key       twophase.Key
	Resources []string
}

// IsOrder reports whether the key is that of a check's order, and none of those by
// which free resources are counted and held.
func (e *Held) IsOrder() bool { return isOrder(e.Key) }

func isOrder(key twophase.Key) bool {
	name := key.Transaction[strings.LastIndex(key.Transaction, ":")+1:] // less what makes it a run's own
	return strings.HasPrefix(name, "order-")
}

// New returns a shelf that keeps the contract, with so many resources of each kind.
func New(free int, kinds ...string) *Shelf {
	s := &Shelf{
		Identify:     func(key twophase.Key) string { return fmt.Sprintf("%q %q", key.Transaction, key.Step) },
		JudgeReserve: (*Held).Reserve,
		JudgeAssign:  (*Held).Assign,
		JudgeRelease: (*Held).Release,
		JudgeExpiry:  (*Held).Expire,
		Between:      func(twophase.Call, *Held) {},
		Refused:      func(string, *Held, twophase.Verdict) {},
		Off:          time.Nanosecond,
		Tombstone:    10 * time.Minute,
		entries:      map[string]*Held{},
		resources:    map[string][]string{},
		holders:      map[string]*Held{},
	}
	s.Pick, s.Free, s.Answer = s.pickFree, s.freeAll, s.reservation
	for _, kind := range kinds {
		for i := range free {
			s.resources[kind] = append(s.resources[kind], fmt.Sprintf("%s-%d", kind, i+1))
		}
	}
	return s
}

// Reserve implements [twophase.Participant].
func (s *Shelf) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return twophase.Reservation{}, err
	}
	want, err := twophase.PayloadOf[pool.Want](req)
	if err != nil {
		return twophase.Reservation{}, err
	}
	want.Count = max(1, want.Count)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	id, e := s.load(req.Key)
	v := s.JudgeReserve(e, twophase.FingerprintOf(req.Payload), req.Hold, now)
	s.Between(twophase.CallReserve, e)
	if v.Take {
		picked := s.Pick(e, want, now)
		if len(picked) < want.Count {
			s.Refused(id, e, v)
			return twophase.Reservation{}, fmt.Errorf("%w: %d of %d free", twophase.ErrRefused, len(picked), want.Count)
		}
		e.Resources = picked
		for _, resource := range picked {
			s.holders[resource] = e
		}
	}
	s.store(id, e, v)
	if v.Err != nil {
		return twophase.Reservation{}, v.Err
	}
	return s.Answer(e, now), nil
}

// Assign implements [twophase.Participant].
func (s *Shelf) Assign(ctx context.Context, key twophase.Key) error {
	return s.judge(ctx, twophase.CallAssign, key, func(e *Held) twophase.Verdict { return s.JudgeAssign(e, time.Now()) })
}

// Release implements [twophase.Participant].
func (s *Shelf) Release(ctx context.Context, key twophase.Key) error {
	if s.slowRelease && isOrder(key) {
		time.Sleep(aWhile / 4)
	}
	return s.judge(ctx, twophase.CallRelease, key, s.JudgeRelease)
}

func (s *Shelf) judge(
	ctx context.Context, call twophase.Call, key twophase.Key, judge func(*Held) twophase.Verdict,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, e := s.load(key)
	v := judge(e)
	s.Between(call, e)
	s.store(id, e, v)
	return v.Err
}

// State returns the state of a key.
func (s *Shelf) State(key twophase.Key) twophase.EntryState {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, e := s.load(key)
	return e.State
}

func (s *Shelf) load(key twophase.Key) (id string, e *Held) {
	id = s.Identify(key)
	if e, ok := s.entries[id]; ok {
		return id, e
	}
	return id, &Held{Key: key}
}

func (s *Shelf) store(id string, e *Held, v twophase.Verdict) {
	if v.Free {
		s.Free(e)
	}
	e.Entry = v.Entry
	if e.State != twophase.EntryNone {
		s.entries[id] = e
	}
}

// pickFree returns up to as many resources as are wanted that nobody holds, or not
// any more.
func (s *Shelf) pickFree(_ *Held, want pool.Want, now time.Time) (picked []string) {
	for _, resource := range s.resources[want.Kind] {
		if holder := s.holders[resource]; holder != nil {
			if v := s.JudgeExpiry(holder, now); v.Free {
				s.Free(holder)
				holder.Entry = v.Entry
			}
		}
		if len(picked) < want.Count && s.holders[resource] == nil {
			picked = append(picked, resource)
		}
	}
	return picked
}

// freeAll gives back what the entry holds.
func (s *Shelf) freeAll(e *Held) {
	for _, resource := range e.Resources {
		if s.holders[resource] == e {
			delete(s.holders, resource)
		}
	}
}

func (s *Shelf) reservation(e *Held, now time.Time) twophase.Reservation {
	return twophase.Reservation{
		Resources: slices.Clone(e.Resources),
		TimeLeft:  e.TimeLeft(now),
		Assigned:  e.State == twophase.EntryAssigned,
		Details:   s.Details,
	}
}
