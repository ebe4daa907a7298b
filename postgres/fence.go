package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
)

// Handler is what reserving, assigning and releasing mean in a service's own tables.
//
// Each function works in the transaction that it is given, and has no other effects:
// what is rolled back was never there, and what was undone because of another
// transaction is called again. It is called once for each thing that happens, never
// for a repeated or a late message. An error, or a panic, rolls back everything that
// the call did; one that is final (see [twophase.IsFinal]) is the caller's answer.
//
// What has run out is given back by Release before somebody who needs it is refused,
// and soon anyway. So a Reserve that finds nothing free returns
// [twophase.ErrRefused], may be called again, and need not look at any clock.
type Handler struct {
	// Reserve sets aside what req asks for, for req.Key. Of the reservation it fills in
	// the resources and the details; the time is the fence's.
	Reserve func(ctx context.Context, tx pgx.Tx, req twophase.Request) (twophase.Reservation, error)
	// Assign gives for good what is reserved for key. It may be nil if that takes
	// nothing.
	Assign func(ctx context.Context, tx pgx.Tx, key twophase.Key, reserved twophase.Reservation) error
	// Release gives back what is reserved for key, or assigned to it.
	Release func(ctx context.Context, tx pgx.Tx, key twophase.Key, reserved twophase.Reservation) error
}

// Fence is a [twophase.Participant] for a service with tables of its own: in the same
// database transaction as the author's [Handler] it keeps what was asked, so that
// repeated messages get the same answer, late ones are turned away, and what is not
// assigned in time is released. Make it with [NewFence].
type Fence struct {
	*entryStore
	name    string
	handler Handler
	fence   fenceStatements
	mode    pgx.QueryExecMode
	keeper  *keeper
}

var _ twophase.Participant = (*Fence)(nil)

// NewFence returns the fence of that name in the database, after bringing the fence's
// own tables up to date (see [Migrate]). The error is [twophase.ErrInvalid] if an
// option cannot be right.
//
// The database's pool stays the caller's, who closes it after the fence.
func NewFence(
	ctx context.Context, db *pgxpool.Pool, name string, handler Handler, options ...FenceOption,
) (*Fence, error) {
	c := newEntryConfig(name)
	if handler.Reserve == nil || handler.Release == nil {
		c.fail("the Handler has no Reserve or no Release")
	}
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option.applyToFence(c)
	}
	store, err := openEntryStore(ctx, db, name, "fence", c)
	if err != nil {
		return nil, err
	}
	f := &Fence{
		entryStore: store, name: name, handler: handler,
		fence: newFenceStatements(store.names), mode: pgx.QueryExecModeExec,
	}
	if mode := db.Config().ConnConfig.DefaultQueryExecMode; mode == pgx.QueryExecModeSimpleProtocol {
		f.mode = mode
	}
	if !c.withoutBackground {
		f.keeper = startKeeper(f.Sweep, f.Prune, c.logger.With(slog.String("participant", name)))
	}
	return f, nil
}

// Close ends what is done in the background. It leaves the database's pool open.
func (f *Fence) Close() { f.keeper.close() }

// Reserve implements [twophase.Participant].
func (f *Fence) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	var r twophase.Reservation
	for back := slowestCommit; ; {
		var began time.Time
		err := f.inTransaction(ctx, func(ctx context.Context, tx pgx.Tx) (answer, err error) {
			r, answer, err = f.reserve(ctx, tx, req, &began)
			return answer, err
		})
		if !errors.Is(err, twophase.ErrRefused) || began.IsZero() {
			return r, failed(req.Key, err)
		}
		// Nothing was kept. What has run out is given back in transactions of its own,
		// so that it stays so whatever becomes of this call.
		if _, over, _ := f.sweep(ctx, sweepStep); over > 0 {
			back = slowestCommit
			continue
		}
		if expired, anotherErr := f.expiredSince(ctx, f.db, began.Add(-back)); !expired {
			return twophase.Reservation{}, cmp.Or(failed(req.Key, anotherErr), err)
		}
		back = 0 // once is enough: what was committed by now is seen by the next try
	}
}

// slowestCommit is how long it may take from the moment at which a reservation is
// found expired until that is committed. Who began in between may have been refused
// what was freed, and finds it by a moment that was before its own.
const slowestCommit = 5 * time.Second

