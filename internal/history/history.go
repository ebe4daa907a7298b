// Package history checks what participants answered to many callers at once
// against the contract.
//
// A [Recorder] wraps participants, or several instances of one service, and
// writes down every call with its answer and its times. [Recorder.Check] then
// looks for an order of the calls in which the answers are right:
//
//	recorder := history.New()
//	recorder.Stock(8, func(payload json.RawMessage) int { return 1 })
//	history.Load{…}.Run(t, recorder.Record(store))
//	recorder.Check(t)
//
// What is checked:
//
//   - The calls on each key are linearizable with respect to the table of
//     [twophase.Participant], as [twophase.Entry] has it: every answer is that of
//     some moment between the call and its return.
//   - What runs out does so when it was promised to: not sooner, and nothing is
//     assigned, or answered as held, later (I6).
//   - No resource is held by two keys at once, as far as that is certain (I3).
//   - Nobody is refused while enough is certain to be free (see [Recorder.Stock]).
//
// A call without an answer, or with a transient error, may have happened at any
// time since, or not at all. So participants may be killed, and messages lost. But
// a call must not be delivered twice: the answer to the second delivery would be
// that of no single moment.
//
// The participant's clock must run like the recorder's; it may show another time.
package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Recorder writes down the calls on participants. It is safe for concurrent use.
// Make it with [New].
type Recorder struct {
	began time.Time

	mu    sync.Mutex
	calls []*call
	stock int
	need  func(payload json.RawMessage) int
}

// New returns a recorder that has seen nothing yet.
func New() *Recorder { return &Recorder{began: time.Now()} }

// Stock says how many resources there are, all free at first, and how many of
// them a payload asks for. With it Check finds who was refused wrongly, or given
// more or fewer.
func (r *Recorder) Stock(resources int, need func(payload json.RawMessage) int) {
	r.stock, r.need = resources, need
}

// Record returns a participant that answers as p does, and is written down. All
// that a recorder wraps are one service.
func (r *Recorder) Record(p twophase.Participant) twophase.Participant { return &recorded{p, r} }

// Len returns how many calls are written down.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}

// Check fails the test for everything that cannot have been right.
func (r *Recorder) Check(t testing.TB) {
	t.Helper()
	for _, violation := range r.Violations() {
		t.Error(violation)
	}
}

// Violations returns what cannot have been right. No call may be under way.
func (r *Recorder) Violations() []string {
	r.mu.Lock()
	calls := slices.Clone(r.calls)
	r.mu.Unlock()
	byKey := map[twophase.Key][]*call{}
	for _, c := range calls {
		byKey[c.key] = append(byKey[c.key], c)
	}
	holds := make([]hold, 0, len(byKey))
	var violations []string
	for key, calls := range byKey {
		if !linearizable(calls) {
			violations = append(violations, fmt.Sprintf("no order of the calls on %s explains their answers:\n%s", key, text(calls)))
		}
		holds = append(holds, holdOf(key, calls, r.need))
	}
	slices.SortFunc(holds, func(a, b hold) int { return strings.Compare(a.key.String(), b.key.String()) })
	slices.Sort(violations)
	violations = append(violations, heldTwice(holds)...)
	if r.need != nil {
		violations = append(violations, r.refusedWrongly(holds, calls)...)
	}
	return violations
}

// call is one that was made, and its answer.
type call struct {
	call    twophase.Call
	key     twophase.Key
	payload json.RawMessage
	hold    time.Duration
	from    time.Duration // since the recorder began
	to      time.Duration // forever if the answer is not known
	answer  answer
}

// forever is later than everything.
const forever = time.Duration(1<<63 - 1)

// answer is a success or a final error, if it is known.
type answer struct {
	known       bool
	err         error // a sentinel; nil is a success
	reservation twophase.Reservation
}

var finalErrors = []error{
	twophase.ErrRefused, twophase.ErrExpired, twophase.ErrReleased, twophase.ErrUnknown, twophase.ErrMismatch,
}

func answerOf(reservation twophase.Reservation, err error) answer {
	if err == nil {
		return answer{known: true, reservation: reservation}
	}
	for _, final := range finalErrors {
		if errors.Is(err, final) {
			return answer{known: true, err: final}
		}
	}
	return answer{}
}

// succeeded reports whether the call is known to have.
func (c *call) succeeded() bool { return c.answer.known && c.answer.err == nil }

// recorded is a participant whose calls are written down.
type recorded struct {
	participant twophase.Participant
	recorder    *Recorder
}

func (p *recorded) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	c := p.recorder.begin(&call{
		call: twophase.CallReserve, key: req.Key, payload: slices.Clone(req.Payload), hold: req.Hold,
	})
	reservation, err := p.participant.Reserve(ctx, req)
	p.recorder.end(c, answerOf(reservation, err))
	return reservation, err
}

func (p *recorded) Assign(ctx context.Context, key twophase.Key) error {
	c := p.recorder.begin(&call{call: twophase.CallAssign, key: key})
	err := p.participant.Assign(ctx, key)
	p.recorder.end(c, answerOf(twophase.Reservation{}, err))
	return err
}

func (p *recorded) Release(ctx context.Context, key twophase.Key) error {
	c := p.recorder.begin(&call{call: twophase.CallRelease, key: key})
	err := p.participant.Release(ctx, key)
	p.recorder.end(c, answerOf(twophase.Reservation{}, err))
	return err
}

func (r *Recorder) begin(c *call) *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.from, c.to = time.Since(r.began), forever
	r.calls = append(r.calls, c)
	return c
}

func (r *Recorder) end(c *call, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.answer = a
	if a.known {
		c.to = time.Since(r.began)
	}
}

// text is the history of one key, for people.
func text(calls []*call) string {
	var b strings.Builder
	for _, c := range calls {
		fmt.Fprintf(&b, "\t%v to ", c.from)
		if c.to == forever {
			fmt.Fprintf(&b, "?: %s", c.call)
		} else {
			fmt.Fprintf(&b, "%v: %s", c.to, c.call)
		}
		if c.call == twophase.CallReserve {
			fmt.Fprintf(&b, " %s for %v", c.payload, c.hold)
		}
		switch {
		case !c.answer.known:
			b.WriteString(": not known")
		case c.answer.err != nil:
			fmt.Fprintf(&b, ": %v", c.answer.err)
		case c.call == twophase.CallReserve:
			r := c.answer.reservation
			fmt.Fprintf(&b, ": %v, %v left, assigned: %v", r.Resources, r.TimeLeft, r.Assigned)
		default:
			b.WriteString(": ok")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
