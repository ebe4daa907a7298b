package twophase_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// reserveAll is a function that reserves at each participant in turn.
func reserveAll(names ...string) func(context.Context, *twophase.Tx) error {
	return func(ctx context.Context, tx *twophase.Tx) error {
		for _, name := range names {
			if _, err := tx.Reserve(ctx, name, nil); err != nil {
				return err
			}
		}
		return nil
	}
}

// runFunc runs a transaction of a function, and keeps what was told.
func (w *world) runFunc(ctx context.Context, c *twophase.Coordinator, id string, reserve func(context.Context, *twophase.Tx) error) (twophase.Result, error) {
	result, err := c.RunFunc(ctx, id, reserve)
	w.tell(id, err)
	return result, err
}

func TestRunFuncPlacesWhatTheFunctionReserved(t *testing.T) {
	t.Parallel()
	bubble(t, "one reservation depends on the other", func(t *testing.T, w *world) {
		w.stockAll(2)
		result, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			assert.Equal(t, "order-1", tx.ID())
			packet, err := tx.Reserve(ctx, "store", nil)
			require.NoError(t, err)
			assert.Equal(t, "store-1", packet.Resource())
			_, err = tx.ReserveStep(ctx, twophase.Step{Participant: "delivery", Name: "for-" + packet.Resource(), Payload: 1, Hold: time.Hour})
			return err
		})
		require.NoError(t, err)
		assert.Equal(t, "delivery-1", result.Reservation("for-store-1").Resource())
		w.audit()
	})
	bubble(t, "side by side", func(t *testing.T, w *world) {
		w.stockAll(3)
		result, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			var steps sync.WaitGroup
			for _, name := range participants {
				steps.Go(func() {
					_, err := tx.Reserve(ctx, name, nil)
					assert.NoError(t, err)
				})
			}
			steps.Wait()
			return nil
		})
		require.NoError(t, err)
		assert.Len(t, result.Steps, 3)
		w.audit()
	})
	bubble(t, "nothing at all", func(t *testing.T, w *world) {
		w.stockAll(2)
		result, err := w.runFunc(t.Context(), w.coordinator(), "order-1", reserveAll())
		require.NoError(t, err)
		assert.Empty(t, result.Steps)
		w.audit()
	})
	bubble(t, "what it did not wait for is not kept", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["delivery"].latency = time.Second
		var left sync.WaitGroup
		result, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			left.Go(func() { _, _ = tx.Reserve(ctx, "delivery", nil) })
			synctest.Wait()
			_, err := tx.Reserve(ctx, "store", nil)
			return err
		})
		require.NoError(t, err)
		assert.Len(t, result.Steps, 1)
		left.Wait()
		time.Sleep(5 * time.Second)
		assert.Empty(t, w.stocks["delivery"].held("order-1"))
		assert.Empty(t, w.unfinished())
		w.audit()
	})
}

func TestRunFuncFallsBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault fault
	}{
		{"when the first is refused", fault{err: twophase.ErrRefused}},
		{"when the first panics", fault{panics: true}},
		{"when the first takes and does not answer", fault{loseReply: true, lost: &twophase.RetryAfterError{After: time.Hour, Err: errLost}}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			w.stock("near", "agent-1").fail(twophase.CallReserve, test.fault)
			result, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
				if _, err := tx.Reserve(ctx, "near", nil); err != nil {
					failed, ok := errors.AsType[*twophase.Error](err)
					require.True(t, ok)
					assert.Equal(t, "near", failed.Step)
					assert.Equal(t, twophase.CallReserve, failed.Call)
					assert.NoError(t, failed.Verdict, "there is no verdict yet")
					_, err = tx.Reserve(ctx, "delivery", nil)
					return err
				}
				return nil
			})
			require.NoError(t, err)
			assert.Len(t, result.Steps, 1, "what was tried and not kept is left out")
			assert.Equal(t, "delivery-1", result.Reservation("delivery").Resource())
			time.Sleep(time.Second)
			assert.Empty(t, w.unfinished())
			assert.Equal(t, []string{"agent-1"}, w.stocks["near"].free)
			w.audit()

			again, err := w.coordinator().Wait(t.Context(), "order-1")
			require.NoError(t, err)
			assert.Equal(t, result, again)
		})
	}
	bubble(t, "and what was dropped is released by recovery if it was down", func(t *testing.T, w *world) {
		w.stockAll(2)
		near := w.stock("near", "agent-1")
		near.fail(twophase.CallReserve, fault{loseReply: true, lost: &twophase.RetryAfterError{After: time.Hour, Err: errLost}})
		near.fail(twophase.CallRelease, forEver(fault{loseRequest: true})...)
		_, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			_, _ = tx.Reserve(ctx, "near", nil)
			_, err := tx.Reserve(ctx, "delivery", nil)
			return err
		})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"order-1"}, w.unfinished())
		w.settle()
		w.audit()
	})
}

