package twophase_test

import (
	"context"
	"encoding/json"
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

// bubble runs a test in which time passes only when everybody waits.
func bubble(t *testing.T, name string, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
	})
}

var participants = []string{"store", "delivery", "kitchen"}

// verdict is what the caller of a transaction is told.
type verdict string

const (
	placed              verdict = "placed"
	unplaced            verdict = "not placed"
	notThere            verdict = "" // this call is not made
	stuckForNow         verdict = "not placed, and stuck until recovery"
	afterAWhile                 = time.Second
	longerThanAnAttempt         = 6 * time.Second
)

// TestFaults has one fault in one call at one of two or three participants.
func TestFaults(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	tests := []struct {
		name   string
		faults []fault
		// what follows if it happens in each of the calls
		reserve, assign, release verdict
		cause                    error         // that is told, of what is not placed; nil is a panic
		takes                    time.Duration // at least, where it ends well
	}{
		{name: "refused", faults: []fault{{err: twophase.ErrRefused}},
			reserve: unplaced, assign: unplaced, release: stuckForNow, cause: twophase.ErrRefused},
		{name: "transient, then ok", faults: []fault{{err: down}, {err: down}},
			reserve: placed, assign: placed, release: unplaced},
		{name: "transient for ever", faults: forEver(fault{err: down}),
			reserve: unplaced, assign: unplaced, release: stuckForNow, cause: down},
		{name: "request lost", faults: []fault{{loseRequest: true}},
			reserve: placed, assign: placed, release: unplaced},
		{name: "request lost for ever", faults: forEver(fault{loseRequest: true}),
			reserve: unplaced, assign: unplaced, release: stuckForNow, cause: errLost},
		{name: "reply lost", faults: []fault{{loseReply: true}},
			reserve: placed, assign: placed, release: unplaced},
		{name: "reply lost for ever", faults: forEver(fault{loseReply: true}),
			reserve: unplaced, assign: unplaced, release: stuckForNow, cause: errLost},
		{name: "request late", faults: []fault{{late: time.Hour}},
			reserve: placed, assign: placed, release: unplaced},
		{name: "hang", faults: []fault{{hang: true}},
			reserve: unplaced, assign: placed, release: unplaced, cause: context.DeadlineExceeded},
		{name: "hang for ever", faults: forEver(fault{hang: true}),
			reserve: unplaced, assign: unplaced, release: stuckForNow, cause: context.DeadlineExceeded},
		{name: "panic", faults: []fault{{panics: true}},
			reserve: unplaced, assign: unplaced, release: stuckForNow},
		{name: "forget", faults: []fault{{forget: true}},
			reserve: placed, assign: unplaced, release: unplaced, cause: twophase.ErrUnknown},
		{name: "expiry", faults: []fault{{expire: true}},
			reserve: placed, assign: unplaced, release: unplaced, cause: twophase.ErrExpired},
		{name: "retry after", faults: []fault{{err: &twophase.RetryAfterError{After: afterAWhile, Err: down}}},
			reserve: placed, assign: placed, release: unplaced, takes: afterAWhile},
		{name: "delay", faults: []fault{{delay: afterAWhile}},
			reserve: placed, assign: placed, release: unplaced, takes: afterAWhile},
		{name: "delay of more than an attempt", faults: []fault{{delay: longerThanAnAttempt}},
			reserve: unplaced, assign: placed, release: unplaced, cause: context.DeadlineExceeded},
	}
	for _, test := range tests {
		for n := 2; n <= 3; n++ {
			for victim, name := range participants[:n] {
				for call, want := range map[twophase.Call]verdict{
					twophase.CallReserve: test.reserve, twophase.CallAssign: test.assign, twophase.CallRelease: test.release,
				} {
					bubble(t, fmt.Sprintf("%s in %s at %s of %d", test.name, call, name, n), func(t *testing.T, w *world) {
						w.stockAll(n)
						w.stocks[name].fail(call, test.faults...)
						if call == twophase.CallRelease {
							w.stocks[participants[(victim+1)%n]].fail(twophase.CallAssign, fault{err: twophase.ErrRefused})
						}
						w.expect(want, call, name, test.cause, n)
						if want == placed {
							assert.GreaterOrEqual(t, time.Since(w.start), test.takes)
						}
						w.settle()
						w.askAgain("order-1")
						w.audit()
					})
				}
			}
		}
	}
}

