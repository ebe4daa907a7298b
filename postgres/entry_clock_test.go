//go:build unix

package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// shiftedClock makes a clock in the database that jumps when it is told to.
func shiftedClock(t *testing.T, db *pgxpool.Pool) (option ParticipantOption, set func(shift time.Duration)) {
	t.Helper()
	execute(t, db, `CREATE TABLE clock_shift AS SELECT interval '0' AS shift`)
	execute(t, db, `CREATE FUNCTION shifted_clock() RETURNS timestamptz VOLATILE LANGUAGE plpgsql AS
		$$ BEGIN RETURN clock_timestamp() + (SELECT shift FROM clock_shift); END $$`)
	option = func(c *entryConfig) { c.clock = "shifted_clock()" }
	return option, func(shift time.Duration) {
		_, err := db.Exec(t.Context(), `UPDATE clock_shift SET shift = $1::bigint * interval '1 microsecond'`, shift.Microseconds())
		require.NoError(t, err)
	}
}

// onJumpyClock runs a test on a pool and on a fence that have so many packets.
func onJumpyClock(t *testing.T, packets int, test func(t *testing.T, db *pgxpool.Pool, p twophase.Participant, set func(time.Duration))) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, db *pgxpool.Pool, clock ParticipantOption) twophase.Participant{
		"pool": func(t *testing.T, db *pgxpool.Pool, clock ParticipantOption) twophase.Participant {
			p := openPool(t, db, "store", WithoutBackground(), clock)
			require.NoError(t, p.Restock(t.Context(), dosa, numberedIDs("packet", packets)...))
			return p
		},
		"fence": func(t *testing.T, db *pgxpool.Pool, clock ParticipantOption) twophase.Participant {
			stock(t, db, "shop", packets)
			return openFence(t, db, "shop", shelves("shop"), WithoutBackground(), clock)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := cluster.Pool(t)
			execute(t, db, shelvesTable)
			clock, set := shiftedClock(t, db)
			test(t, db, open(t, db, clock), set)
		})
	}
}

func TestVerdictsFollowTheDatabasesClockWhereverItJumps(t *testing.T) {
	const hold = time.Minute
	onJumpyClock(t, 1, func(t *testing.T, db *pgxpool.Pool, p twophase.Participant, set func(time.Duration)) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		reserve := func(order string) error {
			_, err := reserveOne(ctx, p, order, dosa, hold)
			return err
		}
		require.NoError(t, reserve("forward"))
		set(2 * hold)
		require.ErrorIs(t, p.Assign(ctx, orderKey("forward")), twophase.ErrExpired)
		set(0)
		require.ErrorIs(t, p.Assign(ctx, orderKey("forward")), twophase.ErrExpired, "as it was answered")

		require.NoError(t, reserve("taken over"), "what was found expired is free, though its time is to come")
		set(2 * hold)
		require.NoError(t, reserve("taker"))
		set(0)
		require.ErrorIs(t, p.Assign(ctx, orderKey("taken over")), twophase.ErrExpired)
		require.ErrorIs(t, reserve("nobody"), twophase.ErrRefused, "it ends, though what expired did so in the future")
		require.NoError(t, p.Assign(ctx, orderKey("taker")))
		set(time.Hour)
		require.ErrorIs(t, reserve("nobody"), twophase.ErrRefused, "what is assigned never runs out")
		require.NoError(t, p.Release(ctx, orderKey("taker")))

		require.NoError(t, reserve("there and back"))
		set(time.Hour + 2*hold)
		set(time.Hour)
		require.NoError(t, p.Assign(ctx, orderKey("there and back")), "nobody looked meanwhile")
		require.NoError(t, p.Release(ctx, orderKey("there and back")))

		require.NoError(t, reserve("backward"))
		set(0)
		r, err := reserveOne(ctx, p, "backward", dosa, hold)
		require.NoError(t, err)
		require.InDelta(t, time.Hour+hold, r.TimeLeft, float64(30*time.Second), "it is held for longer, and says so")
		require.ErrorIs(t, reserve("nobody"), twophase.ErrRefused)
		require.NoError(t, p.Assign(ctx, orderKey("backward")))
		requireTablesAgree(t, db)
	})
}

func TestNothingIsHeldTwiceWhileTheClockJumps(t *testing.T) {
	const hold = 10 * time.Minute
	onJumpyClock(t, 8, func(t *testing.T, db *pgxpool.Pool, p twophase.Participant, set func(time.Duration)) {
		keepLedger(t, db)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		var assigned, expired atomic.Int64
		var callers sync.WaitGroup
		for i := range 8 {
			callers.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					order := fmt.Sprintf("order-%d-%d", i, n)
					if _, err := reserveOne(ctx, p, order, dosa, hold); err != nil {
						continue
					}
					time.Sleep(rand.N(20 * time.Millisecond)) // it may run out, and be taken by another
					if n%3 > 0 {
						switch err := p.Assign(ctx, orderKey(order)); {
						case err == nil:
							assigned.Add(1)
						case twophase.IsFinal(err):
							expired.Add(1)
						}
						time.Sleep(rand.N(20 * time.Millisecond))
					}
					_ = p.Release(ctx, orderKey(order))
				}
			})
		}
		for ctx.Err() == nil && min(assigned.Load(), expired.Load()) < 50 {
			set(rand.N(4*time.Hour) - 2*time.Hour)
			time.Sleep(30 * time.Millisecond)
		}
		stop()
		callers.Wait()
		require.Positive(t, assigned.Load())
		require.Positive(t, expired.Load())
		require.Empty(t, violations(t, db, "I3"))
		requireTablesAgree(t, db)
	})
}