func TestRunFuncThatFailsReleasesEverything(t *testing.T) {
	t.Parallel()
	sold := errors.New("sold out after all")
	tests := []struct {
		name  string
		after func(ctx context.Context, tx *twophase.Tx) error // a reservation at the store
		check func(t *testing.T, err error)
	}{
		{"with its own error", func(context.Context, *twophase.Tx) error { return sold }, func(t *testing.T, err error) {
			require.ErrorIs(t, err, sold)
			assert.EqualError(t, err, "twophase: order-1 not placed: sold out after all")
		}},
		{"with a step's error", reserveAll("empty"), func(t *testing.T, err error) {
			require.ErrorIs(t, err, twophase.ErrRefused)
			assert.EqualError(t, err, "twophase: order-1 not placed: reserve empty: refused: nothing free")
		}},
		{"with a step's error and its own words", func(ctx context.Context, tx *twophase.Tx) error {
			return fmt.Errorf("no dessert: %w", reserveAll("empty")(ctx, tx))
		}, func(t *testing.T, err error) {
			require.ErrorIs(t, err, twophase.ErrRefused)
			assert.ErrorContains(t, err, "not placed: reserve empty: no dessert:")
		}},
		{"with another transaction's error", func(context.Context, *twophase.Tx) error {
			return &twophase.Error{ID: "order-9", Step: "store", Err: sold}
		}, func(t *testing.T, err error) {
			failed, _ := errors.AsType[*twophase.Error](err)
			assert.Empty(t, failed.Step, "that was no step of this one")
		}},
		{"with an error of a step that there is not", func(context.Context, *twophase.Tx) error {
			return &twophase.Error{ID: "order-1", Step: "moon", Err: sold}
		}, func(t *testing.T, err error) {
			failed, _ := errors.AsType[*twophase.Error](err)
			assert.Empty(t, failed.Step)
		}},
		{"with a step that cannot be", reserveAll("moon"), func(t *testing.T, err error) {
			require.ErrorIs(t, err, twophase.ErrInvalid)
			assert.ErrorContains(t, err, `there is no participant "moon"`)
		}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			w.stock("empty")
			_, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
				if _, err := tx.Reserve(ctx, "store", nil); err != nil {
					return err
				}
				return test.after(ctx, tx)
			})
			require.ErrorIs(t, err, twophase.ErrNotPlaced)
			test.check(t, err)
			assert.Empty(t, w.stocks["store"].held("order-1"))
			time.Sleep(time.Second)
			assert.Empty(t, w.unfinished())
			w.audit()
		})
	}
}

func TestRunFuncThatPanicsReleasesEverything(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func()
	}{
		{"by a panic", func() { panic("burnt") }},
		{"by ending its goroutine", runtime.Goexit},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			c := w.coordinator()
			var caller sync.WaitGroup
			caller.Go(func() {
				defer func() {
					if value := recover(); value != nil {
						assert.Equal(t, "burnt", value, "the panic is the caller's to see")
					}
				}()
				_, _ = c.RunFunc(t.Context(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
					_, err := tx.Reserve(ctx, "store", nil)
					require.NoError(t, err)
					test.end()
					return nil
				})
				t.Error("it is not passed by")
			})
			caller.Wait()
			time.Sleep(time.Second)
			_, err := c.Lookup(t.Context(), "order-1")
			require.ErrorIs(t, err, twophase.ErrNotPlaced)
			assert.ErrorContains(t, err, "the function panicked")
			w.tell("order-1", err)
			w.audit()
			require.NoError(t, c.Close(t.Context()))
		})
	}
}

