package sqlite

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// FuzzDecodeRow reads rows that somebody else wrote, or damaged: they are
// refused, or mean the same when they are written and read once more.
func FuzzDecodeRow(f *testing.F) {
	f.Add([]byte(`[1]`), []byte(`{"step":"store","call":"assign","reason":"expired","message":"expired"}`), []byte(nil),
		[]byte(`[{"name":"store","participant":"store","hold":1},{"name":"delivery","participant":"delivery","hold":1}]`))
	f.Add([]byte(nil), []byte(nil), []byte(`[{"resources":["packet-1"],"time_left":5,"details":{"shelf":3}}]`),
		[]byte(`[{"name":"store","participant":"store","payload":{"kind":"dosa"},"hold":120000000000}]`))
	f.Add([]byte(`[-1]`), []byte(`null`), []byte(`[null]`), []byte(`[null]`))
	f.Add([]byte(`[1]`), []byte(nil), []byte(nil), []byte(`[{"name":"store","participant":"store","hold":1}]`))
	f.Fuzz(func(t *testing.T, released, cause, reservations, steps []byte) {
		var read row
		if read.decode(released, cause, reservations, steps) != nil {
			return
		}
		wantSame(t, read.record)
	})
}

// FuzzText stores bytes of all kinds as everything that a record carries: they
// come back as they are.
func FuzzText(f *testing.F) {
	for _, text := range []string{``, `{}`, `{"a": 1}`, "\"<\u2028\"", "\xff", `{"a":1} trailing`, `"\xff"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		wantSame(t, twophase.Record{
			Cause: &twophase.Cause{Message: string(text)},
			Steps: []twophase.StepRecord{{
				Name: string(text), Payload: text, Hold: time.Duration(len(text)),
				Reservation: &twophase.Reservation{Resources: []string{string(text)}, Details: text, TimeLeft: 1},
			}},
		})
	})
}

// wantSame writes what a record carries and reads it again.
func wantSame(t *testing.T, record twophase.Record) {
	t.Helper()
	steps, _, err := encodeSteps("id", record.Steps)
	require.NoError(t, err)
	reservations, err := encodeReservations("id", givenTo(record.Steps))
	require.NoError(t, err)
	var again row
	require.NoError(t, again.decode(encodeReleased(record.Steps), encodeCause(record.Cause), reservations, steps))
	require.Equal(t, sentences(record), sentences(again.record))
}

func givenTo(steps []twophase.StepRecord) []twophase.Reservation {
	given := make([]twophase.Reservation, len(steps))
	for i, step := range steps {
		if step.Reservation != nil {
			given[i] = *step.Reservation
		}
	}
	return given
}

// sentences tells what a record says of each step and of its end, without the
// difference between nothing and an empty list.
func sentences(r twophase.Record) (said []any) {
	for i, step := range r.Steps {
		given := givenTo(r.Steps)[i]
		said = append(said, step.Name, step.Participant, string(step.Payload), step.Hold, step.Dropped, step.Released,
			append([]string{}, given.Resources...), given.TimeLeft, given.Assigned, string(given.Details))
	}
	if r.Cause != nil {
		said = append(said, r.Cause.Step, r.Cause.Participant, r.Cause.Call, r.Cause.Reason, clip(r.Cause.Message))
	}
	return said
}
