package pgtest

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClusterKeepsWhatWasCommittedAcrossACrash(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, err := Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop()) })
	url, err := c.CreateDatabase(ctx)
	require.NoError(t, err)
	run(ctx, t, url, "CREATE TABLE kept AS SELECT 42 AS answer")
	require.Equal(t, "on", query(ctx, t, url, "SHOW fsync"))

	for _, mode := range []Mode{Immediate, Fast} {
		require.NoError(t, c.ShutDown(mode))
		_, err = pgx.Connect(ctx, url)
		require.Error(t, err)
		require.NoError(t, c.StartAgain(ctx))
		require.Equal(t, "42", query(ctx, t, url, "SELECT answer::text FROM kept"))
	}
	require.NoError(t, c.Restart(ctx, Immediate))
	require.Equal(t, "42", query(ctx, t, url, "SELECT answer::text FROM kept"))
}

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	c, err := Start(t.Context())
	require.NoError(t, err)
	postgres, dir := c.postgres, c.dir
	require.NoError(t, c.Stop())
	select {
	case <-postgres.done:
	default:
		t.Fatal("the server still runs")
	}
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func run(ctx context.Context, t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	require.NoError(t, err)
}

func query(ctx context.Context, t *testing.T, url, sql string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	require.NoError(t, conn.QueryRow(ctx, sql).Scan(&answer))
	return answer
}
