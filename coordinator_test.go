package twophase_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

func TestOptionsAreCheckedAllAtOnce(t *testing.T) {
	t.Parallel()
	c, err := twophase.NewCoordinator(nil,
		nil,
		twophase.WithParticipant("store", newIdle("packet-1")),
		twophase.WithParticipant("store", newIdle("packet-1")),
		twophase.WithParticipant("delivery", nil),
		twophase.WithParticipant("", newIdle("packet-1")),
		twophase.WithParticipant("a\nb", newIdle("packet-1")),
		twophase.WithParticipant("\xff", newIdle("packet-1")),
		twophase.WithParticipant(strings.Repeat("x", twophase.MaxIDLength+1), newIdle("packet-1")),
		twophase.WithPolicyFor("kitchen", twophase.Policy{}),
		twophase.WithTimeout(-1),
		twophase.WithLease(0),
		twophase.WithRetention(-time.Second),
		twophase.WithRecoveryLimit(0),
		twophase.WithObserver(nil),
	)
	assert.Nil(t, c)
	require.ErrorIs(t, err, twophase.ErrInvalid)
	for _, message := range []string{
		"the journal is nil: give NewMemoryJournal at least",
		"option 1 is nil",
		`WithParticipant("store") is given twice`,
		`WithParticipant("delivery") is given nil`,
		`WithParticipant(""): the name is empty`,
		`WithParticipant("a\nb"): the name has control characters`,
		`WithParticipant("\xff"): the name is not valid UTF-8`,
		"the name has 256 bytes: at most 255 are allowed",
		`WithPolicyFor("kitchen"): there is no participant of that name`,
		"WithTimeout(-1ns): it must be above zero",
		"WithLease(0s): it must be above zero",
		"WithRetention(-1s): outcomes would be forgotten before the timeout of -1ns",
		"WithRecoveryLimit(0): it must be 1 or more",
		"WithObserver is given nil",
	} {
		assert.ErrorContains(t, err, message)
	}

	_, err = twophase.NewCoordinator(twophase.NewMemoryJournal())
	assert.ErrorContains(t, err, "there are no participants: give at least one WithParticipant")
}

