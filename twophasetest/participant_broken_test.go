package twophasetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
)

// Participants that break the contract in one way each, and the checks that
// must say so.

type brokenParticipant struct {
	name   string
	breaks func(s *shelf)
	caught []string
}

func TestBrokenParticipantsAreCaught(t *testing.T) {
	for _, broken := range brokenParticipants {
		t.Run(broken.name, func(t *testing.T) {
			checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
				s := newShelf(free)
				broken.breaks(s)
				return s.subject()
			})
			requireCaught(t, checks, broken.caught)
		})
	}
}

// as returns the entry as it is, answered with err.
func as(e twophase.Entry, err error) twophase.Verdict { return twophase.Verdict{Entry: e, Err: err} }

var brokenParticipants = []brokenParticipant{
	// What a call answers and leaves.
	{
		"Reserve takes nothing",
		func(s *shelf) { s.pick = func(n int, _ time.Time) []string { return make([]string, n) } },
		[]string{"Reserve of a new key takes a free resource", "several resources are taken together"},
	}, {
		"Reserve of a released key reserves anew",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReleased {
					e = twophase.Entry{}
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{
			"Reserve of a released key is turned away",
			"a late Reserve or Assign after Release is turned away however often it comes",
		},
	}, {
		"Reserve of an expired key reserves anew",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.Expire(now).Entry.State == twophase.EntryExpired {
					e = twophase.Entry{}
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"Reserve of an expired key is turned away", "an expired key stays expired when its resource is free again"},
	}, {
		"Reserve of an assigned key does not say so",
		func(s *shelf) {
			answer := s.answer
			s.answer = func(e *shelved, now time.Time) twophase.Reservation {
				r := answer(e, now)
				r.Assigned = false
				return r
			}
		},
		[]string{"Reserve of an assigned key gets the same reservation"},
	}, {
		"Assign of an unknown key is ok",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryNone {
					return as(e, nil)
				}
				return e.Assign(now)
			}
		},
		[]string{"Assign of a new key is unknown", "Reserve with nothing free is refused and keeps nothing"},
	}, {
		"Assign of an unknown key leaves a tombstone",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryNone {
					return as(twophase.Entry{State: twophase.EntryReleased}, twophase.ErrUnknown)
				}
				return e.Assign(now)
			}
		},
		[]string{"Assign of a new key is unknown"},
	}, {
		"Assign forgets",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict { return as(e, e.Assign(now).Err) }
		},
		[]string{"Assign of a reserved key gives what it holds", "an assigned resource never expires"},
	}, {
		"Assign of an assigned key is turned away",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned {
					return as(e, twophase.ErrUnknown)
				}
				return e.Assign(now)
			}
		},
		[]string{"Assign of an assigned key is ok again"},
	}, {
		"Assign of a released key is ok",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReleased {
					return as(e, nil)
				}
				return e.Assign(now)
			}
		},
		[]string{"Assign of a released key is turned away"},
	}, {
		"errors are not told apart",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict {
				v := e.Assign(now)
				if errors.Is(v.Err, twophase.ErrExpired) {
					v.Err = fmt.Errorf("%w or %w", twophase.ErrExpired, twophase.ErrReleased)
				}
				return v
			}
		},
		[]string{"Assign of an expired key is turned away"},
	}, {
		"no tombstone",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				if e.State == twophase.EntryNone {
					return as(e, nil)
				}
				return e.Release()
			}
		},
		[]string{
			"Release of a new key leaves a tombstone",
			"a Reserve overtaken by its Release is turned away however often it comes",
			"a refused key that is released is turned away",
		},
	}, {
		"a tombstone turns away once",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e == (twophase.Entry{State: twophase.EntryReleased}) {
					return as(twophase.Entry{}, twophase.ErrReleased)
				}
				return e.Reserve(f, hold, now)
			}
			s.breakStore()
		},
		[]string{"a Reserve overtaken by its Release is turned away however often it comes"},
	}, {
		"a tombstone is kept for ten minutes",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				v := e.Release()
				v.Entry.Expires = time.Now().Add(10 * time.Minute)
				return v
			}
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReleased && now.After(e.Expires) {
					e = twophase.Entry{}
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a tombstone is kept"},
	}, {
		"Release of an assigned key is turned away",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				if e.State == twophase.EntryAssigned {
					return as(e, twophase.ErrUnknown)
				}
				return e.Release()
			}
		},
		[]string{"Release of an assigned key frees what it holds"},
	}, {
		"Release of an assigned key does nothing",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				if e.State == twophase.EntryAssigned {
					return as(e, nil)
				}
				return e.Release()
			}
		},
		[]string{"Release of an assigned key frees what it holds", "Assign and Release of one key at once end released"},
	}, {
		"Release of an assigned key keeps the resource",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				v := e.Release()
				v.Free = e.State == twophase.EntryReserved
				return v
			}
		},
		[]string{"Release of an assigned key frees what it holds"},
	}, {
		"Release of a reserved key keeps the resource until it would have run out",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				v := e.Release()
				v.Free = e.State == twophase.EntryAssigned || e.Expire(time.Now()).Free
				return v
			}
		},
		[]string{"Release of a reserved key frees what it holds", "several are released together"},
	}, {
		"Release of a released key is turned away",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				v := e.Release()
				if e.State == twophase.EntryReleased {
					v.Err = twophase.ErrReleased
				}
				return v
			}
		},
		[]string{"Release of a released key is ok again"},
	}, {
		"Release of an expired key is turned away",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				if e.Expire(time.Now()).Entry.State == twophase.EntryExpired {
					return as(e.Expire(time.Now()).Entry, twophase.ErrExpired)
				}
				return e.Release()
			}
		},
		[]string{"Release of an expired key is ok"},
	}, {
		"Release frees what others have by now",
		func(s *shelf) {
			s.release = func(e twophase.Entry) twophase.Verdict {
				v := e.Release()
				v.Free = true
				return v
			}
			s.free = func(e *shelved) {
				for _, resource := range e.resources {
					delete(s.holders, resource)
				}
			}
		},
		[]string{
			"a repeated Release touches nothing of whoever has the resource now",
			"a late Release of an expired key touches nothing of whoever has the resource now",
		},
	},

	{
		"Assign frees what has run out, whoever has it by now",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict {
				v := e.Assign(now)
				v.Free = errors.Is(v.Err, twophase.ErrExpired)
				return v
			}
			s.free = func(e *shelved) {
				for _, resource := range e.resources {
					delete(s.holders, resource)
				}
			}
		},
		[]string{"a late Assign of an expired key touches nothing of whoever has the resource now"},
	},

	// Repeats, refusals and mismatches.
	{
		"a repeated Reserve takes a second resource",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				v := e.Reserve(f, hold, now)
				v.Take = v.Err == nil
				return v
			}
		},
		[]string{"a repeated Reserve takes no second resource", "Reserve of a reserved key gets the same reservation"},
	}, {
		"a repeated Reserve makes the reservation last longer",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				v := e.Reserve(f, hold, now)
				v.Entry.Expires = now.Add(hold)
				return v
			}
		},
		[]string{
			"a repeated Reserve does not make the reservation last longer",
			"a repeated Reserve tells the time that is left",
		},
	}, {
		"a repeated Reserve tells the hold",
		func(s *shelf) {
			answer := s.answer
			s.answer = func(e *shelved, now time.Time) twophase.Reservation {
				r := answer(e, now)
				r.TimeLeft = 6 * time.Hour
				return r
			}
		},
		[]string{"a repeated Reserve tells the time that is left"},
	}, {
		"Reserve does not tell the time that is left",
		func(s *shelf) {
			answer := s.answer
			s.answer = func(e *shelved, now time.Time) twophase.Reservation {
				r := answer(e, now)
				r.TimeLeft = 0
				return r
			}
		},
		[]string{"a reservation lasts as long as was asked for"},
	}, {
		"the hold is a minute, whatever is asked for",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, _ time.Duration, now time.Time) twophase.Verdict {
				return e.Reserve(f, time.Minute, now)
			}
		},
		[]string{"a reservation lasts as long as was asked for"},
	}, {
		"a repeated Assign is judged by the clock before the state",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned && !now.Before(e.Expires) {
					return as(e, twophase.ErrExpired)
				}
				return e.Assign(now)
			}
		},
		[]string{"a repeated Assign is ok after the old expiry"},
	}, {
		"a repeated Reserve of an assigned key is judged by the clock before the state",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned && !now.Before(e.Expires) {
					return as(e, twophase.ErrExpired)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a repeated Reserve of an assigned key is answered after the old expiry"},
	}, {
		"what is refused is reserved with nothing",
		func(s *shelf) {
			s.refused = func(id string, e *shelved, v twophase.Verdict) { s.store(id, e, v) }
		},
		[]string{
			"Reserve with nothing free is refused and keeps nothing",
			"a refused key may reserve once something is free",
		},
	}, {
		"what is refused stays refused",
		func(s *shelf) {
			s.refused = func(id string, e *shelved, _ twophase.Verdict) {
				s.store(id, e, as(twophase.Entry{State: twophase.EntryReleased}, nil))
			}
		},
		[]string{"a refused key may reserve once something is free"},
	}, {
		"what is refused keeps its payload",
		func(s *shelf) {
			seen := map[string]twophase.Fingerprint{}
			s.refused = func(id string, _ *shelved, v twophase.Verdict) { seen[id] = v.Entry.Fingerprint }
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				for _, before := range seen {
					if before != f {
						return as(e, twophase.ErrMismatch)
					}
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a refused key may ask for something else"},
	}, {
		"a mismatch is not detected",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State != twophase.EntryNone {
					f = e.Fingerprint
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{
			"another payload under a reserved key is a mismatch and touches nothing",
			"another payload under an assigned key is a mismatch and touches nothing",
		},
	}, {
		"a mismatch releases what is held",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				v := e.Reserve(f, hold, now)
				if errors.Is(v.Err, twophase.ErrMismatch) {
					v = e.Release()
					v.Err = twophase.ErrMismatch
				}
				return v
			}
		},
		[]string{
			"another payload under a reserved key is a mismatch and touches nothing",
			"another payload under an assigned key is a mismatch and touches nothing",
		},
	}, {
		"another payload revives a finished key",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				e = e.Expire(now).Entry
				if !e.Holds() && e.Fingerprint != f {
					e = twophase.Entry{}
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{
			"another payload under a released key is turned away",
			"another payload under an expired key is turned away",
		},
	},

	// Expiry.
	{
		"Assign ignores the expiry",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict { return e.Assign(now.Add(-time.Hour)) }
		},
		[]string{"Assign at the instant of the expiry is too late", "Assign of an expired key is turned away"},
	}, {
		"Assign is still in time at the instant of the expiry",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict { return e.Assign(now.Add(-1)) }
		},
		[]string{"Assign at the instant of the expiry is too late"},
	}, {
		"Assign is too late just before the expiry",
		func(s *shelf) {
			s.assign = func(e twophase.Entry, now time.Time) twophase.Verdict { return e.Assign(now.Add(1)) }
		},
		[]string{"Assign just before the expiry is in time"},
	}, {
		"Reserve is answered again past the expiry",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReserved {
					return e.Reserve(f, hold, e.Expires.Add(-1))
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"Reserve at the instant of the expiry is turned away"},
	}, {
		"Reserve is turned away just before the expiry",
		func(s *shelf) {
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReserved {
					now = now.Add(1)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"Reserve is answered again until just before the expiry"},
	}, {
		"a resource is taken from its holder just before the expiry",
		func(s *shelf) {
			s.expire = func(e twophase.Entry, now time.Time) twophase.Verdict { return e.Expire(now.Add(1)) }
		},
		[]string{"a resource is not free just before its reservation runs out"},
	}, {
		"a resource is not free at the instant of the expiry",
		func(s *shelf) {
			s.expire = func(e twophase.Entry, now time.Time) twophase.Verdict { return e.Expire(now.Add(-1)) }
		},
		[]string{"a resource is free at the instant its reservation runs out, with no other call"},
	}, {
		"what has run out comes back only when its own key is called",
		func(s *shelf) {
			s.expire = func(e twophase.Entry, _ time.Time) twophase.Verdict { return as(e, nil) }
		},
		[]string{
			"a resource is free at the instant its reservation runs out, with no other call",
			"everything comes back that is not assigned",
		},
	}, {
		"what has run out never comes back",
		func(s *shelf) {
			free := s.free
			s.free = func(e *shelved) {
				if e.Expire(time.Now()).Entry.State != twophase.EntryExpired {
					free(e)
				}
			}
		},
		[]string{
			"a resource is free at the instant its reservation runs out, with no other call",
			"Release of an expired key is ok",
			"everything comes back that is not assigned",
		},
	}, {
		"what is assigned expires",
		func(s *shelf) {
			s.expire = func(e twophase.Entry, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned {
					e.State = twophase.EntryReserved
				}
				return e.Expire(now)
			}
		},
		[]string{"an assigned resource never expires", "everything comes back that is not assigned"},
	}, {
		"everything runs out with the first",
		func(s *shelf) {
			var first time.Time
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				v := e.Reserve(f, hold, now)
				if first.IsZero() || v.Entry.Expires.Before(first) {
					first = v.Entry.Expires
				}
				return v
			}
			s.expire = func(e twophase.Entry, now time.Time) twophase.Verdict {
				e.Expires = first
				return e.Expire(now)
			}
		},
		[]string{"reservations run out each at its own time"},
	},

	// Several resources.
	{
		"some are held when several are refused",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(n int, now time.Time) []string {
				picked := pick(n, now)
				if len(picked) < n {
					for _, resource := range picked {
						s.holders[resource] = &shelved{Entry: twophase.Entry{State: twophase.EntryAssigned}}
					}
				}
				return picked
			}
		},
		[]string{
			"several of which not all are free are refused and none is kept",
			"many who ask for several at once hold all or none",
		},
	}, {
		"fewer are given than were asked for",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(n int, now time.Time) []string {
				picked := pick(n, now)
				if len(picked) == 0 {
					return nil
				}
				return append(picked, make([]string, n-len(picked))...)
			}
		},
		[]string{"several of which not all are free are refused and none is kept"},
	}, {
		"one of several is released",
		func(s *shelf) {
			s.free = func(e *shelved) {
				if len(e.resources) > 0 && s.holders[e.resources[0]] == e {
					delete(s.holders, e.resources[0])
				}
			}
		},
		[]string{"several are released together", "several run out together"},
	}, {
		"one of several is assigned",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(n int, now time.Time) []string {
				for _, e := range s.entries {
					if e.State == twophase.EntryAssigned && !now.Before(e.Expires) {
						for _, resource := range e.resources[1:] {
							delete(s.holders, resource)
						}
					}
				}
				return pick(n, now)
			}
		},
		[]string{"several are assigned together"},
	}, {
		"what has run out is looked for only when nothing is free",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(n int, now time.Time) (picked []string) {
				for _, resource := range s.resources {
					if s.holders[resource] == nil && len(picked) < n {
						picked = append(picked, resource)
					}
				}
				if len(picked) == 0 {
					return pick(n, now)
				}
				return picked
			}
		},
		[]string{"several may be taken from what is free and what has run out"},
	}, {
		"one of several is held",
		func(s *shelf) {
			reserve := s.reserve
			s.reserve = func(e twophase.Entry, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				for _, entry := range s.entries {
					for _, resource := range entry.resources[min(1, len(entry.resources)):] {
						delete(s.holders, resource)
					}
				}
				return reserve(e, f, hold, now)
			}
		},
		[]string{"several resources are taken together"},
	},

	// Keys.
	{
		"keys are transactions",
		func(s *shelf) { s.identify = func(key twophase.Key) string { return key.Transaction } },
		[]string{"steps of one transaction are different keys"},
	}, {
		"keys are steps",
		func(s *shelf) { s.identify = func(key twophase.Key) string { return key.Step } },
		[]string{"Reserve with nothing free is refused and keeps nothing"},
	}, {
		"keys are joined",
		func(s *shelf) { s.identify = twophase.Key.String },
		[]string{"keys that look alike are different keys"},
	}, {
		"keys are folded",
		func(s *shelf) {
			s.identify = func(key twophase.Key) string { return fmt.Sprintf("%q", strings.ToLower(key.String())) }
		},
		[]string{"keys that look alike are different keys"},
	}, {
		"keys are cut",
		func(s *shelf) {
			s.identify = func(key twophase.Key) string {
				return fmt.Sprintf("%.200q %.200q", key.Transaction, key.Step)
			}
		},
		[]string{"keys that look alike are different keys"},
	},

	// Calls at once.
	{
		"a resource is looked for and taken in two steps",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(n int, now time.Time) []string {
				picked := pick(n, now)
				s.unlocked()
				return picked
			}
		},
		[]string{
			"many who reserve at once get each resource once",
			"many who come and go never hold one resource together",
			"many who ask for several at once hold all or none",
		},
	}, {
		"a key is looked for and stored in two steps",
		func(s *shelf) { s.breakAtomicity(twophase.CallReserve) },
		[]string{
			"many who repeat one call at once get one answer",
			"Reserve and Release of one key at once end released",
		},
	}, {
		"Assign is judged and stored in two steps",
		func(s *shelf) { s.breakAtomicity(twophase.CallAssign) },
		[]string{
			"Assign and Release of one key at once end released",
			"Assign and Release at the expiry end released",
			"Assign at the expiry races whoever takes the resource, and one has it",
		},
	},
}

