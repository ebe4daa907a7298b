package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase/postgres"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

var databases = map[string]func(ctx context.Context, dir string) (database, error){
	"postgres": newPostgres, "sqlite": newSQLite,
}

// postgresDB is a private server, and pgbench.
type postgresDB struct {
	cluster *pgtest.Cluster
	bench   string // the path of pgbench
	script  string
	url     string // of the database of plain tables
	admin   *pgxpool.Pool
	version string
	rows    int // of the plain table
}

func newPostgres(ctx context.Context, dir string) (_ database, err error) {
	db := &postgresDB{}
	if db.bench, err = findPgbench(); err != nil {
		return nil, err
	}
	if dir != "" { // the server makes its files where temporary ones are made
		if err := os.Setenv("TMPDIR", dir); err != nil {
			return nil, err
		}
	}
	if db.cluster, err = pgtest.Start(ctx); err != nil {
		return nil, err
	}
	if err = db.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

func (db *postgresDB) prepare(ctx context.Context) (err error) {
	if db.url, err = db.cluster.CreateDatabase(ctx); err != nil {
		return err
	}
	if db.admin, err = pgxpool.New(ctx, db.url); err != nil {
		return err
	}
	return db.admin.QueryRow(ctx, `SELECT format('PostgreSQL %s, fsync = %s, synchronous_commit = %s',
		current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'))`).Scan(&db.version)
}

func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err == nil && len(found) == 0 {
		err = errors.New("pgbench is not installed: it comes with PostgreSQL's server or its contributed programs")
	}
	if err != nil {
		return "", err
	}
	return slices.Max(found), nil
}

func (db *postgresDB) about() string { return db.version }

func (db *postgresDB) close() error {
	if db.admin != nil {
		db.admin.Close()
	}
	if db.script != "" {
		_ = os.Remove(db.script)
	}
	return db.cluster.Stop()
}

// poolConns is how many connections a pool has: some commit, some wait.
const poolConns = 16

func (db *postgresDB) open(ctx context.Context) (owner, func(context.Context) error, func() error, error) {
	url, err := db.cluster.CreateDatabase(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, nil, err
	}
	config.MaxConns = poolConns
	conns, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := postgres.NewPool(ctx, conns, "store")
	if err != nil {
		conns.Close()
		return nil, nil, nil, err
	}
	tidy := func(ctx context.Context) error { return execAll(ctx, conns, `VACUUM ANALYZE`, `CHECKPOINT`) }
	return p, tidy, func() error {
		p.Close()
		conns.Close()
		return nil
	}, nil
}

// plain has pgbench update rows by the primary key, each in a transaction, from as
// many connections as there are callers.
func (db *postgresDB) plain(ctx context.Context, rows, callers int, d time.Duration) (plain, error) {
	if err := db.fillPlain(ctx, rows); err != nil {
		return plain{}, err
	}
	output, err := exec.CommandContext(ctx, db.bench, "--no-vacuum", "--protocol=prepared", "--file="+db.script,
		"--client="+strconv.Itoa(callers), "--jobs="+strconv.Itoa(min(callers, 2)),
		"--time="+strconv.Itoa(int(d.Seconds())), db.url).CombinedOutput()
	match := regexp.MustCompile(`tps = ([0-9.]+) \(without initial`).FindSubmatch(output)
	if err != nil || match == nil {
		return plain{}, errors.Join(err, fmt.Errorf("pgbench: %s", output))
	}
	rate, err := strconv.ParseFloat(string(match[1]), 64)
	return plain{single: rate}, err
}

func (db *postgresDB) fillPlain(ctx context.Context, rows int) error {
	if db.rows == rows {
		return nil
	}
	db.rows = rows
	script, err := os.CreateTemp("", "plain-*.sql")
	if err != nil {
		return err
	}
	if db.script != "" {
		_ = os.Remove(db.script)
	}
	db.script = script.Name()
	_, err = fmt.Fprintf(script, "\\set id random(1, %d)\nUPDATE plain SET value = value + 1 WHERE id = :id;\n", rows)
	if err := errors.Join(err, script.Close()); err != nil {
		return err
	}
	return execAll(ctx, db.admin, `DROP TABLE IF EXISTS plain`,
		fmt.Sprintf(`CREATE TABLE plain AS SELECT n AS id, 0 AS value FROM generate_series(1, %d) AS n`, rows),
		`ALTER TABLE plain ADD PRIMARY KEY (id)`, `VACUUM ANALYZE plain`, `CHECKPOINT`)
}

func execAll(ctx context.Context, db *pgxpool.Pool, statements ...string) error {
	for _, sql := range statements {
		if _, err := db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
