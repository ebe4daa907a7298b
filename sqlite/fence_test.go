package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

const packetsTable = `CREATE TABLE packets (id TEXT PRIMARY KEY, food TEXT, state TEXT NOT NULL, taken TEXT)`

// kitchen is a service with a table of its own.
var kitchen = sqlite.Handler{
	Reserve: func(ctx context.Context, tx *sql.Tx, req twophase.Request) (r twophase.Reservation, err error) {
		want, err := twophase.PayloadOf[pool.Want](req)
		if err != nil {
			return r, err
		}
		for range max(1, want.Count) {
			var id string
			err := tx.QueryRowContext(ctx, `UPDATE packets SET state = 'reserved', taken = ? WHERE id =
				(SELECT id FROM packets WHERE food = ? AND state = 'free' LIMIT 1) RETURNING id`,
				req.Key.String(), want.Kind).Scan(&id)
			if errors.Is(err, sql.ErrNoRows) {
				return r, fmt.Errorf("%w: no %s left", twophase.ErrRefused, want.Kind)
			}
			if err != nil {
				return r, err
			}
			r.Resources = append(r.Resources, id)
		}
		r.Details, err = json.Marshal(map[string]int{"count": len(r.Resources)})
		return r, err
	},
	Assign: func(ctx context.Context, tx *sql.Tx, key twophase.Key, r twophase.Reservation) error {
		return set(ctx, tx, r, `UPDATE packets SET state = 'assigned' WHERE id = ? AND taken = ? AND state = 'reserved'`, key.String())
	},
	Release: func(ctx context.Context, tx *sql.Tx, key twophase.Key, r twophase.Reservation) error {
		return set(ctx, tx, r, `UPDATE packets SET state = 'free', taken = NULL WHERE id = ? AND taken = ?`, key.String())
	},
}

// set changes each packet of a reservation, which must be in the state that is
// expected.
func set(ctx context.Context, tx *sql.Tx, r twophase.Reservation, statement, taken string) error {
	for _, id := range r.Resources {
		result, err := tx.ExecContext(ctx, statement, id, taken)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return fmt.Errorf("%s is not as expected: %w", id, err)
		}
	}
	return nil
}