// ReserveIn is Reserve in a transaction that the caller already has, and commits: what
// is answered holds once that is done. After an error that is not final the caller
// rolls back. A call that would be refused first gives back what has run out, in the
// same transaction.
func (f *Fence) ReserveIn(ctx context.Context, tx pgx.Tx, req twophase.Request) (twophase.Reservation, error) {
	var r twophase.Reservation
	back := slowestCommit
	for n := 0; ; n++ {
		var began time.Time
		err := f.nested(ctx, tx, func(ctx context.Context, tx pgx.Tx) (answer, err error) {
			r, answer, err = f.reserve(ctx, tx, req, &began)
			return answer, err
		})
		if !errors.Is(err, twophase.ErrRefused) || began.IsZero() {
			return r, failed(req.Key, err)
		}
		again := false
		sweepErr := f.nested(ctx, tx, func(ctx context.Context, tx pgx.Tx) (_, err error) {
			again, err = f.expireDue(ctx, tx, began.Add(-back))
			return nil, err
		})
		if sweepErr != nil {
			return twophase.Reservation{}, failed(req.Key, sweepErr)
		}
		if !again {
			return twophase.Reservation{}, err
		}
		back = 0
		if err := pause(ctx, n); err != nil {
			return twophase.Reservation{}, failed(req.Key, err)
		}
	}
}

// Assign implements [twophase.Participant].
func (f *Fence) Assign(ctx context.Context, key twophase.Key) error {
	return failed(key, f.inTransaction(ctx, func(ctx context.Context, tx pgx.Tx) (answer, err error) {
		return f.assign(ctx, tx, key)
	}))
}

// AssignIn is Assign in a transaction that the caller already has. A reservation that
// has run out is released by it: the error is [twophase.ErrExpired], and the caller may
// commit.
func (f *Fence) AssignIn(ctx context.Context, tx pgx.Tx, key twophase.Key) error {
	return failed(key, f.nested(ctx, tx, func(ctx context.Context, tx pgx.Tx) (answer, err error) {
		return f.assign(ctx, tx, key)
	}))
}

// Release implements [twophase.Participant].
func (f *Fence) Release(ctx context.Context, key twophase.Key) error {
	return failed(key, f.inTransaction(ctx, func(ctx context.Context, tx pgx.Tx) (answer, err error) {
		return f.release(ctx, tx, key)
	}))
}

// ReleaseIn is Release in a transaction that the caller already has.
func (f *Fence) ReleaseIn(ctx context.Context, tx pgx.Tx, key twophase.Key) error {
	return failed(key, f.nested(ctx, tx, func(ctx context.Context, tx pgx.Tx) (answer, err error) {
		return f.release(ctx, tx, key)
	}))
}

// Sweep releases what has run out, up to limit reservations, each in a transaction of
// its own, and returns how many it was. Unless [WithoutBackground] is given it is done
// about every second. One whose release fails does not hold up the others.
func (f *Fence) Sweep(ctx context.Context, limit int) (int, error) {
	n, _, err := f.sweep(ctx, limit)
	if err != nil {
		return n, fmt.Errorf("postgres: sweep %s: %w", f.name, err)
	}
	return n, nil
}

// sweep returns how many reservations it has released, and how many of those that had
// run out are over, whoever released them.
func (f *Fence) sweep(ctx context.Context, limit int) (n, over int, err error) {
	rows, err := f.db.Query(ctx, f.fence.due, f.mode, f.participant, int64(limit))
	if err != nil {
		return 0, 0, err
	}
	var key twophase.Key
	var keys []twophase.Key
	_, err = pgx.ForEachRow(rows, []any{&key.Transaction, &key.Step}, func() error {
		keys = append(keys, key)
		return nil
	})
	errs := []error{err}
	for _, key := range keys {
		expired := false
		err := f.inTransaction(ctx, func(ctx context.Context, tx pgx.Tx) (_, err error) {
			expired, err = f.expire(ctx, tx, key)
			return nil, err
		})
		if err != nil {
			errs = append(errs, failed(key, err))
			continue
		}
		over++
		if expired {
			n++
		}
	}
	return n, over, errors.Join(errs...)
}

// Prune forgets keys that were released or have expired before the retention (see
// [WithRetention]), up to limit in small steps, and returns how many it was. Unless
// [WithoutBackground] is given it is done about every minute.
func (f *Fence) Prune(ctx context.Context, limit int) (int, error) {
	n, err := f.prune(ctx, limit)
	if err != nil {
		return n, fmt.Errorf("postgres: prune %s: %w", f.name, err)
	}
	return n, nil
}