func TestRunFuncOfACallerWhoGoesAway(t *testing.T) {
	t.Parallel()
	bubble(t, "the function's context ends, and its transaction is released", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["delivery"].fail(twophase.CallReserve, fault{hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.runFunc(ctx, w.coordinator(), "order-1", reserveAll("store", "delivery"))
		require.Error(t, err)
		assert.Equal(t, time.Second, time.Since(w.start).Truncate(time.Second))
		w.settle()
		w.askAgain("order-1")
		w.audit()
	})
	bubble(t, "a function that takes longer than the timeout is told to stop", func(t *testing.T, w *world) {
		w.stockAll(2)
		_, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			_, err := tx.Reserve(ctx, "store", nil)
			require.NoError(t, err)
			<-ctx.Done()
			_, err = tx.Reserve(t.Context(), "delivery", nil)
			require.ErrorIs(t, err, twophase.ErrClosed, "it was given up")
			return err
		})
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(w.start).Truncate(time.Second))
		w.settle()
		w.audit()
	})
}

func TestRunFuncOfTheSameIDAgain(t *testing.T) {
	t.Parallel()
	bubble(t, "does not call the function", func(t *testing.T, w *world) {
		w.stockAll(2)
		first, err := w.runFunc(t.Context(), w.coordinator(), "order-1", reserveAll("store"))
		require.NoError(t, err)
		again, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(context.Context, *twophase.Tx) error {
			t.Error("it is called")
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, first, again)
		w.audit()
	})
	bubble(t, "shares the run under way, and so does a Run of any steps", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinator()
		started := make(chan struct{})
		var first sync.WaitGroup
		first.Go(func() {
			_, err := w.runFunc(t.Context(), c, "order-1", func(ctx context.Context, tx *twophase.Tx) error {
				close(started)
				time.Sleep(time.Second)
				return reserveAll("store")(ctx, tx)
			})
			assert.NoError(t, err)
		})
		<-started
		result, err := w.runFunc(t.Context(), c, "order-1", nil)
		require.NoError(t, err)
		assert.Equal(t, "store-1", result.Reservation("store").Resource())
		first.Wait()
		w.audit()
	})
	bubble(t, "waits for what is under way elsewhere", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{delay: 2 * time.Second})
		var first sync.WaitGroup
		c := w.coordinator()
		first.Go(func() { _, _ = w.runFunc(t.Context(), c, "order-1", reserveAll("store")) })
		time.Sleep(time.Second)
		_, err := w.runFunc(t.Context(), w.coordinator(), "order-1", nil)
		require.NoError(t, err)
		first.Wait()
		w.audit()
	})
}

func TestTxTakesNoMoreSteps(t *testing.T) {
	t.Parallel()
	bubble(t, "after the function has returned", func(t *testing.T, w *world) {
		w.stockAll(2)
		var kept *twophase.Tx
		_, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			kept = tx
			return reserveAll("store")(ctx, tx)
		})
		require.NoError(t, err)
		_, err = kept.Reserve(t.Context(), "delivery", nil)
		require.ErrorIs(t, err, twophase.ErrClosed)
		assert.ErrorContains(t, err, `transaction "order-1"`)
		assert.Empty(t, w.stocks["delivery"].held("order-1"))
		w.audit()
	})
	bubble(t, "beyond MaxSteps", func(t *testing.T, w *world) {
		s := w.stock("store")
		for i := range twophase.MaxSteps + 1 {
			s.free = append(s.free, fmt.Sprint(i))
		}
		_, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			for range twophase.MaxSteps {
				_, err := tx.Reserve(ctx, "store", nil)
				require.NoError(t, err)
			}
			_, err := tx.Reserve(ctx, "store", nil)
			require.ErrorIs(t, err, twophase.ErrInvalid)
			assert.ErrorContains(t, err, "it has 100 steps already")
			return nil
		})
		require.NoError(t, err)
		assert.Len(t, s.free, 1)
		w.audit()
	})
}
