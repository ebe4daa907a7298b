package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

const shelvesTable = `CREATE TABLE IF NOT EXISTS shelves (shop text, packet text, sold_to text, state text DEFAULT 'free', PRIMARY KEY (shop, packet))`

// shelves is a service with a table of its own.
func shelves(shop string) Handler {
	return Handler{
		Reserve: func(ctx context.Context, tx pgx.Tx, req twophase.Request) (twophase.Reservation, error) {
			want, err := twophase.PayloadOf[pool.Want](req)
			if err != nil {
				return twophase.Reservation{}, err
			}
			n := max(want.Count, 1)
			rows, err := tx.Query(ctx, `WITH free AS MATERIALIZED (
					SELECT packet FROM shelves WHERE shop = $1 AND state = 'free' ORDER BY packet LIMIT $2 FOR UPDATE
				)
				UPDATE shelves AS s SET state = 'reserved', sold_to = $3 FROM free WHERE s.shop = $1 AND s.packet = free.packet
				RETURNING s.packet`, shop, n, req.Key.String())
			packets, err := collect[string](rows, err)
			if err == nil && len(packets) < n {
				err = fmt.Errorf("%w: %d of %d left", twophase.ErrRefused, len(packets), n)
			}
			return twophase.Reservation{Resources: packets, Details: []byte(`{"shelf": 3}`)}, err
		},
		Assign: func(ctx context.Context, tx pgx.Tx, key twophase.Key, r twophase.Reservation) error {
			return change(ctx, tx, `UPDATE shelves SET state = 'sold' WHERE shop = $1 AND packet = ANY ($2) AND sold_to = $3 AND state = 'reserved'`, shop, key, r)
		},
		Release: func(ctx context.Context, tx pgx.Tx, key twophase.Key, r twophase.Reservation) error {
			return change(ctx, tx, `UPDATE shelves SET state = 'free', sold_to = NULL WHERE shop = $1 AND packet = ANY ($2) AND sold_to = $3`, shop, key, r)
		},
	}
}

// change fails if not everything that was reserved is there.
func change(ctx context.Context, tx pgx.Tx, sql, shop string, key twophase.Key, r twophase.Reservation) error {
	tag, err := tx.Exec(ctx, sql, shop, r.Resources, key.String())
	if err == nil && int(tag.RowsAffected()) != len(r.Resources) {
		err = fmt.Errorf("%s has %d of %v", key, tag.RowsAffected(), r.Resources)
	}
	return err
}

func stock(t testing.TB, db *pgxpool.Pool, shop string, free int) {
	t.Helper()
	_, err := db.Exec(t.Context(), `INSERT INTO shelves (shop, packet) SELECT $1, 'packet-' || n FROM generate_series(1, $2::bigint) AS n`, shop, free)
	require.NoError(t, err)
}

func openFence(t testing.TB, db *pgxpool.Pool, name string, handler Handler, options ...FenceOption) *Fence {
	t.Helper()
	f, err := NewFence(t.Context(), db, name, handler, append([]FenceOption{quietly}, options...)...)
	require.NoError(t, err)
	t.Cleanup(f.Close)
	return f
}

func TestFenceKeepsTheContract(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mode    pgx.QueryExecMode
		options []FenceOption
		inTx    bool
	}{
		"with prepared statements":     {mode: pgx.QueryExecModeCacheStatement},
		"by the simple protocol":       {mode: pgx.QueryExecModeSimpleProtocol},
		"with nobody who sweeps":       {mode: pgx.QueryExecModeExec, options: []FenceOption{WithoutBackground()}},
		"in transactions of its users": {mode: pgx.QueryExecModeCacheDescribe, options: []FenceOption{WithoutBackground()}, inTx: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbs := threeDatabases(t, test.mode)
			execute(t, dbs[0], shelvesTable)
			var fences atomic.Int64
			twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
				shop := fmt.Sprint("shop-", fences.Add(1))
				stock(t, dbs[0], shop, free)
				var all []twophase.Participant
				for _, db := range dbs {
					fence := openFence(t, db, shop, shelves(shop), test.options...)
					if test.inTx {
						all = append(all, fenceInTx{fence, db})
					} else {
						all = append(all, fence)
					}
				}
				return twophasetest.Subject{
					Participant: all[0], Others: all[1:],
					Payload:   pool.Want{Kind: dosa},
					Different: pool.Want{Kind: "idli"},
					Several:   func(n int) any { return pool.Want{Kind: dosa, Count: n} },
				}
			}, twophasetest.RealTime(3*time.Second))
		})
	}
}

