package twophase

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nobody is a participant that is never called.
type nobody struct{ Participant }

// The last caller of a transaction that another coordinator drives leaves, and
// a new one comes before the watch has ended. No test from outside can hit that
// instant, so this one goes through it step by step.
func TestWhoJoinsAsTheLastCallerLeavesIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := NewMemoryJournal()
		record := Record{ID: "order-1", State: StateBegun, Owner: "another", Lease: time.Hour, Deadline: time.Hour}
		record.Steps = []StepRecord{{Name: "store", Participant: "store"}}
		_, _, err := journal.Begin(t.Context(), record)
		require.NoError(t, err)
		c, err := NewCoordinator(journal, WithParticipant("store", nobody{}), WithoutBackgroundRecovery())
		require.NoError(t, err)
		defer func() { assert.NoError(t, c.Close(context.WithoutCancel(t.Context()))) }()

		first, mine, err := c.join(t.Context(), Record{ID: record.ID})
		require.NoError(t, err)
		require.True(t, mine)
		first.look(t.Context())
		synctest.Wait()
		first.callers.Add(-1) // it leaves
		second, mine, err := c.join(t.Context(), Record{ID: record.ID})
		require.NoError(t, err)
		require.False(t, mine)
		first.on(event{kind: evLeave, failure: &failure{step: noStep, err: fmt.Errorf("left")}})
		first.end()

		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = second.wait(ctx)
		assert.ErrorIs(t, err, ErrInDoubt)
		assert.ErrorIs(t, err, errUnderWay)
		assert.Less(t, time.Since(start), time.Minute)
	})
}

// The coordinator is closed at once while the outcome is being told. Both let go
// of those who wait.
func TestAnOutcomeMayComeAsTheCoordinatorIsAbandoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewCoordinator(NewMemoryJournal(), WithParticipant("store", nobody{}), WithoutBackgroundRecovery())
		require.NoError(t, err)
		r, _, err := c.join(t.Context(), Record{ID: "order-1"})
		require.NoError(t, err)
		r.end()
		assert.NotPanics(t, func() { r.instant([]action{{kind: actTell}}) })
		assert.NoError(t, c.Close(t.Context()))
	})
}

// A participant may keep the context of a call for longer than the call.
func TestNobodyGetsAContextThatSomebodyMayStillHold(t *testing.T) {
	t.Parallel()
	c := new(lazyContext)
	assert.Same(t, c, c.take())
	assert.NotSame(t, c, c.take())
	assert.NotNil(t, (*lazyContext)(nil).take())
}

// tardy is a participant that takes a second to reserve.
type tardy struct{}

func (tardy) Reserve(_ context.Context, req Request) (Reservation, error) {
	time.Sleep(time.Second)
	return Reservation{Resources: []string{"packet-1"}, TimeLeft: req.Hold}, nil
}

func (tardy) Assign(context.Context, Key) error { return nil }

func (tardy) Release(context.Context, Key) error { return nil }

// What the machine says is done at once, or recovery gives the run a new life first.
func TestWhatEndsAWatchDoesNotEndWhatRecoveryHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := NewMemoryJournal()
		_, _, err := journal.Begin(t.Context(), Record{
			Version: RecordVersion, ID: "order-1", State: StateBegun, Owner: "dead", Deadline: time.Minute,
			Steps: []StepRecord{{Name: "store", Participant: "store", Hold: 2 * time.Minute}},
		})
		require.NoError(t, err)
		c, err := NewCoordinator(journal, WithParticipant("store", tardy{}), WithoutBackgroundRecovery())
		require.NoError(t, err)
		r, _, err := c.join(t.Context(), Record{ID: "order-1"})
		require.NoError(t, err)
		r.record, err = journal.Get(t.Context(), "order-1")
		require.NoError(t, err)
		late := r.on(event{kind: evStanding, state: StateBegun})
		claimed, err := journal.Claim(t.Context(), c.owner, time.Minute, 1)
		require.NoError(t, err)
		_, err = c.takeUp(t.Context(), claimed[0])
		require.NoError(t, err)
		time.Sleep(time.Millisecond) // its Reserve is under way
		r.spawn(late)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = r.wait(ctx)
		assert.NoError(t, err)
		require.NoError(t, c.Close(t.Context()))
	})
}
