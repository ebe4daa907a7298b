package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

var dishes = []string{dosa, "idli", "vada", "sambar"}

// placing orders dishes at one of two instances.
type placing func(ctx context.Context, instance int, id string, dishes []string) error

// unlessBusy orders again what has waited for the file until its time was over, as
// it may on a machine that stands still. Those who lock each other out do not wait.
func unlessBusy(once placing) placing {
	return func(ctx context.Context, instance int, id string, dishes []string) error {
		for {
			began := time.Now()
			err := once(ctx, instance, id, dishes)
			if !errors.Is(err, sqlite3.BUSY) || time.Since(began) < 5*time.Second {
				return err
			}
		}
	}
}

// inOppositeOrders has each of many callers order every dish many times, half
// of them in the opposite order. None may fail, and none may wait for ever.
func inOppositeOrders(t *testing.T, callers, rounds int, place placing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var done sync.WaitGroup
	for n := range callers {
		mine := slices.Clone(dishes)
		if n/2%2 == 1 {
			slices.Reverse(mine)
		}
		done.Go(func() {
			for round := range rounds {
				assert.NoError(t, place(ctx, n%2, fmt.Sprintf("order-%d-%d", n, round), mine))
			}
		})
	}
	done.Wait()
}

func TestOrdersInOppositeOrdersNeitherFailNorHang(t *testing.T) {
	t.Parallel()
	t.Run("of a pool, by coordinators", func(t *testing.T) {
		t.Parallel()
		const callers, rounds, packetsEach = 32, 5, 32 * 5
		path := newFile(t)
		var coordinators []*twophase.Coordinator
		for range 2 {
			p := openPool(t, path)
			c, err := twophase.NewCoordinator(twophase.NewMemoryJournal(), twophase.WithParticipant("store", p),
				twophase.WithPolicy(twophase.Policy{ReserveFor: 30 * time.Second, Reserve: twophase.Retry{Attempt: 30 * time.Second}}))
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, c.Close(context.WithoutCancel(t.Context()))) })
			coordinators = append(coordinators, c)
		}
		stocked := openPool(t, path)
		for _, dish := range dishes {
			require.NoError(t, stocked.Restock(t.Context(), dish, numbered(dish, packetsEach)...))
		}
		inOppositeOrders(t, callers, rounds, func(ctx context.Context, instance int, id string, dishes []string) error {
			_, err := coordinators[instance].RunFunc(ctx, id, func(ctx context.Context, tx *twophase.Tx) error {
				for _, dish := range dishes {
					if _, err := tx.Reserve(ctx, "store", pool.Want{Kind: dish}); err != nil {
						return err
					}
				}
				return nil
			})
			return err
		})
		for _, dish := range dishes {
			require.Equal(t, pool.Counts{Assigned: packetsEach}, count(t, stocked, dish))
		}
	})

	t.Run("of a fence, in transactions of the caller", func(t *testing.T) {
		t.Parallel()
		const callers, rounds, packetsEach = 16, 3, 16 * 3 // they wait for the file for 5 seconds at most
		path := filepath.Join(t.TempDir(), "kitchen.db")
		dbs := []*sql.DB{openDB(t, path), openDB(t, path)}
		_, err := dbs[0].ExecContext(t.Context(), packetsTable)
		require.NoError(t, err)
		for _, dish := range dishes {
			for _, id := range numbered(dish, packetsEach) {
				_, err := dbs[0].ExecContext(t.Context(), `INSERT INTO packets VALUES (?, ?, 'free', NULL)`, id, dish)
				require.NoError(t, err)
			}
		}
		fences := []*sqlite.Fence{openKitchen(t, dbs[0], kitchen), openKitchen(t, dbs[1], kitchen)}
		inOppositeOrders(t, callers, rounds, unlessBusy(func(ctx context.Context, instance int, id string, dishes []string) error {
			tx, err := dbs[instance].BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }() // it fails after the commit
			// Who has read may write only if nobody else has written since.
			var left int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM packets WHERE state = 'free'`).Scan(&left); err != nil {
				return err
			}
			for _, dish := range dishes {
				req := wants(id, dish, 1)
				req.Key.Step = dish
				if _, err := fences[instance].ReserveIn(ctx, tx, req); err != nil {
					return err
				}
				if err := fences[instance].AssignIn(ctx, tx, req.Key); err != nil {
					return err
				}
			}
			return tx.Commit()
		}))
		require.Equal(t, map[string]int{"assigned": len(dishes) * packetsEach}, packets(t, dbs[0]))
	})
}
