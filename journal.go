package twophase

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"time"
)

// Journal is a coordinator's durable record; it holds the one decision that
// counts. [NewMemoryJournal] is for tests and for services whose reservations
// may all be left to expire with the process.
//
// Every method is atomic, and what it wrote is durable when it returns nil.
// None needs a read by the caller before it, and calls of different
// transactions are independent, so an implementation may gather the writes of
// many callers into one commit. One caller's cancelled context or bad record
// must not fail the others of its batch.
//
// Any error leaves open whether the write took place, and the coordinator asks
// again until it knows, unless it is [ErrUnavailable] (nothing was written) or
// [ErrGone].
//
// All time is told as durations, by the journal's clock: coordinators never
// compare theirs with it or with each other.
type Journal interface {
	// Begin stores record under its id if there is none yet, in the state
	// that it is in ([StateBegun], or [StateReleasing] for a transaction that
	// failed before it began), with epoch 1, leased to record.Owner for
	// record.Lease. It returns the record that stands, and whether this call
	// or an earlier one with the same owner and the same steps made it.
	//
	// No Assign is sent before it returns: a Begin that was not durable leaks
	// what is assigned after a crash. That would break I5.
	Begin(ctx context.Context, record Record) (standing Record, created bool, err error)

	// Decide makes decision if the transaction is still [StateBegun], and
	// returns the decision that stands: this one, or that of whoever came
	// first. If two are ever told differently, a caller is told placed and
	// the resources are released: I2.
	Decide(ctx context.Context, id string, decision Decision) (standing Decision, err error)

	// Released records that the named steps of a decided transaction have
	// acknowledged their Release. With the last one that has to, a releasing
	// transaction becomes [StateReleased].
	Released(ctx context.Context, id string, steps []string) error

	// Claim leases to owner up to limit transactions that are not finished
	// (see [Record.Finished]) and whose lease has run out, those longest
	// overdue first, and returns them with their epoch raised by one. Two
	// concurrent claims never return the same transaction.
	Claim(ctx context.Context, owner string, lease time.Duration, limit int) ([]Record, error)

	// Renew extends to lease from now those of the transactions that owner
	// still holds. A lease of zero hands them over at once. Leases are for
	// efficiency: safety never depends on them.
	Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error

	// Yield gives back the claim of owner and epoch: nobody claims the
	// transaction before delay has passed. It stores trouble as the reason
	// and adds one to the record's attempts. If owner and epoch do not hold
	// it any more, nothing happens.
	Yield(ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string) error

	// Get returns the record of a transaction, or ErrGone if there is none.
	Get(ctx context.Context, id string) (Record, error)

	// List returns the records that match, oldest first. It may be
	// interleaved with writes, whose effects it may or may not show. An error
	// ends it.
	List(ctx context.Context, filter Filter) iter.Seq2[Record, error]

	// Prune forgets up to limit transactions that finished longer than age
	// ago, and returns how many.
	Prune(ctx context.Context, age time.Duration, limit int) (int, error)
}

var (
	// ErrUnavailable is returned by a journal that cannot be reached when it
	// is certain that nothing was written, and by the coordinator when for
	// that reason a call has begun nothing: it may be run again.
	ErrUnavailable = errors.New("journal unavailable")
	// ErrGone says that there is no record of a transaction: it never began,
	// or it finished so long ago that it was forgotten.
	ErrGone = errors.New("no record of it: never begun, or forgotten")
)

// State is the state of a transaction in the journal.
type State uint8

// The states of a transaction.
//
//	begun ──► assigned
//	  └─────► releasing ──► released
const (
	// StateBegun is undecided.
	StateBegun State = iota + 1
	// StateAssigned is the decision that everything is assigned: placed.
	StateAssigned
	// StateReleasing is the decision to give everything back: not placed.
	StateReleasing
	// StateReleased is not placed, and every Release was acknowledged.
	StateReleased
)

var states = [...]string{"", "begun", "assigned", "releasing", "released"}

// String returns the state's name.
func (s State) String() string { return nameOf(states[:], s) }

// RecordVersion is the format of the records that this version of the library
// writes. Recovery sets aside records of a newer one.
const RecordVersion = 1

// Record is what the journal has of one transaction.
type Record struct {
	Version int          `json:"version"`
	ID      string       `json:"id"`
	Steps   []StepRecord `json:"steps"`
	State   State        `json:"state"`
	// Cause says why State is releasing or released.
	Cause *Cause `json:"cause,omitempty"`
	// Deadline is the time left until an undecided transaction is to be
	// released. It is negative when that has passed.
	Deadline time.Duration `json:"deadline"`
	// Owner is the coordinator that drives the transaction while Lease runs.
	Owner string `json:"owner,omitempty"`
	// Epoch counts the owners: 1 for the coordinator that began it.
	Epoch int64 `json:"epoch"`
	// Lease is the time left until others may claim the transaction.
	Lease time.Duration `json:"lease"`
	// Age is the time since Begin.
	Age time.Duration `json:"age"`
	// Attempts counts how often a claim was yielded with trouble, and Trouble
	// is the last reason: the transaction is stuck.
	Attempts int    `json:"attempts,omitempty"`
	Trouble  string `json:"trouble,omitempty"`
}