func forEver(f fault) []fault {
	faults := make([]fault, 5000)
	for i := range faults {
		faults[i] = f
	}
	return faults
}

// stockAll adds n participants with two resources each.
func (w *world) stockAll(n int) {
	for _, name := range participants[:n] {
		w.stock(name, name+"-1", name+"-2").latency = time.Millisecond
	}
	w.journal.latency = time.Millisecond
}

// expect runs a transaction at n participants and checks what is told.
func (w *world) expect(want verdict, call twophase.Call, name string, cause error, n int) {
	w.t.Helper()
	c := w.coordinator(twophase.WithTimeout(time.Hour)) // reservations run out first
	_, err := w.run(w.t.Context(), c, "order-1", participants[:n]...)
	if want == placed {
		require.NoError(w.t, err)
		return
	}
	require.ErrorIs(w.t, err, twophase.ErrNotPlaced)
	failed, ok := errors.AsType[*twophase.Error](err)
	require.True(w.t, ok)
	if call != twophase.CallRelease {
		assert.Equal(w.t, call, failed.Call)
		assert.Equal(w.t, name, failed.Participant)
		if _, panicked := errors.AsType[*twophase.PanicError](err); !panicked {
			assert.ErrorIs(w.t, err, cause)
		} else {
			assert.NoError(w.t, cause, "nothing else panics")
		}
	}
	time.Sleep(time.Minute) // for the releases
	assert.Equal(w.t, want == stuckForNow, len(w.unfinished()) > 0, "unfinished: %v", w.unfinished())
}

// askAgain asks another coordinator what became of transactions.
func (w *world) askAgain(ids ...string) {
	w.t.Helper()
	c := w.coordinator()
	for _, id := range ids {
		_, err := c.Wait(w.t.Context(), id)
		w.tell(id, err)
	}
}

func TestI1_ToldPlacedEveryResourceIsAssignedAndStaysSo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		after func(t *testing.T, w *world) // what happens later
	}{
		{"when days pass", func(*testing.T, *world) { time.Sleep(72 * time.Hour) }},
		{"when recovery comes by", func(t *testing.T, w *world) {
			time.Sleep(time.Hour)
			recovery, err := w.coordinator().Recover(t.Context())
			require.NoError(t, err)
			assert.Zero(t, recovery)
		}},
		{"when Reserve and Assign are repeated", func(t *testing.T, w *world) {
			for name, s := range w.stocks {
				key := twophase.Key{Transaction: "order-1", Step: name}
				require.NoError(t, s.Assign(t.Context(), key))
				r, err := s.Reserve(t.Context(), twophase.Request{Key: key, Hold: time.Minute})
				require.NoError(t, err)
				assert.True(t, r.Assigned)
			}
		}},
		{"when the caller asks again", func(_ *testing.T, w *world) { w.askAgain("order-1") }},
		{"when others want the same", func(t *testing.T, w *world) {
			_, err := w.run(t.Context(), w.coordinator(), "order-2", "store", "delivery")
			require.NoError(t, err)
			_, err = w.run(t.Context(), w.coordinator(), "order-3", "store", "delivery")
			require.ErrorIs(t, err, twophase.ErrNotPlaced)
		}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			result, err := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
			require.NoError(t, err)
			test.after(t, w)
			for _, step := range result.Steps {
				assert.Equal(t, step.Reservation.Resources, w.stocks[step.Participant].held("order-1"))
			}
			w.audit()
		})
	}
}

// Everybody who asks for one id hears the same, wherever and whenever.
func TestI2_NobodyIsToldBoth(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(w *world)
	}{
		{"placed", func(*world) {}},
		{"refused", func(w *world) { w.stocks["store"].free = nil }},
		{"the decision is slow", func(w *world) { w.journal.fail("decide", fault{hang: true}, fault{delay: 5 * time.Second}) }},
		{"the decision's reply is lost", func(w *world) { w.journal.fail("decide", fault{loseReply: true}) }},
		{"an Assign is slow", func(w *world) { w.stocks["store"].fail(twophase.CallAssign, fault{hang: true}) }},
		{"the first decision is never heard of", func(w *world) { w.journal.fail("decide", fault{loseReply: true, delay: 9 * time.Second}) }},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			test.prepare(w)
			coordinators := []*twophase.Coordinator{w.coordinator(), w.coordinator(), w.coordinator()}
			var callers sync.WaitGroup
			for i := range 30 {
				callers.Go(func() {
					time.Sleep(time.Duration(i/3) * time.Second)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5+1)*20*time.Second)
					defer cancel()
					_, _ = w.run(ctx, coordinators[i%3], "order-1", "store", "delivery")
				})
			}
			callers.Wait()
			w.settle()
			w.askAgain("order-1")
			w.audit()
		})
	}
}

