// Package twophase lets one business action reserve things at several services
// and get either all of them or none.
//
// A food order is placed only when a packet of the food and a delivery agent
// are both given to it:
//
//	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
//		twophase.WithParticipant("store", store),
//		twophase.WithParticipant("delivery", delivery),
//	)
//	result, err := coordinator.Run(ctx, twophase.Transaction{
//		ID: "order-1001",
//		Steps: []twophase.Step{
//			{Participant: "store", Payload: Packet{Food: "masala dosa"}},
//			{Participant: "delivery", Payload: Agent{Area: "Indiranagar"}},
//		},
//	})
//	switch {
//	case err == nil:                             // placed
//	case errors.Is(err, twophase.ErrNotPlaced):  // not placed, and why
//	case errors.Is(err, twophase.ErrInDoubt):    // ask again with the same id
//	}
//
// # The protocol
//
// The coordinator reserves on all participants, then assigns on all, then
// records the one decision that counts. Whatever fails on the way, it records
// the opposite decision and releases on all:
//
//	Begin + Reserve on all ──► Assign on all ──► decide assigned ──► placed
//	          │                      │
//	          │ refused, expired,    │ expired, no time left,
//	          │ no answer in time    │ the caller gave up
//	          ▼                      ▼
//	          decide releasing ──► not placed ──► Release on all, until acknowledged
//
// Every call may be repeated; every reservation expires by itself; nothing is
// released before the decision to release is durable, and nobody is told
// "placed" before the decision to assign is.
//
// # What is guaranteed
//
//   - Told placed, every participant has its resource assigned, and it stays so.
//   - Nobody is ever told both placed and not placed.
//   - Not placed, nothing stays held, and no late message changes that.
//   - A reservation never outlives its expiry, whatever became of the coordinator.
//
// It takes participants that keep the contract of [Participant], a journal
// that keeps that of [Journal], and transaction ids that are never used for
// anything else, by nobody who shares the participants. A caller who does not
// wait for the end is told that the transaction is in doubt, never a guess,
// and may ask again by its id.
package twophase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Transaction is one all-or-nothing unit of work.
type Transaction struct {
	// ID names the transaction: the id of an order, say. It is the idempotency
	// key everywhere, and must never be used for anything else.
	ID string
	// Steps are what to reserve, and where; all side by side.
	Steps []Step
	// Timeout is how long the transaction may stay undecided, before it is
	// released. If zero, it is that of [WithTimeout].
	Timeout time.Duration
}

// Step is one reservation that a transaction needs.
type Step struct {
	// Participant is a name given to [WithParticipant].
	Participant string
	// Payload tells the participant what to reserve. It is sent as [json.Marshal]
	// writes it, which compacts a [json.RawMessage], too, and escapes <, > and &.
	Payload any
	// Name tells the step from others of its transaction. If empty it is the
	// participant's name, with "-2", "-3" and so on for the further steps at
	// the same participant.
	Name string
	// Hold is how long the reservation is to last unless it is assigned. If
	// zero, it is that of the participant's [Policy].
	Hold time.Duration
}

// Result is what a placed transaction was given.
type Result struct {
	ID string
	// Steps are in the order of the transaction's; those of a function (see
	// [Coordinator.RunFunc]) that were tried and not kept are left out.
	Steps []StepResult
}

// StepResult is what one step was given.
type StepResult struct {
	Name        string
	Participant string
	Reservation Reservation
}

// Reservation returns what the named step was given, and the zero value if
// there is no such step.
func (r Result) Reservation(step string) Reservation {
	for _, s := range r.Steps {
		if s.Name == step {
			return s.Reservation
		}
	}
	return Reservation{}
}

// Bounds of what a caller may ask for; beyond them the error is [ErrInvalid].
const (
	MaxIDLength    = 255       // bytes in the id of a transaction or the name of a step
	MaxSteps       = 100       // steps of one transaction
	MaxPayloadSize = 256 << 10 // bytes in the JSON of one payload
)

// The answers of a coordinator that are errors. Any other error means that this
// call has begun nothing; what was run before under the same id may stand.
var (
	// ErrNotPlaced says that the transaction was decided so, and that nothing
	// stays held. Why is in the [Error] that wraps it.
	ErrNotPlaced = errors.New("not placed")
	// ErrInDoubt says that the outcome is not known yet. Run the same
	// transaction again, or [Coordinator.Wait], to learn it.
	ErrInDoubt = errors.New("in doubt")
	// ErrClosed says that the coordinator takes no new transactions.
	ErrClosed = errors.New("coordinator closed")
	// ErrInvalid says that a transaction or an option cannot be right, and why.
	ErrInvalid = errors.New("invalid")
)

