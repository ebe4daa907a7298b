package sqlite

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// lockFile keeps everybody else from opening the journal on path, in this
// process and in others, until the connection is closed or the process ends,
// however it ends. It holds SQLite's exclusive lock on an empty database beside
// the journal, so that others may still read, and back up, the journal itself.
func lockFile(path string) (*conn, error) {
	name := path + ".lock"
	c, err := openConn(name)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock file %s: %w", name, err)
	}
	err = errors.Join(c.BusyTimeout(0), c.Exec("BEGIN EXCLUSIVE"))
	if err == nil {
		return c, nil
	}
	_ = c.Close()
	if errors.Is(err, sqlite3.BUSY) {
		return nil, fmt.Errorf("%w: a journal on it is open already, in this process or another: share that one, or end it",
			ErrLocked)
	}
	return nil, fmt.Errorf("cannot lock %s: %w", name, err)
}