func TestTransactionsAreCheckedBeforeAnythingBegins(t *testing.T) {
	t.Parallel()
	store := []twophase.Step{{Participant: "store"}}
	long := strings.Repeat("x", twophase.MaxIDLength+1)
	tests := []struct {
		name string
		tx   twophase.Transaction
		want string
	}{
		{"no id", twophase.Transaction{Steps: store}, `the transaction's id "" is empty`},
		{"a long id", twophase.Transaction{ID: long, Steps: store}, "has 256 bytes: at most 255 are allowed"},
		{"an id with control characters", twophase.Transaction{ID: "a\x00b", Steps: store}, "has control characters"},
		{"an id that is no text", twophase.Transaction{ID: "\xff", Steps: store}, "is not valid UTF-8"},
		{"no steps", twophase.Transaction{ID: "order-1"}, `transaction "order-1": it has no steps`},
		{"too many steps", twophase.Transaction{ID: "order-1", Steps: make([]twophase.Step, twophase.MaxSteps+1)}, "it has 101 steps: at most 100 are allowed"},
		{"an unknown participant", twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "moon"}}}, `there is no participant "moon"`},
		{"a step's name twice", twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store", Name: "a"}, {Participant: "store", Name: "a"}}}, `there are two steps named "a"`},
		{"a step's name that is bad", twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store", Name: "\t"}}}, `the step's name "\t" has control characters`},
		{"a payload that is no JSON", twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store", Payload: func() {}}}}, "payload of step store"},
		{"a payload that is too large", twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store", Payload: strings.Repeat("x", twophase.MaxPayloadSize)}}}, "262146 bytes of JSON exceed 262144"},
		{"a hold that is too short", twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store", Hold: time.Second}}}, "step store: invalid: Hold is 1s, shorter than ReserveFor 3s + AssignFor 30s + Margin 1s = 34s"},
		{"a negative timeout", twophase.Transaction{ID: "order-1", Steps: store, Timeout: -1}, "its Timeout is -1ns"},
		{"a timeout longer than the retention", twophase.Transaction{ID: "order-1", Steps: store, Timeout: 25 * time.Hour}, "it must be between 0 and the retention of 24h0m0s"},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			_, err := w.coordinator().Run(t.Context(), test.tx)
			require.ErrorIs(t, err, twophase.ErrInvalid)
			assert.ErrorContains(t, err, test.want)
			assert.Zero(t, w.stocks["store"].attempts(twophase.CallReserve))
			assert.Empty(t, w.unfinished())
		})
	}
}

func TestTransactionsAtTheBoundsAreRun(t *testing.T) {
	t.Parallel()
	bubble(t, "the longest id, the most steps, the largest payload, the longest timeout", func(t *testing.T, w *world) {
		s := w.stock("store")
		tx := twophase.Transaction{ID: strings.Repeat("x", twophase.MaxIDLength), Timeout: 24 * time.Hour}
		for i := range twophase.MaxSteps {
			s.free = append(s.free, fmt.Sprint(i))
			tx.Steps = append(tx.Steps, twophase.Step{Participant: "store"})
		}
		tx.Steps[0].Payload = json.RawMessage(`"` + strings.Repeat("x", twophase.MaxPayloadSize-2) + `"`)
		result, err := w.coordinator().Run(t.Context(), tx)
		w.tell(tx.ID, err)
		require.NoError(t, err)
		assert.Len(t, result.Steps, twophase.MaxSteps)
		assert.Empty(t, s.free)
		w.audit()
	})
}

func TestStepsAreNamed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		steps []twophase.Step
		want  []string
	}{
		{"after their participant", []twophase.Step{{Participant: "store"}, {Participant: "delivery"}}, []string{"store", "delivery"}},
		{"with a number if there are several", []twophase.Step{{Participant: "store"}, {Participant: "store"}, {Participant: "store"}}, []string{"store", "store-2", "store-3"}},
		{"by their own names", []twophase.Step{{Participant: "store", Name: "main"}, {Participant: "store", Name: "dessert"}}, []string{"main", "dessert"}},
		{"around names that are taken", []twophase.Step{{Participant: "store", Name: "store-2"}, {Participant: "store"}, {Participant: "store"}}, []string{"store-2", "store", "store-3"}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stock("store", "a", "b", "c")
			w.stock("delivery", "d")
			result, err := w.coordinator().Run(t.Context(), twophase.Transaction{ID: "order-1", Steps: test.steps})
			w.tell("order-1", err)
			require.NoError(t, err)
			var names []string
			resources := map[string]bool{}
			for i, step := range result.Steps {
				names = append(names, step.Name)
				resources[step.Reservation.Resource()] = true
				assert.Equal(t, test.steps[i].Participant, step.Participant)
			}
			assert.Equal(t, test.want, names)
			assert.Len(t, resources, len(test.want), "each step has a resource of its own")
			w.audit()
		})
	}
}

