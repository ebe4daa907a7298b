package postgres

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

func TestJournalKeepsTheContract(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]struct {
		mode  pgx.QueryExecMode
		suite []twophasetest.Option
	}{
		"with prepared statements, by several instances": {
			pgx.QueryExecModeCacheStatement,
			[]twophasetest.Option{twophasetest.Reopened(reopened), twophasetest.Shared(another)},
		},
		"without prepared statements": {
			pgx.QueryExecModeExec, []twophasetest.Option{twophasetest.Reopened(reopened)},
		},
		"by the simple protocol": {pgx.QueryExecModeSimpleProtocol, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := cluster.Pool(t, inMode(options.mode), withConns(40))
			var schemas atomic.Int64
			open := func(t testing.TB) twophase.Journal {
				return openInSchema(t, pool, fmt.Sprintf("schema %d", schemas.Add(1)))
			}
			twophasetest.TestJournal(t, open, append(options.suite, twophasetest.RealTime(3*time.Second))...)
		})
	}
}

// journalInSchema knows where it has its tables.
type journalInSchema struct {
	*Journal
	schema string
}

func openInSchema(t testing.TB, pool *pgxpool.Pool, schema string) twophase.Journal {
	t.Helper()
	return journalInSchema{openJournal(t, pool, WithSchema(schema)), schema}
}

func reopened(t testing.TB, journal twophase.Journal) twophase.Journal {
	j := journal.(journalInSchema)
	j.Close()
	return openInSchema(t, j.pool, j.schema)
}

func another(t testing.TB, journal twophase.Journal) twophase.Journal {
	j := journal.(journalInSchema)
	return openInSchema(t, j.pool, j.schema)
}

func inMode(mode pgx.QueryExecMode) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode }
}

func withConns(n int32) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.MaxConns = n }
}

func TestPruneGoesInStepsToItsLimitAndNoFurther(t *testing.T) {
	t.Parallel()
	const finished, limit = 1600, 1100
	pool := cluster.Pool(t)
	j := openJournal(t, pool)
	fill(t, pool, finished)
	n, err := j.Prune(t.Context(), time.Minute, limit)
	require.NoError(t, err)
	require.Equal(t, limit, n)
	n, err = j.Prune(t.Context(), time.Minute, limit)
	require.NoError(t, err)
	require.Equal(t, finished-limit, n)
}

// openJournal opens a journal that is closed with the test.
func openJournal(t testing.TB, pool *pgxpool.Pool, options ...Option) *Journal {
	t.Helper()
	j, err := NewJournal(t.Context(), pool, options...)
	require.NoError(t, err)
	t.Cleanup(j.Close)
	return j
}

// open returns a pool on a database that other pools may be on too.
func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	return pgtest.Open(t, url)
}
