package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"unicode/utf8"

	"github.com/seed-bcc3c603/twophase"
)

// Fence is a [twophase.Participant] for a service with tables of its own: a
// [Handler] says in the service's own SQL what to reserve, assign and release
// mean, and the fence keeps everything else of the contract, in the same
// database transaction.
//
//   - A repeated call is answered with what was answered before; the handler is
//     not called again.
//   - A Release that comes first leaves a tombstone, and a call that comes too
//     late is turned away; the handler never sees either.
//   - A reservation that runs out is released by the handler: before anything is
//     reserved anew, and in the background.
//   - What the handler writes is kept together with the fence's own entry, or
//     nothing is.
//
// It is safe for concurrent use, by any number of processes that open it under
// the same name. Make it with [NewFence] and end it with [Fence.Close].
//
// Concurrent calls share a transaction and its commit, each behind a savepoint
// of its own. If one of them breaks the transaction, the others are called
// again: a handler has no effects but those that it writes in its transaction.
type Fence struct {
	books   *books
	handler Handler
}

var _ twophase.Participant = (*Fence)(nil)

// Handler says what the calls mean to the service's own tables. Each function
// works in the transaction that it is given, and leaves it open; it must not
// call the fence, nor use the database by other ways, which wait for this
// transaction to end. An error undoes everything of the call.
type Handler struct {
	// Reserve sets something aside and returns its ids and, if it likes,
	// details. Time is the fence's affair. If nothing is free the error is
	// [twophase.ErrRefused]. It is called once for a key, unless it fails.
	Reserve func(ctx context.Context, tx *sql.Tx, req twophase.Request) (twophase.Reservation, error)
	// Assign gives for good what Reserve returned. It is not called for what
	// has run out. It may be nil if there is nothing to do.
	Assign func(ctx context.Context, tx *sql.Tx, key twophase.Key, reservation twophase.Reservation) error
	// Release gives back what Reserve returned, whether assigned since or not.
	// It is called too for what has run out.
	Release func(ctx context.Context, tx *sql.Tx, key twophase.Key, reservation twophase.Reservation) error
}

// NewFence opens the fence of that name in a database of [OpenDB], and creates
// it if there is none. The handler's tables are in the same database.
func NewFence(
	ctx context.Context, db *sql.DB, name string, handler Handler, options ...FenceOption,
) (*Fence, error) {
	c := newParticipantConfig()
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option.configureFence(&c)
	}
	if handler.Reserve == nil || handler.Release == nil {
		c.fail("the handler of fence %q needs Reserve and Release", name)
	}
	if handler.Assign == nil {
		handler.Assign = func(context.Context, *sql.Tx, twophase.Key, twophase.Reservation) error { return nil }
	}
	b, err := openBooks(ctx, db, name, roleFence, c)
	if err != nil {
		return nil, err
	}
	f := &Fence{books: b, handler: handler}
	b.begin(f.Sweep)
	return f, nil
}

// Close answers what is under way, refuses everything else with [ErrClosed],
// and ends the housekeeping. The database stays open.
func (f *Fence) Close() error { return f.books.close() }

// Reserve implements [twophase.Participant].
func (f *Fence) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	return answer(ctx, f.books, func(_ context.Context, s *session) (twophase.Reservation, error) {
		return f.reserve(ctx, s, req)
	})
}

// Assign implements [twophase.Participant].
func (f *Fence) Assign(ctx context.Context, key twophase.Key) error {
	_, err := answer(ctx, f.books, func(_ context.Context, s *session) (struct{}, error) {
		return struct{}{}, f.assign(ctx, s, key)
	})
	return err
}

// Release implements [twophase.Participant].
func (f *Fence) Release(ctx context.Context, key twophase.Key) error {
	_, err := answer(ctx, f.books, func(_ context.Context, s *session) (struct{}, error) {
		return struct{}{}, f.release(ctx, s, key)
	})
	return err
}

// ReserveIn is Reserve in a transaction that the caller has on the same
// database: the answer holds once that is committed, and if it is rolled back
// nothing has happened. An error that is not final (see [twophase.IsFinal])
// may have broken the transaction: roll it back.
func (f *Fence) ReserveIn(ctx context.Context, tx *sql.Tx, req twophase.Request) (twophase.Reservation, error) {
	s, err := f.books.sessionIn(ctx, tx)
	if err != nil {
		return twophase.Reservation{}, err
	}
	return f.reserve(ctx, s, req)
}