// breakStore lets the shelf forget what has become of a key.
func (s *shelf) breakStore() {
	s.between = func(twophase.Call) {
		for id, e := range s.entries {
			if e.State == twophase.EntryNone {
				delete(s.entries, id)
			}
		}
	}
}

// unlocked lets others in while a call is under way.
func (s *shelf) unlocked() {
	s.mu.Unlock()
	time.Sleep(time.Nanosecond)
	s.mu.Lock()
}

// breakAtomicity lets others in between the verdict on a call and what follows.
func (s *shelf) breakAtomicity(broken twophase.Call) {
	s.between = func(call twophase.Call) {
		if call == broken {
			s.unlocked()
		}
	}
}

// Participants that are broken from the outside.

// finalWhenEnded takes a context that has ended for a refusal.
type finalWhenEnded struct{ *shelf }

func (p finalWhenEnded) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := p.shelf.Reserve(ctx, req)
	return r, finalIfEnded(ctx, err)
}

func (p finalWhenEnded) Assign(ctx context.Context, key twophase.Key) error {
	return finalIfEnded(ctx, p.shelf.Assign(ctx, key))
}

func (p finalWhenEnded) Release(ctx context.Context, key twophase.Key) error {
	return finalIfEnded(ctx, p.shelf.Release(ctx, key))
}

func finalIfEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", twophase.ErrRefused, ctx.Err())
	}
	return err
}

// leaksWhenEnded takes a resource and loses it if the context ends.
type leaksWhenEnded struct{ *shelf }

func (p leaksWhenEnded) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if ctx.Err() == nil {
		return p.shelf.Reserve(ctx, req)
	}
	req.Key.Step += " (lost)"
	_, _ = p.shelf.Reserve(context.WithoutCancel(ctx), req)
	return twophase.Reservation{}, ctx.Err()
}

// leaksUnderWay takes a resource for a key that it forgets if the context ends.
type leaksUnderWay struct{ *shelf }

func (p leaksUnderWay) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := p.shelf.Reserve(ctx, req)
	time.Sleep(time.Nanosecond)
	if err == nil && ctx.Err() != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.entries, p.identify(req.Key))
		return twophase.Reservation{}, ctx.Err()
	}
	return r, err
}

// decoding takes keys out of a URL that they were not encoded for.
type decoding struct{ *shelf }

func (p decoding) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	step, err := url.PathUnescape(req.Key.Step)
	if err != nil {
		return twophase.Reservation{}, fmt.Errorf("%w: %w", twophase.ErrRefused, err)
	}
	req.Key.Step = step
	return p.shelf.Reserve(ctx, req)
}

