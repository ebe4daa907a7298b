package main

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// Services that break the contract in one way each, and the promises that the
// report must say are broken.

// shortHold is that of what is to run out, and most of it is its larger part.
const (
	shortHold = 500 * time.Millisecond
	mostOf    = shortHold * 2 / 3
)

type brokenService struct {
	name   string
	breaks func(s *shelf)
	caught []string
}

func TestBrokenServicesAreReported(t *testing.T) {
	t.Parallel()
	for _, service := range brokenServices {
		t.Run(service.name, func(t *testing.T) {
			t.Parallel()
			kinds := eightKinds[:len(service.caught)]
			s := newShelf(24, kinds...)
			service.breaks(s)
			requireReported(t, s, kinds, service.caught)
		})
	}
}

// requireReported verifies a service, and checks that those promises, and no
// others, are reported as broken.
func requireReported(t *testing.T, p twophase.Participant, kinds, caught []string) {
	t.Helper()
	var quoted []string
	for _, name := range caught {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	status, stdout, stderr := twophaseCommand(t, append([]string{
		"verify", "-hold", shortHold.String(), "-run", "^(" + strings.Join(quoted, "|") + ")$", serveHTTP(t, p),
	}, kindFlags(kinds...)...)...)
	assert.Equal(t, exitBroken, status, stdout)
	assert.Empty(t, stderr)
	for _, name := range caught {
		assert.Contains(t, stdout, "BROKEN   "+name+"\n")
		assert.Contains(t, stdout, "  broken   "+name+"\n")
	}
}

func TestEveryPromiseIsReportedWhenItIsBroken(t *testing.T) {
	t.Parallel()
	caught := []string{lostWhenCutOff}
	for _, service := range brokenServices {
		caught = append(caught, service.caught...)
	}
	for _, check := range twophasetest.ParticipantChecks() {
		if strings.HasSuffix(check.Name, "with an ended context loses nothing") {
			continue // such a call is not sent, so no service can break it
		}
		assert.Contains(t, caught, check.Name, "no broken service is caught by it")
	}
}

// as returns the entry as it is, answered with err.
func as(e twophase.Entry, err error) twophase.Verdict { return twophase.Verdict{Entry: e, Err: err} }

// reserveFunc is what a shelf reserves by.
type reserveFunc = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict

// revives makes Reserve forget what has become of a key, if so.
func revives(forget func(e twophase.Entry, f twophase.Fingerprint) bool) reserveFunc {
	return func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
		if expired := e.Expire(now).Entry; forget(expired, f) {
			return twophase.Entry{}.Reserve(f, hold, now)
		}
		return e.Reserve(f, hold, now)
	}
}

// assignsWhen makes Assign answer err if the key is in a state.
func assignsWhen(state twophase.EntryState, err error) func(*shelved, time.Time) twophase.Verdict {
	return func(e *shelved, now time.Time) twophase.Verdict {
		if e.State == state {
			return as(e.Entry, err)
		}
		return e.Assign(now)
	}
}

// freesWhoever frees a resource whoever holds it.
func (s *shelf) freesWhoever() {
	s.free = func(e *shelved) {
		for _, resource := range e.resources {
			delete(s.holders, resource)
		}
	}
}

// letsOthersIn lets others in between the verdict on an order's call and what
// follows, and has a Release come then.
func (s *shelf) letsOthersIn(broken twophase.Call) {
	s.slowRelease = true
	s.between = func(call twophase.Call, e *shelved) {
		if call == broken && e.isOrders() {
			s.unlocked()
		}
	}
}