// AssignIn is to Assign what [Fence.ReserveIn] is to Reserve. If the answer is
// [twophase.ErrExpired], commit all the same: what ran out has been released.
func (f *Fence) AssignIn(ctx context.Context, tx *sql.Tx, key twophase.Key) error {
	s, err := f.books.sessionIn(ctx, tx)
	if err != nil {
		return err
	}
	return f.assign(ctx, s, key)
}

// ReleaseIn is to Release what [Fence.ReserveIn] is to Reserve.
func (f *Fence) ReleaseIn(ctx context.Context, tx *sql.Tx, key twophase.Key) error {
	s, err := f.books.sessionIn(ctx, tx)
	if err != nil {
		return err
	}
	return f.release(ctx, s, key)
}

func (f *Fence) reserve(ctx context.Context, s *session, req twophase.Request) (twophase.Reservation, error) {
	var none twophase.Reservation
	e, err := f.load(ctx, s, req.Key)
	if err != nil {
		return none, err
	}
	v := e.Reserve(twophase.FingerprintOf(req.Payload), req.Hold, s.now)
	if v.Take {
		if reason := checkHold(req.Hold); reason != "" {
			return none, fmt.Errorf("%w: %s: %s", twophase.ErrRefused, req.Key, reason)
		}
		err = f.take(ctx, s, e, v, req)
	} else {
		err = f.settle(ctx, s, e, v)
	}
	if err != nil {
		return none, err
	}
	return e.reservation(f.books.clock()), nil // handlers take their time
}

// load returns what is stored under a key. From here on the caller's context is
// only the handler's: what is the fence's own is done, or breaks the transaction.
func (f *Fence) load(ctx context.Context, s *session, key twophase.Key) (*entry, error) {
	err := ctx.Err()
	if err == nil {
		err = checkKey(key)
	}
	if err != nil {
		return nil, undone{err}
	}
	return s.load(context.WithoutCancel(ctx), key)
}

// take has the handler reserve for e. What has run out is released before; if
// the handler refuses nevertheless and there is more of that, it is asked again.
func (f *Fence) take(ctx context.Context, s *session, e *entry, v twophase.Verdict, req twophase.Request) error {
	for after := first; ; {
		back, err := f.takeBack(ctx, s, after, keeperStep)
		if err != nil {
			return err
		}
		after = back.last
		blank := *e
		err = s.savepoint(context.WithoutCancel(ctx), func() error {
			r, err := protected(func() (twophase.Reservation, error) { return f.handler.Reserve(ctx, s.tx, req) })
			if err != nil {
				return fmt.Errorf("reserve %s: %w", e.key, err)
			}
			if err := e.give(r); err != nil {
				return err
			}
			return s.store(context.WithoutCancel(ctx), e, v)
		})
		if err == nil || !errors.Is(err, twophase.ErrRefused) || !back.more {
			return err
		}
		*e = blank
	}
}

// give makes a handler's answer that of e.
func (e *entry) give(r twophase.Reservation) error {
	if len(r.Details) > 0 && !json.Valid(r.Details) {
		return fmt.Errorf("reserve %s: the handler's details are no JSON", e.key)
	}
	for _, id := range r.Resources {
		if !utf8.ValidString(id) {
			return fmt.Errorf("reserve %s: the handler's resource %q is not UTF-8", e.key, id)
		}
	}
	e.content = content{Resources: r.Resources, Details: r.Details}
	return nil
}

func (f *Fence) assign(ctx context.Context, s *session, key twophase.Key) error {
	e, err := f.load(ctx, s, key)
	if err != nil {
		return err
	}
	return f.settle(ctx, s, e, e.Assign(s.now))
}

func (f *Fence) release(ctx context.Context, s *session, key twophase.Key) error {
	e, err := f.load(ctx, s, key)
	if err != nil {
		return err
	}
	return f.settle(ctx, s, e, e.Release())
}