// Error is what a transaction that was not placed, or is in doubt, returns.
// It is both the verdict and the cause: [errors.Is] and [errors.As] find
// either, down to the participant's own error if this process saw it.
type Error struct {
	// ID is that of the transaction.
	ID string
	// Verdict is ErrNotPlaced or ErrInDoubt. It is nil in what [Tx.Reserve]
	// returns: there is no verdict yet.
	Verdict error
	// Step, Participant and Call say what failed. They are empty if it was
	// no call: the caller gave up, say.
	Step        string
	Participant string
	Call        Call
	// Err is the cause.
	Err error
}

// Error returns the message: the id, the verdict, the call and the cause.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "twophase: %s", e.ID)
	if e.Verdict != nil {
		fmt.Fprintf(&b, " %v", e.Verdict)
	}
	if e.Call != "" {
		fmt.Fprintf(&b, ": %s %s", e.Call, e.Step)
		if e.Participant != e.Step {
			fmt.Fprintf(&b, " at %s", e.Participant)
		}
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the verdict and the cause.
func (e *Error) Unwrap() []error {
	if e.Verdict == nil {
		return []error{e.Err}
	}
	return []error{e.Verdict, e.Err}
}

// Call is one of the three calls on a participant.
type Call string

// The calls on a participant.
const (
	CallReserve Call = "reserve"
	CallAssign  Call = "assign"
	CallRelease Call = "release"
)

// Cause is why a transaction was not placed, as the journal keeps it for
// whoever asks later.
type Cause struct {
	Step        string `json:"step,omitempty"`
	Participant string `json:"participant,omitempty"`
	Call        Call   `json:"call,omitempty"`
	// Reason names the sentinel that the error is, such as "refused"; empty
	// if it is none that the library knows.
	Reason string `json:"reason,omitempty"`
	// Message is that of the error.
	Message string `json:"message"`

	err error // what happened, in the process that saw it
}

// Error returns the message of what happened.
func (c *Cause) Error() string { return c.Message }

// Is reports whether target is the sentinel that Reason names, so that a cause
// read back from the journal matches what the live one did.
func (c *Cause) Is(target error) bool {
	for _, reason := range reasons {
		if reason.name == c.Reason {
			return target == reason.sentinel
		}
	}
	return false
}

// Unwrap returns what happened, in the process that saw it, and nil elsewhere.
func (c *Cause) Unwrap() error { return c.err }

// reasons are the sentinels that survive the journal; an error that is several
// of them is the first.
var reasons = []struct {
	name     string
	sentinel error
}{
	{"refused", ErrRefused},
	{"expired", ErrExpired},
	{"released", ErrReleased},
	{"unknown", ErrUnknown},
	{"mismatch", ErrMismatch},
	{"deadline", context.DeadlineExceeded},
	{"canceled", context.Canceled},
}

// newCause records err for the journal.
func newCause(step StepRecord, call Call, err error) *Cause {
	cause := &Cause{Step: step.Name, Participant: step.Participant, Call: call, Message: err.Error(), err: err}
	for _, reason := range reasons {
		if errors.Is(err, reason.sentinel) {
			cause.Reason = reason.name
			break
		}
	}
	return cause
}

// notPlaced is the error of a transaction that was decided so.
func notPlaced(id string, cause *Cause) error {
	if cause == nil {
		cause = &Cause{Message: "no cause on record"}
	}
	return &Error{
		ID: id, Verdict: ErrNotPlaced,
		Step: cause.Step, Participant: cause.Participant, Call: cause.Call, Err: cause,
	}
}

// inDoubt is the error of a transaction whose outcome is not known to a caller
// who could not wait.
func inDoubt(id string, err error) error {
	return &Error{ID: id, Verdict: ErrInDoubt, Err: err}
}

// encodePayload returns the JSON of a step's payload, within bounds.
func encodePayload(payload any) (json.RawMessage, error) {
	if payload == nil {
		return nil, nil
	}
	encoded, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	if len(encoded) > MaxPayloadSize {
		return nil, fmt.Errorf("%d bytes of JSON exceed %d", len(encoded), MaxPayloadSize)
	}
	return encoded, nil
}

// nameOf returns the name of an enumerated value.
func nameOf[T ~uint8](names []string, value T) string {
	if int(value) < len(names) {
		return names[value]
	}
	return fmt.Sprintf("%d", value)
}
