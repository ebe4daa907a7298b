package process_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// cluster is the server that the tests share; each has databases of its own.
var cluster *pgtest.Cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	started, err := pgtest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cluster = started
	defer func() { _ = cluster.Stop() }()
	return m.Run()
}

// The store's pool is tested with the pool; delivery's table is its own.
func TestDeliveryKeepsTheContract(t *testing.T) {
	t.Parallel()
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		d, err := delivery.Open(t.Context(), cluster.Pool(t), slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		t.Cleanup(d.Close)
		require.NoError(t, d.Add(t.Context(), "Indiranagar", free))
		return twophasetest.Subject{
			Participant: d,
			Payload:     delivery.Agent{Area: "Indiranagar"},
			Different:   delivery.Agent{Area: "Jayanagar"},
		}
	}, twophasetest.RealTime(2*time.Second), twophasetest.SingleResource())
}

func TestStockShowsWhoHasWhatAndForHowLong(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := store.Open(ctx, cluster.Pool(t), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(s.Close)
	require.NoError(t, s.Sell(ctx, 100, "masala dosa", "akki roti"))
	key := func(order string) twophase.Key { return twophase.Key{Transaction: order, Step: "store"} }
	for _, order := range []string{"reserved", "assigned"} {
		_, err := s.Reserve(ctx, twophase.Request{Key: key(order), Payload: []byte(`{"food":"masala dosa"}`), Hold: time.Minute})
		require.NoError(t, err)
	}
	require.NoError(t, s.Assign(ctx, key("assigned")))

	kinds, err := s.Stock(ctx)
	require.NoError(t, err)
	require.Len(t, kinds, 2)
	dosa := kinds[1]
	require.Equal(t, "masala dosa", dosa.Kind)
	require.Equal(t, []int{98, 1, 1}, []int{dosa.Free, dosa.Reserved, dosa.Assigned})
	require.Len(t, dosa.Resources, 60)
	require.Equal(t, 40, dosa.More)
	shown := map[string]int64{}
	for _, r := range dosa.Resources {
		if r.Order != "" {
			shown[r.Order+" "+r.State] = r.TimeLeft
		}
	}
	require.Contains(t, shown, "reserved reserved")
	require.Greater(t, shown["reserved reserved"], int64(30_000))

	gone, err := s.TakeAway(ctx, "masala dosa")
	require.NoError(t, err)
	require.Equal(t, 98, gone)
	kinds, err = s.Stock(ctx)
	require.NoError(t, err)
	require.Equal(t, 0, kinds[1].Free)
	require.Equal(t, "masala dosa", kinds[1].Kind, "a food that is sold out stays on the menu")
}
