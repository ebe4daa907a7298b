package groupcommit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is what the groups of these tests write to. A commit takes a second.
type disk struct {
	mu      sync.Mutex
	batches [][]int
	fail    func(batch []int) error
}

func (d *disk) commit(ctx context.Context, batch []int) error {
	time.Sleep(time.Second)
	d.mu.Lock()
	d.batches = append(d.batches, append([]int(nil), batch...))
	d.mu.Unlock()
	if d.fail != nil {
		return d.fail(batch)
	}
	return ctx.Err()
}

// written are the values that were committed, in their order.
func (d *disk) written() (all []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, batch := range d.batches {
		all = append(all, batch...)
	}
	return all
}

// inBubble runs a test with a group of its own, in fake time.
func inBubble(t *testing.T, options Options, test func(t *testing.T, g *Group[int], d *disk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		g := New(d.commit, options)
		defer g.Close()
		test(t, g, d)
	})
}

// queue has callers write those values, in that order, and returns their
// errors when all have ended.
func queue(ctx context.Context, g *Group[int], values ...int) (wait func() []error) {
	var done sync.WaitGroup
	errs := make([]error, len(values))
	for i, value := range values {
		done.Go(func() { errs[i] = g.Do(ctx, value) })
		synctest.Wait()
	}
	return func() []error {
		done.Wait()
		return errs
	}
}

func TestCallerAloneWaitsForNobody(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, g *Group[int], d *disk) {
		start := time.Now()
		for value := range 3 {
			require.NoError(t, g.Do(t.Context(), value))
		}
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, [][]int{{0}, {1}, {2}}, d.batches)
	})
}

func TestCallerAloneCommitsWithItsOwnContext(t *testing.T) {
	type key struct{}
	own := context.WithValue(t.Context(), key{}, true)
	var commits []any
	g := New(func(ctx context.Context, _ []int) error {
		commits = append(commits, ctx.Value(key{}))
		return ctx.Err()
	}, Options{})
	defer g.Close()
	require.NoError(t, g.Do(own, 1))
	assert.Equal(t, []any{true}, commits)
}

func TestCloseWaitsForThoseWhoCommitAlone(t *testing.T) {
	for name, values := range map[string][]int{"one": {1}, "two, and one in the queue": {1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Options{MaxBatch: 1, Parallel: 2}, func(t *testing.T, g *Group[int], d *disk) {
				wait := queue(t.Context(), g, values...)
				g.Close()
				assert.Len(t, d.written(), len(values))
				for _, err := range wait() {
					assert.NoError(t, err)
				}
			})
		})
	}
}

func TestNextBatchGathersWhileOneIsUnderWay(t *testing.T) {
	inBubble(t, Options{MaxBatch: 3}, func(t *testing.T, g *Group[int], d *disk) {
		start := time.Now()
		for _, err := range queue(t.Context(), g, 1, 2, 3, 4, 5, 6)() {
			assert.NoError(t, err)
		}
		assert.Equal(t, [][]int{{1}, {2, 3, 4}, {5, 6}}, d.batches)
		assert.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestNoMoreCommitsAtATimeThanParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		g := New(func(context.Context, []int) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			time.Sleep(time.Second)
			return nil
		}, Options{MaxBatch: 1, Parallel: 3})
		defer g.Close()
		start := time.Now()
		queue(t.Context(), g, 1, 2, 3, 4, 5, 6, 7)()
		assert.Equal(t, int32(3), most.Load())
		assert.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestFullQueueRefuses(t *testing.T) {
	inBubble(t, Options{MaxBatch: 1, MaxQueue: 2}, func(t *testing.T, g *Group[int], d *disk) {
		wait := queue(t.Context(), g, 1, 2, 3)
		err := g.Do(t.Context(), 4)
		require.ErrorIs(t, err, ErrFull)
		require.ErrorIs(t, err, ErrNotWritten)
		assert.Equal(t, []error{nil, nil, nil}, wait())
		assert.Equal(t, []int{1, 2, 3}, d.written())
		require.NoError(t, g.Do(t.Context(), 5), "there is room again")
	})
}

// soon is within what Do takes to notice the end of a context, and much less than
// a commit.
const soon = 20 * time.Millisecond

func TestQueuedWriteIsWithdrawnWhenItsContextEnds(t *testing.T) {
	inBubble(t, Options{MaxQueue: 3}, func(t *testing.T, g *Group[int], d *disk) {
		ctx, cancel := context.WithCancel(t.Context())
		first := queue(t.Context(), g, 1, 2)
		leaver := queue(ctx, g, 3)
		last := queue(t.Context(), g, 4)
		start := time.Now()
		cancel()
		err := leaver()[0]
		require.ErrorIs(t, err, ErrWithdrawn)
		require.ErrorIs(t, err, ErrNotWritten)
		require.ErrorIs(t, err, context.Canceled)
		assert.LessOrEqual(t, time.Since(start), soon, "it waits for no commit")
		replacement := queue(t.Context(), g, 5)
		assert.Equal(t, []error{nil, nil, nil, nil}, append(append(first(), last()...), replacement()...))
		assert.Equal(t, []int{1, 2, 4, 5}, d.written())
	})
}

func TestContextThatHasEndedWritesNothing(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, g *Group[int], d *disk) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, g.Do(ctx, 1), ErrWithdrawn)
		g.Close()
		assert.Empty(t, d.written())
	})
}

