package sqlite

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// conn is a connection with its prepared statements. One goroutine at a time
// uses it.
type conn struct {
	*sqlite3.Conn
	statements map[string]*statement
}

// statement is a prepared statement. Its parameters are bound in their order;
// the first error is kept until it is run.
type statement struct {
	*sqlite3.Stmt
	bound int
	err   error
}

const fileFlags = sqlite3.OPEN_READWRITE | sqlite3.OPEN_CREATE

// openConn opens a connection and runs the settings on it.
func openConn(path string, settings ...string) (*conn, error) {
	c, err := sqlite3.OpenFlags(path, fileFlags)
	if err != nil {
		return nil, err
	}
	opened := &conn{Conn: c, statements: map[string]*statement{}}
	for _, setting := range settings {
		if err := c.Exec(setting); err != nil {
			_ = opened.Close()
			return nil, fmt.Errorf("%s: %w", setting, err)
		}
	}
	return opened, nil
}

// Close ends the statements and the connection.
func (c *conn) Close() error {
	for _, s := range c.statements {
		_ = s.Close() // it repeats the error of its last run
	}
	return c.Conn.Close()
}

// statement returns a statement, prepared the first time that it is asked for.
func (c *conn) statement(sql string) *statement {
	if s, ok := c.statements[sql]; ok {
		s.bound, s.err = 0, nil
		return s
	}
	prepared, _, err := c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	s := &statement{Stmt: prepared, err: err}
	if err == nil {
		c.statements[sql] = s
	}
	return s
}

// text binds the next parameter.
func (s *statement) text(value string) *statement {
	s.bound++
	if s.err == nil {
		s.err = s.BindText(s.bound, value)
	}
	return s
}

// json binds the next parameter; none is NULL.
func (s *statement) json(value []byte) *statement {
	s.bound++
	if s.err == nil {
		s.err = s.BindRawText(s.bound, value)
	}
	return s
}

// integer binds the next parameter.
func (s *statement) integer(value int64) *statement {
	s.bound++
	if s.err == nil {
		s.err = s.BindInt64(s.bound, value)
	}
	return s
}

// moment binds the next parameter; zero is NULL.
func (s *statement) moment(value int64) *statement {
	if value != 0 {
		return s.integer(value)
	}
	return s.json(nil)
}

// exec runs a statement that returns no rows.
func (s *statement) exec() error {
	if s.err != nil {
		return s.err
	}
	return s.Exec()
}

// each calls row for every row of a query, until it returns false.
func (s *statement) each(row func() bool) error {
	if s.err != nil {
		return s.err
	}
	for s.Step() && row() {
	}
	err := s.Err()
	if reset := s.Reset(); err == nil {
		err = reset
	}
	return err
}

// value returns the first column of the first row, and 0 if there is none.
func (s *statement) value() (n int64, err error) {
	err = s.each(func() bool {
		n = s.ColumnInt64(0)
		return false
	})
	return n, err
}

// transaction commits what do writes, or rolls it back.
func (c *conn) transaction(do func() error) error {
	if err := c.statement("BEGIN IMMEDIATE").exec(); err != nil {
		return err
	}
	err := do()
	if err == nil {
		err = c.statement("COMMIT").exec()
	}
	if err != nil {
		c.rollback()
	}
	return err
}

// rollback ends a transaction that failed, unless SQLite has done so itself.
func (c *conn) rollback() {
	if !c.GetAutocommit() {
		_ = c.statement("ROLLBACK").exec() // what failed before says more
	}
}

// savepoint keeps all of what do writes within a transaction, or nothing of it.
func (c *conn) savepoint(do func() error) error {
	if err := c.statement("SAVEPOINT one").exec(); err != nil {
		return err
	}
	err := do()
	if err == nil {
		return c.statement("RELEASE one").exec()
	}
	if c.GetAutocommit() {
		return err
	}
	undo := c.statement("ROLLBACK TO one").exec()
	if undo == nil {
		undo = c.statement("RELEASE one").exec()
	}
	if undo != nil {
		c.rollback()
	}
	return err
}
