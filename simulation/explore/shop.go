package explore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// shop is a participant with two resources and a clock of its own, which stands
// still until the scheduler moves it.
type shop struct {
	name string

	mu      sync.Mutex
	clock   time.Time
	free    []string
	entries map[twophase.Key]*entry
	breach  string // what a verdict of the entry's state machine broke
}

// entry is what a shop has stored under a key.
type entry struct {
	twophase.Entry
	payload   string
	resources []string
}

// resources is how many a shop has.
const resources = 2

// hold is how long reservations are asked to last, and an expiry takes.
const hold = 10 * time.Minute

func newShop(name string) *shop {
	return &shop{
		name: name, free: []string{name + "-1", name + "-2"}, entries: map[twophase.Key]*entry{},
		clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Reserve implements [twophase.Participant].
func (s *shop) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(req.Key)
	v := e.Reserve(twophase.FingerprintOf(req.Payload), req.Hold, s.clock)
	if v.Take {
		s.takeBack()
		if len(s.free) == 0 {
			return twophase.Reservation{}, fmt.Errorf("%w: nothing free", twophase.ErrRefused)
		}
		e.payload, e.resources = string(req.Payload), append(e.resources, s.free[0])
		s.free = s.free[1:]
	}
	s.store(req.Key, e, v)
	if v.Err != nil {
		return twophase.Reservation{}, v.Err
	}
	switch {
	case e.payload != string(req.Payload):
		s.breach = fmt.Sprintf("I1: %s answers a request for %s with what it holds for %s", s.name, req.Payload, e.payload)
	case len(e.resources) > 1:
		s.breach = fmt.Sprintf("I5: %s takes again for a repeated Reserve: %v", s.name, e.resources)
	}
	return twophase.Reservation{
		Resources: slices.Clone(e.resources), TimeLeft: e.TimeLeft(s.clock), Assigned: e.State == twophase.EntryAssigned,
	}, nil
}

// Assign implements [twophase.Participant].
func (s *shop) Assign(_ context.Context, key twophase.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(key)
	late := s.ranOut(e)
	v := e.Assign(s.clock)
	s.store(key, e, v)
	if v.Err == nil && late {
		s.breach = fmt.Sprintf("I6: %s assigns %s after its expiry", s.name, key)
	}
	return v.Err
}

// Release implements [twophase.Participant].
func (s *shop) Release(_ context.Context, key twophase.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(key)
	v := e.Release()
	s.store(key, e, v)
	return v.Err
}

func (s *shop) entry(key twophase.Key) *entry {
	if e, ok := s.entries[key]; ok {
		return e
	}
	return &entry{}
}

func (s *shop) store(key twophase.Key, e *entry, v twophase.Verdict) {
	if v.Free {
		s.free = append(s.free, e.resources...)
		slices.Sort(s.free)
		e.resources = nil
	}
	e.Entry = v.Entry
	if e.State != twophase.EntryNone {
		s.entries[key] = e
	}
}

// ranOut reports whether an entry is reserved, and past its expiry.
func (s *shop) ranOut(e *entry) bool {
	return e.State == twophase.EntryReserved && !s.clock.Before(e.Expires)
}

// takeBack frees what has run out.
func (s *shop) takeBack() {
	for key, e := range s.entries {
		if v := e.Expire(s.clock); v.Free {
			s.store(key, e, v)
		}
	}
}

// expire lets everything run out that is reserved by now.
func (s *shop) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(hold)
}

// rival takes all that is free for somebody else, for good.
func (s *shop) rival(name string) {
	ctx := context.Background()
	for n := 1; ; n++ {
		key := twophase.Key{Transaction: fmt.Sprintf("%s-%d", name, n), Step: s.name}
		if _, err := s.Reserve(ctx, twophase.Request{Key: key, Hold: hold}); err != nil {
			return
		}
		if err := s.Assign(ctx, key); err != nil {
			return
		}
	}
}

// available reports whether a rival would get something.
func (s *shop) available() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) > 0 {
		return true
	}
	for _, e := range s.entries {
		if s.ranOut(e) {
			return true
		}
	}
	return false
}

// holding reports whether anything is held.
func (s *shop) holding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.Holds() {
			return true
		}
	}
	return false
}

// books returns what is stored, in a form that equals that of equal books.
func (s *shop) books() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := s.name
	for _, key := range s.keys() {
		e := s.entries[key]
		book += fmt.Sprintf(" %s:%v", key, e.State)
		if s.ranOut(e) {
			book += "!"
		}
		for _, resource := range e.resources {
			book += " " + resource
		}
		if e.Fingerprint != (twophase.Fingerprint{}) {
			book += " for " + e.payload
		}
	}
	return fmt.Sprintf("%s free:%v", book, s.free)
}

func (s *shop) keys() []twophase.Key {
	return slices.SortedFunc(maps.Keys(s.entries), func(a, b twophase.Key) int {
		return strings.Compare(a.String(), b.String())
	})
}