func TestContextThatEndsInFlightLeavesTheEffectOpenAndNeighboursAlone(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, g *Group[int], d *disk) {
		ctx, cancel := context.WithCancel(t.Context())
		first := queue(t.Context(), g, 1)
		leaver := queue(ctx, g, 2)
		neighbours := queue(t.Context(), g, 3, 4)
		time.Sleep(1500 * time.Millisecond)
		start := time.Now()
		cancel()
		err := leaver()[0]
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrNotWritten)
		assert.LessOrEqual(t, time.Since(start), soon, "it waits for no commit")
		assert.Equal(t, []error{nil, nil, nil}, append(first(), neighbours()...))
		assert.Equal(t, [][]int{{1}, {2, 3, 4}}, d.batches)
	})
}

func TestFailedCommitIsToldToItsWholeBatchAndToNobodyElse(t *testing.T) {
	full := errors.New("disk full")
	inBubble(t, Options{MaxBatch: 2}, func(t *testing.T, g *Group[int], d *disk) {
		d.fail = func(batch []int) error {
			if batch[0] == 2 {
				return full
			}
			return nil
		}
		assert.Equal(t, []error{nil, full, full, nil}, queue(t.Context(), g, 1, 2, 3, 4)())
	})
}

func TestPanicInCommitFailsItsBatchAndTheGroupGoesOn(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, g *Group[int], d *disk) {
		d.fail = func(batch []int) error {
			if batch[0] == 2 {
				panic("torn page")
			}
			return nil
		}
		errs := queue(t.Context(), g, 1, 2, 3)()
		require.NoError(t, errs[0])
		for _, err := range errs[1:] {
			require.ErrorContains(t, err, "torn page")
			require.NotErrorIs(t, err, ErrNotWritten)
		}
		require.NoError(t, g.Do(t.Context(), 4))
	})
}

func TestCloseFinishesWhatIsQueuedAndRefusesTheRest(t *testing.T) {
	inBubble(t, Options{MaxBatch: 1}, func(t *testing.T, g *Group[int], d *disk) {
		wait := queue(t.Context(), g, 1, 2, 3)
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			g.Close()
		}()
		synctest.Wait()
		err := g.Do(t.Context(), 4)
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, err, ErrNotWritten)
		assert.Equal(t, []error{nil, nil, nil}, wait())
		<-closed
		assert.Equal(t, []int{1, 2, 3}, d.written())
	})
}

// Writes, withdrawals and Close at once: whoever is told nil is written once,
// and whoever is told that nothing was written is not.
func TestEveryCallerIsToldTheTruth(t *testing.T) {
	t.Parallel()
	const callers, writes = 32, 200
	var mu sync.Mutex
	written := map[int]int{}
	g := New(func(_ context.Context, batch []int) error {
		mu.Lock()
		defer mu.Unlock()
		for _, value := range batch {
			written[value]++
		}
		return nil
	}, Options{MaxBatch: 7, MaxQueue: 24, Parallel: 2})
	told := make([]error, callers*writes)
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			for i := range writes {
				ctx, cancel := context.WithCancel(t.Context())
				if i%3 == 0 {
					go cancel()
				}
				told[caller*writes+i] = g.Do(ctx, caller*writes+i)
				cancel()
			}
		})
	}
	done.Wait()
	g.Close()
	for value, err := range told {
		switch {
		case err == nil:
			require.Equal(t, 1, written[value])
		case errors.Is(err, ErrNotWritten):
			require.Zero(t, written[value])
		default:
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, 1, written[value], "what was in flight goes on")
		}
	}
}

func BenchmarkDo(b *testing.B) {
	for name, callers := range map[string]int{"alone": 1, "callers=256": 256} {
		b.Run(name, func(b *testing.B) {
			g := New(func(context.Context, []int) error { return nil }, Options{})
			defer g.Close()
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			var done sync.WaitGroup
			b.ResetTimer()
			for range callers {
				done.Go(func() {
					for left.Add(-1) >= 0 {
						if err := g.Do(b.Context(), 1); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			done.Wait()
		})
	}
}
