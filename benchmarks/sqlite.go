package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// sqliteStore keeps journals in files of a directory.
type sqliteStore struct {
	dir string
	ids idOrder
}

// sqliteCommits counts the commits of all connections of this process.
var sqliteCommits atomic.Int64

// countSQLiteCommits lets every connection that is opened from now on be
// counted: a journal does not tell how many writes shared a commit.
var countSQLiteCommits = sync.OnceFunc(func() {
	sqlite3.AutoExtension(func(c *sqlite3.Conn) error {
		c.CommitHook(func() bool {
			sqliteCommits.Add(1)
			return true
		})
		return nil
	})
})

func newSQLite(dir string, order idOrder) *sqliteStore {
	countSQLiteCommits()
	return &sqliteStore{dir: dir, ids: order}
}

func (*sqliteStore) kind() string { return "sqlite" }

func (s *sqliteStore) about() string {
	c, err := sqlite3.Open(":memory:")
	if err != nil {
		return fmt.Sprintf("the driver does not open: %v", err)
	}
	defer func() { _ = c.Close() }() // nothing was written
	version := "unknown"
	if statement, _, err := c.Prepare("SELECT sqlite_version()"); err == nil {
		if statement.Step() {
			version = statement.ColumnText(0)
		}
		_ = statement.Close()
	}
	return fmt.Sprintf("SQLite %s without cgo (ncruces/go-sqlite3), WAL, synchronous = FULL", version)
}

func (s *sqliteStore) path(name string) string { return filepath.Join(s.dir, name+".db") }

func (s *sqliteStore) open(ctx context.Context, name string) (*opened, error) {
	j, err := sqlite.Open(ctx, s.path(name), sqlite.WithMaxWaiting(2*maxCallers))
	if err != nil {
		return nil, err
	}
	return &opened{
		Journal: j,
		spent: func(context.Context) (spent, error) {
			bytes, err := bytesWritten()
			return spent{sqliteCommits.Load(), bytes}, err
		},
		size:  func(context.Context) (int64, error) { return s.size(name) },
		close: j.Close,
	}, nil
}