// lyingWhenEnded says that all is well without having done anything.
type lyingWhenEnded struct{ *shelf }

func (p lyingWhenEnded) Assign(ctx context.Context, key twophase.Key) error {
	if ctx.Err() != nil {
		return nil
	}
	return p.shelf.Assign(ctx, key)
}

func (p lyingWhenEnded) Release(ctx context.Context, key twophase.Key) error {
	if ctx.Err() != nil {
		return nil
	}
	return p.shelf.Release(ctx, key)
}

// forgetful gives other details each time.
type forgetful struct {
	*shelf
	mu    sync.Mutex
	calls int
}

func (p *forgetful) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := p.shelf.Reserve(ctx, req)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	r.Details = fmt.Appendf(nil, `{"calls":%d}`, p.calls)
	return r, err
}

var participantsBrokenOutside = []struct {
	name   string
	wrap   func(s *shelf) twophase.Participant
	caught []string
}{
	{
		"an ended context is a refusal",
		func(s *shelf) twophase.Participant { return finalWhenEnded{s} },
		[]string{
			"Reserve with an ended context loses nothing", "Assign with an ended context loses nothing",
			"Release with an ended context loses nothing",
		},
	},
	{
		"an ended context loses a resource",
		func(s *shelf) twophase.Participant { return leaksWhenEnded{s} },
		[]string{"Reserve with an ended context loses nothing"},
	},
	{
		"a context that ends under way loses a resource",
		func(s *shelf) twophase.Participant { return leaksUnderWay{s} },
		[]string{"calls whose context ends under way lose nothing"},
	},
	{
		"keys are decoded as those of a URL",
		func(s *shelf) twophase.Participant { return decoding{s} },
		[]string{"keys may have any valid characters"},
	},
	{
		"an ended context is a success",
		func(s *shelf) twophase.Participant { return lyingWhenEnded{s} },
		[]string{"Assign with an ended context loses nothing", "Release with an ended context loses nothing"},
	},
	{
		"a repeated Reserve has other details",
		func(s *shelf) twophase.Participant { return &forgetful{shelf: s} },
		[]string{"Reserve of a reserved key gets the same reservation"},
	},
}

