package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// books are what a pool or a fence has in the database. The calls of concurrent
// callers share a transaction, and so the wait for the disk.
type books struct {
	participantConfig
	db     *sql.DB
	name   string
	number int64 // of the participant
	group  *groupcommit.Group[*call]

	mu         sync.Mutex
	statements map[string]*sql.Stmt
	closed     bool

	keeper keeper
}

const (
	rolePool  = "pool"
	roleFence = "fence"
)

// openBooks returns the books of the participant of that name, which are made
// if there are none, with statements prepared for all sessions.
func openBooks(
	ctx context.Context, db *sql.DB, name, role string, c participantConfig, statements ...string,
) (*books, error) {
	if err := c.check(name); err != nil {
		return nil, err
	}
	if db == nil {
		return nil, fmt.Errorf("twophase/sqlite: %s %q: %w: the database is nil: open it with OpenDB", role, name, twophase.ErrInvalid)
	}
	b := &books{participantConfig: c, db: db, name: name, statements: map[string]*sql.Stmt{}}
	err := checkDB(ctx, db)
	if err == nil {
		err = migrateTables(ctx, db)
	}
	if err == nil {
		b.number, err = register(ctx, db, name, role)
	}
	if err != nil {
		return nil, describeDB(fmt.Sprintf("%s %q", role, name), err)
	}
	for _, query := range append(statements, entryStatements...) {
		if err := b.prepare(ctx, query); err != nil {
			return nil, errors.Join(describeDB(name, err), b.closeStatements())
		}
	}
	b.group = groupcommit.New(b.commit, groupcommit.Options{})
	return b, nil
}

// register returns the number of a participant.
func register(ctx context.Context, db *sql.DB, name, role string) (number int64, err error) {
	const find = `SELECT number, role FROM twophase_participants WHERE name = ?`
	var found string
	err = db.QueryRowContext(ctx, find, name).Scan(&number, &found)
	if errors.Is(err, sql.ErrNoRows) {
		const add = `INSERT INTO twophase_participants (name, role) VALUES (?, ?) ON CONFLICT DO NOTHING`
		if _, err = db.ExecContext(ctx, add, name, role); err == nil {
			err = db.QueryRowContext(ctx, find, name).Scan(&number, &found)
		}
	}
	if err == nil && found != role {
		err = fmt.Errorf("%w: the file has a %s of that name: choose another", twophase.ErrInvalid, found)
	}
	return number, err
}

// close answers what is queued, refuses everything else with [ErrClosed], and
// returns when no goroutine is left.
func (b *books) close() error {
	b.keeper.end()
	b.group.Close()
	return b.closeStatements()
}

func (b *books) closeStatements() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	var errs []error
	for _, statement := range b.statements {
		errs = append(errs, statement.Close())
	}
	clear(b.statements)
	return errors.Join(errs...)
}

// call is one caller's part of a transaction. An error of do undoes all of it.
type call struct {
	do  func(ctx context.Context, s *session) error
	err error
}

// undone is the error of a call that has undone by itself whatever it wrote.
type undone struct{ error }

func (u undone) Unwrap() error { return u.error }

// answer makes a call on the books and returns its answer when that is durable.
// Final errors are answers too: what was written before them is kept.
func answer[T any](ctx context.Context, b *books, do func(ctx context.Context, s *session) (T, error)) (T, error) {
	type answered struct {
		value T
		err   error
	}
	a := new(answered)
	c := &call{do: func(ctx context.Context, s *session) error {
		value, err := do(ctx, s)
		*a = answered{value, err}
		if err == nil || twophase.IsFinal(err) || errors.As(err, new(undone)) {
			return nil
		}
		return err
	}}
	var none T
	err := b.group.Do(ctx, c)
	if err == nil {
		err = c.err
	}
	switch {
	case errors.Is(err, groupcommit.ErrClosed):
		return none, b.closedError()
	case err != nil:
		return none, b.failed(ctx, err) // a may still be written to
	}
	return a.value, a.err
}

// failed says whose books an error is about, and that a caller gave up: SQLite
// does not.
func (b *books) failed(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return describeDB(b.name, err)
}

// commitTimeout bounds how long a transaction of many callers may take.
const commitTimeout = 10 * time.Second

// commit makes calls in one transaction. If one of them breaks it, each is
// tried once more by itself, so that it fails alone.
func (b *books) commit(ctx context.Context, calls []*call) error {
	broken, err := b.try(ctx, calls)
	if !broken || len(calls) == 1 {
		return err
	}
	for i, c := range calls {
		_, c.err = b.try(ctx, calls[i:i+1])
	}
	return nil
}

