package sqlite_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

func TestLateMessagesOfWhatWasConsumedAreAnsweredAsBefore(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
	req := wants("order-1", dosa, 1)
	given := take(t, p, req)
	require.ErrorIs(t, p.Consume(t.Context(), req.Key), pool.ErrNotAssigned, "it is reserved")
	require.NoError(t, p.Assign(t.Context(), req.Key))
	err := p.Consume(t.Context(), req.Key, keyOf("order-2"))
	require.ErrorIs(t, err, pool.ErrNotAssigned)
	require.ErrorContains(t, err, "order-2/store")
	require.Equal(t, pool.Counts{Free: 1, Assigned: 1}, count(t, p, dosa))
	for range 2 { // it may be repeated
		require.NoError(t, p.Consume(t.Context(), req.Key, req.Key))
		require.Equal(t, pool.Counts{Free: 1}, count(t, p, dosa))
	}

	require.NoError(t, p.Assign(t.Context(), req.Key))
	again := take(t, p, req)
	require.True(t, again.Assigned)
	require.Equal(t, given.Resources, again.Resources)
	holding, _, err := p.Lookup(t.Context(), req.Key)
	require.NoError(t, err)
	require.Equal(t, pool.Holding{State: twophase.EntryAssigned, Kind: dosa, Resources: given.Resources}, holding)

	require.NoError(t, p.Restock(t.Context(), dosa, given.Resource()), "it may come back")
	for _, id := range []string{"order-2", "order-3"} {
		take(t, p, wants(id, dosa, 1))
		require.NoError(t, p.Assign(t.Context(), keyOf(id)))
	}
	require.NoError(t, p.Consume(t.Context(), req.Key))
	require.NoError(t, p.Release(t.Context(), req.Key))
	require.Equal(t, pool.Counts{Assigned: 2}, count(t, p, dosa))
	require.ErrorIs(t, p.Assign(t.Context(), req.Key), twophase.ErrReleased)
	require.ErrorIs(t, p.Consume(t.Context(), req.Key), pool.ErrNotAssigned, "it was released")
}

func TestConsumedKeyIsPrunedAfterItsRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, sqlite.WithoutBackground())
		require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
		for _, id := range []string{"consumed", "assigned"} {
			take(t, p, wants(id, dosa, 1))
			require.NoError(t, p.Assign(t.Context(), keyOf(id)))
		}
		require.NoError(t, p.Consume(t.Context(), keyOf("consumed")))
		for want, pause := range []time.Duration{24 * time.Hour, time.Nanosecond} {
			time.Sleep(pause)
			n, err := p.Prune(t.Context(), 10)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
		require.ErrorIs(t, p.Assign(t.Context(), keyOf("consumed")), twophase.ErrUnknown)
		require.NoError(t, p.Assign(t.Context(), keyOf("assigned")))
	})
}
