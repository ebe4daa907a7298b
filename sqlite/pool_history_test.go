package sqlite_test

import (
	"encoding/json"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/history"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// stock is how many packets there are in the histories.
const stock = 12

func newRecorder() *history.Recorder {
	r := history.New()
	r.Stock(stock, func(payload json.RawMessage) int {
		var want pool.Want
		if json.Unmarshal(payload, &want) != nil {
			return 0
		}
		return max(1, want.Count)
	})
	return r
}

func load(transactions int) history.Load {
	return history.Load{
		Seed: 1, Callers: 16, Transactions: transactions, Hold: 100 * time.Millisecond, Cut: 0.05,
		Payload: func(random *rand.Rand) any { return pool.Want{Kind: dosa, Count: random.IntN(3)} },
	}
}

// instance is one process's participant and the way to end it.
type instance struct {
	twophase.Participant
	end func()
}

// restartWhile has the service restarted again and again while run runs.
func restartWhile(t *testing.T, s *history.Switch, open func() instance, run func()) {
	t.Helper()
	done := make(chan struct{})
	var restarts sync.WaitGroup
	restarts.Go(func() {
		for n := 0; ; n++ {
			current := open()
			s.Set(current.Participant)
			select {
			case <-done:
				current.end()
				assert.Positive(t, n, "restarts")
				return
			case <-time.After(200 * time.Millisecond):
			}
			current.end() // under fire
			s.Set(nil)
		}
	})
	run()
	close(done)
	restarts.Wait()
}

func TestPoolIsLinearizableAcrossRestarts(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	steady := openPool(t, path)
	require.NoError(t, steady.Restock(t.Context(), dosa, numbered("packet", stock)...))
	recorder, restarted := newRecorder(), &history.Switch{}
	open := func() instance {
		db, err := sqlite.OpenDB(t.Context(), path)
		assert.NoError(t, err)
		p, err := sqlite.NewPool(t.Context(), db, "store")
		assert.NoError(t, err)
		return instance{p, func() {
			assert.NoError(t, p.Close())
			assert.NoError(t, db.Close())
		}}
	}
	restartWhile(t, restarted, open, func() {
		load(2000).Run(t, recorder.Record(steady), recorder.Record(restarted))
	})
	require.Greater(t, recorder.Len(), 8000)
	recorder.Check(t)
}

func TestFenceIsLinearizableAcrossRestarts(t *testing.T) {
	t.Parallel()
	db := newKitchen(t, stock)
	recorder, restarted := newRecorder(), &history.Switch{}
	open := func() instance {
		f, err := sqlite.NewFence(t.Context(), db, "kitchen", kitchen)
		assert.NoError(t, err)
		return instance{f, func() { assert.NoError(t, f.Close()) }}
	}
	restartWhile(t, restarted, open, func() {
		load(1500).Run(t, recorder.Record(openKitchen(t, db, kitchen)), recorder.Record(restarted))
	})
	recorder.Check(t)
}
