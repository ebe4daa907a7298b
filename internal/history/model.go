package history

import (
	"encoding/json"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-bcc3c603/twophase"
)

// state is what a key may be in.
type state struct {
	// entry has no time of its own: it is asked as of before its expiry or as
	// of then, whichever is possible.
	entry twophase.Entry
	// Between early and late, since the recorder began, is the expiry.
	early, late time.Duration
	// given is what the key holds; empty if the answer is not known.
	given string
}

var (
	alive = time.Unix(0, 0)
	over  = alive.Add(time.Second)
)

// slack is how far off a time may be that went through a store.
const slack = 2 * time.Millisecond

// patience bounds the search for an order of the calls on one key.
const patience = 30 * time.Second

// linearizable reports whether some order of the calls on one key explains all
// answers. What is not decided within patience counts as explained.
func linearizable(calls []*call) bool {
	operations := make([]porcupine.Operation, len(calls))
	for i, c := range calls {
		operations[i] = porcupine.Operation{ClientId: i, Input: c, Output: c.answer, Call: int64(c.from), Return: int64(c.to)}
	}
	return porcupine.CheckOperationsTimeout(model, operations, patience) != porcupine.Illegal
}

var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(s, input, _ any) []any {
		var next []any
		for _, n := range s.(state).step(input.(*call)) {
			next = append(next, n)
		}
		return next
	},
}).ToModel()

// step returns the states that a call may lead to, none if its answer cannot be
// right.
func (s state) step(c *call) (next []state) {
	if s.entry.State != twophase.EntryReserved {
		return s.at(alive, c)
	}
	if c.from < s.late {
		still := s
		still.early = max(s.early, c.from)
		next = append(next, still.at(alive, c)...)
	}
	if c.to >= s.early {
		next = append(next, s.at(over, c)...)
	}
	return next
}

// at returns the states that a call may lead to before the expiry or after.
func (s state) at(now time.Time, c *call) []state {
	v := s.verdict(now, c)
	after := s
	after.entry = v.Entry
	if !v.Entry.Holds() {
		after.given, after.early, after.late = "", 0, 0
	}
	switch {
	case v.Take && !c.answer.known:
		after.early, after.late = later(c.from, c.hold), forever
		return []state{s, after}
	case !c.answer.known:
		return []state{after}
	case v.Take && c.answer.err == twophase.ErrRefused: //nolint:errorlint // it is a sentinel
		return []state{s}
	case c.answer.err != v.Err: //nolint:errorlint // both are sentinels
		return nil
	case v.Err != nil || c.call != twophase.CallReserve:
		return []state{after}
	}
	if v.Take {
		after.early, after.late = later(c.from, c.hold), later(c.to, c.hold)+slack
	}
	return after.told(c)
}

// verdict is the contract's.
func (s state) verdict(now time.Time, c *call) twophase.Verdict {
	switch c.call {
	case twophase.CallReserve:
		return s.entry.Reserve(twophase.FingerprintOf(c.payload), over.Sub(alive), now)
	case twophase.CallAssign:
		return s.entry.Assign(now)
	default:
		return s.entry.Release()
	}
}

// told returns the state after a reservation was answered, none if that cannot
// be the answer.
func (s state) told(c *call) []state {
	r := c.answer.reservation
	given := identity(r)
	if s.given != "" && s.given != given || r.Assigned != (s.entry.State == twophase.EntryAssigned) {
		return nil
	}
	s.given = given
	if r.Assigned {
		return []state{s}
	}
	s.early = max(s.early, later(c.from, r.TimeLeft)-slack)
	s.late = min(s.late, later(c.to, r.TimeLeft)+slack)
	if s.early > s.late {
		return nil
	}
	return []state{s}
}

// identity is what must be the same whenever a reservation is answered.
func identity(r twophase.Reservation) string {
	text, _ := json.Marshal(r.Resources) // strings
	return string(text) + string(r.Details)
}

// later adds a duration to a moment.
func later(moment, d time.Duration) time.Duration {
	if moment > forever-d {
		return forever
	}
	return moment + d
}