// The same id, again: in this process, in another, at once or later.
func TestSameIDAgain(t *testing.T) {
	t.Parallel()
	bubble(t, "callers at once share one run", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinator()
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				result, err := w.run(t.Context(), c, "order-1", "store", "delivery")
				assert.NoError(t, err)
				assert.Equal(t, "store-1", result.Reservation("store").Resource())
			})
		}
		callers.Wait()
		assert.Equal(t, 1, w.stocks["store"].attempts(twophase.CallReserve))
		assert.Equal(t, 1, w.stocks["store"].attempts(twophase.CallAssign))
		w.audit()
	})
	bubble(t, "later callers hear the same", func(t *testing.T, w *world) {
		w.stockAll(2)
		first, err := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
		require.NoError(t, err)
		for _, c := range []*twophase.Coordinator{w.coordinator(), w.coordinator()} {
			again, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			require.NoError(t, err)
			assert.Equal(t, first, again)
		}
		w.audit()
	})
	bubble(t, "a transaction that failed fails again, with the same cause", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].free = nil
		_, first := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
		require.ErrorIs(t, first, twophase.ErrRefused)
		w.stocks["store"].free = []string{"store-1"}
		_, again := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
		require.ErrorIs(t, again, twophase.ErrRefused)
		assert.Equal(t, first.Error(), again.Error())
		w.audit()
	})
	bubble(t, "other steps under way here are a mismatch", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].latency = time.Second
		c := w.coordinator()
		var first sync.WaitGroup
		first.Go(func() {
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			assert.NoError(t, err)
		})
		synctest.Wait()
		_, err := w.run(t.Context(), c, "order-1", "delivery")
		require.ErrorIs(t, err, twophase.ErrMismatch)
		assert.ErrorContains(t, err, "order-1")
		first.Wait()
		w.audit()
	})
	bubble(t, "other steps on record are a mismatch, and touch nothing", func(t *testing.T, w *world) {
		w.stockAll(2)
		_, err := w.run(t.Context(), w.coordinator(), "order-1", "store")
		require.NoError(t, err)
		_, err = w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
		require.ErrorIs(t, err, twophase.ErrMismatch)
		time.Sleep(time.Hour) // for what the misused id took elsewhere
		w.audit()
		assert.Len(t, w.stocks["delivery"].free, 2)
	})
	bubble(t, "a Run that comes while a Wait looks for it shares what it finds", func(t *testing.T, w *world) {
		w.stockAll(2)
		first, err := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
		require.NoError(t, err)
		c := w.coordinatorOn(slowReads{w.journal})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			result, err := c.Wait(t.Context(), "order-1")
			assert.NoError(t, err)
			assert.Equal(t, first, result)
		})
		synctest.Wait()
		again, err := w.run(t.Context(), c, "order-1", "store", "delivery")
		require.NoError(t, err)
		assert.Equal(t, first, again)
		waiting.Wait()
		w.audit()
	})
	bubble(t, "a Run that comes while a Wait looks for what was never begun begins", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinatorOn(slowReads{w.journal})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := c.Wait(t.Context(), "order-1")
			assert.NoError(t, err, "it was begun before the look was over")
		})
		synctest.Wait()
		_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
		require.NoError(t, err)
		waiting.Wait()
		w.audit()
	})
	bubble(t, "a Run with other steps that comes while a Wait looks for it is a mismatch", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["delivery"].fail(twophase.CallAssign, fault{delay: 4 * time.Second})
		first := w.coordinator()
		var running sync.WaitGroup
		running.Go(func() {
			_, err := w.run(t.Context(), first, "order-1", "store", "delivery")
			assert.NoError(t, err)
		})
		time.Sleep(time.Second)
		c := w.coordinatorOn(slowReads{w.journal})
		running.Go(func() {
			_, err := c.Wait(t.Context(), "order-1")
			assert.NoError(t, err)
		})
		time.Sleep(1500 * time.Millisecond) // it looks for the second time
		_, err := w.run(t.Context(), c, "order-1", "store")
		require.ErrorIs(t, err, twophase.ErrMismatch)
		running.Wait()
		w.audit()
	})
	bubble(t, "a Run shares what a function does, and is told if its steps are others", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].latency = time.Second
		c := w.coordinator()
		var running sync.WaitGroup
		running.Go(func() {
			_, err := c.RunFunc(t.Context(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
				_, err := tx.Reserve(ctx, "store", nil)
				return err
			})
			assert.NoError(t, err)
		})
		synctest.Wait()
		for steps, want := range map[string]error{"store": nil, "delivery": twophase.ErrMismatch} {
			running.Go(func() {
				_, err := w.run(t.Context(), c, "order-1", steps)
				assert.ErrorIs(t, err, want)
			})
		}
		running.Wait()
		w.audit()
	})
	bubble(t, "a function is told if others have begun other steps meanwhile", func(t *testing.T, w *world) {
		w.stockAll(2)
		first := w.coordinator()
		_, err := w.runFunc(t.Context(), w.coordinator(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			_, err := w.run(ctx, first, "order-1", "store")
			assert.NoError(t, err)
			return reserveAll("delivery")(ctx, tx)
		})
		require.ErrorIs(t, err, twophase.ErrMismatch)
		time.Sleep(time.Hour) // for what the misused id took elsewhere
		w.audit()
		assert.Len(t, w.stocks["delivery"].free, 2)
	})
	bubble(t, "other payloads are a mismatch", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinator()
		for i, want := range []error{nil, twophase.ErrMismatch} {
			_, err := c.Run(t.Context(), twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store", Payload: i + 1}}})
			require.ErrorIs(t, err, want)
		}
	})
}