// size folds the write-ahead log into the file, and returns the file's size.
func (s *sqliteStore) size(name string) (int64, error) {
	c, err := sqlite3.OpenFlags(s.path(name), sqlite3.OPEN_READWRITE)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }() // what was written is in the file
	if _, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil {
		return 0, err
	}
	info, err := os.Stat(s.path(name))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (s *sqliteStore) remove(_ context.Context, name string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		if err := os.Remove(s.path(name) + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (*sqliteStore) Close() error { return nil }

// fillStep is how many rows are added at a time; an interrupt waits for one.
const fillStep = 50_000

// fill has the journal itself write one row, and multiplies it.
func (s *sqliteStore) fill(ctx context.Context, name string, finished bool, n int) error {
	if n == 0 {
		return nil
	}
	j, err := sqlite.Open(ctx, s.path(name))
	if err != nil {
		return err
	}
	template := newIDs(s.ids).take()
	if err := errors.Join(leave(ctx, j, template, finished), j.Close()); err != nil {
		return err
	}
	c, err := sqlite3.OpenFlags(s.path(name), sqlite3.OPEN_READWRITE)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // what was written is committed
	if err := c.Exec("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000"); err != nil {
		return err
	}
	columns, err := sqliteColumns(c)
	if err != nil {
		return err
	}
	suffix := func(before int) string {
		if s.ids == growingIDs {
			return fmt.Sprintf("printf('%%016x', %d + i)", before)
		}
		return "lower(hex(randomblob(8)))"
	}
	for left := n - 1; left > 0; left -= fillStep {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := c.Exec(fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO transactions (id, %[2]s) SELECT 'order-' || %[4]s, %[2]s
			FROM n CROSS JOIN (SELECT * FROM transactions WHERE id = '%[3]s')`, min(left, fillStep), columns, template, suffix(n-left)))
		if err != nil {
			return err
		}
	}
	if _, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil {
		return err
	}
	return c.Exec("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)")
}

// sqliteColumns returns the columns of the table that may be the same in
// several rows.
func sqliteColumns(c *sqlite3.Conn) (string, error) {
	s, _, err := c.Prepare("SELECT name FROM pragma_table_info('transactions') WHERE name NOT IN ('id', 'number')")
	if err != nil {
		return "", err
	}
	var columns []string
	for s.Step() {
		columns = append(columns, s.ColumnText(0))
	}
	return strings.Join(columns, ", "), s.Close()
}

func (s *sqliteStore) baselines(ctx context.Context, callers int, batch func() float64) ([]*subject, error) {
	raw, err := rawFileSubject(s.dir, callers)
	if err != nil {
		return nil, err
	}
	bare, err := s.bare(ctx, batch)
	if err != nil {
		return nil, errors.Join(err, raw.close())
	}
	return []*subject{raw, {
		name: "bare statements", note: "one goroutine, transactions as large as the journal's",
		workers: []work{bare.work}, spent: bare.spent, close: bare.close,
	}}, nil
}

// The statements that a placed transaction comes to in package sqlite, and the
// settings of the connection that runs them. A test compares them with what the
// journal has SQLite do.
const (
	bareInsert = `INSERT INTO transactions
		(id, version, state, epoch, dropped, begun, deadline, leased, owner, cause, steps)
		VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`
	bareUpdate = `UPDATE transactions SET state = ?1, reservations = ?2, cause = ?3,
		finished = CASE WHEN ?1 = 2 AND dropped = 0 THEN ?4 END
		WHERE id = ?5 AND state = 1`
)

var bareSettings = []string{
	"PRAGMA journal_mode = WAL",
	"PRAGMA synchronous = FULL",
	"PRAGMA wal_autocheckpoint = 4096",
	"PRAGMA journal_size_limit = 67108864",
	"PRAGMA cache_size = -32768",
	"PRAGMA temp_store = MEMORY",
}

// bareSQLite is the most that the driver can do: one goroutine runs the
// journal's statements on a connection of its own, with values that are ready.
type bareSQLite struct {
	store                         *sqliteStore
	conn                          *sqlite3.Conn
	begin, insert, update, commit *sqlite3.Stmt
	batch                         func() float64
	ids                           *ids
	undecided                     []string // inserted, and to be updated next
	steps, reservations           []byte
	since                         time.Time // when those undecided were begun
}

const bareName = "bare"

// bare makes a journal's file, and opens it without the journal.
func (s *sqliteStore) bare(ctx context.Context, batch func() float64) (b *bareSQLite, err error) {
	b = &bareSQLite{store: s, batch: batch, ids: newIDs(s.ids)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.steps, b.reservations, err = s.stored(ctx, b.ids.take()); err != nil {
		return b, err
	}
	if b.conn, err = sqlite3.OpenFlags(s.path(bareName), sqlite3.OPEN_READWRITE); err != nil {
		return b, err
	}
	for _, setting := range bareSettings {
		if err := b.conn.Exec(setting); err != nil {
			return b, err
		}
	}
	for _, s := range []struct {
		statement **sqlite3.Stmt
		sql       string
	}{{&b.begin, "BEGIN IMMEDIATE"}, {&b.insert, bareInsert}, {&b.update, bareUpdate}, {&b.commit, "COMMIT"}} {
		if *s.statement, _, err = b.conn.PrepareFlags(s.sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return b, err
		}
	}
	return b, nil
}

// stored has the journal write one order, and returns the JSON that it stored.
func (s *sqliteStore) stored(ctx context.Context, id string) (steps, reservations []byte, err error) {
	j, err := sqlite.Open(ctx, s.path(bareName))
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(leave(ctx, j, id, true), j.Close()); err != nil {
		return nil, nil, err
	}
	c, err := sqlite3.OpenFlags(s.path(bareName), sqlite3.OPEN_READONLY)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = c.Close() }() // nothing was written
	row, _, err := c.Prepare("SELECT steps, reservations FROM transactions")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = row.Close() }() // it repeats the error of its last run
	if !row.Step() {
		return nil, nil, errors.Join(errors.New("the journal has stored nothing"), row.Err())
	}
	return []byte(row.ColumnText(0)), []byte(row.ColumnText(1)), nil
}

func (b *bareSQLite) spent(context.Context) (spent, error) {
	bytes, err := bytesWritten()
	return spent{sqliteCommits.Load(), bytes}, err
}

func (b *bareSQLite) close() error {
	for _, s := range []*sqlite3.Stmt{b.begin, b.insert, b.update, b.commit} {
		if s != nil {
			_ = s.Close() // it repeats the error of its last run
		}
	}
	var err error
	if b.conn != nil {
		err = b.conn.Close()
	}
	return errors.Join(err, b.store.remove(context.Background(), bareName))
}

// work commits one transaction that inserts as many orders as it decides: those
// that the one before has inserted. Where the journal commits each write by
// itself, so does this.
func (b *bareSQLite) work(context.Context) (int, time.Duration, error) {
	start := time.Now()
	size := int(math.Round(b.batch() / 2))
	if b.batch() < 1.5 {
		id := b.ids.take()
		if err := errors.Join(b.transact([]string{id}, nil), b.transact(nil, []string{id})); err != nil {
			return 0, 0, err
		}
		return 1, time.Since(start), nil
	}
	fresh := make([]string, max(size, 1))
	for i := range fresh {
		fresh[i] = b.ids.take()
	}
	if err := b.transact(fresh, b.undecided); err != nil {
		return 0, 0, err
	}
	n, since := len(b.undecided), b.since
	b.undecided, b.since = fresh, start
	return n, time.Since(since), nil
}

func (b *bareSQLite) transact(inserts, updates []string) error {
	if err := b.begin.Exec(); err != nil {
		return err
	}
	now := time.Now().UnixNano()
	for _, id := range inserts {
		if err := b.runInsert(id, now); err != nil {
			return err
		}
	}
	for _, id := range updates {
		if err := b.runUpdate(id, now); err != nil {
			return err
		}
	}
	return b.commit.Exec()
}

func (b *bareSQLite) runInsert(id string, now int64) error {
	s := b.insert
	return errors.Join(
		s.BindText(1, id), s.BindInt64(2, twophase.RecordVersion), s.BindInt64(3, int64(twophase.StateBegun)),
		s.BindInt64(4, 0), s.BindInt64(5, now), s.BindInt64(6, now+int64(time.Minute)),
		s.BindInt64(7, now+int64(15*time.Second)), s.BindText(8, bareOwner), s.BindNull(9),
		s.BindRawText(10, b.steps), s.Exec(),
	)
}

var bareOwner = orderRecord("").Owner

func (b *bareSQLite) runUpdate(id string, now int64) error {
	s := b.update
	return errors.Join(
		s.BindInt64(1, int64(twophase.StateAssigned)), s.BindRawText(2, b.reservations), s.BindNull(3),
		s.BindInt64(4, now), s.BindText(5, id), s.Exec(),
	)
}
