package twophasegrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/names"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// Bounds of what is sent, besides those of package twophase.
const (
	// MaxHold is how long a reservation may be asked to last.
	MaxHold = 30 * 24 * time.Hour

	maxRequest = twophase.MaxPayloadSize + 4<<10 // bytes of a request: a payload, and the rest
	maxAnswer  = 1 << 20                         // bytes of an answer
	maxMessage = 1 << 10                         // bytes of an error's message
)

// keyed is a request that names a reservation.
type keyed interface {
	proto.Message
	GetTransaction() string
	GetStep() string
}

// readKey returns the key of a request that has nothing else to say.
func readKey(in keyed) (twophase.Key, error) {
	return twophase.Key{Transaction: in.GetTransaction(), Step: in.GetStep()}, refuse(checkKey(in))
}

// readReserve returns the request on the wire, with a payload that is compact,
// as its fingerprint demands.
func readReserve(in *twophasev1.ReserveRequest) (twophase.Request, error) {
	violations := checkKey(in)
	payload, reason := compacted(in.GetPayload())
	if reason != "" {
		violations = append(violations, violation("payload", reason))
	}
	if reason := badHold(in.GetHold()); reason != "" {
		violations = append(violations, violation("hold", reason))
	}
	return twophase.Request{
		Key:     twophase.Key{Transaction: in.GetTransaction(), Step: in.GetStep()},
		Payload: payload,
		Hold:    in.GetHold().AsDuration(),
	}, refuse(violations)
}

// checkKey returns what is wrong with a request as far as every one is alike.
// What this version does not know is not skipped: the caller means something
// by it.
func checkKey(in keyed) (violations []*errdetails.BadRequest_FieldViolation) {
	if len(in.ProtoReflect().GetUnknown()) > 0 {
		violations = append(violations, violation("", "there are fields that this version of the service does not know"))
	}
	if reason := names.Bad(in.GetTransaction(), twophase.MaxIDLength); reason != "" {
		violations = append(violations, violation("transaction", reason))
	}
	if reason := names.Bad(in.GetStep(), twophase.MaxIDLength); reason != "" {
		violations = append(violations, violation("step", reason))
	}
	return violations
}

// badHold says what is wrong with a hold, and "" if nothing is.
func badHold(hold *durationpb.Duration) string {
	if err := hold.CheckValid(); err != nil {
		return fmt.Sprintf("is missing or no duration: %v", err)
	}
	if d := hold.AsDuration(); d <= 0 || d > MaxHold {
		return fmt.Sprintf("is %v: it must be above zero, and %v at most", d, MaxHold)
	}
	return ""
}

// compacted returns JSON without whitespace, or says what is wrong with it.
// Nothing stays nothing.
func compacted(payload []byte) (json.RawMessage, string) {
	switch {
	case len(payload) == 0:
		return nil, ""
	case len(payload) > twophase.MaxPayloadSize:
		return nil, fmt.Sprintf("has %d bytes: at most %d are allowed", len(payload), twophase.MaxPayloadSize)
	}
	var compact bytes.Buffer
	compact.Grow(len(payload))
	if err := json.Compact(&compact, payload); err != nil {
		return nil, fmt.Sprintf("is no JSON: %v", err)
	}
	return compact.Bytes(), ""
}

func violation(field, reason string) *errdetails.BadRequest_FieldViolation {
	return &errdetails.BadRequest_FieldViolation{Field: field, Description: reason}
}

// refuse returns the error of a request with something wrong, and nil of any
// other.
func refuse(violations []*errdetails.BadRequest_FieldViolation) error {
	if len(violations) == 0 {
		return nil
	}
	reasons := make([]string, len(violations))
	for i, v := range violations {
		reasons[i] = strings.TrimSpace(v.GetField() + " " + v.GetDescription())
	}
	return newStatus(codes.InvalidArgument, ReasonInvalid, "invalid: "+strings.Join(reasons, "; "),
		&errdetails.BadRequest{FieldViolations: violations})
}