func TestWaitAndLookup(t *testing.T) {
	t.Parallel()
	bubble(t, "of what never was", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinator()
		_, err := c.Wait(t.Context(), "order-1")
		require.ErrorIs(t, err, twophase.ErrGone)
		assert.ErrorContains(t, err, "order-1")
		_, err = c.Lookup(t.Context(), "order-1")
		require.ErrorIs(t, err, twophase.ErrGone)
		assert.ErrorContains(t, err, "order-1")
		_, err = c.Wait(t.Context(), "")
		require.ErrorIs(t, err, twophase.ErrInvalid)
	})
	bubble(t, "while it is under way here", func(t *testing.T, w *world) { waitFor(t, w, true) })
	bubble(t, "while it is under way elsewhere", func(t *testing.T, w *world) { waitFor(t, w, false) })
	bubble(t, "by a caller who cannot wait", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{delay: 4 * time.Second})
		c, elsewhere := w.coordinator(), w.coordinator()
		var running sync.WaitGroup
		running.Go(func() { _, _ = w.run(t.Context(), c, "order-1", "store", "delivery") })
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := elsewhere.Wait(ctx, "order-1")
		require.ErrorIs(t, err, twophase.ErrInDoubt)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		running.Wait()
		_, err = elsewhere.Lookup(t.Context(), "order-1")
		require.NoError(t, err, "and it was none of their business")
		w.audit()
	})
	bubble(t, "when the record is deleted meanwhile", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.journal.Journal = &losingJournal{Journal: w.journal.Journal, lost: time.Now().Add(2 * time.Second)}
		w.stocks["store"].fail(twophase.CallAssign, fault{delay: 4 * time.Second})
		c, elsewhere := w.coordinator(), w.coordinator()
		var running sync.WaitGroup
		running.Go(func() {
			_, err := c.Run(t.Context(), twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store"}}})
			assert.ErrorIs(t, err, twophase.ErrInDoubt, "there is nothing to obey")
			assert.ErrorIs(t, err, twophase.ErrGone)
		})
		time.Sleep(time.Second)
		_, err := elsewhere.Wait(t.Context(), "order-1")
		require.ErrorIs(t, err, twophase.ErrGone)
		running.Wait()
	})
}

// losingJournal knows nothing any more from some moment on.
type losingJournal struct {
	twophase.Journal
	lost time.Time
}

func (j *losingJournal) Get(ctx context.Context, id string) (twophase.Record, error) {
	if !time.Now().Before(j.lost) {
		return twophase.Record{}, twophase.ErrGone
	}
	return j.Journal.Get(ctx, id)
}

func (j *losingJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	if !time.Now().Before(j.lost) {
		return twophase.Decision{}, twophase.ErrGone
	}
	return j.Journal.Decide(ctx, id, d)
}

func waitFor(t *testing.T, w *world, here bool) {
	t.Helper()
	w.stockAll(2)
	w.stocks["store"].fail(twophase.CallAssign, fault{delay: 4 * time.Second})
	c := w.coordinator()
	asked := c
	if !here {
		asked = w.coordinator()
	}
	var running sync.WaitGroup
	running.Go(func() { _, _ = w.run(t.Context(), c, "order-1", "store", "delivery") })
	time.Sleep(time.Second)
	_, err := asked.Lookup(t.Context(), "order-1")
	require.ErrorIs(t, err, twophase.ErrInDoubt, "Lookup does not wait")
	w.tell("order-1", err)
	result, err := asked.Wait(t.Context(), "order-1")
	w.tell("order-1", err)
	require.NoError(t, err)
	assert.Equal(t, "store-1", result.Reservation("store").Resource())
	running.Wait()
	again, err := asked.Lookup(t.Context(), "order-1")
	require.NoError(t, err)
	assert.Equal(t, result, again)
	w.audit()
}

