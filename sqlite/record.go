package sqlite

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/seed-bcc3c603/twophase"
)

// MaxRecordSize bounds the bytes of one record: its names and payloads, or what
// was reserved. More is [twophase.ErrInvalid]. What a coordinator accepts is
// always less.
const MaxRecordSize = 32 << 20

// maxMessage bounds what is stored of an error's message.
const maxMessage = 64 << 10

// text is a string that JSON keeps byte for byte: as a string if it is UTF-8,
// so that people can read it, else as {"base64": "…"}.
type text string

// UnmarshalJSON reads either form.
func (t *text) UnmarshalJSON(encoded []byte) error {
	if len(encoded) > 0 && encoded[0] == '"' {
		return json.Unmarshal(encoded, (*string)(t))
	}
	var raw struct {
		Base64 []byte `json:"base64"`
	}
	if err := json.Unmarshal(encoded, &raw); err != nil {
		return err
	}
	*t = text(raw.Base64)
	return nil
}

func appendText(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		dst = append(dst, `{"base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, []byte(s))
		return append(dst, `"}`...)
	}
	dst = append(dst, '"')
	const hex = "0123456789abcdef"
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// field appends the name of an object's next field.
func field(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(append(append(dst, '"'), name...), `":`...)
}

func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendText(field(dst, name), value)
}

// appendList appends a JSON array of what each appends.
func appendList[T any](dst []byte, list []T, each func(dst []byte, one T) []byte) []byte {
	dst = append(dst, '[')
	for i, one := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = each(dst, one)
	}
	return append(dst, ']')
}

// step is the stored form of a step as it began.
type step struct {
	Name        text          `json:"name"`
	Participant text          `json:"participant"`
	Payload     text          `json:"payload"`
	Hold        time.Duration `json:"hold"`
	Dropped     bool          `json:"dropped"`
}

func appendStep(dst []byte, s twophase.StepRecord) []byte {
	dst = append(dst, '{')
	dst = appendField(dst, "name", s.Name)
	dst = appendField(dst, "participant", s.Participant)
	dst = appendField(dst, "payload", string(s.Payload))
	dst = strconv.AppendInt(field(dst, "hold"), int64(s.Hold), 10)
	if s.Dropped {
		dst = append(field(dst, "dropped"), "true"...)
	}
	return append(dst, '}')
}

// encodeSteps returns the stored form of steps, and how many are dropped.
func encodeSteps(id string, steps []twophase.StepRecord) (encoded []byte, dropped int64, err error) {
	size := len(id)
	for _, s := range steps {
		size += len(s.Name) + len(s.Participant) + len(s.Payload)
		if s.Dropped {
			dropped++
		}
	}
	if size > MaxRecordSize {
		return nil, 0, invalid(id, "a record of %d bytes exceeds %d", size, MaxRecordSize)
	}
	return appendList(make([]byte, 0, size+64*(len(steps)+1)), steps, appendStep), dropped, nil
}

// reservation is the stored form of what a step was given.
type reservation struct {
	Resources []text        `json:"resources"`
	TimeLeft  time.Duration `json:"time_left"`
	Assigned  bool          `json:"assigned"`
	Details   text          `json:"details"`
}

func appendReservation(dst []byte, r twophase.Reservation) []byte {
	dst = append(dst, '{')
	if r.Resources != nil {
		dst = appendList(field(dst, "resources"), r.Resources, appendText)
	}
	if r.TimeLeft != 0 {
		dst = strconv.AppendInt(field(dst, "time_left"), int64(r.TimeLeft), 10)
	}
	if r.Assigned {
		dst = append(field(dst, "assigned"), "true"...)
	}
	return append(appendField(dst, "details", string(r.Details)), '}')
}

// encodeReservations returns the stored form of what the steps were given.
func encodeReservations(id string, reservations []twophase.Reservation) ([]byte, error) {
	size := 0
	for _, r := range reservations {
		size += len(r.Details) + 48
		for _, resource := range r.Resources {
			size += len(resource) + 3
		}
	}
	if size > MaxRecordSize {
		return nil, invalid(id, "reservations of %d bytes exceed %d", size, MaxRecordSize)
	}
	return appendList(make([]byte, 0, size+2), reservations, appendReservation), nil
}

func decodeReservations(encoded []byte) ([]twophase.Reservation, error) {
	var stored []reservation
	if err := json.Unmarshal(encoded, &stored); err != nil {
		return nil, fmt.Errorf("reservations: %w", err)
	}
	reservations := make([]twophase.Reservation, len(stored))
	for i, r := range stored {
		reservations[i] = twophase.Reservation{TimeLeft: r.TimeLeft, Assigned: r.Assigned, Details: raw(r.Details)}
		if r.Resources != nil {
			reservations[i].Resources = make([]string, len(r.Resources))
			for k, resource := range r.Resources {
				reservations[i].Resources[k] = string(resource)
			}
		}
	}
	return reservations, nil
}

// cause is the stored form of why a transaction is not placed.
type cause struct {
	Step        text `json:"step"`
	Participant text `json:"participant"`
	Call        text `json:"call"`
	Reason      text `json:"reason"`
	Message     text `json:"message"`
}

func encodeCause(c *twophase.Cause) []byte {
	if c == nil {
		return nil
	}
	dst := append(make([]byte, 0, 256), '{')
	dst = appendField(dst, "step", c.Step)
	dst = appendField(dst, "participant", c.Participant)
	dst = appendField(dst, "call", string(c.Call))
	dst = appendField(dst, "reason", c.Reason)
	return append(appendField(dst, "message", clip(c.Message)), '}')
}

func decodeCause(encoded []byte) (*twophase.Cause, error) {
	var c cause
	if err := json.Unmarshal(encoded, &c); err != nil {
		return nil, fmt.Errorf("cause: %w", err)
	}
	return &twophase.Cause{
		Step: string(c.Step), Participant: string(c.Participant), Call: twophase.Call(c.Call),
		Reason: string(c.Reason), Message: string(c.Message),
	}, nil
}

// clip keeps a message within bounds.
func clip(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return message[:maxMessage] + " …"
}

func raw(t text) json.RawMessage {
	if t == "" {
		return nil
	}
	return json.RawMessage(t)
}

// encodeReleased returns the indexes of the steps that are released.
func encodeReleased(steps []twophase.StepRecord) []byte {
	var indexes []int
	for i, s := range steps {
		if s.Released {
			indexes = append(indexes, i)
		}
	}
	if indexes == nil {
		return nil
	}
	return appendList(nil, indexes, func(dst []byte, i int) []byte { return strconv.AppendInt(dst, int64(i), 10) })
}
