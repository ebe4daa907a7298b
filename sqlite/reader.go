package sqlite

import (
	"context"
)

// readers are the connections that read. They see what was committed when they
// began, and hold up no write.
type readers struct {
	path string
	free chan *conn
	all  []*conn
}

func openReaders(path string, n int) (*readers, error) {
	r := &readers{path: path, free: make(chan *conn, n)}
	for range n {
		c, err := openConn(path, "PRAGMA query_only = ON", "PRAGMA cache_size = -8192", "PRAGMA temp_store = MEMORY")
		if err == nil {
			err = c.BusyTimeout(busyTimeout)
			r.all = append(r.all, c)
		}
		if err != nil {
			r.close()
			return nil, err
		}
		r.free <- c
	}
	return r, nil
}

// close ends the connections. None may be in use.
func (r *readers) close() {
	for _, c := range r.all {
		_ = c.Close() // it has written nothing
	}
}

// read lends out a connection, and interrupts what it does when ctx ends.
func (j *Journal) read(ctx context.Context, do func(c *conn) error) error {
	j.reading.RLock()
	defer j.reading.RUnlock()
	if j.closed {
		return unavailable(ErrClosed)
	}
	var c *conn
	select {
	case c = <-j.readers.free:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		if c != nil {
			j.readers.free <- c
		}
		return unavailable(err)
	}
	defer func() { j.readers.free <- c }()
	old := c.SetInterrupt(ctx)
	defer c.SetInterrupt(old)
	err := do(c)
	if ctx.Err() != nil && err != nil {
		return unavailable(ctx.Err())
	}
	if ofSQLite(err) {
		return unavailable(describe(j.path, err))
	}
	return err
}

// get reads one row by its id.
func (c *conn) get(id string, now int64) (r row, err error) {
	found := false
	s := c.statement("SELECT " + columns + " FROM transactions WHERE id = ?").text(id)
	var unreadable error
	err = s.each(func() bool {
		found = true
		unreadable = r.read(s, now)
		return false
	})
	switch {
	case err != nil:
		return r, err
	case !found:
		return r, gone(id)
	}
	return r, unreadable
}
