package twophase_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// timed is a participant that notes when each attempt arrives, and fails as
// told.
type timed struct {
	twophase.Participant
	mu       sync.Mutex
	arrivals map[twophase.Call][]time.Time
	fail     map[twophase.Call]func(n int) error // by the attempt, from 1
	bounds   []time.Duration                     // how long each attempt may take
}

func newTimed() *timed {
	return &timed{
		Participant: newIdle("packet-1"), arrivals: map[twophase.Call][]time.Time{},
		fail: map[twophase.Call]func(int) error{},
	}
}

func (p *timed) arrive(ctx context.Context, call twophase.Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrivals[call] = append(p.arrivals[call], time.Now())
	if deadline, ok := ctx.Deadline(); ok {
		p.bounds = append(p.bounds, time.Until(deadline))
	}
	if fail := p.fail[call]; fail != nil {
		return fail(len(p.arrivals[call]))
	}
	return nil
}

func (p *timed) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if err := p.arrive(ctx, twophase.CallReserve); err != nil {
		return twophase.Reservation{}, err
	}
	return p.Participant.Reserve(ctx, req)
}

func (p *timed) Assign(ctx context.Context, _ twophase.Key) error {
	return p.arrive(ctx, twophase.CallAssign)
}

func (p *timed) Release(ctx context.Context, _ twophase.Key) error {
	return p.arrive(ctx, twophase.CallRelease)
}

// waits returns the time between attempts.
func (p *timed) waits(call twophase.Call) (waits []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 1; i < len(p.arrivals[call]); i++ {
		waits = append(waits, p.arrivals[call][i].Sub(p.arrivals[call][i-1]))
	}
	return waits
}

func newTimedCoordinator(t *testing.T, p twophase.Participant, options ...twophase.Option) *twophase.Coordinator {
	t.Helper()
	c, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		append([]twophase.Option{twophase.WithParticipant("store", p)}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(ended(context.Background())) })
	return c
}

func runAtStore(t *testing.T, c *twophase.Coordinator, id string) error {
	t.Helper()
	_, err := c.Run(t.Context(), twophase.Transaction{ID: id, Steps: []twophase.Step{{Participant: "store"}}})
	return err
}

var errDown = errors.New("down")

func always(err error) func(int) error { return func(int) error { return err } }

// Waits are random, between zero and a bound that doubles from First to Max.
func TestWaitsAreJitteredWithinBounds(t *testing.T) {
	t.Parallel()
	const first, most = 100 * time.Millisecond, time.Second
	longest := make([]time.Duration, 6)
	shortest := slicesOf(len(longest), time.Hour)
	for i := range 200 {
		synctest.Test(t, func(t *testing.T) {
			p := newTimed()
			p.fail[twophase.CallReserve] = func(n int) error {
				if n <= len(longest) {
					return errDown
				}
				return nil
			}
			c := newTimedCoordinator(t, p, twophase.WithPolicy(twophase.Policy{
				Reserve: twophase.Retry{First: first, Max: most}, ReserveFor: 20 * time.Second,
			}))
			require.NoError(t, runAtStore(t, c, fmt.Sprint(i)))
			for n, wait := range p.waits(twophase.CallReserve) {
				longest[n], shortest[n] = max(longest[n], wait), min(shortest[n], wait)
			}
		})
	}
	for n := range longest {
		bound := min(first<<n, most)
		assert.LessOrEqual(t, longest[n], bound, "wait %d", n+1)
		assert.Greater(t, longest[n], bound*3/4, "wait %d uses its bound", n+1)
		assert.Less(t, shortest[n], bound/4, "wait %d may be short", n+1)
	}
}

func slicesOf[T any](n int, value T) []T {
	values := make([]T, n)
	for i := range values {
		values[i] = value
	}
	return values
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for _, call := range calls {
		t.Run(string(call), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newTimed()
				const asked = 2500 * time.Millisecond
				p.fail[call] = func(n int) error {
					if n == 1 {
						return fmt.Errorf("busy: %w", &twophase.RetryAfterError{After: asked, Err: errDown})
					}
					return nil
				}
				if call == twophase.CallRelease {
					p.fail[twophase.CallAssign] = always(twophase.ErrRefused)
				}
				c := newTimedCoordinator(t, p)
				_ = runAtStore(t, c, "order-1")
				require.NoError(t, c.Close(t.Context()))
				waits := p.waits(call)
				require.Len(t, waits, 1)
				assert.GreaterOrEqual(t, waits[0], asked, "never shorter")
			})
		})
	}
	for name, after := range map[string]time.Duration{
		"not beyond the time that there is": time.Hour, "nor at its very end": 3 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, start := newTimed(), time.Now()
				p.fail[twophase.CallReserve] = always(&twophase.RetryAfterError{After: after, Err: errDown})
				err := runAtStore(t, newTimedCoordinator(t, p), "order-1")
				require.ErrorIs(t, err, twophase.ErrNotPlaced)
				require.ErrorIs(t, err, errDown)
				assert.Zero(t, time.Since(start), "it gives up at once: the retry would come too late")
			})
		})
	}
}

