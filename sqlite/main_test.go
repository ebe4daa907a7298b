package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase"
)

// holdEnv makes the test binary a process that opens a journal and holds it.
const holdEnv = "TWOPHASE_SQLITE_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdEnv); path != "" {
		hold(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// hold begins a transaction in a journal, says so, and waits to be killed.
func hold(path string) {
	j, err := Open(context.Background(), path)
	if err == nil {
		_, _, err = j.Begin(context.Background(), order("held"))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	time.Sleep(time.Minute)
}

func newPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "journal.db")
}

// open opens the journal on path until the test ends, or until it is closed.
func open(t testing.TB, path string, options ...Option) *Journal {
	t.Helper()
	j, err := Open(t.Context(), path, options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, j.Close()) })
	return j
}

// order is the record of a food order.
func order(id string) twophase.Record {
	return twophase.Record{
		Version: twophase.RecordVersion, ID: id, State: twophase.StateBegun,
		Steps: []twophase.StepRecord{
			{Name: "store", Participant: "store", Payload: json.RawMessage(`{"food":"masala dosa"}`), Hold: time.Minute},
			{Name: "delivery", Participant: "delivery", Payload: json.RawMessage(`{"area":"Indiranagar"}`), Hold: time.Minute},
		},
		Deadline: time.Minute, Owner: "host/1234/3HYNZ7K6LQWXCB4FZ5J2V6TQGM", Lease: time.Hour,
	}
}

// given is the decision that an order is assigned.
func given() twophase.Decision {
	return twophase.Decision{State: twophase.StateAssigned, Reservations: []twophase.Reservation{
		{Resources: []string{"packet-100000"}, Assigned: true}, {Resources: []string{"agent-100000"}, Assigned: true},
	}}
}

// refused is the decision that an order is released.
func refused() twophase.Decision {
	return twophase.Decision{State: twophase.StateReleasing, Cause: &twophase.Cause{
		Step: "delivery", Participant: "delivery", Call: twophase.CallReserve, Reason: "refused", Message: "refused: no agent",
	}}
}

func begin(t testing.TB, j *Journal, record twophase.Record) {
	t.Helper()
	_, created, err := j.Begin(t.Context(), record)
	require.NoError(t, err)
	require.True(t, created)
}

func decide(t testing.TB, j *Journal, id string, decision twophase.Decision) {
	t.Helper()
	standing, err := j.Decide(t.Context(), id, decision)
	require.NoError(t, err)
	require.Equal(t, decision.State, standing.State)
}

// stateOf is 0 if there is no record.
func stateOf(t testing.TB, j *Journal, id string) twophase.State {
	t.Helper()
	record, err := j.Get(t.Context(), id)
	if err != nil {
		require.ErrorIs(t, err, twophase.ErrGone)
	}
	return record.State
}

func list(t testing.TB, j *Journal, filter twophase.Filter) (records []twophase.Record) {
	t.Helper()
	for record, err := range j.List(t.Context(), filter) {
		require.NoError(t, err)
		records = append(records, record)
	}
	return records
}

// idsOf returns the ids of records.
func idsOf(records []twophase.Record) []string {
	ids := make([]string, len(records))
	for i, record := range records {
		ids[i] = record.ID
	}
	return ids
}
