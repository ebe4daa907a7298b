package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// keeper keeps the books of a participant.
type keeper interface {
	reserve(req twophase.Request) (twophase.Reservation, error)
	assign(key twophase.Key) error
	release(key twophase.Key) error
	// look returns the state of a key and what it holds. What has run out may
	// be told as reserved.
	look(key twophase.Key) (twophase.EntryState, []string)
	// free returns how many resources nobody holds now.
	free() int
}

// store is a participant on [twophase.Entry], with a disk and a clock of its own.
// What it does is visible at once, and durable a little later; a restart undoes
// what is not durable yet. It answers nobody before what it has told is durable.
type store struct {
	clock   *clock
	shelves map[string][]string // resources by kind
	holders map[string]twophase.Key
	entries map[twophase.Key]*storeEntry
	undo    []undo // what is not durable, in order
	durable int    // how much was ever durable
}

type storeEntry struct {
	twophase.Entry
	resources []string
}

// undo takes a change back.
type undo struct {
	key    twophase.Key
	before *storeEntry // nil if there was none
}

func newStore(p servicePlan) *store {
	s := &store{
		clock: newClock(p.clock), shelves: map[string][]string{},
		holders: map[string]twophase.Key{}, entries: map[twophase.Key]*storeEntry{},
	}
	for _, kind := range p.kinds {
		s.shelves[kind] = resources(p.name, kind, p.stock[kind])
	}
	return s
}

// resources returns the ids of a participant's resources of a kind.
func resources(service, kind string, count int) []string {
	ids := make([]string, count)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%s-%d", service, kind, i+1)
	}
	return ids
}

func (s *store) reserve(req twophase.Request) (twophase.Reservation, error) {
	entry, now := s.entry(req.Key), s.clock.now()
	v := entry.Reserve(twophase.FingerprintOf(req.Payload), req.Hold, now)
	if v.Take {
		taken, err := s.take(req, now)
		if err != nil {
			return twophase.Reservation{}, err
		}
		entry.resources = taken
		for _, id := range taken {
			s.holders[id] = req.Key
		}
	}
	s.store(req.Key, entry, v)
	if v.Err != nil {
		return twophase.Reservation{}, v.Err
	}
	return twophase.Reservation{
		Resources: entry.resources, TimeLeft: v.Entry.TimeLeft(now), Assigned: v.Entry.State == twophase.EntryAssigned,
	}, nil
}

// take returns free resources, as many as are wanted.
func (s *store) take(req twophase.Request, now time.Time) (taken []string, err error) {
	want, err := twophase.PayloadOf[pool.Want](req)
	if err != nil {
		return nil, err
	}
	for _, id := range s.shelves[want.Kind] {
		if len(taken) == want.Count {
			break
		}
		if s.isFree(id, now) {
			taken = append(taken, id)
		}
	}
	if len(taken) < want.Count {
		return nil, fmt.Errorf("%w: not enough %s", twophase.ErrRefused, want.Kind)
	}
	return taken, nil
}

// isFree reports whether nobody holds a resource, and takes it back if its time
// has run out.
func (s *store) isFree(id string, now time.Time) bool {
	key, held := s.holders[id]
	if !held {
		return true
	}
	entry := s.entry(key)
	v := entry.Expire(now)
	if v.Free {
		s.store(key, entry, v)
	}
	return v.Free
}

func (s *store) assign(key twophase.Key) error {
	entry := s.entry(key)
	v := entry.Assign(s.clock.now())
	s.store(key, entry, v)
	return v.Err
}

func (s *store) release(key twophase.Key) error {
	entry := s.entry(key)
	v := entry.Release()
	s.store(key, entry, v)
	return v.Err
}

// entry returns a copy of what is stored under a key.
func (s *store) entry(key twophase.Key) *storeEntry {
	if entry, ok := s.entries[key]; ok {
		found := *entry
		return &found
	}
	return &storeEntry{}
}

// store makes a verdict on an entry the state of things.
func (s *store) store(key twophase.Key, entry *storeEntry, v twophase.Verdict) {
	before := s.entries[key]
	if before == nil && v.Entry == (twophase.Entry{}) || before != nil && v.Entry == before.Entry {
		return
	}
	entry.Entry = v.Entry
	if v.Free {
		for _, id := range entry.resources {
			delete(s.holders, id)
		}
		entry.resources = nil
	}
	s.entries[key] = entry
	s.undo = append(s.undo, undo{key, before})
}

// forget loses what is stored under a key, as a restored backup does, for good.
func (s *store) forget(key twophase.Key) {
	s.sync(s.written())
	entry := s.entry(key)
	for _, id := range entry.resources {
		delete(s.holders, id)
	}
	delete(s.entries, key)
}

// written returns how much was ever written.
func (s *store) written() int { return s.durable + len(s.undo) }

// sync makes the first so many writes durable.
func (s *store) sync(writes int) {
	if n := writes - s.durable; n > 0 {
		s.undo = s.undo[n:]
		s.durable = writes
	}
}

// restart takes back what is not durable.
func (s *store) restart() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		if u := s.undo[i]; u.before == nil {
			delete(s.entries, u.key)
		} else {
			s.entries[u.key] = u.before
		}
	}
	s.undo = nil
	clear(s.holders)
	for key, entry := range s.entries {
		if entry.Holds() {
			for _, id := range entry.resources {
				s.holders[id] = key
			}
		}
	}
}

func (s *store) look(key twophase.Key) (twophase.EntryState, []string) {
	entry := s.entry(key)
	return entry.State, entry.resources
}

func (s *store) free() (n int) {
	now := s.clock.now()
	for _, shelf := range s.shelves {
		for _, id := range shelf {
			if s.isFree(id, now) {
				n++
			}
		}
	}
	return n
}

// clock is a participant's own: it may show another time than others, run at
// another rate, and jump.
type clock struct {
	clockPlan
	began time.Time
}

func newClock(p clockPlan) *clock { return &clock{p, time.Now()} }

func (c *clock) now() time.Time {
	return c.began.Add(c.offset + time.Duration(float64(time.Since(c.began))*c.rate))
}

func (c *clock) jump(by time.Duration) { c.offset += by }

// pooled is the library's pool in memory.
type pooled struct{ *pool.Pool }

func newPooled(p servicePlan) (*pooled, error) {
	inMemory, err := pool.New()
	if err != nil {
		return nil, err
	}
	for _, kind := range p.kinds {
		if err := inMemory.Restock(kind, resources(p.name, kind, p.stock[kind])...); err != nil {
			return nil, err
		}
	}
	return &pooled{inMemory}, nil
}

func (p *pooled) reserve(req twophase.Request) (twophase.Reservation, error) {
	return p.Reserve(context.Background(), req)
}

func (p *pooled) assign(key twophase.Key) error { return p.Assign(context.Background(), key) }

func (p *pooled) release(key twophase.Key) error { return p.Release(context.Background(), key) }

func (p *pooled) look(key twophase.Key) (twophase.EntryState, []string) {
	holding, _ := p.Lookup(key)
	return holding.State, holding.Resources
}

func (p *pooled) free() (n int) {
	for _, kind := range p.Kinds() {
		n += p.Count(kind).Free
	}
	return n
}