func TestWhatIsRepeatedAndForHowLong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		call     twophase.Call
		err      error
		repeated bool
		lasts    time.Duration // at most, until it is given up
	}{
		{"a Reserve, for ReserveFor", twophase.CallReserve, errDown, true, 3 * time.Second},
		{"an Assign, while the reservation lives", twophase.CallAssign, errDown, true, 2 * time.Minute},
		{"a Release, for ReleaseFor", twophase.CallRelease, errDown, true, 10 * time.Second},
		{"not what is final", twophase.CallReserve, twophase.ErrRefused, false, 0},
		{"not what backoff calls permanent", twophase.CallReserve, backoff.Permanent(errDown), false, 0},
		{"not a final Release", twophase.CallRelease, twophase.ErrUnknown, false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, start := newTimed(), time.Now()
				p.fail[test.call] = always(test.err)
				if test.call == twophase.CallRelease {
					p.fail[twophase.CallAssign] = always(twophase.ErrRefused)
				}
				c := newTimedCoordinator(t, p, twophase.WithTimeout(time.Hour), twophase.WithoutBackgroundRecovery())
				require.ErrorIs(t, runAtStore(t, c, "order-1"), twophase.ErrNotPlaced)
				require.NoError(t, c.Close(t.Context()))
				assert.Equal(t, test.repeated, len(p.waits(test.call)) > 0)
				assert.LessOrEqual(t, time.Since(start), test.lasts)
				assert.GreaterOrEqual(t, time.Since(start), test.lasts/2, "and not much less")
			})
		})
	}
}

// A final answer ends it also after others that were not.
func TestWhatIsRepeatedEndsWithAFinalAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newTimed()
		p.fail[twophase.CallReserve] = func(n int) error {
			if n < 3 {
				return errDown
			}
			return twophase.ErrRefused
		}
		require.ErrorIs(t, runAtStore(t, newTimedCoordinator(t, p), "order-1"), twophase.ErrRefused)
		assert.Len(t, p.waits(twophase.CallReserve), 2)
	})
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newTimed()
		p.fail[twophase.CallRelease] = always(errDown)
		p.fail[twophase.CallAssign] = always(twophase.ErrRefused)
		c := newTimedCoordinator(t, p, twophase.WithoutBackgroundRecovery(), twophase.WithPolicy(twophase.Policy{
			ReserveFor: 8 * time.Second,
			Reserve:    twophase.Retry{Attempt: time.Second},
			Assign:     twophase.Retry{Attempt: 2 * time.Second},
			Release:    twophase.Retry{First: 4 * time.Second, Attempt: 3 * time.Second},
		}))
		require.ErrorIs(t, runAtStore(t, c, "order-1"), twophase.ErrNotPlaced)
		require.NoError(t, c.Close(t.Context()))
		assert.Equal(t, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, p.bounds[:3])
		releases := p.arrivals[twophase.CallRelease]
		for i, at := range releases {
			left := 10*time.Second - at.Sub(releases[0])
			assert.Equal(t, min(3*time.Second, left), p.bounds[2+i], "and by what is left of ReleaseFor")
		}
	})
}

func TestPoliciesForOneParticipantComeFirst(t *testing.T) {
	t.Parallel()
	bubble(t, "over those for all, over the defaults, field by field", func(t *testing.T, w *world) {
		w.stockAll(2)
		var holds sync.Map
		spy := func(name string) twophase.Option {
			return twophase.WithParticipant("spy-"+name, spying{newIdle("a"), func(req twophase.Request) { holds.Store(name, req.Hold) }})
		}
		c := w.coordinator(spy("one"), spy("two"), spy("three"),
			twophase.WithPolicy(twophase.Policy{Hold: 5 * time.Minute}),
			twophase.WithPolicyFor("spy-one", twophase.Policy{Hold: 7 * time.Minute}),
			twophase.WithPolicyFor("spy-two", twophase.Policy{Margin: 2 * time.Second}),
		)
		_, err := c.Run(t.Context(), twophase.Transaction{ID: "order-1", Steps: []twophase.Step{
			{Participant: "spy-one"}, {Participant: "spy-two"}, {Participant: "spy-three", Hold: 9 * time.Minute},
		}})
		require.NoError(t, err)
		for name, want := range map[string]time.Duration{"one": 7 * time.Minute, "two": 5 * time.Minute, "three": 9 * time.Minute} {
			got, _ := holds.Load(name)
			assert.Equal(t, want, got, name)
		}
	})
}

