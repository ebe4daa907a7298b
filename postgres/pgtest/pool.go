package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Pool returns a pool on a fresh database, which configure may change before it
// is opened. It is closed with the test.
func (c *Cluster) Pool(t testing.TB, configure ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	url, err := c.CreateDatabase(t.Context())
	require.NoError(t, err)
	return Open(t, url, configure...)
}

// Open returns a pool on the database that url names. It is closed with the
// test.
func Open(t testing.TB, url string, configure ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	for _, change := range configure {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