var brokenServices = []brokenService{
	// What a call answers and leaves.
	{
		"Reserve takes nothing",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(e *shelved, want pool.Want, now time.Time) []string {
				if e.isOrders() {
					return []string{"ghost"}
				}
				return pick(e, want, now)
			}
		},
		[]string{"Reserve of a new key takes a free resource"},
	}, {
		"a repeated Reserve takes a second resource",
		func(s *shelf) {
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				v := e.Reserve(f, hold, now)
				v.Take = v.Err == nil
				return v
			}
		},
		[]string{"Reserve of a reserved key gets the same reservation", "a repeated Reserve takes no second resource"},
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
		"Reserve of a released key reserves anew",
		func(s *shelf) {
			s.reserve = revives(func(e twophase.Entry, _ twophase.Fingerprint) bool { return e.State == twophase.EntryReleased })
		},
		[]string{
			"Reserve of a released key is turned away",
			"a late Reserve or Assign after Release is turned away however often it comes",
		},
	}, {
		"Reserve of an expired key reserves anew",
		func(s *shelf) {
			s.reserve = revives(func(e twophase.Entry, _ twophase.Fingerprint) bool { return e.State == twophase.EntryExpired })
		},
		[]string{"Reserve of an expired key is turned away", "an expired key stays expired when its resource is free again"},
	}, {
		"Assign of an unknown key is ok",
		func(s *shelf) { s.assign = assignsWhen(twophase.EntryNone, nil) },
		[]string{"Assign of a new key is unknown", "Reserve with nothing free is refused and keeps nothing"},
	}, {
		"Assign forgets",
		func(s *shelf) {
			s.assign = func(e *shelved, now time.Time) twophase.Verdict { return as(e.Entry, e.Assign(now).Err) }
		},
		[]string{"Assign of a reserved key gives what it holds", "an assigned resource never expires"},
	}, {
		"Assign of an assigned key is turned away",
		func(s *shelf) { s.assign = assignsWhen(twophase.EntryAssigned, twophase.ErrUnknown) },
		[]string{"Assign of an assigned key is ok again"},
	}, {
		"Assign of a released key is ok",
		func(s *shelf) { s.assign = assignsWhen(twophase.EntryReleased, nil) },
		[]string{"Assign of a released key is turned away"},
	}, {
		"no tombstone",
		func(s *shelf) {
			s.release = func(e *shelved) twophase.Verdict {
				if e.State == twophase.EntryNone {
					return as(e.Entry, nil)
				}
				return e.Release()
			}
		},
		[]string{
			"Release of a new key leaves a tombstone", "a refused key that is released is turned away",
			"a Reserve overtaken by its Release is turned away however often it comes",
		},
	}, {
		"a tombstone is kept for a moment",
		func(s *shelf) {
			s.release = func(e *shelved) twophase.Verdict {
				v := e.Release()
				v.Entry.Expires = time.Now().Add(mostOf)
				return v
			}
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReleased && now.After(e.Expires) {
					return twophase.Entry{}.Reserve(f, hold, now)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a tombstone is kept"},
	}, {
		"Release of a reserved key keeps the resource",
		func(s *shelf) {
			free := s.free
			s.free = func(e *shelved) {
				if !e.isOrders() || e.State == twophase.EntryAssigned {
					free(e)
				}
			}
		},
		[]string{"Release of a reserved key frees what it holds", "several are released together"},
	}, {
		"Release of an assigned key does nothing",
		func(s *shelf) {
			s.release = func(e *shelved) twophase.Verdict {
				if e.State == twophase.EntryAssigned {
					return as(e.Entry, nil)
				}
				return e.Release()
			}
		},
		[]string{"Release of an assigned key frees what it holds"},
	}, {
		"Release of a released key is turned away",
		func(s *shelf) {
			s.release = func(e *shelved) twophase.Verdict {
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
			s.release = func(e *shelved) twophase.Verdict {
				if v := e.Expire(time.Now()); v.Entry.State == twophase.EntryExpired {
					v.Err = twophase.ErrExpired
					return v
				}
				return e.Release()
			}
		},
		[]string{"Release of an expired key is ok"},
	}, {
		"Release frees what others have by now",
		func(s *shelf) {
			s.release = func(e *shelved) twophase.Verdict {
				v := e.Release()
				v.Free = true
				return v
			}
			s.freesWhoever()
		},
		[]string{
			"a repeated Release touches nothing of whoever has the resource now",
			"a late Release of an expired key touches nothing of whoever has the resource now",
		},
	}, {
		"Assign frees what has run out, whoever has it by now",
		func(s *shelf) {
			s.assign = func(e *shelved, now time.Time) twophase.Verdict {
				v := e.Assign(now)
				v.Free = errors.Is(v.Err, twophase.ErrExpired)
				return v
			}
			s.freesWhoever()
		},
		[]string{"a late Assign of an expired key touches nothing of whoever has the resource now"},
	},

	// Repeats, refusals and mismatches.
	{
		"a repeated Reserve makes the reservation last longer",
		func(s *shelf) {
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
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
		"the time left is in seconds",
		func(s *shelf) {
			answer := s.answer
			s.answer = func(e *shelved, now time.Time) twophase.Reservation {
				r := answer(e, now)
				r.TimeLeft /= 1000
				return r
			}
		},
		[]string{"a reservation lasts as long as was asked for"},
	}, {
		"a repeated Assign is judged by the clock before the state",
		func(s *shelf) {
			s.assign = func(e *shelved, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned && !now.Before(e.Expires) {
					return as(e.Entry, twophase.ErrExpired)
				}
				return e.Assign(now)
			}
		},
		[]string{"a repeated Assign is ok after the old expiry"},
	}, {
		"a repeated Reserve is judged by the clock before the state",
		func(s *shelf) {
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned && !now.Before(e.Expires) {
					return as(e.Entry, twophase.ErrExpired)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a repeated Reserve of an assigned key is answered after the old expiry"},
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
			seen := map[twophase.Key]twophase.Fingerprint{}
			s.refused = func(_ string, e *shelved, v twophase.Verdict) { seen[e.key] = v.Entry.Fingerprint }
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if before, ok := seen[e.key]; ok && before != f {
					return as(e.Entry, twophase.ErrMismatch)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a refused key may ask for something else"},
	}, {
		"a mismatch is not detected",
		func(s *shelf) {
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
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
		"another payload revives a finished key",
		func(s *shelf) {
			s.reserve = revives(func(e twophase.Entry, f twophase.Fingerprint) bool { return !e.Holds() && e.Fingerprint != f })
			s.expire = func(e *shelved, now time.Time) twophase.Verdict { return e.Expire(now) }
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
			s.assign = func(e *shelved, now time.Time) twophase.Verdict { return e.Assign(now.Add(-time.Hour)) }
		},
		[]string{"Assign at the instant of the expiry is too late", "Assign of an expired key is turned away"},
	}, {
		"Assign is too late before the expiry",
		func(s *shelf) {
			s.assign = func(e *shelved, now time.Time) twophase.Verdict { return e.Assign(now.Add(mostOf)) }
		},
		[]string{"Assign just before the expiry is in time"},
	}, {
		"Reserve is answered again past the expiry",
		func(s *shelf) {
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReserved {
					now = now.Add(-time.Second)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"Reserve at the instant of the expiry is turned away"},
	}, {
		"Reserve is turned away before the expiry",
		func(s *shelf) {
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReserved {
					now = now.Add(mostOf)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"Reserve is answered again until just before the expiry"},
	}, {
		"a resource is taken from its holder before the expiry",
		func(s *shelf) {
			s.expire = func(e *shelved, now time.Time) twophase.Verdict { return e.Expire(now.Add(mostOf)) }
		},
		[]string{"a resource is not free just before its reservation runs out"},
	}, {
		"what has run out comes back only when its own key is called",
		func(s *shelf) {
			s.expire = func(e *shelved, _ time.Time) twophase.Verdict { return as(e.Entry, nil) }
		},
		[]string{
			"a resource is free at the instant its reservation runs out, with no other call",
			"everything comes back that is not assigned", "several run out together",
		},
	}, {
		"everything runs out with the first",
		func(s *shelf) {
			first := time.Now().Add(time.Hour)
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				v := e.Reserve(f, hold, now)
				if v.Entry.Expires.Before(first) {
					first = v.Entry.Expires
				}
				return v
			}
			s.expire = func(e *shelved, now time.Time) twophase.Verdict {
				entry := e.Entry
				if e.isOrders() {
					entry.Expires = first
				}
				return entry.Expire(now)
			}
		},
		[]string{"reservations run out each at its own time"},
	},

	// Several resources.
	{
		"one of several is held",
		func(s *shelf) {
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				for _, entry := range s.entries {
					for _, resource := range entry.resources[min(1, len(entry.resources)):] {
						delete(s.holders, resource)
					}
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"several resources are taken together"},
	}, {
		"some are held when several are refused",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(e *shelved, want pool.Want, now time.Time) []string {
				picked := pick(e, want, now)
				if len(picked) < want.Count {
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
		"one of several is assigned",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(e *shelved, want pool.Want, now time.Time) []string {
				for _, other := range s.entries {
					if other.State == twophase.EntryAssigned && !now.Before(other.Expires) {
						for _, resource := range other.resources[1:] {
							delete(s.holders, resource)
						}
					}
				}
				return pick(e, want, now)
			}
		},
		[]string{"several are assigned together"},
	}, {
		"what has run out is looked for only when nothing is free",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(e *shelved, want pool.Want, now time.Time) (picked []string) {
				for _, resource := range s.resources[want.Kind] {
					if s.holders[resource] == nil && len(picked) < want.Count {
						picked = append(picked, resource)
					}
				}
				if len(picked) == 0 {
					return pick(e, want, now)
				}
				return picked
			}
		},
		[]string{"several may be taken from what is free and what has run out"},
	},

	// Keys.
	{
		"keys are transactions",
		func(s *shelf) { s.identify = func(key twophase.Key) string { return key.Transaction } },
		[]string{"steps of one transaction are different keys"},
	}, {
		"keys are folded",
		func(s *shelf) { s.identify = func(key twophase.Key) string { return strings.ToLower(key.String()) } },
		[]string{"keys that look alike are different keys"},
	}, {
		"keys are decoded twice",
		func(s *shelf) {
			s.identify = func(key twophase.Key) string {
				step, err := url.PathUnescape(key.Step)
				if err != nil {
					return key.Transaction
				}
				return key.Transaction + "\n" + step
			}
			s.reserve = func(e *shelved, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if _, err := url.PathUnescape(e.key.Step); err != nil {
					return as(e.Entry, twophase.ErrRefused)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"keys may have any valid characters"},
	},

	// Calls at once.
	{
		"a resource is looked for and taken in two steps",
		func(s *shelf) {
			pick := s.pick
			s.pick = func(e *shelved, want pool.Want, now time.Time) []string {
				picked := pick(e, want, now)
				if e.isOrders() {
					s.unlocked()
				}
				return picked
			}
		},
		[]string{"many who reserve at once get each resource once", "many who come and go never hold one resource together"},
	}, {
		"a key is looked for and stored in two steps",
		func(s *shelf) { s.letsOthersIn(twophase.CallReserve) },
		[]string{"many who repeat one call at once get one answer", "Reserve and Release of one key at once end released"},
	}, {
		"Assign is judged and stored in two steps",
		func(s *shelf) { s.letsOthersIn(twophase.CallAssign) },
		[]string{
			"Assign and Release of one key at once end released",
			"Assign at the expiry races whoever takes the resource, and one has it",
			"Assign and Release at the expiry end released",
		},
	},
}

// leaky takes a resource for a key that it forgets if its caller goes away.
type leaky struct{ *shelf }

func (p leaky) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := p.shelf.Reserve(ctx, req)
	if !strings.Contains(req.Key.Transaction, ":order-") {
		return r, err
	}
	select {
	case <-time.After(300 * time.Millisecond):
		return r, err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.entries, p.identify(req.Key))
	return twophase.Reservation{}, ctx.Err()
}

const lostWhenCutOff = "calls whose context ends under way lose nothing"

func TestServiceThatLosesWhatIsCutOffIsReported(t *testing.T) {
	t.Parallel()
	requireReported(t, leaky{newShelf(24, "a")}, []string{"a"}, []string{lostWhenCutOff})
}
