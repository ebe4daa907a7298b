package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// FuzzDecodeRecord reads rows that somebody else wrote, or damaged: they are
// refused, or mean the same when they are written and read once more.
func FuzzDecodeRecord(f *testing.F) {
	f.Add(uint8(0), `[{"name":"store","participant":"store","payload":{"kind":"dosa"},"hold":120000000000}]`, "", "")
	f.Add(uint8(1), `[{"name":"store","participant":"store","hold":1}]`,
		`{"reservations":[{"resources":["packet-1"],"time_left":5,"details":{"shelf":3}}]}`, "")
	f.Add(uint8(2), `[{"name":"store","participant":"store","hold":1},{"name":"delivery","participant":"delivery","hold":1}]`,
		`{"cause":{"step":"store","call":"assign","reason":"expired","message":"expired"}}`, `["delivery"]`)
	f.Add(uint8(1), `[]`, `{"reservations":null}`, `[null]`)
	f.Fuzz(func(t *testing.T, state uint8, steps, decision, released string) {
		var read twophase.Record
		if decode(&read, twophase.State(state), steps, decision, released) != nil {
			return
		}
		steps, err := encodeSteps(read.Steps)
		require.NoError(t, err)
		decision, err = encodeDecision(twophase.Decision{Cause: read.Cause, Reservations: givenTo(read.Steps)})
		require.NoError(t, err)
		released, err = encodeReleased(read.Steps)
		require.NoError(t, err)
		var again twophase.Record
		require.NoError(t, decode(&again, twophase.State(state), steps, decision, released))
		require.Equal(t, sentences(read), sentences(again))
	})
}

// FuzzPayload stores bytes of all kinds as a payload: they come back as they are.
func FuzzPayload(f *testing.F) {
	for _, payload := range []string{``, `{}`, `{"a": 1}`, "\"<\u2028\"", "\xff", `{"a":1} trailing`} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		steps, err := encodeSteps([]twophase.StepRecord{{Name: "store", Payload: payload}})
		require.NoError(t, err)
		var read twophase.Record
		require.NoError(t, decode(&read, twophase.StateBegun, steps, "", ""))
		require.Equal(t, string(payload), string(read.Steps[0].Payload))
	})
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
		said = append(said, *r.Cause)
	}
	return append(said, r.State)
}
