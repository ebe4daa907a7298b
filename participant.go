package twophase

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Participant is a service that owns resources and takes part in transactions.
//
// Every call names its reservation by a [Key], and may arrive more than once,
// late, or out of order; the answer to each is ruled by the state of the key:
//
//	call \ state  none             reserved              assigned          released      expired
//	Reserve       takes, or        the same              the same          ErrReleased   ErrExpired
//	              ErrRefused       reservation           reservation
//	Assign        ErrUnknown       assigned, or past     ok                ErrReleased   ErrExpired
//	                               its expiry ErrExpired
//	Release       released         released, freed       released, freed   ok            released
//	time runs out –                expired, freed        nothing           –             –
//
// Each cell is atomic in the participant's own store and durable before the
// reply. [Entry] implements the table: an implementation locks and loads the
// entry of the key, asks it, and stores what it says.
//
// A Release that finds nothing leaves a tombstone, so that a Reserve that was
// overtaken is turned away. Tombstones and finished reservations are kept for
// longer than a transaction's timeout and the life of the slowest message, and
// are never removed because a late call met them.
//
// An error that is not final (see [IsFinal]) is transient: the coordinator
// repeats the call, and takes nothing that it does not know to be a success
// for one. Implementations must be safe for concurrent use and honour ctx.
type Participant interface {
	// Reserve sets resources aside for req.Key until req.Hold has passed, and
	// returns what it holds. Repeated, it returns the stored reservation with
	// the time that is left. If nothing is free it keeps nothing and returns
	// an error that is [ErrRefused]. If it lets two keys hold one resource,
	// two callers are told of the same packet.
	Reserve(ctx context.Context, req Request) (Reservation, error)

	// Assign gives what is reserved under key for good: from then on it never
	// expires. Expiry is judged here, strictly, by the participant's own clock
	// and after the entry is locked. If Assign returns nil and the resources
	// are not assigned durably, a caller is told of an order that cannot be
	// fulfilled.
	Assign(ctx context.Context, key Key) error

	// Release gives back whatever key holds, reserved or assigned, and turns
	// away every Reserve and Assign of the key from then on. It is repeated
	// until it returns nil; any error is transient.
	Release(ctx context.Context, key Key) error
}

// Key names a reservation: it is the idempotency key of all three calls.
type Key struct {
	Transaction string `json:"transaction"`
	Step        string `json:"step"`
}

// String returns "transaction/step".
func (k Key) String() string { return k.Transaction + "/" + k.Step }

// Request asks a participant for a reservation.
type Request struct {
	Key Key
	// Payload is what the step asks for, as JSON; the library never looks
	// inside. See [PayloadOf].
	Payload json.RawMessage
	// Hold is how long the reservation is to last unless it is assigned.
	Hold time.Duration
}

// Reservation is a participant's promise to hold resources for a transaction.
type Reservation struct {
	// Resources are the ids of what is held: one, or several.
	Resources []string `json:"resources"`
	// TimeLeft is how long the promise still lasts, by the participant's own
	// clock at the moment of the reply. It means nothing once Assigned.
	TimeLeft time.Duration `json:"time_left,omitempty"`
	// Assigned says that the resources are already assigned: they no longer
	// expire. Only the answer to a repeated Reserve has it.
	Assigned bool `json:"assigned,omitempty"`
	// Details travel back to the transaction's caller, as JSON.
	// See [DetailsOf].
	Details json.RawMessage `json:"details,omitempty"`
}

// Resource returns the first of the resources, and "" if there is none.
func (r Reservation) Resource() string {
	if len(r.Resources) == 0 {
		return ""
	}
	return r.Resources[0]
}

// PayloadOf decodes what req asks for into a participant's own type. A payload
// that does not fit T is not going to fit it later, so the error is
// [ErrRefused].
func PayloadOf[T any](req Request) (T, error) {
	var payload T
	if err := json.Unmarshal(req.Payload, &payload); err != nil {
		return payload, fmt.Errorf("%w: payload of %s: %w", ErrRefused, req.Key, err)
	}
	return payload, nil
}

// DetailsOf decodes the details of a reservation into the type that the
// participant sent.
func DetailsOf[T any](r Reservation) (T, error) {
	var details T
	if err := json.Unmarshal(r.Details, &details); err != nil {
		return details, fmt.Errorf("details of reservation %v: %w", r.Resources, err)
	}
	return details, nil
}

// The final errors of a participant. Participants wrap them to say why:
//
//	return fmt.Errorf("%w: no %s left", twophase.ErrRefused, food)
var (
	// ErrRefused says that nothing is free, or that the request can never be
	// met. Nothing is kept under the key.
	ErrRefused = errors.New("refused")
	// ErrExpired says that the reservation ran out before it was assigned.
	ErrExpired = errors.New("expired")
	// ErrReleased says that the key was released; the call came too late.
	ErrReleased = errors.New("released")
	// ErrUnknown says that an Assign names a key that was never reserved.
	ErrUnknown = errors.New("unknown reservation")
	// ErrMismatch says that the key, or the transaction's id, was used before
	// with other contents. Nothing was touched.
	ErrMismatch = errors.New("used before with other contents")
)

