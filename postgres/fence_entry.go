package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
)

// What a fence does within a transaction: lock, load, ask, have the handler do it,
// store.

// step does part of a call in a transaction. The answer is an error that the caller
// gets though everything is committed; an err rolls it back.
type step func(ctx context.Context, tx pgx.Tx) (answer, err error)

// inTransaction runs a step in a transaction of its own.
func (f *Fence) inTransaction(ctx context.Context, do step) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	var answer error
	err := retryUndone(ctx, func() error {
		return pgx.BeginTxFunc(ctx, f.db, durably, func(tx pgx.Tx) (err error) {
			answer, err = guarded(ctx, tx, do)
			return err
		})
	})
	if err != nil {
		return err
	}
	return answer
}

// nested runs a step in a caller's transaction, of which it undoes no more than its
// own part.
func (f *Fence) nested(ctx context.Context, tx pgx.Tx, do step) error {
	var answer error
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) (err error) {
		answer, err = guarded(ctx, tx, do)
		return err
	})
	if err != nil {
		return err
	}
	return answer
}

// guarded makes an error of a panic.
func guarded(ctx context.Context, tx pgx.Tx, do step) (answer, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			answer, err = nil, fmt.Errorf("the handler panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	return do(ctx, tx)
}

// reserve keeps an entry before the handler is called: whoever else asks for the key
// at the same time waits. It tells when the entry was there.
func (f *Fence) reserve(
	ctx context.Context, tx pgx.Tx, req twophase.Request, began *time.Time,
) (_ twophase.Reservation, answer, err error) {
	none := twophase.Reservation{}
	if err := checkKey(req.Key); err != nil {
		return none, nil, err
	}
	fingerprint := twophase.FingerprintOf(req.Payload)
	fresh := twophase.Entry{}.Reserve(fingerprint, req.Hold, time.Time{}).Entry
	made, e, err := f.make(ctx, tx, req.Key, fresh, req.Hold)
	if err != nil {
		return none, nil, err
	}
	*began = e.now
	if !made {
		v := e.Reserve(fingerprint, req.Hold, e.now)
		if err := f.store(ctx, tx, e, v); err != nil {
			return none, nil, err
		}
		return e.reservation(), answerOf(req.Key, v), nil
	}
	if err := checkHold(req); err != nil {
		return none, nil, err
	}
	reserved, err := f.handler.Reserve(ctx, tx, req)
	if err != nil {
		return none, nil, err
	}
	if e.resources = slices.Clone(reserved.Resources); e.resources == nil {
		e.resources = []string{}
	}
	if len(reserved.Details) > 0 {
		details := string(reserved.Details)
		if e.details = &details; !storable(details) {
			return none, nil, fmt.Errorf("%w: the details of %s are not UTF-8", twophase.ErrRefused, req.Key)
		}
	}
	err = tx.QueryRow(ctx, f.fence.fill, f.mode,
		f.participant, req.Key.Transaction, req.Key.Step, e.resources, e.details).Scan(&e.now)
	return e.reservation(), nil, err
}

func (f *Fence) assign(ctx context.Context, tx pgx.Tx, key twophase.Key) (answer, err error) {
	e, err := f.load(ctx, tx, key)
	if err != nil {
		return nil, err
	}
	v := e.Assign(e.now)
	return answerOf(key, v), f.store(ctx, tx, e, v)
}

func (f *Fence) release(ctx context.Context, tx pgx.Tx, key twophase.Key) (answer, err error) {
	if !storableKey(key) {
		return nil, nil // a Reserve of it is turned away for ever
	}
	made, e, err := f.make(ctx, tx, key, twophase.Entry{}.Release().Entry, 0)
	if err != nil || made {
		return nil, err
	}
	v := e.Release()
	return answerOf(key, v), f.store(ctx, tx, e, v)
}

// expire releases a reservation that has run out, and reports whether it had.
func (f *Fence) expire(ctx context.Context, tx pgx.Tx, key twophase.Key) (bool, error) {
	e, err := f.load(ctx, tx, key)
	if err != nil {
		return false, err
	}
	v := e.Expire(e.now)
	return v.Free, f.store(ctx, tx, e, v)
}

// expireDue releases what has run out in a caller's transaction. It reports whether
// anything is free by that which was not when a call began, or soon will be: others
// may be at it.
func (f *Fence) expireDue(ctx context.Context, tx pgx.Tx, began time.Time) (bool, error) {
	rows, err := tx.Query(ctx, f.fence.lockDue, f.mode, f.participant, int64(sweepStep))
	if err != nil {
		return false, err
	}
	var due []*storedEntry
	for rows.Next() {
		e := &storedEntry{}
		if _, err := e.scan(rows); err != nil {
			rows.Close()
			return false, err
		}
		due = append(due, e)
	}
	if err := rows.Err(); err != nil {
		return false, err
	}
	for _, e := range due {
		if err := f.store(ctx, tx, e, e.Expire(e.now)); err != nil {
			return false, err
		}
	}
	if len(due) > 0 {
		return true, nil
	}
	busy := false
	if err := tx.QueryRow(ctx, f.fence.anyDue, f.mode, f.participant).Scan(&busy); err != nil || busy {
		return busy, err
	}
	return f.expiredSince(ctx, tx, began)
}

// expiredSince reports whether something has been found expired since then. A handler
// that looked at that moment may have seen it held.
func (f *Fence) expiredSince(ctx context.Context, q queryer, began time.Time) (expired bool, err error) {
	err = q.QueryRow(ctx, f.fence.expiredSince, f.mode, f.participant, began).Scan(&expired)
	return expired, err
}

// store makes a verdict on a loaded entry the state of things, in the author's tables
// and in the fence's.
func (f *Fence) store(ctx context.Context, tx pgx.Tx, e *storedEntry, v twophase.Verdict) error {
	if v.Entry == e.Entry {
		return nil
	}
	if v.Free {
		if err := f.handler.Release(ctx, tx, e.key, e.reservation()); err != nil {
			return err
		}
	}
	if v.Entry.State == twophase.EntryAssigned && f.handler.Assign != nil {
		if err := f.handler.Assign(ctx, tx, e.key, e.reservation()); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, f.fence.store, f.mode,
		f.participant, e.key.Transaction, e.key.Step, int64(v.Entry.State), !v.Entry.Holds())
	if err == nil {
		e.Entry = v.Entry
	}
	return err
}

// load locks the entry of a key; it is the zero one if there is none.
func (f *Fence) load(ctx context.Context, tx pgx.Tx, key twophase.Key) (*storedEntry, error) {
	e := &storedEntry{key: key}
	if !storableKey(key) {
		return e, nil
	}
	rows, err := tx.Query(ctx, f.fence.load, f.mode, f.participant, key.Transaction, key.Step)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if rows.Next() {
		if _, err := e.scan(rows); err != nil {
			return nil, err
		}
	}
	rows.Close()
	return e, rows.Err()
}

// make inserts an entry if the key has none, and reports whether it did; else it locks
// the one that there is.
func (f *Fence) make(
	ctx context.Context, tx pgx.Tx, key twophase.Key, fresh twophase.Entry, hold time.Duration,
) (made bool, e *storedEntry, err error) {
	fingerprint := fresh.Fingerprint[:]
	if fresh.Fingerprint == (twophase.Fingerprint{}) {
		fingerprint = []byte{}
	}
	for {
		rows, err := tx.Query(ctx, f.fence.make, f.mode, f.participant, key.Transaction, key.Step,
			int64(fresh.State), fingerprint, hold.Microseconds())
		if err != nil {
			return false, nil, err
		}
		e, n := &storedEntry{}, int64(0)
		found := rows.Next()
		if found {
			n, err = e.scan(rows)
		}
		rows.Close()
		if err = errors.Join(err, rows.Err()); err != nil || found {
			return n == 1, e, err
		}
		// It was made while this one waited for it, or pruned: the next look will tell.
	}
}
