//go:build unix

package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/history"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

// scarce is how many packets there are in the histories.
const scarce = 12

func newRecorder() *history.Recorder {
	r := history.New()
	r.Stock(scarce, func(payload json.RawMessage) int {
		var want pool.Want
		if json.Unmarshal(payload, &want) != nil {
			return 0
		}
		return max(1, want.Count)
	})
	return r
}

// recordLoad has callers of all instances of a service, and writes it down.
func recordLoad(t *testing.T, transactions int, instances ...twophase.Participant) *history.Recorder {
	t.Helper()
	recorder := newRecorder()
	for i, p := range instances {
		instances[i] = unhurried{recorder.Record(p)}
	}
	history.Load{
		Seed: 1, Callers: 24, Transactions: transactions, Hold: 100 * time.Millisecond, Cut: 0.05,
		Payload: func(random *rand.Rand) any { return pool.Want{Kind: dosa, Count: random.IntN(3)} },
	}.Run(t, instances...)
	return recorder
}

// unhurried is a participant whose callers do not rush on while it is away.
type unhurried struct{ twophase.Participant }

func (u unhurried) wait(err error) error {
	if err != nil && !twophase.IsFinal(err) {
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func (u unhurried) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := u.Participant.Reserve(ctx, req)
	return r, u.wait(err)
}

func (u unhurried) Assign(ctx context.Context, key twophase.Key) error {
	return u.wait(u.Participant.Assign(ctx, key))
}

func (u unhurried) Release(ctx context.Context, key twophase.Key) error {
	return u.wait(u.Participant.Release(ctx, key))
}

// instance is one process's participant and the way to end it.
type instance struct {
	twophase.Participant
	end func()
}

// restartAlways restarts an instance again and again until the context ends: the
// server cuts its connections off, whatever it is doing.
func restartAlways(ctx context.Context, t *testing.T, url, name string, s *history.Switch, open func(db *pgxpool.Pool) (instance, error)) {
	restarts := 0
	for ctx.Err() == nil {
		config, err := pgxpool.ParseConfig(url)
		if !assert.NoError(t, err) {
			return
		}
		config.ConnConfig.RuntimeParams["application_name"] = name
		db, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
		if !assert.NoError(t, err) {
			return
		}
		current, err := open(db)
		if err != nil { // the server is away
			db.Close()
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.Set(current)
		pauseFor(ctx, 300*time.Millisecond)
		_, _ = db.Exec(context.WithoutCancel(ctx), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = $1 AND pid <> pg_backend_pid()`, name)
		s.Set(nil)
		current.end()
		db.Close()
		restarts++
	}
	assert.Greater(t, restarts, 1, "restarts of "+name)
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// crashAlways crashes the server again and again until the context ends.
func crashAlways(ctx context.Context, t *testing.T, c *pgtest.Cluster) {
	crashes := 0
	for pauseFor(ctx, time.Second); ctx.Err() == nil; pauseFor(ctx, 3*time.Second) {
		assert.NoError(t, c.ShutDown(pgtest.Immediate))
		assert.NoError(t, c.StartAgain(context.WithoutCancel(ctx)))
		crashes++
	}
	assert.Positive(t, crashes, "crashes of the server")
}

// disturbWhile runs a load on one instance that stays and two that are restarted, on
// a server that crashes.
func disturbWhile(
	t *testing.T, c *pgtest.Cluster, url string, steady twophase.Participant, open func(db *pgxpool.Pool) (instance, error),
) *history.Recorder {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var disturbers sync.WaitGroup
	instances := []twophase.Participant{steady}
	for i := range 2 {
		s := &history.Switch{}
		instances = append(instances, s)
		disturbers.Go(func() { restartAlways(ctx, t, url, fmt.Sprint("instance-", i), s, open) })
	}
	disturbers.Go(func() { crashAlways(ctx, t, c) })
	recorder := recordLoad(t, 1500, instances...)
	stop()
	disturbers.Wait()
	require.Greater(t, recorder.Len(), 5000)
	return recorder
}

func TestPoolIsLinearizableAcrossRestartsAndCrashes(t *testing.T) {
	c := ownCluster(t) // not in parallel: it would leave the others no time
	db := c.Pool(t)
	steady := openPool(t, db, "store")
	require.NoError(t, steady.Restock(t.Context(), dosa, numberedIDs("packet", scarce)...))
	disturbWhile(t, c, db.Config().ConnString(), steady, func(db *pgxpool.Pool) (instance, error) {
		p, err := NewPool(t.Context(), db, "store", quietly)
		if err != nil {
			return instance{}, err
		}
		return instance{p, p.Close}, nil
	}).Check(t)
}

func TestFenceIsLinearizableAcrossRestartsAndCrashes(t *testing.T) {
	c := ownCluster(t) // not in parallel: it would leave the others no time
	db := c.Pool(t)
	execute(t, db, shelvesTable)
	stock(t, db, "shop", scarce)
	steady := openFence(t, db, "shop", shelves("shop"))
	disturbWhile(t, c, db.Config().ConnString(), steady, func(db *pgxpool.Pool) (instance, error) {
		f, err := NewFence(t.Context(), db, "shop", shelves("shop"), quietly)
		if err != nil {
			return instance{}, err
		}
		return instance{f, f.Close}, nil
	}).Check(t)
}
