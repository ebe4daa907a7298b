package shelf

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Break is a way of breaking the contract.
type Break struct {
	Name   string
	Do     func(s *Shelf)
	Caught []string // the promises that it breaks
}

// Breaks are the ways that a caller over a network can tell, too. Where otherwise
// nobody could count what is free, they break orders only.
var Breaks = []Break{
	// What a call answers and leaves.
	{
		"Reserve takes nothing",
		func(s *Shelf) {
			s.picks(func(e *Held, _ pool.Want, picked []string) []string {
				for i := range picked {
					if e.IsOrder() {
						picked[i] = fmt.Sprintf("ghost-%d", i)
					}
				}
				return picked
			})
		},
		[]string{"Reserve of a new key takes a free resource", "several resources are taken together"},
	}, {
		"Reserve of a released key reserves anew",
		func(s *Shelf) {
			s.revives(func(e twophase.Entry, _ twophase.Fingerprint) bool { return e.State == twophase.EntryReleased })
		},
		[]string{
			"Reserve of a released key is turned away",
			"a late Reserve or Assign after Release is turned away however often it comes",
		},
	}, {
		"Reserve of an expired key reserves anew",
		func(s *Shelf) {
			s.revives(func(e twophase.Entry, _ twophase.Fingerprint) bool { return e.State == twophase.EntryExpired })
		},
		[]string{"Reserve of an expired key is turned away", "an expired key stays expired when its resource is free again"},
	}, {
		"Reserve of an assigned key does not say so",
		func(s *Shelf) { s.answers(func(_ *Held, r *twophase.Reservation) { r.Assigned = false }) },
		[]string{"Reserve of an assigned key gets the same reservation"},
	}, {
		"Assign of an unknown key is ok",
		func(s *Shelf) { s.assignsWhen(twophase.EntryNone, nil) },
		[]string{"Assign of a new key is unknown", "Reserve with nothing free is refused and keeps nothing"},
	}, {
		"Assign of an unknown key leaves a tombstone",
		func(s *Shelf) {
			s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryNone {
					return as(twophase.Entry{State: twophase.EntryReleased}, twophase.ErrUnknown)
				}
				return e.Assign(now)
			}
		},
		[]string{"Assign of a new key is unknown"},
	}, {
		"Assign forgets",
		func(s *Shelf) {
			s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict { return as(e.Entry, e.Assign(now).Err) }
		},
		[]string{"Assign of a reserved key gives what it holds", "an assigned resource never expires"},
	}, {
		"Assign of an assigned key is turned away",
		func(s *Shelf) { s.assignsWhen(twophase.EntryAssigned, twophase.ErrUnknown) },
		[]string{"Assign of an assigned key is ok again"},
	}, {
		"Assign of a released key is ok",
		func(s *Shelf) { s.assignsWhen(twophase.EntryReleased, nil) },
		[]string{"Assign of a released key is turned away"},
	}, {
		"no tombstone",
		NoTombstone,
		[]string{
			"Release of a new key leaves a tombstone", "a refused key that is released is turned away",
			"a Reserve overtaken by its Release is turned away however often it comes",
		},
	}, {
		"a tombstone turns away once",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.Entry == (twophase.Entry{State: twophase.EntryReleased}) {
					return as(twophase.Entry{}, twophase.ErrReleased)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a Reserve overtaken by its Release is turned away however often it comes"},
	}, {
		"a tombstone is not kept for long enough",
		func(s *Shelf) {
			s.JudgeRelease = func(e *Held) twophase.Verdict {
				v := e.Release()
				v.Entry.Expires = time.Now().Add(s.Tombstone)
				return v
			}
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReleased && now.After(e.Expires) {
					return twophase.Entry{}.Reserve(f, hold, now)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a tombstone is kept"},
	}, {
		"Release of a reserved key keeps the resource",
		func(s *Shelf) { s.keepsWhen(twophase.EntryReserved) },
		[]string{"Release of a reserved key frees what it holds", "several are released together"},
	}, {
		"Release of an assigned key keeps the resource",
		func(s *Shelf) { s.keepsWhen(twophase.EntryAssigned) },
		[]string{"Release of an assigned key frees what it holds"},
	}, {
		"Release of an assigned key is turned away",
		func(s *Shelf) { s.releasesWhen(twophase.EntryAssigned, twophase.ErrUnknown) },
		[]string{"Release of an assigned key frees what it holds"},
	}, {
		"Release of an assigned key does nothing",
		func(s *Shelf) {
			s.releasesWhen(twophase.EntryAssigned, nil)
			s.slowRelease = true // and meets an Assign that came at once with it
		},
		[]string{"Release of an assigned key frees what it holds", "Assign and Release of one key at once end released"},
	}, {
		"Release of a released key is turned away",
		func(s *Shelf) { s.releasesWhen(twophase.EntryReleased, twophase.ErrReleased) },
		[]string{"Release of a released key is ok again"},
	}, {
		"Release of an expired key is turned away",
		func(s *Shelf) {
			s.JudgeRelease = func(e *Held) twophase.Verdict {
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
		func(s *Shelf) {
			s.JudgeRelease = func(e *Held) twophase.Verdict {
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
		func(s *Shelf) {
			s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict {
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
		"a repeated Reserve takes a second resource",
		func(s *Shelf) {
			s.reserves(func(_ *Held, v *twophase.Verdict) { v.Take = v.Err == nil })
		},
		[]string{"Reserve of a reserved key gets the same reservation", "a repeated Reserve takes no second resource"},
	}, {
		"a repeated Reserve makes the reservation last longer",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
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
		func(s *Shelf) {
			holds := map[twophase.Key]time.Duration{}
			s.answers(func(e *Held, r *twophase.Reservation) {
				holds[e.Key] = max(holds[e.Key], r.TimeLeft)
				r.TimeLeft = holds[e.Key]
			})
		},
		[]string{"a repeated Reserve tells the time that is left"},
	}, {
		"a repeated Reserve has other details",
		func(s *Shelf) {
			calls := 0
			s.answers(func(_ *Held, r *twophase.Reservation) {
				calls++
				r.Details = fmt.Appendf(nil, `{"calls":%d}`, calls)
			})
		},
		[]string{"Reserve of a reserved key gets the same reservation"},
	}, {
		"Reserve does not tell the time that is left",
		func(s *Shelf) { s.answers(func(_ *Held, r *twophase.Reservation) { r.TimeLeft = 0 }) },
		[]string{"a reservation lasts as long as was asked for"},
	}, {
		"the time left is in seconds",
		func(s *Shelf) { s.answers(func(_ *Held, r *twophase.Reservation) { r.TimeLeft /= 1000 }) },
		[]string{"a reservation lasts as long as was asked for"},
	}, {
		"the hold is a minute, whatever is asked for",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, _ time.Duration, now time.Time) twophase.Verdict {
				return e.Reserve(f, time.Minute, now)
			}
		},
		[]string{"a reservation lasts as long as was asked for"},
	}, {
		"a repeated Assign is judged by the clock before the state",
		func(s *Shelf) {
			s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned && !now.Before(e.Expires) {
					return as(e.Entry, twophase.ErrExpired)
				}
				return e.Assign(now)
			}
		},
		[]string{"a repeated Assign is ok after the old expiry"},
	}, {
		"a repeated Reserve of an assigned key is judged by the clock before the state",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryAssigned && !now.Before(e.Expires) {
					return as(e.Entry, twophase.ErrExpired)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a repeated Reserve of an assigned key is answered after the old expiry"},
	}, {
		"what is refused is reserved with nothing",
		func(s *Shelf) { s.Refused = s.store },
		[]string{
			"Reserve with nothing free is refused and keeps nothing",
			"a refused key may reserve once something is free",
		},
	}, {
		"what is refused stays refused",
		func(s *Shelf) {
			s.Refused = func(id string, e *Held, _ twophase.Verdict) {
				s.store(id, e, as(twophase.Entry{State: twophase.EntryReleased}, nil))
			}
		},
		[]string{"a refused key may reserve once something is free"},
	}, {
		"what is refused keeps its payload",
		func(s *Shelf) {
			seen := map[twophase.Key]twophase.Fingerprint{}
			s.Refused = func(_ string, e *Held, v twophase.Verdict) { seen[e.Key] = v.Entry.Fingerprint }
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if before, ok := seen[e.Key]; ok && before != f {
					return as(e.Entry, twophase.ErrMismatch)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"a refused key may ask for something else"},
	}, {
		"a mismatch is not detected",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
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
		func(s *Shelf) {
			s.reserves(func(e *Held, v *twophase.Verdict) {
				if errors.Is(v.Err, twophase.ErrMismatch) {
					*v = e.Release()
					v.Err = twophase.ErrMismatch
				}
			})
		},
		[]string{
			"another payload under a reserved key is a mismatch and touches nothing",
			"another payload under an assigned key is a mismatch and touches nothing",
		},
	}, {
		"another payload revives a finished key",
		func(s *Shelf) {
			s.revives(func(e twophase.Entry, f twophase.Fingerprint) bool { return !e.Holds() && e.Fingerprint != f })
		},
		[]string{
			"another payload under a released key is turned away",
			"another payload under an expired key is turned away",
		},
	},

	// Expiry.
	{
		"Assign ignores the expiry",
		func(s *Shelf) {
			s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict { return e.Assign(now.Add(-time.Hour)) }
		},
		[]string{"Assign at the instant of the expiry is too late", "Assign of an expired key is turned away"},
	}, {
		"Assign is still in time at the instant of the expiry",
		func(s *Shelf) {
			s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict { return e.Assign(now.Add(-s.Off)) }
		},
		[]string{"Assign at the instant of the expiry is too late"},
	}, {
		"Assign is too late just before the expiry",
		func(s *Shelf) {
			s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict { return e.Assign(now.Add(s.Off)) }
		},
		[]string{"Assign just before the expiry is in time"},
	}, {
		"Reserve is answered again past the expiry",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReserved {
					now = e.Expires.Add(-1)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"Reserve at the instant of the expiry is turned away"},
	}, {
		"Reserve is turned away just before the expiry",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if e.State == twophase.EntryReserved {
					now = now.Add(s.Off)
				}
				return e.Reserve(f, hold, now)
			}
		},
		[]string{"Reserve is answered again until just before the expiry"},
	}, {
		"a resource is taken from its holder just before the expiry",
		func(s *Shelf) {
			s.JudgeExpiry = func(e *Held, now time.Time) twophase.Verdict { return e.Expire(now.Add(s.Off)) }
		},
		[]string{"a resource is not free just before its reservation runs out"},
	}, {
		"a resource is not free at the instant of the expiry",
		func(s *Shelf) {
			s.JudgeExpiry = func(e *Held, now time.Time) twophase.Verdict { return e.Expire(now.Add(-s.Off)) }
		},
		[]string{"a resource is free at the instant its reservation runs out, with no other call"},
	}, {
		"what has run out comes back only when its own key is called",
		func(s *Shelf) {
			s.JudgeExpiry = func(e *Held, _ time.Time) twophase.Verdict { return as(e.Entry, nil) }
		},
		[]string{
			"a resource is free at the instant its reservation runs out, with no other call",
			"everything comes back that is not assigned", "several run out together",
		},
	}, {
		"what has run out never comes back",
		func(s *Shelf) {
			free := s.Free
			s.Free = func(e *Held) {
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
		func(s *Shelf) {
			s.JudgeExpiry = func(e *Held, now time.Time) twophase.Verdict {
				entry := e.Entry
				if entry.State == twophase.EntryAssigned {
					entry.State = twophase.EntryReserved
				}
				return entry.Expire(now)
			}
		},
		[]string{"an assigned resource never expires", "everything comes back that is not assigned"},
	}, {
		"everything runs out with the first",
		func(s *Shelf) {
			var first time.Time
			s.reserves(func(_ *Held, v *twophase.Verdict) {
				if first.IsZero() || v.Entry.Expires.Before(first) {
					first = v.Entry.Expires
				}
			})
			s.JudgeExpiry = func(e *Held, now time.Time) twophase.Verdict {
				entry := e.Entry
				if e.IsOrder() {
					entry.Expires = first
				}
				return entry.Expire(now)
			}
		},
		[]string{"reservations run out each at its own time"},
	},

	// Several resources.
	{
		"some are held when several are refused",
		func(s *Shelf) {
			s.picks(func(_ *Held, want pool.Want, picked []string) []string {
				if len(picked) < want.Count {
					for _, resource := range picked {
						s.holders[resource] = &Held{Entry: twophase.Entry{State: twophase.EntryAssigned}}
					}
				}
				return picked
			})
		},
		[]string{
			"several of which not all are free are refused and none is kept",
			"many who ask for several at once hold all or none",
		},
	}, {
		"fewer are given than were asked for",
		func(s *Shelf) {
			s.picks(func(_ *Held, want pool.Want, picked []string) []string {
				if len(picked) == 0 {
					return nil
				}
				return append(picked, make([]string, want.Count-len(picked))...)
			})
		},
		[]string{"several of which not all are free are refused and none is kept"},
	}, {
		"one of several is held",
		func(s *Shelf) {
			s.reserves(func(*Held, *twophase.Verdict) {
				for _, entry := range s.entries {
					for _, resource := range entry.Resources[min(1, len(entry.Resources)):] {
						delete(s.holders, resource)
					}
				}
			})
		},
		[]string{"several resources are taken together"},
	}, {
		"one of several is assigned",
		func(s *Shelf) {
			pick := s.Pick
			s.Pick = func(e *Held, want pool.Want, now time.Time) []string {
				for _, other := range s.entries {
					if other.State == twophase.EntryAssigned && !now.Before(other.Expires) {
						for _, resource := range other.Resources[1:] {
							delete(s.holders, resource)
						}
					}
				}
				return pick(e, want, now)
			}
		},
		[]string{"several are assigned together"},
	}, {
		"one of several is released",
		func(s *Shelf) {
			s.Free = func(e *Held) {
				if len(e.Resources) > 0 && s.holders[e.Resources[0]] == e {
					delete(s.holders, e.Resources[0])
				}
			}
		},
		[]string{"several are released together", "several run out together"},
	}, {
		"what has run out is looked for only when nothing is free",
		func(s *Shelf) {
			pick := s.Pick
			s.Pick = func(e *Held, want pool.Want, now time.Time) (picked []string) {
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
		func(s *Shelf) { s.Identify = func(key twophase.Key) string { return key.Transaction } },
		[]string{"steps of one transaction are different keys"},
	}, {
		"keys are steps",
		func(s *Shelf) {
			identify := s.Identify
			s.Identify = func(key twophase.Key) string {
				if isOrder(key) {
					return key.Step
				}
				return identify(key)
			}
		},
		[]string{"Reserve with nothing free is refused and keeps nothing"},
	}, {
		"keys are joined",
		func(s *Shelf) { s.Identify = twophase.Key.String },
		[]string{"keys that look alike are different keys"},
	}, {
		"keys are folded",
		func(s *Shelf) {
			s.Identify = func(key twophase.Key) string { return fmt.Sprintf("%q", strings.ToLower(key.String())) }
		},
		[]string{"keys that look alike are different keys"},
	}, {
		"keys are cut",
		func(s *Shelf) {
			s.Identify = func(key twophase.Key) string { return fmt.Sprintf("%.200q %.200q", key.Transaction, key.Step) }
		},
		[]string{"keys that look alike are different keys"},
	}, {
		"keys are decoded as those of a URL",
		func(s *Shelf) {
			s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
				if _, err := url.PathUnescape(e.Key.Step); err != nil {
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
		func(s *Shelf) {
			s.picks(func(e *Held, _ pool.Want, picked []string) []string {
				if e.IsOrder() {
					s.letOthersIn()
				}
				return picked
			})
		},
		[]string{
			"many who reserve at once get each resource once",
			"many who come and go never hold one resource together",
			"many who ask for several at once hold all or none",
		},
	}, {
		"a key is looked for and stored in two steps",
		func(s *Shelf) { s.inTwoSteps(twophase.CallReserve) },
		[]string{"many who repeat one call at once get one answer", "Reserve and Release of one key at once end released"},
	}, {
		"Assign is judged and stored in two steps",
		func(s *Shelf) { s.inTwoSteps(twophase.CallAssign) },
		[]string{
			"Assign and Release of one key at once end released",
			"Assign at the expiry races whoever takes the resource, and one has it",
			"Assign and Release at the expiry end released",
		},
	},
}

// NoTombstone makes Release forget a key that was never seen.
func NoTombstone(s *Shelf) { s.releasesWhen(twophase.EntryNone, nil) }

// Leaky is a shelf that takes a resource for an order, and forgets the order, if
// the caller goes away under way.
type Leaky struct{ *Shelf }

// Reserve implements [twophase.Participant].
func (s Leaky) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := s.Shelf.Reserve(context.WithoutCancel(ctx), req)
	if err != nil || !isOrder(req.Key) {
		return r, err
	}
	select {
	case <-time.After(300 * time.Millisecond):
		return r, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, s.Identify(req.Key))
	return twophase.Reservation{}, ctx.Err()
}

// as returns the entry as it is, answered with err.
func as(e twophase.Entry, err error) twophase.Verdict { return twophase.Verdict{Entry: e, Err: err} }

// reserves changes the verdict on each Reserve.
func (s *Shelf) reserves(change func(e *Held, v *twophase.Verdict)) {
	s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
		v := e.Reserve(f, hold, now)
		change(e, &v)
		return v
	}
}

// revives makes Reserve forget what has become of a key, if so.
func (s *Shelf) revives(forget func(e twophase.Entry, f twophase.Fingerprint) bool) {
	s.JudgeReserve = func(e *Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
		if forget(e.Expire(now).Entry, f) {
			return twophase.Entry{}.Reserve(f, hold, now)
		}
		return e.Reserve(f, hold, now)
	}
}

// assignsWhen makes Assign do nothing but answer err if the key is in a state.
func (s *Shelf) assignsWhen(state twophase.EntryState, err error) {
	s.JudgeAssign = func(e *Held, now time.Time) twophase.Verdict {
		if e.State == state {
			return as(e.Entry, err)
		}
		return e.Assign(now)
	}
}

// releasesWhen makes Release do nothing but answer err if the key is in a state.
func (s *Shelf) releasesWhen(state twophase.EntryState, err error) {
	s.JudgeRelease = func(e *Held) twophase.Verdict {
		if e.State == state {
			return as(e.Entry, err)
		}
		return e.Release()
	}
}

// keepsWhen makes Release free nothing if the key, an order's, is in a state.
func (s *Shelf) keepsWhen(state twophase.EntryState) {
	s.JudgeRelease = func(e *Held) twophase.Verdict {
		v := e.Release()
		if e.IsOrder() && e.State == state {
			v.Free = false
		}
		return v
	}
}

// freesWhoever frees a resource whoever holds it.
func (s *Shelf) freesWhoever() {
	s.Free = func(e *Held) {
		for _, resource := range e.Resources {
			delete(s.holders, resource)
		}
	}
}

// picks changes what is picked.
func (s *Shelf) picks(change func(e *Held, want pool.Want, picked []string) []string) {
	pick := s.Pick
	s.Pick = func(e *Held, want pool.Want, now time.Time) []string { return change(e, want, pick(e, want, now)) }
}

// answers changes what is answered to each Reserve.
func (s *Shelf) answers(change func(e *Held, r *twophase.Reservation)) {
	answer := s.Answer
	s.Answer = func(e *Held, now time.Time) twophase.Reservation {
		r := answer(e, now)
		change(e, &r)
		return r
	}
}

// inTwoSteps lets others in between the verdict on an order's call and what
// follows, and has a Release come then.
func (s *Shelf) inTwoSteps(broken twophase.Call) {
	s.slowRelease = true
	s.Between = func(call twophase.Call, e *Held) {
		if call == broken && e.IsOrder() {
			s.letOthersIn()
		}
	}
}

// letOthersIn unlocks the shelf for a while.
func (s *Shelf) letOthersIn() {
	s.mu.Unlock()
	time.Sleep(aWhile)
	s.mu.Lock()
}

const aWhile = 40 * time.Millisecond