// writeReservation returns what a participant has, as it is sent. What cannot
// be sent is the participant's fault.
func writeReservation(h Holding) (*twophasev1.Reservation, error) {
	state, ok := wireStates[h.State]
	if !ok {
		return nil, fmt.Errorf("the participant's answer cannot be sent: its state is %v", h.State)
	}
	r := h.Reservation
	if reason := unsendable(r); reason != "" {
		return nil, fmt.Errorf("the participant's answer cannot be sent: %s", reason)
	}
	out := &twophasev1.Reservation{State: state, Resources: r.Resources, Details: r.Details}
	if h.State == twophase.EntryReserved {
		out.TimeLeft = durationpb.New(max(0, r.TimeLeft))
	}
	return out, nil
}

// unsendable says what keeps a reservation from being sent, and "" if nothing
// does.
func unsendable(r twophase.Reservation) string {
	const perField = 8 // bytes around each, at most
	size := len(r.Details) + perField
	for _, id := range r.Resources {
		if !utf8.ValidString(id) {
			return fmt.Sprintf("the resource %q is not valid UTF-8", id)
		}
		size += len(id) + perField
	}
	switch {
	case size > maxAnswer-answerRest:
		return fmt.Sprintf("it has some %d bytes: at most %d are allowed", size, maxAnswer-answerRest)
	case len(r.Details) > 0 && !json.Valid(r.Details):
		return "the details are no JSON"
	}
	return ""
}

// answerRest is what an answer needs besides resources and details.
const answerRest = 1 << 10

// wireStates are the states on the wire; that of a key never seen is none.
var wireStates = map[twophase.EntryState]twophasev1.ReservationState{
	twophase.EntryReserved: twophasev1.ReservationState_RESERVATION_STATE_RESERVED,
	twophase.EntryAssigned: twophasev1.ReservationState_RESERVATION_STATE_ASSIGNED,
	twophase.EntryReleased: twophasev1.ReservationState_RESERVATION_STATE_RELEASED,
	twophase.EntryExpired:  twophasev1.ReservationState_RESERVATION_STATE_EXPIRED,
}

// readReservation checks what a participant says that it has.
func readReservation(r *twophasev1.Reservation) (twophase.EntryState, twophase.Reservation, error) {
	state, ok := entryStates[r.GetState()]
	if !ok {
		return 0, twophase.Reservation{}, fmt.Errorf("the state is %v", r.GetState())
	}
	read := twophase.Reservation{Resources: r.GetResources(), Assigned: state == twophase.EntryAssigned}
	if state == twophase.EntryReserved {
		left, err := timeLeft(r.GetTimeLeft())
		if err != nil {
			return 0, twophase.Reservation{}, err
		}
		read.TimeLeft = left
	}
	if details := r.GetDetails(); len(details) > 0 {
		if !json.Valid(details) {
			return 0, twophase.Reservation{}, errors.New("the details are no JSON")
		}
		read.Details = details
	}
	return state, read, nil
}

func timeLeft(d *durationpb.Duration) (time.Duration, error) {
	if err := d.CheckValid(); err != nil {
		return 0, fmt.Errorf("the time left: %w", err)
	}
	left := d.AsDuration()
	if left < 0 {
		return 0, fmt.Errorf("the time left is %v", left)
	}
	return left, nil
}

// entryStates are the states that an answer may have.
var entryStates = map[twophasev1.ReservationState]twophase.EntryState{
	twophasev1.ReservationState_RESERVATION_STATE_RESERVED: twophase.EntryReserved,
	twophasev1.ReservationState_RESERVATION_STATE_ASSIGNED: twophase.EntryAssigned,
	twophasev1.ReservationState_RESERVATION_STATE_RELEASED: twophase.EntryReleased,
	twophasev1.ReservationState_RESERVATION_STATE_EXPIRED:  twophase.EntryExpired,
}