// StepRecord is what the journal has of one step. Payload comes back as the
// same bytes that Begin was given: a participant tells by them a repeated
// request from another.
type StepRecord struct {
	Name        string          `json:"name"`
	Participant string          `json:"participant"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	Hold        time.Duration   `json:"hold"`
	// Dropped says that the step was tried and not kept: it is released even
	// if the transaction is assigned.
	Dropped bool `json:"dropped,omitempty"`
	// Reservation is what the step was given; it is set by the decision
	// StateAssigned on steps that are not dropped.
	Reservation *Reservation `json:"reservation,omitempty"`
	// Released says that the step's Release was acknowledged.
	Released bool `json:"released,omitempty"`
}

// Finished reports whether nothing is left to do: the transaction is decided,
// and every step that has to be released is.
func (r Record) Finished() bool {
	return r.State != StateBegun && !slices.ContainsFunc(r.Steps, func(s StepRecord) bool {
		return s.mustRelease(r.State) && !s.Released
	})
}

// Stuck reports whether recovery has tried to finish the transaction, in vain.
func (r Record) Stuck() bool { return r.Attempts > 0 && !r.Finished() }

// mustRelease reports whether a transaction decided so owes the step a Release.
func (s StepRecord) mustRelease(decided State) bool {
	return s.Dropped || decided == StateReleasing
}

// BegunAs reports whether a record that stands is what an earlier attempt of
// this Begin has written, for implementations of [Journal].
func (r Record) BegunAs(attempt Record) bool {
	return r.Owner == attempt.Owner && r.Epoch == 1 && r.sameWork(attempt)
}

// sameWork reports whether two records ask for the same: a transaction run
// again, not another one under the same id.
func (r Record) sameWork(other Record) bool {
	return slices.EqualFunc(r.Steps, other.Steps, func(a, b StepRecord) bool {
		return a.Name == b.Name && a.Participant == b.Participant && string(a.Payload) == string(b.Payload)
	})
}

// Decision is the one decision of a transaction.
type Decision struct {
	// State is StateAssigned or StateReleasing. A decision that stands may
	// also be StateReleased.
	State State
	// Reservations has what each step was given, in the order of the record's
	// steps, when State is StateAssigned; dropped steps have the zero value.
	Reservations []Reservation
	// Cause says why State is StateReleasing.
	Cause *Cause
}

// Decision returns the decision that stands in the record; its State is
// StateBegun if there is none.
func (r Record) Decision() Decision {
	d := Decision{State: r.State, Cause: r.Cause}
	if r.State != StateAssigned {
		return d
	}
	d.Reservations = make([]Reservation, len(r.Steps))
	for i, step := range r.Steps {
		if step.Reservation != nil {
			d.Reservations[i] = *step.Reservation
		}
	}
	return d
}

// Decided returns the record with a decision made, for implementations of
// [Journal]: a record that is not [StateBegun] is returned as it is.
func (r Record) Decided(d Decision) Record {
	if r.State != StateBegun {
		return r
	}
	r.State, r.Cause = d.State, d.Cause
	if d.State == StateAssigned {
		r.Steps = slices.Clone(r.Steps)
		for i := range r.Steps {
			if !r.Steps[i].Dropped && i < len(d.Reservations) {
				r.Steps[i].Reservation = &d.Reservations[i]
			}
		}
	}
	return r
}

// WithReleased returns the record with the named steps acknowledged as
// released, for implementations of [Journal].
func (r Record) WithReleased(steps []string) Record {
	if r.State != StateAssigned && r.State != StateReleasing {
		return r
	}
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		if slices.Contains(steps, r.Steps[i].Name) {
			r.Steps[i].Released = true
		}
	}
	if r.State == StateReleasing && r.Finished() {
		r.State = StateReleased
	}
	return r
}

// Filter selects records for [Journal.List]. The zero value selects all.
type Filter struct {
	// State selects one state; 0 is any.
	State State
	// Unfinished leaves out what is finished.
	Unfinished bool
	// Stuck selects what recovery could not finish.
	Stuck bool
}

// Match reports whether the filter selects the record.
func (f Filter) Match(r Record) bool {
	return (f.State == 0 || f.State == r.State) && (!f.Unfinished || !r.Finished()) && (!f.Stuck || r.Stuck())
}
