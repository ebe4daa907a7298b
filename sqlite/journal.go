package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// Journal is a [twophase.Journal] in a SQLite file. It is safe for concurrent
// use. Make it with [Open] and end it with [Journal.Close].
type Journal struct {
	path    string
	clock   clock
	lock    *conn
	writer  *writer
	group   *groupcommit.Group[*operation]
	readers *readers

	reading sync.RWMutex // held for writing by Close, when nobody reads any more
	closed  bool
}

// Open opens the journal in the file at path, and creates it if there is none.
// Everything unfinished in it may be claimed at once, since whoever drove it is
// gone: only one journal at a time has the file. The error is [ErrLocked] if
// there is one already, [ErrNewer] or [ErrForeign] if the file is not for this
// library, and [ErrDamaged] if it cannot be read.
func Open(ctx context.Context, path string, options ...Option) (*Journal, error) {
	config, err := newConfig(options)
	if path == "" {
		err = errors.Join(fmt.Errorf("twophase/sqlite: %w: the path is empty: name a file", twophase.ErrInvalid), err)
	}
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	path, err = resolve(path)
	if err != nil {
		return nil, fmt.Errorf("twophase/sqlite: %w", err)
	}
	j := &Journal{path: path}
	if err := j.open(config); err != nil {
		_ = j.end() // what failed first says more
		return nil, describe(path, err)
	}
	return j, nil
}

// resolve returns the one path of a file, so that its lock is the same
// whatever it is called.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target, nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("the folder of %s: %w", path, err)
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

func (j *Journal) open(config config) (err error) {
	if j.lock, err = lockFile(j.path); err != nil {
		return err
	}
	if err := j.prepare(); err != nil {
		return err
	}
	j.writer = &writer{path: j.path}
	if j.writer.conn, err = openWriter(j.path); err != nil {
		return err
	}
	if j.writer.file, err = os.Stat(j.path); err != nil {
		return err
	}
	newest, err := j.writer.statement("SELECT begun FROM transactions ORDER BY number DESC LIMIT 1").value()
	if err != nil {
		return err
	}
	j.clock = newClock(newest)
	j.writer.clock = j.clock
	err = j.writer.statement("UPDATE transactions SET leased = ?1 WHERE finished IS NULL AND leased > ?1").
		integer(j.clock.now()).exec()
	if err != nil {
		return err
	}
	if err := syncFolder(j.path); err != nil {
		return err
	}
	if j.readers, err = openReaders(j.path, config.readers); err != nil {
		return err
	}
	j.group = groupcommit.New(j.writer.commit, groupcommit.Options{MaxBatch: config.maxBatch, MaxQueue: config.maxWaiting})
	return nil
}