// IsFinal reports whether repeating the call that returned err is pointless:
// err is one of [ErrRefused], [ErrExpired], [ErrReleased], [ErrUnknown] and
// [ErrMismatch]. Any other error is transient.
func IsFinal(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrExpired) || errors.Is(err, ErrReleased) ||
		errors.Is(err, ErrUnknown) || errors.Is(err, ErrMismatch)
}

// RetryAfterError is a transient error that asks for patience: the call is not
// repeated before After has passed.
type RetryAfterError struct {
	After time.Duration
	Err   error
}

// Error returns the message of the error that it wraps, and the delay.
func (e *RetryAfterError) Error() string {
	return fmt.Sprintf("%v (retry after %v)", e.Err, e.After)
}

// Unwrap returns the error that asks for patience.
func (e *RetryAfterError) Unwrap() error { return e.Err }

// EntryState is the state of a key at a participant.
type EntryState uint8

// The states of a key. The zero value is that of a key never seen.
const (
	EntryNone EntryState = iota
	EntryReserved
	EntryAssigned
	EntryReleased
	EntryExpired
)

var entryStates = [...]string{"none", "reserved", "assigned", "released", "expired"}

// String returns the state's name in the contract's table.
func (s EntryState) String() string { return nameOf(entryStates[:], s) }

// Fingerprint identifies a payload: two requests under one key must have the
// same.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the SHA-256 of a payload's bytes. A participant whose
// transport reformats JSON must restore it before, or compact both sides.
func FingerprintOf(payload json.RawMessage) Fingerprint { return sha256.Sum256(payload) }

// Entry is what a participant has stored under a key, as far as the contract
// cares; the zero value is that of a key never seen. Its methods are the rows
// of the contract's table (see [Participant]), as pure functions: no clock, no
// lock, no I/O. The time given is the participant's own, read after the entry
// is locked.
type Entry struct {
	State EntryState
	// Fingerprint is that of the request that made the entry; zero if a
	// Release came first.
	Fingerprint Fingerprint
	// Expires is when a reserved entry runs out. Other states ignore it.
	Expires time.Time
}

// Verdict says what a call does to an entry, and what to answer.
type Verdict struct {
	// Entry is to be stored, unless it equals the one that was loaded.
	Entry Entry
	// Take says that resources must be taken in the same atomic step. If none
	// are free, nothing is stored and the answer is ErrRefused.
	Take bool
	// Free says that the resources held go back in the same atomic step.
	Free bool
	// Err is the answer. If nil, the call succeeds, and a Reserve answers
	// with the stored reservation and the time that is left.
	Err error
}

// Reserve judges a request with that fingerprint, to be held for hold.
func (e Entry) Reserve(fingerprint Fingerprint, hold time.Duration, now time.Time) Verdict {
	if e.State == EntryNone {
		return Verdict{
			Entry: Entry{State: EntryReserved, Fingerprint: fingerprint, Expires: now.Add(hold)},
			Take:  true,
		}
	}
	// A tombstone does not know the payload, so it has none to differ from.
	if e.Fingerprint != (Fingerprint{}) && e.Fingerprint != fingerprint {
		return Verdict{Entry: e, Err: ErrMismatch}
	}
	return e.repeat(now)
}

// Assign judges an assignment. The state is looked at before the clock, so a
// repeated Assign is ok even when the old expiry has passed.
func (e Entry) Assign(now time.Time) Verdict {
	if e.State == EntryNone {
		return Verdict{Entry: e, Err: ErrUnknown}
	}
	v := e.repeat(now)
	if v.Err == nil {
		v.Entry.State = EntryAssigned
	}
	return v
}

// Release judges a release. It succeeds from every state, and leaves a
// tombstone where there was nothing.
func (e Entry) Release() Verdict {
	released := e
	released.State = EntryReleased
	return Verdict{Entry: released, Free: e.Holds()}
}

// Expire judges the passing of time, for whoever takes back what has run out:
// a sweeper, or a Reserve that looks for a free resource.
func (e Entry) Expire(now time.Time) Verdict {
	if e.State != EntryReserved || now.Before(e.Expires) {
		return Verdict{Entry: e}
	}
	expired := e
	expired.State = EntryExpired
	return Verdict{Entry: expired, Free: true}
}

// Holds reports whether the entry has resources, reserved or assigned.
func (e Entry) Holds() bool { return e.State == EntryReserved || e.State == EntryAssigned }

// TimeLeft returns how long a reserved entry still lasts, and never less than
// zero.
func (e Entry) TimeLeft(now time.Time) time.Duration {
	if e.State != EntryReserved {
		return 0
	}
	return max(0, e.Expires.Sub(now))
}

// repeat answers a call on an entry that exists with what is stored.
func (e Entry) repeat(now time.Time) Verdict {
	v := e.Expire(now)
	switch v.Entry.State {
	case EntryReleased:
		v.Err = ErrReleased
	case EntryExpired:
		v.Err = ErrExpired
	}
	return v
}