// settle makes a verdict on e the state of things, with what the handler has to
// do for it, and returns its answer.
func (f *Fence) settle(ctx context.Context, s *session, e *entry, v twophase.Verdict) error {
	if v.Entry == e.Entry {
		return turnedAway(e.key, v)
	}
	before := *e
	err := s.savepoint(context.WithoutCancel(ctx), func() error {
		if err := f.handle(ctx, s, e, v); err != nil {
			return err
		}
		return s.store(context.WithoutCancel(ctx), e, v)
	})
	if err != nil {
		*e = before
		return err
	}
	return turnedAway(e.key, v)
}

// handle calls the handler for what a verdict does to e.
func (f *Fence) handle(ctx context.Context, s *session, e *entry, v twophase.Verdict) error {
	call, do := twophase.CallAssign, f.handler.Assign
	switch {
	case v.Free:
		call, do = twophase.CallRelease, f.handler.Release
	case v.Entry.State != twophase.EntryAssigned:
		return nil
	}
	_, err := protected(func() (struct{}, error) {
		return struct{}{}, do(ctx, s.tx, e.key, e.reservation(s.now))
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", call, e.key, err)
	}
	return nil
}

// protected makes a handler's panic an error.
func protected[T any](do func() (T, error)) (value T, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("the handler panicked: %v", reason)
		}
	}()
	return do()
}

// released says how far takeBack got.
type released struct {
	entries int
	last    position
	more    bool // there may be more after the last
}

// takeBack releases what has run out, the next ones after a place. One that the
// handler fails to release holds up no other; it is tried again the next time.
func (f *Fence) takeBack(ctx context.Context, s *session, after position, limit int) (released, error) {
	due, err := s.due(context.WithoutCancel(ctx), "", after, limit)
	if err != nil {
		return released{}, err
	}
	r := released{last: after, more: len(due) == limit}
	for _, e := range due {
		r.last = position{e.Expires.UnixNano(), e.number}
		err := f.settle(ctx, s, e, e.Expire(s.now))
		switch {
		case err == nil:
			r.entries++
		case !errors.As(err, new(undone)) || ctx.Err() != nil:
			return r, err
		default:
			f.books.logger.LogAttrs(ctx, slog.LevelWarn, "twophase/sqlite: what ran out is not released and is tried again",
				slog.String("participant", f.books.name), slog.String("transaction", e.key.Transaction),
				slog.String("step", e.key.Step), slog.Any("error", err))
		}
	}
	return r, nil
}

// Sweep releases what has run out, up to so many reservations, and returns how
// many. Nothing depends on it for the fence's own answers; but the service's
// tables show what has run out as reserved until then. It is done in the
// background, unless [WithoutBackground] is given.
func (f *Fence) Sweep(ctx context.Context, limit int) (swept int, err error) {
	kinds, err := f.books.dueKinds(ctx)
	if err != nil || len(kinds) == 0 {
		return 0, err
	}
	for after := first; swept < limit; {
		step := min(keeperStep, limit-swept)
		from := after
		r, err := answer(ctx, f.books, func(_ context.Context, s *session) (released, error) {
			return f.takeBack(ctx, s, from, step)
		})
		swept += r.entries
		after = r.last
		if err != nil || !r.more {
			return swept, err
		}
	}
	return swept, nil
}

// Prune forgets up to limit keys that were released or have expired longer ago
// than the retention, and returns how many. It is done in the background, unless
// [WithoutBackground] is given.
func (f *Fence) Prune(ctx context.Context, limit int) (pruned int, err error) {
	return f.books.prune(ctx, limit)
}

// FenceEntry is what a fence has under a key.
type FenceEntry struct {
	State twophase.EntryState
	// Reservation is what the key holds; it is empty once released or expired.
	Reservation twophase.Reservation
}

// Lookup returns what the fence has under a key, and whether it has anything:
// with it the fence's books can be compared with the coordinator's.
func (f *Fence) Lookup(ctx context.Context, key twophase.Key) (FenceEntry, bool, error) {
	e, found, err := f.books.lookup(ctx, key)
	if err != nil || !found {
		return FenceEntry{}, false, err
	}
	now := f.books.clock()
	e.Entry = e.Expire(now).Entry
	kept := FenceEntry{State: e.State}
	if e.Holds() {
		kept.Reservation = e.reservation(now)
	}
	return kept, true, nil
}
