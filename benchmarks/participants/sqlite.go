package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-bcc3c603/twophase/sqlite"
)

// sqliteDB has each pool, and the plain table, in a file of its own.
type sqliteDB struct {
	dir     string
	files   int
	version string
	plainDB *sql.DB
	rows    int // of the plain table
}

func newSQLite(ctx context.Context, dir string) (database, error) {
	dir, err := os.MkdirTemp(dir, "twophase-participants-")
	if err != nil {
		return nil, err
	}
	db := &sqliteDB{dir: dir}
	if db.plainDB, err = db.file(ctx); err == nil {
		err = db.plainDB.QueryRowContext(ctx, `SELECT 'SQLite ' || sqlite_version()`).Scan(&db.version)
	}
	if err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

func (db *sqliteDB) file(ctx context.Context) (*sql.DB, error) {
	db.files++
	return sqlite.OpenDB(ctx, filepath.Join(db.dir, fmt.Sprintf("%d.db", db.files)))
}

func (db *sqliteDB) about() string { return db.version + ", synchronous = FULL" }

func (db *sqliteDB) close() error {
	var err error
	if db.plainDB != nil {
		err = db.plainDB.Close()
	}
	return errors.Join(err, os.RemoveAll(db.dir))
}

func (db *sqliteDB) open(ctx context.Context) (owner, func(context.Context) error, func() error, error) {
	file, err := db.file(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := sqlite.NewPool(ctx, file, "store")
	if err != nil {
		return nil, nil, nil, errors.Join(err, file.Close())
	}
	tidy := func(ctx context.Context) error {
		_, err := file.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
		return err
	}
	return p, tidy, func() error { return errors.Join(p.Close(), file.Close()) }, nil
}

// plain updates rows by the primary key from one goroutine: each in a transaction,
// and then as many as there are callers in one.
func (db *sqliteDB) plain(ctx context.Context, rows, callers int, d time.Duration) (p plain, err error) {
	if err := db.fillPlain(ctx, rows); err != nil {
		return plain{}, err
	}
	if p.single, err = db.update(ctx, 1, d); err != nil {
		return plain{}, err
	}
	p.grouped, err = db.update(ctx, callers, d)
	return p, err
}

// update returns how many rows it has updated a second, so many a transaction.
func (db *sqliteDB) update(ctx context.Context, each int, d time.Duration) (float64, error) {
	conn, err := db.plainDB.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	statement, err := conn.PrepareContext(ctx, `UPDATE plain SET value = value + 1 WHERE id = ?`)
	if err != nil {
		return 0, err
	}
	defer func() { _ = statement.Close() }()
	n, start := 0, time.Now()
	for time.Since(start) < d {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return 0, err
		}
		own := tx.StmtContext(ctx, statement) //nolint:sqlclosecheck // it ends with its transaction
		for range each {
			if _, err := own.ExecContext(ctx, 1+rand.IntN(db.rows)); err != nil {
				return 0, errors.Join(err, tx.Rollback())
			}
			n++
		}
		if err := tx.Commit(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

func (db *sqliteDB) fillPlain(ctx context.Context, rows int) error {
	if db.rows == rows {
		return nil
	}
	db.rows = rows
	for _, statement := range []string{
		`DROP TABLE IF EXISTS plain`,
		`CREATE TABLE plain (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT`,
		fmt.Sprintf(`WITH RECURSIVE ids (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM ids WHERE n < %d)
			INSERT INTO plain SELECT n, 0 FROM ids`, rows),
		`PRAGMA wal_checkpoint(TRUNCATE)`,
	} {
		if _, err := db.plainDB.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
