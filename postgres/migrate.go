package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
)

var (
	// ErrNewerSchema says that the tables were made by a newer version of this
	// package, which may keep records that this one does not understand.
	ErrNewerSchema = errors.New("the tables are of a newer version than this library knows")
	// ErrNotMigrated says that the tables are missing or of an older version,
	// and that [WithoutMigration] leaves them so.
	ErrNotMigrated = errors.New("the tables are missing or of an older version: call Migrate")
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrate brings the tables of journals, pools and fences to the version of this
// package. Any number of processes may call it at once. It only goes forward, in
// one transaction, and what is up to date is only looked at. [NewJournal],
// [NewPool] and [NewFence] do it by themselves, unless [WithoutMigration] is given.
//
// It needs the right to create tables in the schema. Reading and writing them is
// all that is needed afterwards.
func Migrate(ctx context.Context, pool *pgxpool.Pool, options ...Option) error {
	c := newConfig(options)
	if err := errors.Join(c.errs...); err != nil {
		return err
	}
	schema, err := schemaOf(ctx, pool, c)
	if err != nil {
		return err
	}
	return migrate(ctx, pool, schema)
}

// schemaOf returns the schema that the tables are in, so that every statement
// names it: sessions may differ in their search path.
func schemaOf(ctx context.Context, q queryer, c config) (string, error) {
	if c.schema != "" {
		return c.schema, nil
	}
	var schema *string
	if err := q.QueryRow(ctx, `SELECT current_schema()::text`).Scan(&schema); err != nil {
		return "", fmt.Errorf("postgres: look for the schema: %w", err)
	}
	if schema == nil {
		return "", fmt.Errorf("postgres: %w: no schema of the search path exists: give WithSchema", twophase.ErrInvalid)
	}
	return *schema, nil
}

func migrate(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	migrations, err := readMigrations()
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, pool, schema)
	if err != nil || version == len(migrations) {
		return err
	}
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return migrateLocked(ctx, tx, schema, migrations) })
}

// checkMigrated is for those who leave the tables as they are.
func checkMigrated(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	migrations, err := readMigrations()
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, pool, schema)
	if err == nil && version < len(migrations) {
		return fmt.Errorf("postgres: version %d of %d: %w", version, len(migrations), ErrNotMigrated)
	}
	return err
}

// readMigrations returns the statements that lead from each version to the next.
func readMigrations() ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // in their order
	if err != nil {
		return nil, err
	}
	migrations := make([]string, len(names))
	for i, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		migrations[i] = string(text)
	}
	return migrations, nil
}

// migrateLocked migrates while everybody else waits. The lock is the
// transaction's, so a pooler may hand the connection on afterwards.
func migrateLocked(ctx context.Context, tx pgx.Tx, schema string, migrations []string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1::bigint)`, lockNumber(schema)); err != nil {
		return fmt.Errorf("postgres: wait for other migrations: %w", err)
	}
	if err := useSchema(ctx, tx, schema); err != nil {
		return err
	}
	version, err := schemaVersion(ctx, tx, schema)
	if err != nil {
		return err
	}
	if version == 0 {
		const create = `CREATE TABLE IF NOT EXISTS twophase_schema (version bigint NOT NULL)`
		if _, err := tx.Exec(ctx, create); err != nil {
			return fmt.Errorf("postgres: migrate: %w", err)
		}
	}
	for n := version; n < len(migrations); n++ {
		if _, err := tx.Exec(ctx, migrations[n], pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("postgres: migrate to version %d: %w", n+1, err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO twophase_schema VALUES ($1::bigint)`, n+1); err != nil {
			return fmt.Errorf("postgres: migrate to version %d: %w", n+1, err)
		}
	}
	return nil
}

// lockNumber is the advisory lock of migrations in a schema.
func lockNumber(schema string) int64 {
	hash := fnv.New64a()
	hash.Write([]byte("twophase " + schema))
	return int64(hash.Sum64())
}

// useSchema makes the schema the one that unqualified names mean, for the rest
// of the transaction. It is made only if it is missing: that needs a right that
// the owner of the tables may not have.
func useSchema(ctx context.Context, tx pgx.Tx, schema string) error {
	var exists bool
	const look = `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::text)`
	if err := tx.QueryRow(ctx, look, schema).Scan(&exists); err != nil {
		return fmt.Errorf("postgres: look for schema %s: %w", schema, err)
	}
	quoted := pgx.Identifier{schema}.Sanitize()
	if !exists {
		if _, err := tx.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+quoted); err != nil {
			return fmt.Errorf("postgres: create schema %s: %w", schema, err)
		}
	}
	if _, err := tx.Exec(ctx, `SELECT set_config('search_path', $1::text, true)`, quoted); err != nil {
		return fmt.Errorf("postgres: use schema %s: %w", schema, err)
	}
	return nil
}

type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// lookForVersion reads the catalogue as a table. Functions such as to_regclass
// read a cache, which may not have heard yet of what was committed while the lock
// was waited for.
const lookForVersion = `SELECT EXISTS (
	SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	WHERE n.nspname = $1::text AND c.relname = 'twophase_schema')`

// schemaVersion returns the version of the tables, 0 if there are none, and
// [ErrNewerSchema] if this package does not know it.
func schemaVersion(ctx context.Context, q queryer, schema string) (int, error) {
	table := qualified(schema, "twophase_schema")
	var exists bool
	if err := q.QueryRow(ctx, lookForVersion, schema).Scan(&exists); err != nil {
		return 0, fmt.Errorf("postgres: look for %s: %w", table, err)
	}
	if !exists {
		return 0, nil
	}
	var version int
	if err := q.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM `+table).Scan(&version); err != nil {
		return 0, fmt.Errorf("postgres: read %s: %w", table, err)
	}
	migrations, err := readMigrations()
	if err == nil && version > len(migrations) {
		err = fmt.Errorf("postgres: %s has version %d, newer than %d: %w", table, version, len(migrations), ErrNewerSchema)
	}
	return version, err
}

// qualified returns the quoted name of a table in a schema.
func qualified(schema, table string) string {
	return pgx.Identifier{schema, table}.Sanitize()
}