func TestI3_AResourceIsHeldByOneTransactionAtMost(t *testing.T) {
	t.Parallel()
	for _, resources := range []int{0, 1, 3, 10} {
		bubble(t, fmt.Sprintf("ten transactions want one of %d", resources), func(t *testing.T, w *world) {
			w.stockAll(2)
			for _, s := range w.stocks {
				s.free = nil
				for i := range resources {
					s.free = append(s.free, fmt.Sprint(i))
				}
			}
			c := []*twophase.Coordinator{w.coordinator(), w.coordinator()}
			var callers sync.WaitGroup
			for i := range 10 {
				callers.Go(func() {
					_, _ = w.run(t.Context(), c[i%2], fmt.Sprintf("order-%d", i), "store", "delivery")
				})
			}
			callers.Wait()
			w.settle()
			w.audit()
			for _, s := range w.stocks {
				assigned := map[string]bool{}
				for i := range 10 {
					for _, resource := range s.held(fmt.Sprintf("order-%d", i)) {
						assert.False(t, assigned[resource], "%s is held twice", resource)
						assigned[resource] = true
					}
				}
				assert.LessOrEqual(t, len(assigned), resources)
			}
		})
	}
}

func TestI4_WhatIsReleasedHoldsNothingAndNothingLateChangesThat(t *testing.T) {
	t.Parallel()
	key := twophase.Key{Transaction: "order-1", Step: "store"}
	tests := []struct {
		name  string
		fault fault // of the Reserve at the store
		late  func(ctx context.Context, s *stock) error
		want  error
	}{
		{"a late Reserve of what was reserved", fault{}, reserveLate(key), twophase.ErrReleased},
		{"a late Assign of what was reserved", fault{}, assignLate(key), twophase.ErrReleased},
		{"a late Reserve of what never arrived", fault{hang: true}, reserveLate(key), twophase.ErrReleased},
		{"a late Assign of what never arrived", fault{hang: true}, assignLate(key), twophase.ErrReleased},
		{"a late Release", fault{}, func(ctx context.Context, s *stock) error { return s.Release(ctx, key) }, nil},
	}
	for _, test := range tests {
		for _, after := range []time.Duration{time.Second, time.Hour} {
			bubble(t, fmt.Sprintf("%s, %v after", test.name, after), func(t *testing.T, w *world) {
				w.stockAll(2)
				w.stocks["store"].fail(twophase.CallReserve, test.fault)
				w.stocks["delivery"].fail(twophase.CallReserve, fault{delay: time.Second, err: twophase.ErrRefused})
				_, err := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
				require.ErrorIs(t, err, twophase.ErrNotPlaced)
				time.Sleep(after)
				assert.ErrorIs(t, test.late(t.Context(), w.stocks["store"]), test.want)
				assert.Empty(t, w.stocks["store"].held("order-1"))
				w.settle()
				w.audit()
			})
		}
	}
}

func reserveLate(key twophase.Key) func(context.Context, *stock) error {
	return func(ctx context.Context, s *stock) error {
		_, err := s.Reserve(ctx, twophase.Request{Key: key, Hold: time.Minute})
		return err
	}
}

func assignLate(key twophase.Key) func(context.Context, *stock) error {
	return func(ctx context.Context, s *stock) error { return s.Assign(ctx, key) }
}

// A coordinator dies at every instant of a transaction's life; what it leaves
// is finished by another.
func TestI5_NothingLeaksWheneverTheCoordinatorDies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(w *world)
	}{
		{"placed", func(*world) {}},
		{"refused in Reserve", func(w *world) { w.stocks["delivery"].fail(twophase.CallReserve, fault{err: twophase.ErrRefused}) }},
		{"refused in Assign", func(w *world) { w.stocks["delivery"].fail(twophase.CallAssign, fault{err: twophase.ErrRefused}) }},
		{"Begin's reply is lost", func(w *world) { w.journal.fail("begin", fault{loseReply: true}) }},
	}
	for _, test := range tests {
		for at := range 14 {
			bubble(t, fmt.Sprintf("%s, dies after %d half milliseconds", test.name, at), func(t *testing.T, w *world) {
				w.stockAll(3)
				test.prepare(w)
				l := newLine()
				c := w.coordinatorAcross(l)
				time.AfterFunc(time.Duration(at)*time.Millisecond/2, func() {
					l.cut()
					_ = c.Close(ended(t.Context()))
				})
				_, _ = w.run(t.Context(), c, "order-1", participants...)
				w.settle()
				time.Sleep(time.Hour)
				w.audit()
				// All or nothing, even if nobody heard of it.
				held := 0
				for _, s := range w.stocks {
					held += len(s.held("order-1"))
				}
				assert.Contains(t, []int{0, 3}, held)
			})
		}
	}
}