// spying tells of every Reserve.
type spying struct {
	twophase.Participant
	reserve func(twophase.Request)
}

func (p spying) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	p.reserve(req)
	return p.Participant.Reserve(ctx, req)
}

// A participant that is down gets no more retries than its budget allows, from
// however many transactions.
func TestBudgetKeepsAParticipantFromBeingBuried(t *testing.T) {
	t.Parallel()
	const transactions, burst, perSecond, seconds = 500, 50, 10, 3 + 10
	synctest.Test(t, func(t *testing.T) {
		p := newTimed()
		p.fail[twophase.CallReserve], p.fail[twophase.CallRelease] = always(errDown), always(errDown)
		c := newTimedCoordinator(t, p, twophase.WithoutBackgroundRecovery(), twophase.WithPolicy(twophase.Policy{
			ReserveFor: 3 * time.Second,
			ReleaseFor: 10 * time.Second,
			Budget:     twophase.RetryBudget{Burst: burst, PerSecond: perSecond},
		}))
		var all sync.WaitGroup
		for i := range transactions {
			all.Go(func() { assert.ErrorIs(t, runAtStore(t, c, fmt.Sprint(i)), twophase.ErrNotPlaced) })
		}
		all.Wait()
		require.NoError(t, c.Close(t.Context()))
		retries := len(p.arrivals[twophase.CallReserve]) + len(p.arrivals[twophase.CallRelease]) - 2*transactions
		assert.LessOrEqual(t, retries, burst+perSecond*seconds+1)
		assert.GreaterOrEqual(t, retries, burst)
	})
}

// What succeeds gives tokens back: a retry its own, a first attempt a share.
func TestBudgetIsEarnedBySuccess(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		between int // transactions that succeed
		retries int // that are possible then, at once
	}{
		{"nothing is earned by nothing", 0, 0},
		{"ten successes are worth one retry", 10, 1},
		{"twenty are worth two", 20, 2},
		{"and never more than Burst", 100, 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newTimed()
				c := newTimedCoordinator(t, p, twophase.WithoutBackgroundRecovery(), twophase.WithPolicy(twophase.Policy{
					Reserve: twophase.Retry{First: 2, Max: 2},
					Assign:  twophase.Retry{First: 2, Max: 2},
					// Tokens that come with time would take years.
					Budget: twophase.RetryBudget{Burst: 4, PerSecond: 1e-9, PerSuccess: 0.1},
				}))
				// An Assign's success is worth as much: half of the tokens each.
				p.fail[twophase.CallReserve] = always(errDown)
				require.ErrorIs(t, runAtStore(t, c, "spend it"), twophase.ErrNotPlaced)
				require.Len(t, p.arrivals[twophase.CallReserve], 5, "the first attempt, and four retries")
				delete(p.fail, twophase.CallReserve)
				for i := range test.between / 2 {
					require.NoError(t, runAtStore(t, c, fmt.Sprint(i)))
				}
				p.arrivals = map[twophase.Call][]time.Time{}
				p.fail[twophase.CallReserve] = always(errDown)
				require.ErrorIs(t, runAtStore(t, c, "again"), twophase.ErrNotPlaced)
				assert.Len(t, p.waits(twophase.CallReserve), test.retries)
			})
		})
	}
	t.Run("a retry that succeeds costs nothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newTimed()
			c := newTimedCoordinator(t, p, twophase.WithPolicy(twophase.Policy{
				Budget: twophase.RetryBudget{Burst: 1, PerSecond: 1e-9, PerSuccess: 1e-9},
			}))
			for i := range 20 {
				p.fail[twophase.CallReserve] = func(n int) error {
					if n%2 == 1 {
						return errDown
					}
					return nil
				}
				require.NoError(t, runAtStore(t, c, fmt.Sprint(i)))
			}
		})
	})
}

func TestPanicErrorSaysWhat(t *testing.T) {
	t.Parallel()
	bubble(t, "a panic is a final error with its stack", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallReserve, fault{panics: true})
		_, err := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		panicked, ok := errors.AsType[*twophase.PanicError](err)
		require.True(t, ok)
		assert.Equal(t, "out of paper", panicked.Value)
		assert.EqualError(t, panicked, "participant panicked: out of paper")
		assert.Contains(t, string(panicked.Stack), "(*stock).serve")
		assert.Equal(t, 1, w.stocks["store"].attempts(twophase.CallReserve), "a bug is not mended by repeating the call")
		w.settle()
		w.audit()
	})
}
