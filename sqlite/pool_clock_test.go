package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// wall is a machine's clock that somebody sets.
type wall struct{ nanoseconds atomic.Int64 }

func newWall() *wall {
	w := &wall{}
	w.nanoseconds.Store(time.Now().UnixNano())
	return w
}

func (w *wall) now() time.Time       { return time.Unix(0, w.nanoseconds.Load()) }
func (w *wall) jump(d time.Duration) { w.nanoseconds.Add(int64(d)) }

// openClocked opens the pool in a file, on a clock of its own.
func openClocked(t *testing.T, path string, w *wall) *Pool {
	t.Helper()
	db, err := OpenDB(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	p, err := NewPool(t.Context(), db, "store", withClock(w.now), WithoutBackground())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

func keyOf(id string) twophase.Key { return twophase.Key{Transaction: id, Step: "store"} }

// packet is a request for a packet of dosa, for a minute.
func packet(id string) twophase.Request {
	payload, err := json.Marshal(pool.Want{Kind: "dosa"})
	if err != nil {
		panic(err)
	}
	return twophase.Request{Key: keyOf(id), Payload: payload, Hold: time.Minute}
}

// The verdict is that of the clock at the time of the call, however it came to
// show what it shows. Whoever was given the packet meanwhile keeps it.
func TestClockThatJumpsBetweenReserveAndAssignDecidesByWhatItShows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		jumps     []time.Duration
		takenBy2  bool          // another order asks for the packet after the first jump
		assign1   error         // at the end
		refused2  bool          // whether there was nothing free for it
		leftAfter time.Duration // what a repeated Reserve answers, if it is not too late
	}{
		"back by an hour":                      {jumps: []time.Duration{-time.Hour}, leftAfter: time.Hour + time.Minute},
		"forwards within the hold":             {jumps: []time.Duration{time.Minute - 1}, leftAfter: 1},
		"forwards to the instant of its end":   {jumps: []time.Duration{time.Minute}, assign1: twophase.ErrExpired},
		"forwards by a year":                   {jumps: []time.Duration{365 * 24 * time.Hour}, assign1: twophase.ErrExpired},
		"forwards and back":                    {jumps: []time.Duration{time.Hour, -time.Hour}, leftAfter: time.Minute},
		"back, where it is still taken":        {jumps: []time.Duration{-time.Hour}, takenBy2: true, refused2: true, leftAfter: time.Hour + time.Minute},
		"forwards, taken by another":           {jumps: []time.Duration{time.Hour}, takenBy2: true, assign1: twophase.ErrExpired},
		"forwards, taken by another, and back": {jumps: []time.Duration{time.Hour, -2 * time.Hour}, takenBy2: true, assign1: twophase.ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, w := filepath.Join(t.TempDir(), "store.db"), newWall()
			p, other := openClocked(t, path, w), openClocked(t, path, w)
			require.NoError(t, p.Restock(t.Context(), "dosa", "packet-1"))
			_, err := p.Reserve(t.Context(), packet("order-1"))
			require.NoError(t, err)
			for i, jump := range c.jumps {
				w.jump(jump)
				if i == 0 && c.takenBy2 {
					_, err := other.Reserve(t.Context(), packet("order-2"))
					require.Equal(t, c.refused2, errors.Is(err, twophase.ErrRefused), "%v", err)
				}
			}
			if c.assign1 == nil {
				again, err := p.Reserve(t.Context(), packet("order-1"))
				require.NoError(t, err)
				require.Equal(t, c.leftAfter, again.TimeLeft)
			}
			require.ErrorIs(t, p.Assign(t.Context(), keyOf("order-1")), c.assign1)
			if c.takenBy2 && !c.refused2 {
				require.NoError(t, other.Assign(t.Context(), keyOf("order-2")))
			}
			w.jump(1000 * time.Hour)
			counts, err := other.Count(t.Context(), "dosa")
			require.NoError(t, err)
			if c.assign1 == nil || c.takenBy2 {
				require.Equal(t, pool.Counts{Assigned: 1}, counts, "what is assigned does not run out")
			} else {
				require.Equal(t, pool.Counts{Free: 1}, counts)
			}
		})
	}
}

// holders are who has been told that a packet is theirs.
type holders struct{ sync.Map }

func (h *holders) add(t *testing.T, r twophase.Reservation, id string) {
	if other, taken := h.LoadOrStore(r.Resource(), id); taken {
		assert.Failf(t, "held twice", "%s is assigned to %s while %v has it", r.Resource(), id, other)
	}
}

// Callers of two instances order under a clock that goes forwards and back by
// more than the holds.
func TestNothingIsHeldTwiceUnderAClockThatJumps(t *testing.T) {
	t.Parallel()
	path, w := filepath.Join(t.TempDir(), "store.db"), newWall()
	instances := []*Pool{openClocked(t, path, w), openClocked(t, path, w)}
	for i := range 4 {
		require.NoError(t, instances[0].Restock(t.Context(), "dosa", fmt.Sprint("packet-", i)))
	}
	var h holders
	var assigned, late, jumps atomic.Int64
	var callers sync.WaitGroup
	for n := range 16 {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		p := instances[n%2]
		callers.Go(func() {
			for round := range 30 {
				id := fmt.Sprintf("order-%d-%d", n, round)
				r, err := p.Reserve(t.Context(), packet(id))
				if errors.Is(err, twophase.ErrRefused) {
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				if random.IntN(2) == 0 {
					jumps.Add(1)
					w.jump(time.Duration(random.Int64N(int64(6*time.Minute))) - 3*time.Minute)
				}
				switch err := p.Assign(t.Context(), keyOf(id)); {
				case errors.Is(err, twophase.ErrExpired):
					late.Add(1)
					continue
				case !assert.NoError(t, err):
					return
				}
				assigned.Add(1)
				h.add(t, r, id)
				time.Sleep(time.Millisecond) // others try meanwhile
				h.Delete(r.Resource())
				assert.NoError(t, p.Release(t.Context(), keyOf(id)))
			}
		})
	}
	callers.Wait()
	t.Logf("%d jumps, %d assigned, %d too late", jumps.Load(), assigned.Load(), late.Load())
	require.Positive(t, assigned.Load())
	require.Positive(t, late.Load())
	w.jump(time.Hour)
	counts, err := instances[1].Count(t.Context(), "dosa")
	require.NoError(t, err)
	require.Equal(t, pool.Counts{Free: 4}, counts)
}