// coordinatorAcross returns a coordinator whose messages pass a line.
func (w *world) coordinatorAcross(l *line, options ...twophase.Option) *twophase.Coordinator {
	w.t.Helper()
	all := []twophase.Option{twophase.WithPolicy(quick), twophase.WithoutBackgroundRecovery()}
	for name, s := range w.stocks {
		all = append(all, twophase.WithParticipant(name, lineParticipant{l, s}))
	}
	c, err := twophase.NewCoordinator(lineJournal{w.journal, l}, append(all, options...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		l.cut()
		_ = c.Close(ended(context.Background()))
	})
	return c
}

func TestI6_AReservationNeverOutlivesItsExpiry(t *testing.T) {
	t.Parallel()
	const hold = 2 * time.Minute
	tests := []struct {
		name string
		dies time.Duration // when the coordinator does; 0 is never
		plan func(w *world)
	}{
		{"the coordinator dies before Begin is durable", 5 * time.Millisecond, func(w *world) {
			w.journal.fail("begin", fault{hang: true})
		}},
		{"the coordinator dies while it assigns", 5 * time.Millisecond, func(w *world) {
			w.stocks["store"].fail(twophase.CallAssign, fault{hang: true})
			w.stocks["delivery"].fail(twophase.CallAssign, fault{hang: true})
		}},
		{"the journal refuses the record", 0, func(w *world) {
			w.journal.fail("begin", fault{delay: time.Second, err: twophase.ErrUnavailable})
		}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			test.plan(w)
			l := newLine()
			c := w.coordinatorAcross(l)
			if test.dies > 0 {
				time.AfterFunc(test.dies, func() {
					l.cut()
					_ = c.Close(ended(t.Context()))
				})
			}
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			require.Error(t, err)
			// Reserved at a millisecond from the start, by their latency.
			expiry := w.start.Add(time.Millisecond + hold)
			time.Sleep(time.Until(expiry) - 1)
			for _, s := range w.stocks {
				assert.Len(t, s.held("order-1"), 1, "until its expiry it is held")
			}
			time.Sleep(time.Nanosecond)
			for _, s := range w.stocks {
				assert.Empty(t, s.held("order-1"), "and not an instant longer")
				assert.Len(t, s.free, 2)
			}
		})
	}
}

// The world reports any call or answer that comes too early; here each write
// takes long enough for one to.
func TestI7_NothingIsDoneBeforeItsRecordIsDurable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		method string
		fault  fault
		broken func(w *world)
		during func(t *testing.T, w *world) // while the write is under way
	}{
		{"no Assign before begun", "begin", fault{delay: 5 * time.Second}, nil, func(t *testing.T, w *world) {
			assert.Zero(t, w.stocks["store"].attempts(twophase.CallAssign))
			assert.Equal(t, 1, w.stocks["store"].attempts(twophase.CallReserve), "but Reserve does not wait for it")
		}},
		{"no Assign before begun is known to be", "begin", fault{delay: 5 * time.Second, loseReply: true}, nil, func(t *testing.T, w *world) {
			assert.Zero(t, w.stocks["store"].attempts(twophase.CallAssign))
		}},
		{"no Release before releasing", "decide", fault{delay: 5 * time.Second}, refuseAssign, func(t *testing.T, w *world) {
			assert.Zero(t, w.stocks["store"].attempts(twophase.CallRelease))
		}},
		{"no Release before releasing, when it failed before it began", "begin", fault{delay: 5 * time.Second}, refuseReserve,
			func(t *testing.T, w *world) { assert.Zero(t, w.stocks["store"].attempts(twophase.CallRelease)) }},
		{"nobody is told placed before assigned", "decide", fault{delay: 5 * time.Second}, nil, func(t *testing.T, w *world) {
			assert.Zero(t, w.answers("order-1"))
		}},
		{"nobody is told not placed before releasing", "decide", fault{delay: 5 * time.Second}, refuseAssign, func(t *testing.T, w *world) {
			assert.Zero(t, w.answers("order-1"))
		}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			w.journal.fail(test.method, test.fault)
			if test.broken != nil {
				test.broken(w)
			}
			c := w.coordinator()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = w.run(t.Context(), c, "order-1", "store", "delivery")
			}()
			time.Sleep(4 * time.Second)
			synctest.Wait()
			test.during(t, w)
			<-done
			w.settle()
			w.audit()
		})
	}
}

