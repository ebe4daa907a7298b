package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/seed-bcc3c603/twophase"
)

// OpenDB opens the SQLite file at path, and creates it if there is none, for
// pools, fences and a service's own tables. Any number of processes on one
// machine may have the file open. It must not be that of a [Journal], which has
// its file to itself.
//
// Each commit is on the disk when it returns, and reading does not wait for
// writing. Transactions take the lock for writing as they begin, unless they
// are read-only; whoever waits for it gives up when its context ends, or after
// 5 seconds.
func OpenDB(ctx context.Context, path string) (*sql.DB, error) {
	if path == "" {
		return nil, fmt.Errorf("twophase/sqlite: %w: the path is empty: name a file", twophase.ErrInvalid)
	}
	path, err := resolve(path)
	if err != nil {
		return nil, fmt.Errorf("twophase/sqlite: %w", err)
	}
	db, err := driver.Open(path, prepareConn)
	if err != nil {
		return nil, describeDB(path, err)
	}
	most := max(4, 2*runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, describeDB(path, err)
	}
	return db, nil
}

// prepareConn makes a new connection's settings those of [OpenDB]. SQLite does
// not wait by itself for others who switch a new file to its write-ahead log.
func prepareConn(c *sqlite3.Conn) error {
	if err := c.BusyTimeout(busyTimeout); err != nil {
		return err
	}
	for _, setting := range writerSettings {
		err := c.Exec(setting)
		for began := time.Now(); errors.Is(err, sqlite3.BUSY) && time.Since(began) < busyTimeout; {
			time.Sleep(time.Millisecond)
			err = c.Exec(setting)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	return nil
}

// describeDB says what an error is about, and what to do.
func describeDB(what string, err error) error {
	switch {
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB):
		err = fmt.Errorf("%w: restore a backup: %w", ErrDamaged, err)
	case errors.Is(err, sqlite3.FULL):
		err = fmt.Errorf("%w: make room for the file and its -wal: %w", ErrDiskFull, err)
	case errors.Is(err, sqlite3.BUSY):
		err = fmt.Errorf("somebody else has written for too long: %w", err)
	}
	return fmt.Errorf("twophase/sqlite: %s: %w", what, err)
}

// tableFiles are applied in the order of their names, each once. They are never
// changed once released, only added to.
//
//go:embed tables/*.sql
var tableFiles embed.FS

const (
	isMigrated = `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'twophase_schema'`
	setUp      = `CREATE TABLE twophase_schema (version INTEGER NOT NULL) STRICT;
		INSERT INTO twophase_schema VALUES (0)`
)

// migrateTables brings the tables of pools and fences up to date, all or none.
func migrateTables(ctx context.Context, db *sql.DB) error {
	names, err := fs.Glob(tableFiles, "tables/*.sql")
	if err != nil {
		return err
	}
	version, err := tableVersion(ctx, db)
	if err != nil || version == len(names) {
		return err
	}
	return immediately(ctx, db, func(tx *sql.Tx) error {
		version, err := tableVersion(ctx, tx) // anew, now that nobody else is at it
		switch {
		case err != nil:
			return err
		case version > len(names):
			return fmt.Errorf("%w: the tables have version %d and this library knows %d: use the newer library",
				ErrNewer, version, len(names))
		case version < 0:
			if _, err := tx.ExecContext(ctx, setUp); err != nil {
				return err
			}
			version = 0
		}
		for _, name := range names[version:] {
			script, err := tableFiles.ReadFile(name)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		_, err = tx.ExecContext(ctx, `UPDATE twophase_schema SET version = ?`, len(names))
		return err
	})
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tableVersion returns how many of the table files were applied, and -1 if
// there is no record of it.
func tableVersion(ctx context.Context, q queryer) (version int, err error) {
	var tables int
	if err := q.QueryRowContext(ctx, isMigrated).Scan(&tables); err != nil || tables == 0 {
		return -1, err
	}
	err = q.QueryRowContext(ctx, `SELECT version FROM twophase_schema`).Scan(&version)
	return version, err
}

// immediately commits what do writes, or rolls it back. It has the lock for
// writing when do is called.
func immediately(ctx context.Context, db *sql.DB, do func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it fails after the commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// checkDB refuses a database that cannot keep what a participant promises.
func checkDB(ctx context.Context, db *sql.DB) error {
	var number int
	var file, schema string
	if err := db.QueryRowContext(ctx, `PRAGMA database_list`).Scan(&number, &schema, &file); err != nil {
		return err
	}
	if file == "" {
		return fmt.Errorf("%w: the database is not in a file, so it forgets: use OpenDB, or package pool", twophase.ErrInvalid)
	}
	var application, synchronous int
	if err := db.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&application); err != nil {
		return err
	}
	if application == applicationID {
		return fmt.Errorf("%w: %s is a journal's file: give the participant another", twophase.ErrInvalid, file)
	}
	if err := db.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&synchronous); err != nil {
		return err
	}
	if synchronous < 2 {
		return fmt.Errorf("%w: PRAGMA synchronous is %d, so what was answered may be lost: use OpenDB, or FULL",
			twophase.ErrInvalid, synchronous)
	}
	return nil
}
