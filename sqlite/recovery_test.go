package sqlite

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// The processes of these tests are coordinators on one file, one after another;
// the services outlive them.
type town struct{ store, delivery *pool.Pool }

func newTown(t *testing.T) town {
	t.Helper()
	stocked := func(kind string, ids ...string) *pool.Pool {
		p, err := pool.New()
		require.NoError(t, err)
		require.NoError(t, p.Restock(kind, ids...))
		return p
	}
	return town{store: stocked("masala dosa", "packet-1"), delivery: stocked("Indiranagar", "agent-1")}
}

// recoverOn has a new process finish what is on file.
func (w town) recoverOn(t *testing.T, path string) (twophase.Recovery, *Journal) {
	t.Helper()
	j := open(t, path)
	c, err := twophase.NewCoordinator(j, twophase.WithoutBackgroundRecovery(),
		twophase.WithParticipant("store", w.store), twophase.WithParticipant("delivery", w.delivery))
	require.NoError(t, err)
	recovery, err := c.Recover(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close(t.Context()))
	return recovery, j
}

// want is the record of an order as a coordinator begins it.
func want(t *testing.T, id string) twophase.Record {
	t.Helper()
	record := order(id)
	for i, kind := range []string{"masala dosa", "Indiranagar"} {
		payload, err := json.Marshal(pool.Want{Kind: kind})
		require.NoError(t, err)
		record.Steps[i].Payload = payload
	}
	return record
}

// reserve does what a coordinator does before it dies.
func (w town) reserve(t *testing.T, record twophase.Record) {
	t.Helper()
	for i, p := range []twophase.Participant{w.store, w.delivery} {
		_, err := p.Reserve(t.Context(), twophase.Request{
			Key:     twophase.Key{Transaction: record.ID, Step: record.Steps[i].Name},
			Payload: record.Steps[i].Payload, Hold: time.Minute,
		})
		require.NoError(t, err)
	}
}

func TestOrderLeftUndecidedGoesForwardAfterReopening(t *testing.T) {
	t.Parallel()
	path, w := newPath(t), newTown(t)
	j := open(t, path)
	record := want(t, "order-1")
	begin(t, j, record)
	w.reserve(t, record)
	require.NoError(t, w.store.Assign(t.Context(), twophase.Key{Transaction: "order-1", Step: "store"}))
	require.NoError(t, j.Close())

	recovery, j := w.recoverOn(t, path)
	require.Equal(t, twophase.Recovery{Finished: 1}, recovery)
	require.Equal(t, twophase.StateAssigned, stateOf(t, j, "order-1"))
	require.Zero(t, w.store.Count("masala dosa").Free)
	got, err := j.Get(t.Context(), "order-1")
	require.NoError(t, err)
	require.Equal(t, "packet-1", got.Decision().Reservations[0].Resource())
	require.Equal(t, "agent-1", got.Decision().Reservations[1].Resource())
}

func TestOrderLeftReleasingIsReleasedAfterReopening(t *testing.T) {
	t.Parallel()
	path, w := newPath(t), newTown(t)
	j := open(t, path)
	record := want(t, "order-1")
	begin(t, j, record)
	w.reserve(t, record)
	decide(t, j, "order-1", refused())
	require.NoError(t, j.Close())

	recovery, j := w.recoverOn(t, path)
	require.Equal(t, twophase.Recovery{Finished: 1}, recovery)
	require.Equal(t, twophase.StateReleased, stateOf(t, j, "order-1"))
	require.Equal(t, 1, w.store.Count("masala dosa").Free)
	require.Equal(t, 1, w.delivery.Count("Indiranagar").Free)
}

func TestOrderOfNoStepsLeftReleasingIsReleasedAfterReopening(t *testing.T) {
	t.Parallel()
	path, w := newPath(t), newTown(t)
	j := open(t, path)
	empty := order("order-1")
	empty.Steps = nil
	begin(t, j, empty)
	decide(t, j, "order-1", refused())
	require.NoError(t, j.Close())

	_, j = w.recoverOn(t, path)
	require.Equal(t, twophase.StateReleased, stateOf(t, j, "order-1"))
}