// try makes calls in one transaction. Broken says that nothing of it was
// written, because of one of them.
func (b *books) try(ctx context.Context, calls []*call) (broken bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	err = immediately(ctx, b.db, func(tx *sql.Tx) error {
		s := b.session(tx)
		for _, c := range calls {
			s.now = b.clock()
			if err := c.do(ctx, s); err != nil {
				broken = true
				return err
			}
		}
		return nil
	})
	return broken, err
}

// wallTime is the machine's clock, in which all processes on the file agree,
// as it is stored.
func wallTime() time.Time { return time.Unix(0, time.Now().UnixNano()) }

// session is a transaction on the books, which has the lock for writing.
type session struct {
	*books
	tx         *sql.Tx
	now        time.Time // of the call: read after the lock is held
	statements map[string]*sql.Stmt
}

func (b *books) session(tx *sql.Tx) *session {
	return &session{books: b, tx: tx, statements: map[string]*sql.Stmt{}}
}

// sessionIn returns a session in a transaction of somebody else's, which has
// the lock for writing only if it has written before.
func (b *books) sessionIn(ctx context.Context, tx *sql.Tx) (*session, error) {
	s := b.session(tx)
	if _, err := s.exec(ctx, `UPDATE twophase_participants SET name = name WHERE number = ?`, b.number); err != nil {
		return nil, describeDB(b.name, err)
	}
	s.now = b.clock()
	return s, nil
}

// maxStatements bounds how many statements are kept prepared.
const maxStatements = 200

// prepare prepares a statement for all sessions to come, unless there are too
// many different ones. It takes a connection, so no transaction may be open.
func (b *books) prepare(ctx context.Context, query string) error {
	b.mu.Lock()
	_, ok := b.statements[query]
	enough := ok || b.closed || len(b.statements) >= maxStatements
	b.mu.Unlock()
	if enough {
		return nil
	}
	statement, err := b.db.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.statements[query]; !ok && !b.closed {
		b.statements[query], statement = statement, nil
	}
	if statement != nil {
		defer func() { _ = statement.Close() }() // somebody else was first
	}
	return nil
}

// statement returns a statement for use in the session.
func (s *session) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if statement, ok := s.statements[query]; ok {
		return statement, nil
	}
	s.mu.Lock()
	shared := s.books.statements[query]
	s.mu.Unlock()
	var own *sql.Stmt
	var err error
	if shared != nil {
		own = s.tx.StmtContext(ctx, shared)
	} else if own, err = s.tx.PrepareContext(ctx, query); err != nil {
		return nil, err
	}
	s.statements[query] = own
	return own, nil
}

// row runs a query of one row.
func (s *session) row(ctx context.Context, query string, args ...any) (*sql.Row, error) {
	statement, err := s.statement(ctx, query) //nolint:sqlclosecheck // it is the session's
	if err != nil {
		return nil, err
	}
	return statement.QueryRowContext(ctx, args...), nil
}

// each calls row for every row of a query.
func (s *session) each(ctx context.Context, row func(*sql.Rows) error, query string, args ...any) error {
	statement, err := s.statement(ctx, query) //nolint:sqlclosecheck // it is the session's
	if err != nil {
		return err
	}
	rows, err := statement.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return scanAll(rows, row)
}

// exec returns how many rows a statement has changed.
func (s *session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := s.run(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (s *session) run(ctx context.Context, query string, args ...any) (sql.Result, error) {
	statement, err := s.statement(ctx, query) //nolint:sqlclosecheck // it is the session's
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(ctx, args...)
}

// scanAll calls row for every row, and closes them.
func scanAll(rows *sql.Rows, row func(*sql.Rows) error) error {
	defer func() { _ = rows.Close() }() // its error is that of Err
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// savepoint keeps all of what do writes, or nothing of it: then the error is
// [undone]. Any other error breaks the whole transaction.
func (s *session) savepoint(ctx context.Context, do func() error) error {
	if _, err := s.tx.ExecContext(ctx, "SAVEPOINT twophase"); err != nil {
		return err
	}
	err := do()
	if err == nil {
		_, err = s.tx.ExecContext(ctx, "RELEASE twophase")
		return err
	}
	if _, undo := s.tx.ExecContext(ctx, "ROLLBACK TO twophase; RELEASE twophase"); undo != nil {
		return fmt.Errorf("%w: what failed before cannot be undone by itself: %s", undo, err.Error())
	}
	return undone{err}
}