// fenceInTx calls a fence in transactions of its own.
type fenceInTx struct {
	fence *Fence
	db    *pgxpool.Pool
}

// do commits what a final error leaves, as a user may.
func (f fenceInTx) do(ctx context.Context, call func(tx pgx.Tx) error) error {
	var final error
	err := pgx.BeginFunc(ctx, f.db, func(tx pgx.Tx) error {
		final = nil
		err := call(tx)
		if twophase.IsFinal(err) {
			final, err = err, nil
		}
		return err
	})
	return errors.Join(err, final)
}

func (f fenceInTx) Reserve(ctx context.Context, req twophase.Request) (r twophase.Reservation, err error) {
	err = f.do(ctx, func(tx pgx.Tx) (err error) {
		r, err = f.fence.ReserveIn(ctx, tx, req)
		return err
	})
	return r, err
}

func (f fenceInTx) Assign(ctx context.Context, key twophase.Key) error {
	return f.do(ctx, func(tx pgx.Tx) error { return f.fence.AssignIn(ctx, tx, key) })
}

func (f fenceInTx) Release(ctx context.Context, key twophase.Key) error {
	return f.do(ctx, func(tx pgx.Tx) error { return f.fence.ReleaseIn(ctx, tx, key) })
}

func TestHandlerThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	execute(t, db, shelvesTable)
	stock(t, db, "shop", 1)
	broken := errors.New("the printer is on fire")
	var fail func() error
	handler := shelves("shop")
	works := handler
	handler.Reserve = func(ctx context.Context, tx pgx.Tx, req twophase.Request) (twophase.Reservation, error) {
		r, err := works.Reserve(ctx, tx, req)
		return r, errors.Join(err, fail())
	}
	handler.Assign = func(ctx context.Context, tx pgx.Tx, key twophase.Key, r twophase.Reservation) error {
		return errors.Join(works.Assign(ctx, tx, key, r), fail())
	}
	handler.Release = func(ctx context.Context, tx pgx.Tx, key twophase.Key, r twophase.Reservation) error {
		return errors.Join(works.Release(ctx, tx, key, r), fail())
	}
	f := openFence(t, db, "shop", handler)
	fails := map[string]func() error{
		"an error":       func() error { return broken },
		"a final error":  func() error { return fmt.Errorf("%w: %w", twophase.ErrRefused, broken) },
		"a panic":        func() error { panic("the printer is on fire") },
		"an error again": func() error { return broken },
	}
	calls := []struct {
		call          func() error
		before, after string
	}{
		{func() error { _, err := reserveOne(t.Context(), f, "order-1", dosa, time.Hour); return err }, "free", "reserved"},
		{func() error { return f.Assign(t.Context(), orderKey("order-1")) }, "reserved", "sold"},
		{func() error { return f.Release(t.Context(), orderKey("order-1")) }, "sold", "free"},
	}
	for _, call := range calls {
		for name, failure := range fails {
			fail = failure
			err := call.call()
			require.ErrorContains(t, err, "the printer is on fire", name)
			assert.Equal(t, name == "a final error", twophase.IsFinal(err), name)
			assert.Equal(t, call.before, shelfState(t, db), name)
		}
		fail = func() error { return nil }
		require.NoError(t, call.call())
		require.Equal(t, call.after, shelfState(t, db))
	}
}

func shelfState(t testing.TB, db *pgxpool.Pool) (state string) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT state FROM shelves WHERE packet = 'packet-1'`).Scan(&state))
	return state
}

// What the caller does in the same transaction, and what the fence does, take place
// together or not at all.
func TestFenceSharesTheFateOfItsCallersTransaction(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	execute(t, db, shelvesTable)
	execute(t, db, `CREATE TABLE invoices (of text)`)
	stock(t, db, "shop", 1)
	f := openFence(t, db, "shop", shelves("shop"))
	req := twophase.Request{Key: orderKey("order-1"), Payload: json.RawMessage(`{"kind":"x"}`), Hold: time.Hour}
	changedMyMind := errors.New("changed my mind")
	for _, fate := range []error{changedMyMind, nil} {
		err := pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
			if _, err := f.ReserveIn(t.Context(), tx, req); err != nil {
				return err
			}
			if err := f.AssignIn(t.Context(), tx, req.Key); err != nil {
				return err
			}
			other := req
			other.Key = orderKey("order-2")
			if _, err := f.ReserveIn(t.Context(), tx, other); !errors.Is(err, twophase.ErrRefused) {
				return fmt.Errorf("order-2 is not refused: %w", err)
			}
			if _, err := tx.Exec(t.Context(), `INSERT INTO invoices VALUES ('order-1')`); err != nil {
				return err
			}
			return fate
		})
		require.ErrorIs(t, err, fate)
		var invoices int
		require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM invoices`).Scan(&invoices))
		if fate != nil {
			require.Zero(t, invoices)
			require.Equal(t, "free", shelfState(t, db))
			require.ErrorIs(t, f.Assign(t.Context(), req.Key), twophase.ErrUnknown)
			continue
		}
		require.Equal(t, 1, invoices)
		require.Equal(t, "sold", shelfState(t, db))
		require.NoError(t, f.Assign(t.Context(), req.Key))
	}
}

