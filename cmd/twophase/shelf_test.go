package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// shelf is a small participant. Each of its steps may be broken.
type shelf struct {
	mu        sync.Mutex
	entries   map[string]*shelved
	resources map[string][]string // by kind
	holders   map[string]*shelved

	identify func(key twophase.Key) string
	reserve  func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict
	assign   func(e *shelved, now time.Time) twophase.Verdict
	release  func(e *shelved) twophase.Verdict
	expire   func(e *shelved, now time.Time) twophase.Verdict
	pick     func(e *shelved, want pool.Want, now time.Time) []string // fewer than wanted is refused
	refused  func(id string, e *shelved, v twophase.Verdict)
	free     func(e *shelved)
	answer   func(e *shelved, now time.Time) twophase.Reservation
	between  func(call twophase.Call, e *shelved) // the verdict, and what follows from it

	slowRelease bool // of orders
}

// shelved is what the shelf has stored under a key.
type shelved struct {
	twophase.Entry
	key       twophase.Key
	resources []string
}

// isOrders reports whether the key is that of a check's order, and none of
// those by which free resources are counted and held.
func (e *shelved) isOrders() bool { return strings.Contains(e.key.Transaction, ":order-") }

func newShelf(free int, kinds ...string) *shelf {
	s := &shelf{
		entries:   map[string]*shelved{},
		resources: map[string][]string{},
		holders:   map[string]*shelved{},
		identify:  func(key twophase.Key) string { return fmt.Sprintf("%q %q", key.Transaction, key.Step) },
		reserve: func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
			return e.Reserve(f, hold, now)
		},
		assign:  func(e *shelved, now time.Time) twophase.Verdict { return e.Assign(now) },
		release: func(e *shelved) twophase.Verdict { return e.Release() },
		expire:  func(e *shelved, now time.Time) twophase.Verdict { return e.Expire(now) },
		refused: func(string, *shelved, twophase.Verdict) {},
		between: func(twophase.Call, *shelved) {},
	}
	s.pick, s.free, s.answer = s.pickFree, s.freeAll, s.reservation
	for _, kind := range kinds {
		for i := range free {
			s.resources[kind] = append(s.resources[kind], fmt.Sprintf("%s-%d", kind, i+1))
		}
	}
	return s
}

func (s *shelf) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	want, err := twophase.PayloadOf[pool.Want](req)
	if err != nil {
		return twophase.Reservation{}, err
	}
	want.Count = max(1, want.Count)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	id, e := s.load(req.Key)
	v := s.reserve(e, twophase.FingerprintOf(req.Payload), req.Hold, now)
	s.between(twophase.CallReserve, e)
	if v.Take {
		picked := s.pick(e, want, now)
		if len(picked) < want.Count {
			s.refused(id, e, v)
			return twophase.Reservation{}, fmt.Errorf("%w: %d of %d free", twophase.ErrRefused, len(picked), want.Count)
		}
		e.resources = picked
		for _, resource := range picked {
			s.holders[resource] = e
		}
	}
	s.store(id, e, v)
	if v.Err != nil {
		return twophase.Reservation{}, v.Err
	}
	return s.answer(e, now), nil
}

func (s *shelf) Assign(_ context.Context, key twophase.Key) error {
	return s.judge(twophase.CallAssign, key, func(e *shelved) twophase.Verdict { return s.assign(e, time.Now()) })
}

func (s *shelf) Release(_ context.Context, key twophase.Key) error {
	if s.slowRelease && (&shelved{key: key}).isOrders() {
		time.Sleep(aWhile / 4)
	}
	return s.judge(twophase.CallRelease, key, s.release)
}

func (s *shelf) judge(call twophase.Call, key twophase.Key, judge func(*shelved) twophase.Verdict) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, e := s.load(key)
	v := judge(e)
	s.between(call, e)
	s.store(id, e, v)
	return v.Err
}

func (s *shelf) load(key twophase.Key) (id string, e *shelved) {
	id = s.identify(key)
	if e, ok := s.entries[id]; ok {
		return id, e
	}
	return id, &shelved{key: key}
}

func (s *shelf) store(id string, e *shelved, v twophase.Verdict) {
	if v.Free {
		s.free(e)
	}
	e.Entry = v.Entry
	if e.State != twophase.EntryNone {
		s.entries[id] = e
	}
}

// pickFree returns up to as many resources as are wanted that nobody holds, or
// not any more.
func (s *shelf) pickFree(_ *shelved, want pool.Want, now time.Time) (picked []string) {
	for _, resource := range s.resources[want.Kind] {
		if holder := s.holders[resource]; holder != nil {
			if v := s.expire(holder, now); v.Free {
				s.free(holder)
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
func (s *shelf) freeAll(e *shelved) {
	for _, resource := range e.resources {
		if s.holders[resource] == e {
			delete(s.holders, resource)
		}
	}
}

func (s *shelf) reservation(e *shelved, now time.Time) twophase.Reservation {
	return twophase.Reservation{
		Resources: slices.Clone(e.resources),
		TimeLeft:  e.TimeLeft(now),
		Assigned:  e.State == twophase.EntryAssigned,
	}
}

// unlocked lets others in while a call is under way.
func (s *shelf) unlocked() {
	s.mu.Unlock()
	time.Sleep(aWhile)
	s.mu.Lock()
}

const aWhile = 40 * time.Millisecond
