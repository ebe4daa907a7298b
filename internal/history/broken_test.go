package history_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// shelf is a small participant that can be broken.
type shelf struct {
	mu      sync.Mutex
	flaw    flaw
	entries map[twophase.Key]*slot
	holders map[string]*slot // by resource
	calls   int
}

type slot struct {
	twophase.Entry
	reservation twophase.Reservation
}

// flaw is what is wrong with a shelf. Those with a rate strike now and then.
type flaw struct {
	givesTwice     bool // a held resource is given again
	forgets        bool // an assigned key is not known any more
	assignsLate    bool // what has run out is assigned
	answersLate    bool // what has run out is answered as held
	losesTombstone bool // a released key may reserve anew
	expiresEarly   bool // a reservation runs out in half its time
	keepsExpired   bool // what has run out is free for nobody
	leaks          bool // what is released is free for nobody
	answersAnew    bool // a repeated Reserve is given something else
	promisesLong   bool // the time left is told too long
	ignoresPayload bool // another payload under the same key gets the reservation
	givesFewer     bool // one is given where two are wanted
	refusesAtWill  bool // a free resource is refused
	dropsAssign    bool // an Assign is acknowledged and not done
	dropsRelease   bool // a Release is acknowledged and not done
}

func newShelf(stock int, f flaw) *shelf {
	s := &shelf{flaw: f, entries: map[twophase.Key]*slot{}, holders: map[string]*slot{}}
	for i := range stock {
		s.holders[fmt.Sprintf("packet-%d", i)] = nil
	}
	return s
}

// strikes reports whether a flaw shows this time.
func (s *shelf) strikes(has bool) bool {
	s.calls++
	return has && s.calls%7 == 0
}

func (s *shelf) slot(key twophase.Key) *slot {
	if e, ok := s.entries[key]; ok {
		return e
	}
	return &slot{}
}

func (s *shelf) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, e := time.Now(), s.slot(req.Key)
	if e.State == twophase.EntryReleased && s.strikes(s.flaw.losesTombstone) {
		e = &slot{}
	}
	hold, fingerprint := req.Hold, twophase.FingerprintOf(req.Payload)
	if s.flaw.expiresEarly {
		hold /= 2
	}
	if s.flaw.ignoresPayload {
		fingerprint = twophase.FingerprintOf(nil)
	}
	at := now
	if s.flaw.answersLate {
		at = now.Add(-time.Hour)
	}
	v := e.Reserve(fingerprint, hold, at)
	if v.Take {
		v.Entry.Expires = now.Add(hold)
		if err := s.take(e, req, now); err != nil {
			return twophase.Reservation{}, err
		}
	}
	if err := s.store(req.Key, e, v); err != nil {
		return twophase.Reservation{}, err
	}
	r := e.reservation
	r.TimeLeft, r.Assigned = e.TimeLeft(now), e.State == twophase.EntryAssigned
	if s.flaw.promisesLong {
		r.TimeLeft += req.Hold
	}
	if s.flaw.expiresEarly {
		r.TimeLeft = req.Hold
	}
	if s.strikes(s.flaw.answersAnew) {
		r.Resources = []string{"packet-0"}
	}
	return r, nil
}

func (s *shelf) take(e *slot, req twophase.Request, now time.Time) error {
	want, err := twophase.PayloadOf[pool.Want](req)
	if err != nil || s.strikes(s.flaw.refusesAtWill) {
		return twophase.ErrRefused
	}
	count := max(1, want.Count)
	if s.flaw.givesFewer {
		count = 1
	}
	found := s.free(count)
	if len(found) < count && !s.flaw.keepsExpired {
		for _, holder := range s.holders {
			if holder != nil && holder.Expire(now).Free {
				s.settle(holder, holder.Expire(now))
			}
		}
		found = s.free(count)
	}
	if len(found) < count {
		return twophase.ErrRefused
	}
	e.reservation = twophase.Reservation{Resources: found}
	for _, id := range found {
		s.holders[id] = e
	}
	return nil
}

// free returns as many resources as are wanted, or fewer.
func (s *shelf) free(count int) (found []string) {
	for id, holder := range s.holders {
		if len(found) < count && (holder == nil || s.strikes(s.flaw.givesTwice)) {
			found = append(found, id)
		}
	}
	return found
}

func (s *shelf) Assign(_ context.Context, key twophase.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, e := time.Now(), s.slot(key)
	if s.flaw.assignsLate {
		now = now.Add(-time.Hour)
	}
	v := e.Assign(now)
	if v.Err == nil && s.strikes(s.flaw.dropsAssign) {
		return nil
	}
	if err := s.store(key, e, v); err != nil {
		return err
	}
	if s.strikes(s.flaw.forgets) {
		delete(s.entries, key)
	}
	return nil
}

func (s *shelf) Release(_ context.Context, key twophase.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strikes(s.flaw.dropsRelease) {
		return nil
	}
	e := s.slot(key)
	v := e.Release()
	v.Free = v.Free && !s.strikes(s.flaw.leaks)
	return s.store(key, e, v)
}

func (s *shelf) store(key twophase.Key, e *slot, v twophase.Verdict) error {
	if v.Entry != e.Entry {
		s.entries[key] = e
	}
	s.settle(e, v)
	return v.Err
}

func (s *shelf) settle(e *slot, v twophase.Verdict) {
	e.Entry = v.Entry
	if !v.Free {
		return
	}
	for _, id := range e.reservation.Resources {
		if s.holders[id] == e {
			s.holders[id] = nil
		}
	}
}

func TestBrokenParticipantsAreCaught(t *testing.T) {
	t.Parallel()
	tests := map[string]flaw{
		"gives a held resource again":               {givesTwice: true},
		"forgets what is assigned":                  {forgets: true},
		"assigns what has run out":                  {assignsLate: true},
		"answers with what has run out":             {answersLate: true},
		"loses a tombstone":                         {losesTombstone: true},
		"lets a reservation run out too early":      {expiresEarly: true},
		"keeps what has run out":                    {keepsExpired: true},
		"leaks what is released":                    {leaks: true},
		"answers a repeated Reserve with another":   {answersAnew: true},
		"tells too much time left":                  {promisesLong: true},
		"takes another payload for the same":        {ignoresPayload: true},
		"gives fewer than are wanted":               {givesFewer: true},
		"refuses what is free":                      {refusesAtWill: true},
		"acknowledges an Assign that it did not do": {dropsAssign: true},
		"acknowledges a Release that it did not do": {dropsRelease: true},
	}
	for name, flaw := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stock := scarce
			if flaw.assignsLate || flaw.answersLate {
				stock = plenty // so that nobody takes what has run out
			}
			recorder := newRecorder(stock)
			load.Run(t, recorder.Record(newShelf(stock, flaw)))
			violations := recorder.Violations()
			require.NotEmpty(t, violations)
			t.Logf("%d violations, such as: %s", len(violations), violations[0])
		})
	}
}

func TestSoundShelfIsNotBlamed(t *testing.T) {
	t.Parallel()
	recorder := newRecorder(scarce)
	load.Run(t, recorder.Record(newShelf(scarce, flaw{})))
	recorder.Check(t)
}