func refuseAssign(w *world) {
	w.stocks["delivery"].fail(twophase.CallAssign, fault{err: twophase.ErrRefused})
}

func refuseReserve(w *world) {
	w.stocks["delivery"].fail(twophase.CallReserve, fault{err: twophase.ErrRefused})
}

func TestResultHasWhatEachStepWasGiven(t *testing.T) {
	t.Parallel()
	result := twophase.Result{ID: "order-1", Steps: []twophase.StepResult{
		{Name: "store", Participant: "store", Reservation: twophase.Reservation{Resources: []string{"packet-1"}}},
	}}
	assert.Equal(t, "packet-1", result.Reservation("store").Resource())
	assert.Zero(t, result.Reservation("delivery"))
	assert.Empty(t, result.Reservation("delivery").Resource())
}

func TestErrorMessages(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  twophase.Error
		want string
	}{
		{
			twophase.Error{ID: "order-1", Verdict: twophase.ErrInDoubt, Err: context.Canceled},
			"twophase: order-1 in doubt: context canceled",
		},
		{
			twophase.Error{ID: "order-1", Verdict: twophase.ErrNotPlaced, Step: "store", Participant: "store", Call: twophase.CallAssign, Err: twophase.ErrExpired},
			"twophase: order-1 not placed: assign store: expired",
		},
		{
			twophase.Error{ID: "order-1", Step: "snack", Participant: "store", Call: twophase.CallReserve, Err: twophase.ErrRefused},
			"twophase: order-1: reserve snack at store: refused",
		},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			assert.EqualError(t, &test.err, test.want)
			assert.ErrorIs(t, &test.err, test.err.Err)
			if test.err.Verdict != nil {
				assert.ErrorIs(t, &test.err, test.err.Verdict)
			}
		})
	}
}

// A cause read back from the journal matches what the live one did.
func TestCauseSurvivesTheJournal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault fault
		want  error
	}{
		{"refused", fault{err: fmt.Errorf("%w: nothing free", twophase.ErrRefused)}, twophase.ErrRefused},
		{"expired", fault{err: twophase.ErrExpired}, twophase.ErrExpired},
		{"released", fault{err: twophase.ErrReleased}, twophase.ErrReleased},
		{"unknown", fault{err: twophase.ErrUnknown}, twophase.ErrUnknown},
		{"mismatch", fault{err: twophase.ErrMismatch}, twophase.ErrMismatch},
		{"deadline", fault{hang: true}, context.DeadlineExceeded},
		{"canceled", fault{err: backoff.Permanent(context.Canceled)}, context.Canceled},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			w.stocks["store"].fail(twophase.CallReserve, test.fault)
			_, live := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
			record, err := w.journal.Get(t.Context(), "order-1")
			require.NoError(t, err)
			require.NotNil(t, record.Cause)
			assert.Equal(t, test.name, record.Cause.Reason)

			stored, err := json.Marshal(record.Cause)
			require.NoError(t, err)
			var cause twophase.Cause
			require.NoError(t, json.Unmarshal(stored, &cause))
			for _, other := range tests {
				assert.Equal(t, other.name == test.name, errors.Is(&cause, other.want), "read back: %v", other.want)
				assert.Equal(t, other.name == test.name, errors.Is(live, other.want), "live: %v", other.want)
			}
			assert.NoError(t, errors.Unwrap(&cause), "what happened stays in the process that saw it")
			assert.Equal(t, record.Cause.Message, cause.Error())
		})
	}
}

// A cause that is none of the sentinels matches none.
func TestCauseWithoutReason(t *testing.T) {
	t.Parallel()
	cause := &twophase.Cause{Message: "out of paper"}
	assert.NotErrorIs(t, cause, twophase.ErrRefused)
	assert.EqualError(t, cause, "out of paper")
}
