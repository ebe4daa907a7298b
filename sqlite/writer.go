package sqlite

import (
	"context"
	"fmt"
	"os"
	"time"
)

// writer is the one connection that writes. It is used by one goroutine, that
// of the group.
type writer struct {
	*conn // nil if it has to be opened anew
	path  string
	file  os.FileInfo
	clock clock
	now   int64 // the moment of the batch
}

// operation is what one caller has to write. An error of apply is its own; it
// has written nothing then.
type operation struct {
	apply func(w *writer) error
	err   error
}

// The write connection's settings: each commit is on the disk when it returns,
// and the write-ahead log is folded into the file every 16 MiB and cut down
// after a long read has let it grow.
var writerSettings = []string{
	"PRAGMA journal_mode = WAL",
	"PRAGMA synchronous = FULL",
	"PRAGMA wal_autocheckpoint = 4096",
	"PRAGMA journal_size_limit = 67108864",
	"PRAGMA cache_size = -32768",
	"PRAGMA temp_store = MEMORY",
}

// busyTimeout is how long to wait for somebody else who holds the file: a
// backup tool, say.
const busyTimeout = 5 * time.Second

func openWriter(path string) (*conn, error) {
	c, err := openConn(path, writerSettings...)
	if err != nil {
		return nil, err
	}
	if err := c.BusyTimeout(busyTimeout); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// commit writes a batch. If SQLite gives up the whole of it because of one
// operation, each is tried once more by itself, so that it fails alone.
func (w *writer) commit(_ context.Context, batch []*operation) error {
	if err := w.ready(); err != nil {
		return notWritten(err)
	}
	sound := false
	defer func() {
		if !sound {
			w.abandon()
		}
	}()
	undone, err := w.try(batch)
	if undone && len(batch) > 1 {
		for i, op := range batch {
			if _, err := w.try(batch[i : i+1]); err != nil {
				op.err = err
			}
		}
		err = nil
	}
	sound = true
	return err
}

// try writes a batch in one transaction. Undone says that nothing of it was
// written, because of one of its operations.
func (w *writer) try(batch []*operation) (undone bool, err error) {
	if err := w.statement("BEGIN IMMEDIATE").exec(); err != nil {
		return false, notWritten(describe(w.path, err))
	}
	w.now = w.clock.now()
	for _, op := range batch {
		op.err = op.apply(w)
		if op.err != nil && ofSQLite(op.err) {
			op.err = notWritten(describe(w.path, op.err))
		}
		if op.err != nil && w.GetAutocommit() {
			return true, op.err
		}
	}
	if err := w.statement("COMMIT").exec(); err != nil {
		w.rollback()
		return false, fmt.Errorf("whether it was committed is open: %w", describe(w.path, err))
	}
	return false, nil
}

// ready makes sure that there is a connection, and that it writes to what
// others will find under the path.
func (w *writer) ready() error {
	file, err := os.Stat(w.path)
	if err != nil || !os.SameFile(file, w.file) {
		return describe(w.path, fmt.Errorf(
			"%w: the file was deleted or replaced while it was open: put it back, or close the journal and open it again", ErrMoved))
	}
	if w.conn != nil {
		return nil
	}
	w.conn, err = openWriter(w.path)
	if err != nil {
		return describe(w.path, err)
	}
	return nil
}

// abandon gives up a connection that a panic has left in an unknown state.
func (w *writer) abandon() {
	abandoned := w.conn
	w.conn = nil
	defer func() { _ = recover() }()
	abandoned.rollback()
	_ = abandoned.Close()
}
