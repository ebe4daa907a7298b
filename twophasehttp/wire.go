package twophasehttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/seed-bcc3c603/twophase"
)

// Headers and media types of the wire.
const (
	headerKey         = "Idempotency-Key"
	headerTimeout     = "Request-Timeout"
	headerTraceParent = "Traceparent"
	headerTraceState  = "Tracestate"

	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
)

// Bounds of the wire.
const (
	// MaxHold is for how long a reservation may be asked for.
	MaxHold = 30 * 24 * time.Hour

	maxBody   = twophase.MaxPayloadSize + 4<<10
	maxReply  = 1 << 20
	maxDetail = 1 << 10
)

// encodeReserve returns the body of a Reserve. It is put together by hand, as
// [json.Marshal] would change the payload's bytes, and so its fingerprint.
func encodeReserve(req twophase.Request) ([]byte, error) {
	body := bytes.NewBuffer(make([]byte, 0, len(req.Payload)+64))
	body.WriteByte('{')
	if len(req.Payload) > 0 {
		body.WriteString(`"payload":`)
		if err := json.Compact(body, req.Payload); err != nil {
			return nil, fmt.Errorf("the payload is no JSON: %w", err)
		}
		body.WriteByte(',')
	}
	body.WriteString(`"hold_ms":`)
	body.Write(strconv.AppendInt(body.AvailableBuffer(), ceilMillis(req.Hold), 10))
	body.WriteByte('}')
	return body.Bytes(), nil
}

// decodeReserve is the opposite of encodeReserve, for whatever a stranger sent.
func decodeReserve(key twophase.Key, body []byte) (twophase.Request, error) {
	var payload json.RawMessage
	var hold *int64
	err := decodeObject(body, refuseUnknown, member{"payload", &payload}, member{"hold_ms", &hold})
	switch {
	case err != nil:
		return twophase.Request{}, err
	case hold == nil:
		return twophase.Request{}, errors.New("hold_ms is missing: give the milliseconds to hold for")
	case *hold < 1 || *hold > MaxHold.Milliseconds():
		return twophase.Request{}, fmt.Errorf("hold_ms is %d: give 1 to %d", *hold, MaxHold.Milliseconds())
	}
	if payload, err = compact(payload); err != nil {
		return twophase.Request{}, err
	}
	if len(payload) > twophase.MaxPayloadSize {
		return twophase.Request{}, fmt.Errorf("the payload has %d bytes: at most %d are allowed", len(payload), twophase.MaxPayloadSize)
	}
	return twophase.Request{Key: key, Payload: payload, Hold: time.Duration(*hold) * time.Millisecond}, nil
}

// encodeHolding returns the body of a reply that tells what a key holds.
func encodeHolding(h Holding) ([]byte, error) {
	r := h.Reservation
	body := bytes.NewBuffer(make([]byte, 0, 128+len(r.Details)))
	body.WriteString(`{"state":"`)
	body.WriteString(h.State.String())
	body.WriteByte('"')
	if h.State == twophase.EntryReserved || h.State == twophase.EntryAssigned {
		resources := r.Resources
		if resources == nil {
			resources = []string{}
		}
		encoded, err := json.Marshal(resources)
		if err != nil {
			return nil, err
		}
		body.WriteString(`,"resources":`)
		body.Write(encoded)
	}
	if h.State == twophase.EntryReserved {
		body.WriteString(`,"time_left_ms":`)
		body.Write(strconv.AppendInt(body.AvailableBuffer(), max(0, r.TimeLeft).Milliseconds(), 10))
	}
	if len(r.Details) > 0 {
		body.WriteString(`,"details":`)
		if err := json.Compact(body, r.Details); err != nil {
			return nil, fmt.Errorf("the details are no JSON: %w", err)
		}
	}
	body.WriteByte('}')
	if body.Len() > maxReply {
		return nil, fmt.Errorf("a reply of %d bytes: callers read %d", body.Len(), maxReply)
	}
	return body.Bytes(), nil
}

// decodeAnswer reads a reply to a call. The error says why a reply
// cannot be believed.
func decodeAnswer(c call, body []byte) (Holding, error) {
	var state string
	var resources []string
	var left *int64
	var details json.RawMessage
	err := decodeObject(body, skipUnknown,
		member{"state", &state}, member{"resources", &resources}, member{"time_left_ms", &left}, member{"details", &details})
	if err != nil {
		return Holding{}, err
	}
	h := Holding{State: stateOf(state)}
	if !c.accepts(h.State) {
		return Holding{}, fmt.Errorf("the state is %q", clean(state))
	}
	if c.Call == twophase.CallAssign || c.Call == twophase.CallRelease {
		return h, nil
	}
	if resources == nil && (h.State == twophase.EntryReserved || h.State == twophase.EntryAssigned) {
		return Holding{}, errors.New("the resources are missing")
	}
	if h.State == twophase.EntryReserved {
		if left == nil || *left < 0 {
			return Holding{}, errors.New("time_left_ms is missing or negative")
		}
		h.Reservation.TimeLeft = time.Duration(min(*left, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	h.Reservation.Resources = resources
	h.Reservation.Assigned = h.State == twophase.EntryAssigned
	h.Reservation.Details, err = compact(details)
	return h, err
}

// stateOf returns the state of that name, and EntryNone if there is none.
func stateOf(name string) twophase.EntryState {
	for s := twophase.EntryReserved; s <= twophase.EntryExpired; s++ {
		if s.String() == name {
			return s
		}
	}
	return twophase.EntryNone
}

// member is one of an object's members, and where its value goes. A null leaves
// a pointer or a slice nil.
type member struct {
	name string
	into any
}

const (
	refuseUnknown = true
	skipUnknown   = false
)

// decodeObject decodes a text that is one JSON object and nothing else. Names
// are matched exactly, and none that is known may come twice: of two values,
// another reader might take the other.
func decodeObject(text []byte, strict bool, members ...member) error {
	if !utf8.Valid(text) {
		return errors.New("the JSON is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return errors.Join(errors.New("the JSON is no object"), err)
	}
	seen := make([]bool, len(members))
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if err := decodeMember(d, name, strict, members, seen); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return fmt.Errorf("the JSON ends early: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the JSON object")
	}
	return nil
}

func decodeMember(d *json.Decoder, name string, strict bool, members []member, seen []bool) error {
	for i, m := range members {
		if m.name != name {
			continue
		}
		if seen[i] {
			return fmt.Errorf("%s is given twice", name)
		}
		seen[i] = true
		if err := d.Decode(m.into); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	if strict {
		return fmt.Errorf("%q is no member that is known here", clean(name))
	}
	var skipped json.RawMessage
	return d.Decode(&skipped)
}

// compact removes the white space of a JSON text; nil stays nil.
func compact(text json.RawMessage) (json.RawMessage, error) {
	if text == nil {
		return nil, nil
	}
	compacted := bytes.NewBuffer(make([]byte, 0, len(text)))
	err := json.Compact(compacted, text)
	return compacted.Bytes(), err
}

// ceilMillis returns milliseconds, rounded up.
func ceilMillis(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
}
