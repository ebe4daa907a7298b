package twophasetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// eavesdropper notes what arrives.
type eavesdropper struct {
	twophase.Participant
	twophase.Journal
	arrived string
}

func (e *eavesdropper) note(what ...any) { e.arrived = fmt.Sprint(what...) }

func (e *eavesdropper) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	e.note(string(req.Payload))
	return twophase.Reservation{}, nil
}

func (e *eavesdropper) Begin(_ context.Context, record twophase.Record) (twophase.Record, bool, error) {
	e.note(record.Steps[0].Name)
	return record, true, nil
}

func (e *eavesdropper) Decide(_ context.Context, _ string, d twophase.Decision) (twophase.Decision, error) {
	e.note(d.Reservations[0].Resource())
	return d, nil
}

func (e *eavesdropper) Released(_ context.Context, _ string, steps []string) error {
	e.note(steps[0])
	return nil
}

func (e *eavesdropper) Renew(_ context.Context, _ string, _ time.Duration, ids []string) error {
	e.note(ids[0])
	return nil
}

// A caller may use again what it has sent, once it has its answer.
func TestALateDeliveryIsOfWhatWasSent(t *testing.T) {
	t.Parallel()
	late := Script(Rule{Fault: Fault{LoseRequest: true, Late: time.Minute}})
	ctx := t.Context()
	for name, sendAndReuse := range map[string]func(*FaultyParticipant, *FaultyJournal){
		"Reserve": func(p *FaultyParticipant, _ *FaultyJournal) {
			payload := json.RawMessage("sent")
			_, _ = p.Reserve(ctx, twophase.Request{Key: mine, Payload: payload})
			copy(payload, "used")
		},
		"Begin": func(_ *FaultyParticipant, j *FaultyJournal) {
			steps := []twophase.StepRecord{{Name: "sent"}}
			_, _, _ = j.Begin(ctx, twophase.Record{ID: "order-1", Steps: steps})
			steps[0].Name = "used"
		},
		"Decide": func(_ *FaultyParticipant, j *FaultyJournal) {
			reservations := []twophase.Reservation{{Resources: []string{"sent"}}}
			_, _ = j.Decide(ctx, "order-1", twophase.Decision{Reservations: reservations})
			reservations[0] = twophase.Reservation{}
		},
		"Released": func(_ *FaultyParticipant, j *FaultyJournal) {
			steps := []string{"sent"}
			_ = j.Released(ctx, "order-1", steps)
			steps[0] = "used"
		},
		"Renew": func(_ *FaultyParticipant, j *FaultyJournal) {
			ids := []string{"sent"}
			_ = j.Renew(ctx, ours, time.Minute, ids)
			ids[0] = "used"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := &eavesdropper{}
				p, j := NewFaultyParticipant(e, late), NewFaultyJournal(e, late)
				sendAndReuse(p, j)
				p.Wait()
				j.Wait()
				require.Equal(t, "sent", e.arrived)
			})
		})
	}
}

// away is a journal that is not available.
type away struct{ twophase.Journal }

func (away) Released(context.Context, string, []string) error { return twophase.ErrUnavailable }

// ErrUnavailable promises that nothing was written. If a request is delivered
// more than once, one answer cannot promise that for all.
func TestWhatIsDeliveredTwiceIsNeverUnavailable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault Fault
		want  error
	}{
		{"once", Fault{}, twophase.ErrUnavailable},
		{"twice", Fault{Repeat: true}, ErrLost},
		{"once more, later", Fault{Late: time.Minute}, ErrLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := NewFaultyJournal(away{}, Script(Rule{Fault: tt.fault}))
				err := j.Released(t.Context(), "order-1", nil)
				require.ErrorIs(t, err, tt.want)
				require.Equal(t, errors.Is(tt.want, twophase.ErrUnavailable), errors.Is(err, twophase.ErrUnavailable))
				j.Wait()
			})
		})
	}
}