func TestCallersWhoGoAway(t *testing.T) {
	t.Parallel()
	bubble(t, "before they came begin nothing", func(t *testing.T, w *world) {
		w.stockAll(2)
		_, err := w.run(ended(t.Context()), w.coordinator(), "order-1", "store", "delivery")
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, twophase.ErrInDoubt)
		assert.Zero(t, w.stocks["store"].attempts(twophase.CallReserve))
	})
	bubble(t, "are told the cause of their context", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{hang: true})
		hungry := errors.New("hungry no more")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(hungry) })
		_, err := w.run(ctx, w.coordinator(), "order-1", "store", "delivery")
		require.ErrorIs(t, err, twophase.ErrInDoubt)
		require.ErrorIs(t, err, hungry)
		synctest.Wait()
		time.Sleep(time.Second)
		_, err = w.coordinator().Lookup(t.Context(), "order-1")
		require.ErrorIs(t, err, twophase.ErrNotPlaced, "nobody waited for it")
		assert.ErrorContains(t, err, "the caller gave up")
		w.tell("order-1", err)
		w.settle()
		w.audit()
	})
	bubble(t, "do not end what others wait for", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{delay: 3 * time.Second})
		c := w.coordinator()
		var patient sync.WaitGroup
		patient.Go(func() {
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			assert.NoError(t, err)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.run(ctx, c, "order-1", "store", "delivery")
		require.ErrorIs(t, err, twophase.ErrInDoubt)
		patient.Wait()
		w.audit()
	})
	bubble(t, "need not wait for a Release that takes long", func(t *testing.T, w *world) {
		w.stockAll(2)
		refuseAssign(w)
		w.stocks["store"].fail(twophase.CallRelease, fault{hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.run(ctx, w.coordinator(), "order-1", "store", "delivery")
		require.ErrorIs(t, err, twophase.ErrNotPlaced, "that was known before")
		assert.Equal(t, time.Second, time.Since(w.start))
		w.settle()
		w.audit()
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	bubble(t, "waits for what is under way", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{delay: 3 * time.Second})
		c := w.coordinator()
		var running sync.WaitGroup
		running.Go(func() {
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			assert.NoError(t, err)
		})
		time.Sleep(time.Second)
		require.NoError(t, c.Close(t.Context()))
		assert.GreaterOrEqual(t, time.Since(w.start), 3*time.Second)
		running.Wait()
		w.audit()
	})
	bubble(t, "takes no new transactions", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinator()
		require.NoError(t, c.Close(t.Context()))
		_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
		require.ErrorIs(t, err, twophase.ErrClosed)
		_, err = c.RunFunc(t.Context(), "order-1", func(context.Context, *twophase.Tx) error { return nil })
		require.ErrorIs(t, err, twophase.ErrClosed)
		require.NoError(t, c.Close(t.Context()), "again, it does nothing")
	})
	bubble(t, "abandons what takes too long, tells its callers, and hands it over", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{hang: true})
		c := w.coordinator()
		var running sync.WaitGroup
		running.Go(func() {
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			assert.ErrorIs(t, err, twophase.ErrInDoubt)
			assert.ErrorIs(t, err, twophase.ErrClosed)
		})
		time.Sleep(time.Second)
		enough := errors.New("the deployment is over")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(enough)
		err := c.Close(ctx)
		require.ErrorIs(t, err, enough)
		assert.ErrorContains(t, err, "closed with 1 transactions left to recovery")
		running.Wait()

		recovery, err := w.coordinator().Recover(t.Context())
		require.NoError(t, err)
		assert.Equal(t, twophase.Recovery{Finished: 1}, recovery, "at once, for it was handed over")
		w.askAgain("order-1")
		w.audit()
	})
	bubble(t, "frees a function's caller whom the journal keeps waiting", func(t *testing.T, w *world) {
		w.stockAll(1)
		c := w.coordinatorOn(silent{w.journal})
		told := make(chan error, 1)
		go func() {
			_, err := c.RunFunc(t.Context(), "order-1", func(context.Context, *twophase.Tx) error { return nil })
			told <- err
		}()
		synctest.Wait()
		_ = c.Close(ended(t.Context()))
		synctest.Wait()
		require.Len(t, told, 1)
		require.Error(t, <-told)
	})
	bubble(t, "does not wait for a journal on behalf of a caller who has left", func(t *testing.T, w *world) {
		w.stockAll(1)
		c := w.coordinatorOn(beganElsewhere{silent{w.journal}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.run(ctx, c, "order-1", "store")
		require.ErrorIs(t, err, twophase.ErrInDoubt)
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, c.Close(ctx))
	})
	bubble(t, "says if it could not hand over", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{hang: true})
		away := errors.New("away")
		c := w.coordinatorOn(unrenewable{w.journal, away})
		go func() { _, _ = w.run(t.Context(), c, "order-1", "store", "delivery") }()
		time.Sleep(time.Second)
		err := c.Close(ended(t.Context()))
		require.ErrorIs(t, err, away)
		assert.ErrorContains(t, err, "hand over leases")
		time.Sleep(time.Minute) // the lease runs out by itself
		w.settle()
		w.audit()
	})
}

// beganElsewhere is a journal on which another coordinator is always first, and
// which tells so late.
type beganElsewhere struct{ silent }

func (beganElsewhere) Begin(_ context.Context, record twophase.Record) (twophase.Record, bool, error) {
	time.Sleep(2 * time.Second)
	record.Owner, record.Epoch = "another", 1
	return record, false, nil
}

// silent is a journal that does not answer when it is read.
type silent struct{ twophase.Journal }

func (silent) Get(ctx context.Context, _ string) (twophase.Record, error) {
	<-ctx.Done()
	return twophase.Record{}, ctx.Err()
}