func TestSweepReleasesWhatHasRunOutThoughOneReleaseFails(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	execute(t, db, shelvesTable)
	stock(t, db, "shop", 3)
	handler := shelves("shop")
	release := handler.Release
	handler.Release = func(ctx context.Context, tx pgx.Tx, key twophase.Key, r twophase.Reservation) error {
		if key == orderKey("order-2") {
			return errors.New("stuck")
		}
		return release(ctx, tx, key, r)
	}
	f := openFence(t, db, "shop", handler, WithoutBackground())
	for _, order := range []string{"order-1", "order-2", "order-3"} {
		_, err := reserveOne(t.Context(), f, order, dosa, 10*time.Millisecond)
		require.NoError(t, err)
	}
	swept := 0
	require.Eventually(t, func() bool {
		n, err := f.Sweep(t.Context(), 10)
		swept += n
		return err != nil && swept == 2
	}, 10*time.Second, 5*time.Millisecond)
	_, err := f.Sweep(t.Context(), 10)
	require.ErrorContains(t, err, "order-2")
	require.ErrorContains(t, err, "stuck")
	require.ErrorIs(t, f.Assign(t.Context(), orderKey("order-1")), twophase.ErrExpired)
	_, err = reserveOne(t.Context(), f, "order\x00", dosa, time.Hour)
	require.ErrorIs(t, err, twophase.ErrRefused)
	require.NoError(t, f.Release(t.Context(), orderKey("order\x00")))
	// It stands in nobody's way.
	for _, order := range []string{"order-4", "order-5"} {
		_, err := reserveOne(t.Context(), f, order, dosa, time.Hour)
		require.NoError(t, err)
	}
	_, err = reserveOne(t.Context(), f, "order-6", dosa, time.Hour)
	require.ErrorIs(t, err, twophase.ErrRefused)
}

// TestFenceGivesWhatASweeperHasJustFreed: who was refused while a sweeper's commit was
// under way finds what it freed, though it was found expired before he came.
func TestFenceGivesWhatASweeperHasJustFreed(t *testing.T) {
	t.Parallel()
	db := threeDatabases(t, pgx.QueryExecModeCacheStatement)[0]
	execute(t, db, shelvesTable)
	stock(t, db, "shop", 1)
	sweeper := openFence(t, db, "shop", shelves("shop"), WithoutBackground())
	execute(t, db, `CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$`)
	execute(t, db, `CREATE CONSTRAINT TRIGGER linger AFTER UPDATE ON twophase_reservations
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 4) EXECUTE FUNCTION linger()`)
	is := func(sql string) bool {
		var yes bool
		return db.QueryRow(t.Context(), sql).Scan(&yes) == nil && yes
	}
	eventually := func(sql string) {
		require.Eventually(t, func() bool { return is(sql) }, 30*time.Second, time.Millisecond)
	}
	slow := shelves("shop")
	slow.Reserve = func(ctx context.Context, tx pgx.Tx, req twophase.Request) (twophase.Reservation, error) {
		r, err := shelves("shop").Reserve(ctx, tx, req)
		if errors.Is(err, twophase.ErrRefused) {
			eventually(`SELECT bool_or(state = 4) FROM twophase_reservations`)
		}
		return r, err
	}
	fence := openFence(t, db, "shop", slow, WithoutBackground())
	_, err := sweeper.Reserve(t.Context(), requestFor("order-1", 100*time.Millisecond))
	require.NoError(t, err)
	eventually(`SELECT expires_at < clock_timestamp() FROM twophase_reservations`)
	go func() { _, _ = sweeper.Sweep(context.WithoutCancel(t.Context()), 1) }()
	eventually(`SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`)

	r, err := fence.Reserve(t.Context(), requestFor("order-2", time.Minute))
	require.NoError(t, err)
	assert.Equal(t, []string{"packet-1"}, r.Resources)
}

func requestFor(id string, hold time.Duration) twophase.Request {
	return twophase.Request{Key: twophase.Key{Transaction: id, Step: "store"}, Payload: []byte(`{"kind":"dosa"}`), Hold: hold}
}
