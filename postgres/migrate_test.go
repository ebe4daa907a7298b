package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

func TestInstancesThatOpenAnEmptyDatabaseAtOnceMigrateItOnce(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{"default schema": "public", "schema of its own": `Our "own"`} {
		var options []Option
		if schema != "public" {
			options = append(options, WithSchema(schema))
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := cluster.Pool(t, withConns(8))
			var opening sync.WaitGroup
			for i := range 4 {
				opening.Go(func() {
					j, err := NewJournal(t.Context(), pool, options...)
					if !assert.NoError(t, err) {
						return
					}
					defer j.Close()
					_, created, err := j.Begin(t.Context(), benchRecord(fmt.Sprint("order-", i)))
					assert.NoError(t, err)
					assert.True(t, created)
				})
			}
			opening.Wait()
			j := openJournal(t, pool, options...)
			require.Len(t, listed(t, j, twophase.Filter{}), 4)
			var migrations int
			table := qualified(schema, "twophase_schema")
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&migrations))
			all, err := readMigrations()
			require.NoError(t, err)
			require.Len(t, all, migrations)
		})
	}
}

func TestTablesOfANewerVersionAreRefused(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	require.NoError(t, Migrate(t.Context(), pool))
	execute(t, pool, `INSERT INTO twophase_schema VALUES (999)`)
	for name, options := range map[string][]Option{"with migration": nil, "without": {WithoutMigration()}} {
		_, err := NewJournal(t.Context(), pool, options...)
		require.ErrorIs(t, err, ErrNewerSchema, name)
		require.ErrorContains(t, err, "999", name)
	}
	require.ErrorIs(t, Migrate(t.Context(), pool), ErrNewerSchema)
}

func TestWithoutMigrationTheTablesHaveToBeThere(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	schema := WithSchema("ours")
	_, err := NewJournal(t.Context(), pool, schema, WithoutMigration())
	require.ErrorIs(t, err, ErrNotMigrated)
	require.NoError(t, Migrate(t.Context(), pool, schema))
	require.NoError(t, Migrate(t.Context(), pool, schema), "again")
	j := openJournal(t, pool, schema, WithoutMigration())
	_, _, err = j.Begin(t.Context(), benchRecord("order-1"))
	require.NoError(t, err)
}

func TestMigratedTablesNeedNoMoreThanReadingAndWriting(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	schema := WithSchema("ours")
	require.NoError(t, Migrate(t.Context(), pool, schema))
	role := "clerk_of_" + pool.Config().ConnConfig.Database // roles are the whole server's
	execute(t, pool, `CREATE ROLE `+role)
	t.Cleanup(func() {
		_, err := pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	})
	execute(t, pool, `GRANT USAGE ON SCHEMA ours TO `+role)
	execute(t, pool, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ours TO `+role)
	clerk, err := pgxpool.New(t.Context(), pool.Config().ConnString()+"&role="+role)
	require.NoError(t, err)
	t.Cleanup(clerk.Close)
	j := openJournal(t, clerk, schema)
	for name, call := range calls(t.Context(), j) {
		if err := call(); err != nil {
			assert.ErrorIs(t, err, twophase.ErrGone, name)
		}
	}
}

func TestSearchPathWithoutASchemaIsNamed(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), cluster.Pool(t).Config().ConnString()+"&search_path=nowhere")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = NewJournal(t.Context(), pool)
	require.ErrorIs(t, err, twophase.ErrInvalid)
	require.ErrorContains(t, err, "WithSchema")
	openJournal(t, pool, WithSchema("nowhere"))
}

func TestOptionsThatCannotBeRightAreNamed(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	for named, option := range map[string]Option{
		`WithSchema("")`: WithSchema(""), "WithTimeout(-1ns)": WithTimeout(-1),
		"WithCommits(0)": WithCommits(0), "WithCommits(65)": WithCommits(65),
	} {
		_, err := NewJournal(t.Context(), pool, option)
		require.ErrorIs(t, err, twophase.ErrInvalid, named)
		require.ErrorContains(t, err, named)
		require.ErrorIs(t, Migrate(t.Context(), pool, option), twophase.ErrInvalid, named)
	}
	_, err := NewJournal(t.Context(), nil)
	require.ErrorIs(t, err, twophase.ErrInvalid)
}

func TestDatabaseThatCannotWriteEveryIDIsRefused(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	name := "latin_" + pool.Config().ConnConfig.Database
	execute(t, pool, `CREATE DATABASE `+name+` ENCODING 'LATIN1' TEMPLATE template0`)
	latin, err := pgxpool.New(t.Context(), cluster.URL(name))
	require.NoError(t, err)
	t.Cleanup(latin.Close)
	_, err = NewJournal(t.Context(), latin)
	require.ErrorIs(t, err, twophase.ErrInvalid)
	require.ErrorContains(t, err, "LATIN1")
}

// listed returns the ids of what matches.
func listed(t testing.TB, j *Journal, filter twophase.Filter) []string {
	t.Helper()
	var ids []string
	for record, err := range j.List(t.Context(), filter) {
		require.NoError(t, err)
		ids = append(ids, record.ID)
	}
	return ids
}
