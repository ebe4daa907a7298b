package twophase_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// The contract of a journal is checked by twophasetest.TestJournal; here is what
// implementations are given to keep it.

func recordOf(state twophase.State, steps ...twophase.StepRecord) twophase.Record {
	return twophase.Record{Version: twophase.RecordVersion, ID: "order-1", State: state, Steps: steps}
}

func TestRecordIsDecidedOnce(t *testing.T) {
	t.Parallel()
	steps := []twophase.StepRecord{{Name: "near", Dropped: true}, {Name: "far"}, {Name: "store"}}
	given := []twophase.Reservation{{}, {Resources: []string{"agent-2"}}, {Resources: []string{"packet-1"}}}
	assigned := twophase.Decision{State: twophase.StateAssigned, Reservations: given}
	releasing := twophase.Decision{State: twophase.StateReleasing, Cause: &twophase.Cause{Message: "refused"}}

	begun := recordOf(twophase.StateBegun, steps...)
	assert.Equal(t, twophase.StateBegun, begun.Decision().State, "no decision stands yet")

	placed := begun.Decided(assigned)
	assert.Equal(t, assigned, placed.Decision())
	assert.Nil(t, placed.Steps[0].Reservation, "what was not kept was given nothing")
	assert.Equal(t, "packet-1", placed.Steps[2].Reservation.Resource())
	assert.Nil(t, begun.Steps[2].Reservation, "the record before is left alone")
	assert.Equal(t, placed, placed.Decided(releasing), "the first decision stands")

	short := begun.Decided(twophase.Decision{State: twophase.StateAssigned, Reservations: given[:2]})
	assert.Nil(t, short.Steps[2].Reservation, "a decision may say less than there are steps")

	failed := begun.Decided(releasing)
	assert.Equal(t, releasing, failed.Decision())
	assert.Equal(t, failed, failed.Decided(assigned), "the first decision stands")
}

func TestRecordIsFinishedWhenWhatMustBeReleasedIs(t *testing.T) {
	t.Parallel()
	store := twophase.StepRecord{Name: "store"}
	done := twophase.StepRecord{Name: "store", Released: true}
	dropped := twophase.StepRecord{Name: "near", Dropped: true}
	tests := []struct {
		name     string
		record   twophase.Record
		released []string // then
		state    twophase.State
		finished bool
	}{
		{"begun", recordOf(twophase.StateBegun, store), nil, twophase.StateBegun, false},
		{"begun, and a release that cannot be", recordOf(twophase.StateBegun, store), []string{"store"}, twophase.StateBegun, false},
		{"begun, without steps", recordOf(twophase.StateBegun), nil, twophase.StateBegun, false},
		{"assigned", recordOf(twophase.StateAssigned, store), nil, twophase.StateAssigned, true},
		{"assigned, and one dropped", recordOf(twophase.StateAssigned, store, dropped), nil, twophase.StateAssigned, false},
		{"assigned, and the dropped one released", recordOf(twophase.StateAssigned, store, dropped), []string{"near"}, twophase.StateAssigned, true},
		{"releasing", recordOf(twophase.StateReleasing, store, dropped), nil, twophase.StateReleasing, false},
		{"releasing, one released", recordOf(twophase.StateReleasing, store, dropped), []string{"near"}, twophase.StateReleasing, false},
		{"releasing, the last one released", recordOf(twophase.StateReleasing, done, dropped), []string{"near"}, twophase.StateReleased, true},
		{"releasing, nothing to release", recordOf(twophase.StateReleasing), nil, twophase.StateReleased, true},
		{"releasing, an unknown step", recordOf(twophase.StateReleasing, store), []string{"other"}, twophase.StateReleasing, false},
		{"released", recordOf(twophase.StateReleased, done), []string{"store"}, twophase.StateReleased, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			before := fmt.Sprint(test.record)
			after := test.record.WithReleased(test.released)
			assert.Equal(t, test.state, after.State)
			assert.Equal(t, test.finished, after.Finished())
			assert.Equal(t, before, fmt.Sprint(test.record), "the record before is left alone")
			after.Attempts = 1
			assert.Equal(t, !test.finished, after.Stuck())
		})
	}
}

func TestFilterSelects(t *testing.T) {
	t.Parallel()
	store := twophase.StepRecord{Name: "store"}
	begun, placed := recordOf(twophase.StateBegun, store), recordOf(twophase.StateAssigned, store)
	stuck := recordOf(twophase.StateReleasing, store)
	stuck.Attempts = 3
	tests := []struct {
		name   string
		filter twophase.Filter
		want   []bool // of begun, placed, stuck
	}{
		{"all", twophase.Filter{}, []bool{true, true, true}},
		{"one state", twophase.Filter{State: twophase.StateAssigned}, []bool{false, true, false}},
		{"unfinished", twophase.Filter{Unfinished: true}, []bool{true, false, true}},
		{"stuck", twophase.Filter{Stuck: true}, []bool{false, false, true}},
		{"stuck and of another state", twophase.Filter{Stuck: true, State: twophase.StateBegun}, []bool{false, false, false}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for i, record := range []twophase.Record{begun, placed, stuck} {
				assert.Equal(t, test.want[i], test.filter.Match(record), "%v", record.State)
			}
		})
	}
}