// openKitchen opens the fence in a file until the test ends, as a process of its
// own would.
func openKitchen(t testing.TB, db *sql.DB, handler sqlite.Handler, options ...sqlite.FenceOption) *sqlite.Fence {
	t.Helper()
	f, err := sqlite.NewFence(t.Context(), db, "kitchen", handler, options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return f
}

// newKitchen makes a file with so many packets of dosa.
func newKitchen(t testing.TB, packets int) *sql.DB {
	t.Helper()
	db := openDB(t, newFile(t))
	_, err := db.ExecContext(t.Context(), packetsTable)
	require.NoError(t, err)
	for _, id := range numbered("packet", packets) {
		_, err := db.ExecContext(t.Context(), `INSERT INTO packets VALUES (?, ?, 'free', NULL)`, id, dosa)
		require.NoError(t, err)
	}
	return db
}

// packets counts those of the kitchen's own table by their state.
func packets(t testing.TB, db *sql.DB) map[string]int {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT state, count(*) FROM packets GROUP BY state`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	counts := map[string]int{}
	for rows.Next() {
		var state string
		var n int
		require.NoError(t, rows.Scan(&state, &n))
		counts[state] = n
	}
	require.NoError(t, rows.Err())
	return counts
}

// openKitchens opens a fence with so many free packets twice, as two processes
// would.
func openKitchens(t testing.TB, free int, options ...sqlite.FenceOption) twophasetest.Subject {
	db := newKitchen(t, free)
	var path string
	var number, name any
	require.NoError(t, db.QueryRowContext(t.Context(), `PRAGMA database_list`).Scan(&number, &name, &path))
	return twophasetest.Subject{
		Participant: openKitchen(t, db, kitchen, options...),
		Others:      []twophase.Participant{openKitchen(t, openDB(t, path), kitchen, sqlite.WithoutBackground())},
		Payload:     pool.Want{Kind: dosa},
		Different:   pool.Want{Kind: dosa, Count: 2},
		Several:     func(n int) any { return pool.Want{Kind: dosa, Count: n} },
	}
}

func TestFenceKeepsTheContract(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		return openKitchens(t, free)
	}, twophasetest.RealTime(2*time.Second))
}

// Nothing tidies here, so that hours pass quickly.
func TestFenceKeepsTheContractToTheVeryInstant(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		return openKitchens(t, free, sqlite.WithoutBackground())
	})
}

func TestFenceReleasesInTheBackgroundWhatRunsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := newKitchen(t, 2)
		f := openKitchen(t, db, kitchen)
		req := wants("order-1", dosa, 2)
		req.Hold = time.Minute
		_, err := f.Reserve(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"reserved": 2}, packets(t, db))
		time.Sleep(time.Minute + 2*time.Second)
		require.Equal(t, map[string]int{"free": 2}, packets(t, db))
		entry, found, err := f.Lookup(t.Context(), req.Key)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, sqlite.FenceEntry{State: twophase.EntryExpired}, entry)
	})
}

func TestHandlerIsCalledOncePerChange(t *testing.T) {
	t.Parallel()
	var calls []twophase.Call
	counted := sqlite.Handler{
		Reserve: func(ctx context.Context, tx *sql.Tx, req twophase.Request) (twophase.Reservation, error) {
			calls = append(calls, twophase.CallReserve)
			return kitchen.Reserve(ctx, tx, req)
		},
		Assign: func(ctx context.Context, tx *sql.Tx, key twophase.Key, r twophase.Reservation) error {
			calls = append(calls, twophase.CallAssign)
			return kitchen.Assign(ctx, tx, key, r)
		},
		Release: func(ctx context.Context, tx *sql.Tx, key twophase.Key, r twophase.Reservation) error {
			calls = append(calls, twophase.CallRelease)
			return kitchen.Release(ctx, tx, key, r)
		},
	}
	f := openKitchen(t, newKitchen(t, 1), counted)
	key := keyOf("order-1")
	for range 2 {
		r := take(t, f, wants("order-1", dosa, 1))
		require.JSONEq(t, `{"count":1}`, string(r.Details))
	}
	for range 2 {
		require.NoError(t, f.Assign(t.Context(), key))
	}
	for range 2 {
		require.NoError(t, f.Release(t.Context(), key))
	}
	require.NoError(t, f.Release(t.Context(), keyOf("tombstone")))
	_, err := f.Reserve(t.Context(), wants("tombstone", dosa, 1))
	require.ErrorIs(t, err, twophase.ErrReleased)
	require.Equal(t, []twophase.Call{twophase.CallReserve, twophase.CallAssign, twophase.CallRelease}, calls)
}

// failing returns the kitchen's handler, which writes and then ends in trouble
// at the calls of a key.
func failing(key twophase.Key, trouble func() error) sqlite.Handler {
	after := func(k twophase.Key, err error) error {
		if err != nil || k != key {
			return err
		}
		return trouble()
	}
	return sqlite.Handler{
		Reserve: func(ctx context.Context, tx *sql.Tx, req twophase.Request) (twophase.Reservation, error) {
			r, err := kitchen.Reserve(ctx, tx, req)
			return r, after(req.Key, err)
		},
		Assign: func(ctx context.Context, tx *sql.Tx, key twophase.Key, r twophase.Reservation) error {
			return after(key, kitchen.Assign(ctx, tx, key, r))
		},
		Release: func(ctx context.Context, tx *sql.Tx, key twophase.Key, r twophase.Reservation) error {
			return after(key, kitchen.Release(ctx, tx, key, r))
		},
	}
}

func TestHandlersErrorUndoesItsCallAndNoOther(t *testing.T) {
	t.Parallel()
	errTrouble := errors.New("trouble")
	troubles := map[string]func() error{
		"an error":      func() error { return errTrouble },
		"a final error": func() error { return fmt.Errorf("%w: we are closed", twophase.ErrRefused) },
		"a panic":       func() error { panic(errTrouble) },
	}
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newKitchen(t, 9)
			var healthy sync.WaitGroup
			f := openKitchen(t, db, failing(keyOf("bad"), trouble))
			for i := range 8 {
				healthy.Go(func() {
					_, err := f.Reserve(t.Context(), wants(fmt.Sprint("order-", i), dosa, 1))
					assert.NoError(t, err)
					assert.NoError(t, f.Assign(t.Context(), keyOf(fmt.Sprint("order-", i))))
				})
			}
			_, err := f.Reserve(t.Context(), wants("bad", dosa, 1))
			require.Error(t, err)
			require.ErrorContains(t, err, "bad/store")
			require.Equal(t, name == "a final error", twophase.IsFinal(err))
			_, found, err := f.Lookup(t.Context(), keyOf("bad"))
			require.NoError(t, err)
			require.False(t, found)
			healthy.Wait()
			require.Equal(t, map[string]int{"assigned": 8, "free": 1}, packets(t, db))
		})
	}
}

func TestHandlersErrorLeavesAReservationAsItWas(t *testing.T) {
	t.Parallel()
	db := newKitchen(t, 1)
	broken := true
	f := openKitchen(t, db, failing(keyOf("order-1"), func() error {
		if broken {
			return errors.New("trouble")
		}
		return nil
	}))
	broken = false
	req := wants("order-1", dosa, 1)
	given := take(t, f, req)
	broken = true
	require.ErrorContains(t, f.Assign(t.Context(), req.Key), "assign order-1/store: trouble")
	require.Equal(t, map[string]int{"reserved": 1}, packets(t, db))
	require.ErrorContains(t, f.Release(t.Context(), req.Key), "release order-1/store: trouble")
	again := take(t, f, req)
	require.Equal(t, given.Resources, again.Resources)
	require.False(t, again.Assigned)
	broken = false
	require.NoError(t, f.Assign(t.Context(), req.Key))
	require.NoError(t, f.Release(t.Context(), req.Key))
	require.Equal(t, map[string]int{"free": 1}, packets(t, db))
}

func TestHandlerThatEndsTheTransactionIsAnError(t *testing.T) {
	t.Parallel()
	db := newKitchen(t, 2)
	f := openKitchen(t, db, sqlite.Handler{
		Reserve: func(ctx context.Context, tx *sql.Tx, req twophase.Request) (twophase.Reservation, error) {
			if req.Key == keyOf("bad") {
				return twophase.Reservation{}, tx.Rollback()
			}
			return kitchen.Reserve(ctx, tx, req)
		},
		Release: kitchen.Release,
	})
	_, err := f.Reserve(t.Context(), wants("bad", dosa, 1))
	require.ErrorIs(t, err, sql.ErrTxDone)
	require.False(t, twophase.IsFinal(err))
	take(t, f, wants("order-1", dosa, 1))
	require.NoError(t, f.Assign(t.Context(), keyOf("order-1")), "Assign may be left out")
}

func TestOneThatCannotBeReleasedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := newKitchen(t, 3)
		var log bytes.Buffer
		broken := false
		f := openKitchen(t, db, failing(keyOf("bad"), func() error {
			if broken {
				return errors.New("the fridge is locked")
			}
			return nil
		}), sqlite.WithoutBackground(), sqlite.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		for _, id := range []string{"bad", "order-1", "order-2"} {
			req := wants(id, dosa, 1)
			req.Hold = time.Minute
			take(t, f, req)
		}
		broken = true
		time.Sleep(time.Minute)
		require.Len(t, take(t, f, wants("order-3", dosa, 2)).Resources, 2)
		require.Equal(t, map[string]int{"reserved": 3}, packets(t, db))
		require.Contains(t, log.String(), "the fridge is locked")
		require.Contains(t, log.String(), "transaction=bad")
		require.ErrorContains(t, f.Assign(t.Context(), keyOf("bad")), "the fridge is locked", "nobody is told that it is released")

		broken = false
		n, err := f.Sweep(t.Context(), 100)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, map[string]int{"reserved": 2, "free": 1}, packets(t, db))
		require.ErrorIs(t, f.Assign(t.Context(), keyOf("bad")), twophase.ErrExpired)
	})
}

func TestManyThatRanOutAreFreeAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 450 // more than are released at a time
		db := newKitchen(t, many)
		f := openKitchen(t, db, kitchen, sqlite.WithoutBackground())
		for i := range many {
			req := wants(fmt.Sprint("order-", i), dosa, 1)
			req.Hold = time.Minute
			take(t, f, req)
		}
		time.Sleep(time.Minute)
		require.Len(t, take(t, f, wants("all", dosa, many)).Resources, many)
	})
}

func TestFenceWorksInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	db := newKitchen(t, 2)
	f := openKitchen(t, db, kitchen)
	in := func(commit bool, do func(tx *sql.Tx)) {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		do(tx)
		if commit {
			require.NoError(t, tx.Commit())
		} else {
			require.NoError(t, tx.Rollback())
		}
	}
	req := wants("order-1", dosa, 1)
	in(false, func(tx *sql.Tx) {
		_, err := f.ReserveIn(t.Context(), tx, req)
		require.NoError(t, err)
		require.NoError(t, f.AssignIn(t.Context(), tx, req.Key))
	})
	require.ErrorIs(t, f.Assign(t.Context(), req.Key), twophase.ErrUnknown, "rolled back with the rest")
	require.Equal(t, map[string]int{"free": 2}, packets(t, db))

	in(true, func(tx *sql.Tx) {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO packets VALUES ('packet-new', 'idli', 'free', NULL)`)
		require.NoError(t, err)
		_, err = f.ReserveIn(t.Context(), tx, wants("order-2", dosa, 3))
		require.ErrorIs(t, err, twophase.ErrRefused, "only the call is undone")
		_, err = f.ReserveIn(t.Context(), tx, req)
		require.NoError(t, err)
		require.ErrorIs(t, f.AssignIn(t.Context(), tx, keyOf("order-9")), twophase.ErrUnknown)
	})
	require.Equal(t, map[string]int{"free": 2, "reserved": 1}, packets(t, db))
	in(true, func(tx *sql.Tx) { require.NoError(t, f.AssignIn(t.Context(), tx, req.Key)) })
	require.True(t, take(t, f, req).Assigned)
	in(true, func(tx *sql.Tx) { require.NoError(t, f.ReleaseIn(t.Context(), tx, req.Key)) })
	_, err := f.Reserve(t.Context(), req)
	require.ErrorIs(t, err, twophase.ErrReleased)

	readOnly, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	defer func() { _ = readOnly.Rollback() }()
	require.ErrorContains(t, f.ReleaseIn(t.Context(), readOnly, req.Key), "readonly")
}

