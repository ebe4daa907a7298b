package twophasetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// shelf is a minimal participant: a lock, the entries by key, and who holds
// each resource. Each of its steps may be broken.
type shelf struct {
	mu        sync.Mutex
	entries   map[string]*shelved
	resources []string
	holders   map[string]*shelved

	identify func(key twophase.Key) string
	reserve  func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict
	assign   func(e twophase.Entry, now time.Time) twophase.Verdict
	release  func(e twophase.Entry) twophase.Verdict
	expire   func(e twophase.Entry, now time.Time) twophase.Verdict
	pick     func(n int, now time.Time) []string // fewer than n is refused
	refused  func(id string, e *shelved, v twophase.Verdict)
	free     func(e *shelved)
	answer   func(e *shelved, now time.Time) twophase.Reservation
	between  func(call twophase.Call) // the verdict, and what follows from it
}

// shelved is what the shelf has stored under a key.
type shelved struct {
	twophase.Entry
	resources []string
}

// packets is what a payload asks for.
type packets struct {
	Count int    `json:"count"`
	Note  string `json:"note,omitempty"`
}

func newShelf(free int) *shelf {
	s := &shelf{
		entries:  map[string]*shelved{},
		holders:  map[string]*shelved{},
		identify: func(key twophase.Key) string { return fmt.Sprintf("%q %q", key.Transaction, key.Step) },
		reserve:  twophase.Entry.Reserve,
		assign:   twophase.Entry.Assign,
		release:  twophase.Entry.Release,
		expire:   twophase.Entry.Expire,
		refused:  func(string, *shelved, twophase.Verdict) {},
		between:  func(twophase.Call) {},
	}
	s.pick, s.free, s.answer = s.pickFree, s.freeAll, s.reservation
	for i := range free {
		s.resources = append(s.resources, fmt.Sprintf("packet-%d", i+1))
	}
	return s
}

// subject is a shelf with so many resources, for the suite.
func (s *shelf) subject(others ...twophase.Participant) Subject {
	return Subject{
		Participant: s,
		Others:      others,
		Payload:     packets{Count: 1},
		Different:   packets{Count: 1, Note: "extra chutney"},
		Several:     func(n int) any { return packets{Count: n} },
	}
}

func openShelf(_ testing.TB, free int) Subject { return newShelf(free).subject() }

func (s *shelf) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return twophase.Reservation{}, err
	}
	payload, err := twophase.PayloadOf[packets](req)
	if err != nil {
		return twophase.Reservation{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	id, e := s.load(req.Key)
	v := s.reserve(e.Entry, twophase.FingerprintOf(req.Payload), req.Hold, now)
	s.between(twophase.CallReserve)
	if v.Take {
		picked := s.pick(payload.Count, now)
		if len(picked) < payload.Count {
			s.refused(id, e, v)
			return twophase.Reservation{}, fmt.Errorf("%w: %d of %d free", twophase.ErrRefused, len(picked), payload.Count)
		}
		e.resources = picked
		s.hold(e)
	}
	s.store(id, e, v)
	if v.Err != nil {
		return twophase.Reservation{}, v.Err
	}
	return s.answer(e, now), nil
}

func (s *shelf) Assign(ctx context.Context, key twophase.Key) error {
	return s.judge(ctx, twophase.CallAssign, key, func(e twophase.Entry) twophase.Verdict {
		return s.assign(e, time.Now())
	})
}

func (s *shelf) Release(ctx context.Context, key twophase.Key) error {
	return s.judge(ctx, twophase.CallRelease, key, func(e twophase.Entry) twophase.Verdict { return s.release(e) })
}

func (s *shelf) judge(
	ctx context.Context, call twophase.Call, key twophase.Key, judge func(twophase.Entry) twophase.Verdict,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, e := s.load(key)
	v := judge(e.Entry)
	s.between(call)
	s.store(id, e, v)
	return v.Err
}

func (s *shelf) load(key twophase.Key) (id string, e *shelved) {
	id = s.identify(key)
	if e, ok := s.entries[id]; ok {
		return id, e
	}
	return id, &shelved{}
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

func (s *shelf) hold(e *shelved) {
	for _, resource := range e.resources {
		s.holders[resource] = e
	}
}

// pickFree returns up to n resources that nobody holds, or not any more.
func (s *shelf) pickFree(n int, now time.Time) (picked []string) {
	for _, resource := range s.resources {
		if holder := s.holders[resource]; holder != nil {
			if v := s.expire(holder.Entry, now); v.Free {
				s.free(holder)
				holder.Entry = v.Entry
			}
		}
		if len(picked) < n && s.holders[resource] == nil {
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
		Details:   json.RawMessage(`{"shelf":3}`),
	}
}