func TestStatesHaveNames(t *testing.T) {
	t.Parallel()
	for state, name := range []string{"", "begun", "assigned", "releasing", "released", "5"} {
		assert.Equal(t, name, twophase.State(state).String())
	}
}

func TestMemoryJournalHonoursContexts(t *testing.T) {
	t.Parallel()
	j := twophase.NewMemoryJournal()
	_, _, err := j.Begin(t.Context(), recordOf(twophase.StateBegun))
	require.NoError(t, err)
	over := ended(t.Context())
	calls := map[string]func(context.Context) error{
		"Begin":    func(ctx context.Context) error { _, _, err := j.Begin(ctx, recordOf(twophase.StateBegun)); return err },
		"Decide":   func(ctx context.Context) error { _, err := j.Decide(ctx, "order-1", twophase.Decision{}); return err },
		"Released": func(ctx context.Context) error { return j.Released(ctx, "order-1", nil) },
		"Claim":    func(ctx context.Context) error { _, err := j.Claim(ctx, "me", time.Second, 1); return err },
		"Renew":    func(ctx context.Context) error { return j.Renew(ctx, "me", time.Second, []string{"order-1"}) },
		"Yield":    func(ctx context.Context) error { return j.Yield(ctx, "order-1", "me", 1, time.Second, "") },
		"Get":      func(ctx context.Context) error { _, err := j.Get(ctx, "order-1"); return err },
		"Prune":    func(ctx context.Context) error { _, err := j.Prune(ctx, 0, 1); return err },
		"List": func(ctx context.Context) (err error) {
			for _, err = range j.List(ctx, twophase.Filter{}) {
				break
			}
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := call(over)
			require.ErrorIs(t, err, twophase.ErrUnavailable, "nothing was written")
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

func TestMemoryJournalListsUntilTheReaderStops(t *testing.T) {
	t.Parallel()
	j := twophase.NewMemoryJournal()
	for i := range 3 {
		record := recordOf(twophase.StateBegun)
		record.ID = fmt.Sprint(i)
		_, _, err := j.Begin(t.Context(), record)
		require.NoError(t, err)
	}
	var read []string
	for record, err := range j.List(t.Context(), twophase.Filter{}) {
		require.NoError(t, err)
		if read = append(read, record.ID); len(read) == 2 {
			break
		}
	}
	assert.Equal(t, []string{"0", "1"}, read, "oldest first")
}

func TestMemoryJournalForgetsOnlyWhatFinishedLongAgo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := twophase.NewMemoryJournal()
		for i := range 5 {
			record := recordOf(twophase.StateReleasing)
			record.ID = fmt.Sprint(i)
			_, _, err := j.Begin(t.Context(), record)
			require.NoError(t, err)
			time.Sleep(time.Hour)
		}
		open := recordOf(twophase.StateBegun)
		_, _, err := j.Begin(t.Context(), open)
		require.NoError(t, err)
		time.Sleep(time.Hour)

		n, err := j.Prune(t.Context(), 3*time.Hour, 2)
		require.NoError(t, err)
		assert.Equal(t, 2, n, "no more than the limit")
		n, err = j.Prune(t.Context(), 3*time.Hour, 2)
		require.NoError(t, err)
		assert.Equal(t, 1, n, "and no more than are old enough")
		_, err = j.Get(t.Context(), "2")
		require.ErrorIs(t, err, twophase.ErrGone)
		_, err = j.Get(t.Context(), "3")
		require.NoError(t, err)
		_, err = j.Get(t.Context(), "order-1")
		require.NoError(t, err, "what is not finished is kept")
		require.ErrorIs(t, j.Released(t.Context(), "2", nil), twophase.ErrGone)
	})
}

func TestMemoryJournalCountsFromTheBeginningOfEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := twophase.NewMemoryJournal()
		time.Sleep(time.Hour)
		_, _, err := journal.Begin(t.Context(), twophase.Record{ID: "order-1", State: twophase.StateBegun, Deadline: time.Minute})
		require.NoError(t, err)
		time.Sleep(time.Second)
		record, err := journal.Get(t.Context(), "order-1")
		require.NoError(t, err)
		assert.Equal(t, time.Second, record.Age)
		assert.Equal(t, time.Minute-time.Second, record.Deadline)
	})
}
