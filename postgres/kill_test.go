//go:build unix

package postgres

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/crashtest"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

func init() { crashtest.ChildMain(openForChild) }

func openForChild(ctx context.Context, url string) (twophase.Journal, func() error, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	j, err := NewJournal(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return j, func() error {
		j.Close()
		pool.Close()
		return nil
	}, nil
}

func newDatabase(c *pgtest.Cluster) func(t testing.TB) string {
	return func(t testing.TB) string {
		url, err := c.CreateDatabase(t.Context())
		require.NoError(t, err)
		return url
	}
}

// ownCluster starts a server that a test may crash.
func ownCluster(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c, err := pgtest.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop()) })
	return c
}

func TestCoordinatorsMayBeKilledAtAnyMoment(t *testing.T) {
	for name, coordinators := range map[string]int{
		"one coordinator": 1, "two coordinators": 2, "three coordinators": 3,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				t.Skip("it takes some seconds")
			}
			crashtest.Run(t, crashtest.Test{
				Storage: newDatabase(cluster), Open: openForChild,
				Coordinators: coordinators, Freezes: coordinators > 1,
			})
		})
	}
}

func TestServerMayCrashAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	c := ownCluster(t)
	crashtest.Run(t, crashtest.Test{
		Storage: newDatabase(c), Open: openForChild, Coordinators: 2, Freezes: true,
		Outage: func(t testing.TB) (back func()) {
			require.NoError(t, c.ShutDown(pgtest.Immediate))
			return func() { require.NoError(t, c.StartAgain(t.Context())) }
		},
	})
}