func TestFenceKeepsEverythingAcrossRestarts(t *testing.T) {
	t.Parallel()
	db := newKitchen(t, 2)
	before, err := sqlite.NewFence(t.Context(), db, "kitchen", kitchen)
	require.NoError(t, err)
	given := take(t, before, wants("order-1", dosa, 1))
	require.NoError(t, before.Release(t.Context(), keyOf("order-2")))
	require.NoError(t, before.Close())
	require.ErrorIs(t, before.Assign(t.Context(), keyOf("order-1")), sqlite.ErrClosed)

	after := openKitchen(t, db, kitchen)
	again := take(t, after, wants("order-1", dosa, 1))
	require.Equal(t, given.Resources, again.Resources)
	require.Equal(t, string(given.Details), string(again.Details))
	_, err = after.Reserve(t.Context(), wants("order-2", dosa, 1))
	require.ErrorIs(t, err, twophase.ErrReleased)
}

func TestFencesOptionsAreChecked(t *testing.T) {
	t.Parallel()
	db := openDB(t, newFile(t))
	_, err := sqlite.NewFence(t.Context(), db, "kitchen", sqlite.Handler{}, sqlite.WithRetention(time.Minute), nil)
	require.ErrorIs(t, err, twophase.ErrInvalid)
	require.ErrorContains(t, err, `the handler of fence "kitchen" needs Reserve and Release`)
	require.ErrorContains(t, err, "WithRetention(1m0s)")
	require.ErrorContains(t, err, "option 2 is nil")
}