func TestParticipantsBrokenOutsideAreCaught(t *testing.T) {
	for _, broken := range participantsBrokenOutside {
		t.Run(broken.name, func(t *testing.T) {
			checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
				s := newShelf(free)
				subject := s.subject()
				subject.Participant = broken.wrap(s)
				return subject
			})
			requireCaught(t, checks, broken.caught)
		})
	}
}

func TestInstancesWithStoresOfTheirOwnAreCaught(t *testing.T) {
	checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
		return newShelf(free).subject(newShelf(free))
	})
	requireCaught(t, checks, []string{
		"a repeated Reserve takes no second resource",
		"many who reserve at once get each resource once",
	})
}

func TestSeveralMustBeGivenOrDeclared(t *testing.T) {
	checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
		subject := newShelf(free).subject()
		subject.Several = nil
		return subject
	})
	requireCaught(t, checks, []string{"several are released together"})
}

func TestEveryCheckOfParticipantsCanFail(t *testing.T) {
	t.Parallel()
	var caught []string
	for _, broken := range brokenParticipants {
		caught = append(caught, broken.caught...)
	}
	for _, broken := range participantsBrokenOutside {
		caught = append(caught, broken.caught...)
	}
	for _, check := range participantSuite(newConfig(nil), nil) {
		assert.Contains(t, caught, check.name, "no broken participant is caught by it")
	}
}