// prepare brings the file's schema up to date. It has a connection of its own,
// so that a file that is not for this library is left as it is.
func (j *Journal) prepare() error {
	c, err := openConn(j.path)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // what was written is committed
	if err := c.BusyTimeout(busyTimeout); err != nil {
		return err
	}
	applied, err := identify(c)
	if err != nil {
		return err
	}
	for _, setting := range writerSettings {
		if err := c.Exec(setting); err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	return migrate(c, applied)
}

// syncFolder makes the names of new files in the journal's folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	if err := folder.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

// Close commits what is queued, refuses everything else with [ErrClosed], and
// gives the file free. It returns when no goroutine of the journal is left.
func (j *Journal) Close() error {
	j.group.Close()
	j.reading.Lock()
	defer j.reading.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	return j.end()
}

// end closes what is open. The write connection is the last one on the file:
// it folds in the write-ahead log.
func (j *Journal) end() error {
	var err error
	if j.readers != nil {
		j.readers.close()
	}
	if j.writer != nil && j.writer.conn != nil {
		if err = j.writer.Close(); err != nil {
			err = describe(j.path, err)
		}
	}
	if j.lock != nil {
		_ = j.lock.Close() // the lock ends with it
	}
	return err
}

// write queues an operation and waits until it is committed. The answer is
// read only then: before, the writer may still be at it.
func write[T any](ctx context.Context, j *Journal, apply func(w *writer) (T, error)) (T, error) {
	var none T
	answer := new(T)
	op := &operation{apply: func(w *writer) (err error) {
		*answer, err = apply(w)
		return err
	}}
	err := j.group.Do(ctx, op)
	if err == nil {
		err = op.err
	}
	switch {
	case err == nil:
		return *answer, nil
	case errors.Is(err, groupcommit.ErrClosed):
		return none, unavailable(ErrClosed)
	case errors.Is(err, groupcommit.ErrNotWritten):
		return none, unavailable(err)
	}
	return none, err
}

type begun struct {
	record  twophase.Record
	created bool
}

// Begin implements [twophase.Journal]. A record that is larger than
// [MaxRecordSize], or in another state than one begins in, is
// [twophase.ErrInvalid].
func (j *Journal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	if record.State != twophase.StateBegun && record.State != twophase.StateReleasing {
		return twophase.Record{}, false, invalid(record.ID, "a transaction cannot begin as %s", record.State)
	}
	steps, dropped, err := encodeSteps(record.ID, record.Steps)
	if err != nil {
		return twophase.Record{}, false, err
	}
	cause := encodeCause(record.Cause)
	b, err := write(ctx, j, func(w *writer) (begun, error) {
		created, err := w.insert(record, steps, cause, dropped)
		if err != nil || created {
			return begun{created: created}, err
		}
		r, err := w.get(record.ID, w.now)
		return begun{record: r.record}, err
	})
	switch {
	case err != nil:
		return twophase.Record{}, false, err
	case b.created:
		record.Epoch = 1
		return record, true, nil
	}
	return b.record, b.record.BegunAs(record), nil
}

// insert stores a new transaction, and reports whether there was none.
func (w *writer) insert(r twophase.Record, steps, cause []byte, dropped int64) (created bool, err error) {
	err = w.statement(`INSERT INTO transactions
		(id, version, state, epoch, dropped, begun, deadline, leased, owner, cause, steps)
		VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`).
		text(r.ID).integer(int64(r.Version)).integer(int64(r.State)).integer(dropped).
		integer(w.now).integer(after(w.now, r.Deadline)).integer(after(w.now, r.Lease)).
		text(r.Owner).json(cause).json(steps).exec()
	return err == nil && w.Changes() == 1, err
}

// Decide implements [twophase.Journal].
func (j *Journal) Decide(ctx context.Context, id string, decision twophase.Decision) (twophase.Decision, error) {
	var reservations, cause []byte
	switch decision.State {
	case twophase.StateAssigned:
		encoded, err := encodeReservations(id, decision.Reservations)
		if err != nil {
			return twophase.Decision{}, err
		}
		reservations = encoded
	case twophase.StateReleasing:
		cause = encodeCause(decision.Cause)
	default:
		return twophase.Decision{}, invalid(id, "%s is no decision", decision.State)
	}
	return write(ctx, j, func(w *writer) (twophase.Decision, error) {
		decided, err := w.decide(id, decision.State, reservations, cause)
		if err != nil || decided {
			return decision, err
		}
		r, err := w.get(id, w.now)
		return r.record.Decision(), err
	})
}

// decide makes the decision if there is none yet, and reports whether it has.
// What is releasing is left to be recorded as released, even if it has no
// steps: so Claim gives it to whoever recovers.
func (w *writer) decide(id string, state twophase.State, reservations, cause []byte) (decided bool, err error) {
	err = w.statement(`UPDATE transactions SET state = ?1, reservations = ?2, cause = ?3,
		finished = CASE WHEN ?1 = 2 AND dropped = 0 THEN ?4 END
		WHERE id = ?5 AND state = 1`).
		integer(int64(state)).json(reservations).json(cause).integer(w.now).text(id).exec()
	return err == nil && w.Changes() == 1, err
}

// Released implements [twophase.Journal].
func (j *Journal) Released(ctx context.Context, id string, steps []string) error {
	steps = append([]string(nil), steps...)
	_, err := write(ctx, j, func(w *writer) (struct{}, error) {
		r, err := w.get(id, w.now)
		if err != nil || r.record.Finished() && r.record.State != twophase.StateReleasing {
			return struct{}{}, err
		}
		record := r.record.WithReleased(steps)
		return struct{}{}, w.statement("UPDATE transactions SET state = ?, released = ?, finished = ? WHERE number = ?").
			integer(int64(record.State)).json(encodeReleased(record.Steps)).moment(finishedAt(record, w.now)).
			integer(r.number).exec()
	})
	return err
}

// Get implements [twophase.Journal].
func (j *Journal) Get(ctx context.Context, id string) (twophase.Record, error) {
	var r row
	err := j.read(ctx, func(c *conn) (err error) {
		r, err = c.get(id, j.clock.now())
		return err
	})
	if err != nil {
		return twophase.Record{}, err
	}
	return r.record, nil
}

var _ twophase.Journal = (*Journal)(nil)