// unrenewable is a journal on which leases cannot be renewed.
type unrenewable struct {
	twophase.Journal
	err error
}

func (j unrenewable) Renew(context.Context, string, time.Duration, []string) error { return j.err }

func TestSeveralStepsAtOneParticipantStandOrFallTogether(t *testing.T) {
	t.Parallel()
	for free, want := range map[int]error{2: nil, 1: twophase.ErrNotPlaced} {
		bubble(t, fmt.Sprintf("two steps, %d free", free), func(t *testing.T, w *world) {
			s := w.stock("store")
			for i := range free {
				s.free = append(s.free, fmt.Sprint(i))
			}
			_, err := w.run(t.Context(), w.coordinator(), "order-1", "store", "store")
			require.ErrorIs(t, err, want)
			w.settle()
			w.audit()
		})
	}
}

// A journal that cannot take the record lets nothing begin.
func TestJournalThatIsAwayOrRefuses(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{twophase.ErrUnavailable, twophase.ErrInvalid} {
		bubble(t, refusal.Error(), func(t *testing.T, w *world) {
			w.stockAll(2)
			w.journal.fail("begin", fault{err: refusal})
			c := w.coordinator()
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			require.ErrorIs(t, err, refusal)
			require.NotErrorIs(t, err, twophase.ErrInDoubt)
			_, err = w.run(t.Context(), c, "order-1", "store", "delivery")
			require.NoError(t, err, "it may be run again")
			w.audit()
		})
	}
	bubble(t, "but what may have begun is not given up", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.journal.fail("begin", fault{loseReply: true}, fault{err: twophase.ErrUnavailable}, fault{err: twophase.ErrUnavailable})
		_, err := w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery")
		require.NoError(t, err)
		w.audit()
	})
	bubble(t, "and is asked again, not too often", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.journal.fail("begin", forEver(fault{loseRequest: true})...)
		go func() { _, _ = w.run(t.Context(), w.coordinator(), "order-1", "store", "delivery") }()
		time.Sleep(50 * time.Second) // once a second in the mean, at last
		asked := w.journal.asked("begin")
		assert.Greater(t, asked, 20)
		assert.Less(t, asked, 150)
		w.journal.heal()
		time.Sleep(10 * time.Second)
		w.settle()
		w.audit()
	})
	bubble(t, "Wait says that it cannot look", func(t *testing.T, w *world) {
		w.stockAll(2)
		away := errors.New("away")
		c := w.coordinatorOn(unreadable{w.journal, away})
		_, err := c.Wait(t.Context(), "order-1")
		require.ErrorIs(t, err, away)
		_, err = c.Lookup(t.Context(), "order-1")
		require.ErrorIs(t, err, away)
		_, err = c.RunFunc(t.Context(), "order-1", func(context.Context, *twophase.Tx) error { return nil })
		require.ErrorIs(t, err, away)
		assert.ErrorContains(t, err, "order-1 not begun")
	})
}

// unreadable is a journal whose records cannot be read.
type unreadable struct {
	twophase.Journal
	err error
}

func (j unreadable) Get(context.Context, string) (twophase.Record, error) {
	return twophase.Record{}, j.err
}

// slowReads is a journal whose records take a second to read.
type slowReads struct{ twophase.Journal }

func (j slowReads) Get(ctx context.Context, id string) (twophase.Record, error) {
	time.Sleep(time.Second)
	return j.Journal.Get(ctx, id)
}

func TestOwnerTellsWhereToLook(t *testing.T) {
	t.Parallel()
	bubble(t, "by the machine, the process, and a name of its own", func(t *testing.T, w *world) {
		w.stock("store", "packet-1", "packet-2")
		w.stocks["store"].fail(twophase.CallAssign, fault{hang: true}, fault{hang: true})
		one, two := w.coordinator(), w.coordinator()
		go func() { _, _ = w.run(t.Context(), one, "order-1", "store") }()
		go func() { _, _ = w.run(t.Context(), two, "order-2", "store") }()
		synctest.Wait()
		host, err := os.Hostname()
		require.NoError(t, err)
		prefix := fmt.Sprintf("%s/%d/", host, os.Getpid())
		assert.Contains(t, w.recordOf("order-1").Owner, prefix)
		assert.NotEqual(t, w.recordOf("order-1").Owner, w.recordOf("order-2").Owner)
		time.Sleep(time.Minute)
		w.settle()
	})
}
