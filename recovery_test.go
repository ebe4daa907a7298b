package twophase_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// leave puts a transaction into the journal as a coordinator that has died would
// have left it, its lease run out.
func (w *world) leave(record twophase.Record, participants ...string) twophase.Record {
	w.t.Helper()
	record.Owner = "dead"
	if record.Version == 0 {
		record.Version = twophase.RecordVersion
	}
	if record.State == 0 {
		record.State = twophase.StateBegun
	}
	for _, name := range participants {
		record.Steps = append(record.Steps, twophase.StepRecord{Name: name, Participant: name, Hold: 2 * time.Minute})
	}
	standing, created, err := w.journal.Journal.Begin(w.t.Context(), record)
	require.NoError(w.t, err)
	require.True(w.t, created)
	return standing
}

func (w *world) recordOf(id string) twophase.Record {
	w.t.Helper()
	record, err := w.journal.Get(w.t.Context(), id)
	require.NoError(w.t, err)
	return record
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	cause := &twophase.Cause{Message: "refused", Reason: "refused"}
	tests := []struct {
		name   string
		left   twophase.Record
		broken func(w *world)
		want   twophase.Recovery
		state  twophase.State
		stuck  string // the trouble on record
	}{
		{
			name: "what is undecided and in time goes forward",
			left: twophase.Record{Deadline: time.Minute},
			want: twophase.Recovery{Finished: 1}, state: twophase.StateAssigned,
		},
		{
			name: "what is undecided and late is released",
			left: twophase.Record{Deadline: -1},
			want: twophase.Recovery{Finished: 1}, state: twophase.StateReleased,
		},
		{
			name: "what is being released is released",
			left: twophase.Record{State: twophase.StateReleasing, Cause: cause, Deadline: time.Minute},
			want: twophase.Recovery{Finished: 1}, state: twophase.StateReleased,
		},
		{
			name: "what cannot go forward is released", left: twophase.Record{Deadline: time.Minute}, broken: refuseReserve,
			want: twophase.Recovery{Finished: 1}, state: twophase.StateReleased,
		},
		{
			name:   "what cannot be released is stuck",
			left:   twophase.Record{State: twophase.StateReleasing, Cause: cause},
			broken: func(w *world) { w.stocks["store"].fail(twophase.CallRelease, forEver(fault{err: errDown})...) },
			want:   twophase.Recovery{Stuck: 1}, state: twophase.StateReleasing, stuck: "release store: down",
		},
		{
			name:   "a participant that panics is stuck, and its bug is on record",
			left:   twophase.Record{State: twophase.StateReleasing, Cause: cause},
			broken: func(w *world) { w.stocks["store"].fail(twophase.CallRelease, forEver(fault{panics: true})...) },
			want:   twophase.Recovery{Stuck: 1}, state: twophase.StateReleasing, stuck: "release store: participant panicked: out of paper",
		},
		{
			name: "a participant that is unknown here is set aside",
			left: twophase.Record{Deadline: time.Minute, Steps: []twophase.StepRecord{{Name: "moon", Participant: "moon"}}},
			want: twophase.Recovery{Stuck: 1}, state: twophase.StateBegun, stuck: `there is no participant "moon" on this coordinator: give WithParticipant`,
		},
		{
			name: "what is known is released, whatever is not",
			left: twophase.Record{Deadline: -1, Steps: []twophase.StepRecord{{Name: "moon", Participant: "moon"}}},
			want: twophase.Recovery{Stuck: 1}, state: twophase.StateReleasing, stuck: `release moon: there is no participant "moon"`,
		},
		{
			name: "what is undecided at the very instant of its timeout is released",
			left: twophase.Record{},
			want: twophase.Recovery{Finished: 1}, state: twophase.StateReleased,
		},
		{
			name: "whatever it asked of whom",
			left: twophase.Record{Steps: []twophase.StepRecord{{Name: "moon", Participant: "moon"}}},
			want: twophase.Recovery{Stuck: 1}, state: twophase.StateReleasing, stuck: `release moon: there is no participant "moon"`,
		},
		{
			name: "a record of a newer version is set aside",
			left: twophase.Record{Version: twophase.RecordVersion + 1, Deadline: time.Minute},
			want: twophase.Recovery{Stuck: 1}, state: twophase.StateBegun, stuck: "the record has version 2, newer than 1 that this library knows",
		},
		{
			name: "what was dropped is released, and the rest goes forward",
			left: twophase.Record{Deadline: time.Minute, Steps: []twophase.StepRecord{{Name: "near", Participant: "store", Dropped: true}}},
			want: twophase.Recovery{Finished: 1}, state: twophase.StateAssigned,
		},
		{
			name: "what is placed needs nothing",
			left: twophase.Record{State: twophase.StateAssigned},
			want: twophase.Recovery{}, state: twophase.StateAssigned,
		},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			if test.broken != nil {
				test.broken(w)
			}
			test.left.ID = "order-1"
			w.leave(test.left, "store", "delivery")
			recovery, err := w.coordinator().Recover(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.want, recovery)
			record := w.recordOf("order-1")
			assert.Equal(t, test.state, record.State)
			assert.Equal(t, test.stuck != "", record.Stuck())
			assert.Contains(t, record.Trouble, test.stuck)
			assert.Empty(t, w.stocks["store"].held("order-2"))
			if test.left.Deadline <= 0 {
				assert.Zero(t, w.stocks["store"].attempts(twophase.CallReserve), "it is too late to reserve")
			}
		})
	}
}

// A transaction that recovery releases says why.
func TestRecoveryOfWhatIsLateSaysSo(t *testing.T) {
	t.Parallel()
	bubble(t, "undecided at its timeout", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Minute}, "store", "delivery")
		time.Sleep(time.Hour)
		_, err := w.coordinator().Recover(t.Context())
		require.NoError(t, err)
		_, err = w.coordinator().Lookup(t.Context(), "order-1")
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		w.audit()
	})
	bubble(t, "and the time that is left runs while it goes forward", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.leave(twophase.Record{ID: "order-1", Deadline: 10 * time.Second}, "store", "delivery")
		w.stocks["store"].fail(twophase.CallAssign, forEver(fault{hang: true})...)
		_, err := w.coordinator().Recover(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 10*time.Second, time.Since(w.start).Truncate(time.Second))
		assert.Equal(t, twophase.StateReleased, w.recordOf("order-1").State)
		w.audit()
	})
}

// What cannot be recovered stops nothing else, and is tried again, ever slower.
func TestRecoveryGoesOn(t *testing.T) {
	t.Parallel()
	bubble(t, "with the others", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stock("kitchen").fail(twophase.CallRelease, forEver(fault{panics: true})...)
		for i := range 20 {
			record := twophase.Record{ID: fmt.Sprintf("order-%d", i), Deadline: -1}
			switch i % 4 {
			case 0:
				w.leave(record, "kitchen", "store")
			case 1:
				record.Deadline = time.Minute
				w.leave(record, "moon")
			default:
				w.leave(record, "store", "delivery")
			}
		}
		recovery, err := w.coordinator(twophase.WithRecoveryLimit(3)).Recover(t.Context())
		require.NoError(t, err)
		assert.Equal(t, twophase.Recovery{Finished: 10, Stuck: 10}, recovery)
		w.audit()
	})
	bubble(t, "for ever, at a slow pace", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallRelease, forEver(fault{err: errDown})...)
		w.leave(twophase.Record{ID: "order-1", Deadline: -1}, "store", "delivery")
		c := w.coordinatorInBackground()
		time.Sleep(24 * time.Hour)
		attempts := w.stocks["store"].attempts(twophase.CallRelease)
		assert.Greater(t, attempts, 24*60/7, "every five minutes or so")
		assert.Less(t, attempts, 24*60/3)
		assert.Equal(t, attempts, w.recordOf("order-1").Attempts)
		w.heal()
		time.Sleep(10 * time.Minute)
		assert.Empty(t, w.unfinished())
		require.NoError(t, c.Close(t.Context()))
		w.audit()
	})
	bubble(t, "sparing a participant that is down", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallRelease, forEver(fault{err: errDown})...)
		for i := range 200 {
			w.leave(twophase.Record{ID: fmt.Sprintf("order-%d", i), Deadline: -1}, "store")
		}
		c := w.coordinatorInBackground(twophase.WithPolicy(twophase.Policy{Budget: twophase.RetryBudget{Burst: 5, PerSecond: 0.01}}))
		time.Sleep(time.Hour)
		attempts := w.stocks["store"].attempts(twophase.CallRelease)
		assert.LessOrEqual(t, attempts, 200+5+36+1, "one for each, and then what the budget allows")
		assert.Greater(t, attempts, 200)
		assert.Contains(t, w.troubles(), "not tried: the participant's retry budget is spent")
		require.NoError(t, c.Close(t.Context()))
	})
}

func (w *world) troubles() (all string) {
	for record, err := range w.journal.List(w.t.Context(), twophase.Filter{Stuck: true}) {
		require.NoError(w.t, err)
		all += record.Trouble + "\n"
	}
	return all
}

// coordinatorInBackground returns one that recovers by itself.
func (w *world) coordinatorInBackground(options ...twophase.Option) *twophase.Coordinator {
	w.t.Helper()
	all := []twophase.Option{}
	for name, s := range w.stocks {
		all = append(all, twophase.WithParticipant(name, s))
	}
	c, err := twophase.NewCoordinator(w.journal, append(all, options...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = c.Close(ended(context.Background())) })
	return c
}

func TestRecoveryInTheBackground(t *testing.T) {
	t.Parallel()
	bubble(t, "begins at once", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Minute}, "store", "delivery")
		w.coordinatorInBackground()
		time.Sleep(time.Second)
		assert.Equal(t, twophase.StateAssigned, w.recordOf("order-1").State)
		w.audit()
	})
	bubble(t, "comes by three times a lease", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.coordinatorInBackground(twophase.WithLease(30 * time.Second))
		time.Sleep(5 * time.Second)
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Minute}, "store", "delivery")
		time.Sleep(4 * time.Second)
		assert.Equal(t, twophase.StateBegun, w.recordOf("order-1").State)
		time.Sleep(2 * time.Second)
		assert.Equal(t, twophase.StateAssigned, w.recordOf("order-1").State)
	})
	bubble(t, "does no more at a time than the limit, and goes on at once", func(t *testing.T, w *world) {
		const many, limit = 40, 4
		s := w.stock("store")
		s.latency = time.Second
		for i := range many {
			s.free = append(s.free, fmt.Sprint(i))
			w.leave(twophase.Record{ID: fmt.Sprintf("order-%d", i), Deadline: time.Hour}, "store")
		}
		w.coordinatorInBackground(twophase.WithRecoveryLimit(limit), twophase.WithLease(time.Hour))
		most := 0
		for range 60 {
			time.Sleep(500 * time.Millisecond)
			most = max(most, w.claimed())
		}
		assert.LessOrEqual(t, most, limit)
		assert.Empty(t, w.unfinished(), "well before the next round")
		w.audit()
	})
	bubble(t, "goes on after the journal was away", func(t *testing.T, w *world) {
		w.stockAll(2)
		away := &awayJournal{Journal: w.journal, until: w.start.Add(time.Minute)}
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Hour}, "store", "delivery")
		seen := &events{}
		options := []twophase.Option{twophase.WithObserver(seen)}
		for name, s := range w.stocks {
			options = append(options, twophase.WithParticipant(name, s))
		}
		c, err := twophase.NewCoordinator(away, options...)
		require.NoError(t, err)
		_, err = c.Recover(t.Context())
		require.ErrorContains(t, err, "twophase: recover: ")
		time.Sleep(2 * time.Minute)
		assert.Equal(t, twophase.StateAssigned, w.recordOf("order-1").State)
		for _, what := range []string{"claim: away", "prune: away"} {
			assert.Contains(t, seen.errors(twophase.EventJournal), what)
		}
		require.NoError(t, c.Close(t.Context()))
		w.audit()
	})
}

// claimed counts the transactions that are being recovered.
func (w *world) claimed() (n int) {
	for record, err := range w.journal.List(w.t.Context(), twophase.Filter{Unfinished: true}) {
		require.NoError(w.t, err)
		if record.Owner != "dead" {
			n++
		}
	}
	return n
}

// awayJournal cannot be asked about the whole of it for a while.
type awayJournal struct {
	twophase.Journal
	until time.Time
}

var errAway = errors.New("away")

func (j *awayJournal) away() error {
	if time.Now().Before(j.until) {
		return errAway
	}
	return nil
}

func (j *awayJournal) Claim(ctx context.Context, owner string, lease time.Duration, limit int) ([]twophase.Record, error) {
	if err := j.away(); err != nil {
		return nil, err
	}
	return j.Journal.Claim(ctx, owner, lease, limit)
}

func (j *awayJournal) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	if err := j.away(); err != nil {
		return err
	}
	return j.Journal.Renew(ctx, owner, lease, ids)
}

func (j *awayJournal) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	if err := j.away(); err != nil {
		return 0, err
	}
	return j.Journal.Prune(ctx, age, limit)
}

// A coordinator that is alive keeps what it drives, however long that takes.
func TestLeasesOfLongTransactionsAreRenewed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		away   time.Duration // how long leases cannot be renewed
		driven bool          // by the first coordinator alone
	}{
		{"while the coordinator lives", 0, true},
		{"and are lost while the journal is away", 40 * time.Second, false},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			// Assign takes 50 seconds, a lease 15.
			w.stocks["store"].fail(twophase.CallAssign, slices.Repeat([]fault{{hang: true}}, 10)...)
			seen := &events{}
			c := w.coordinatorOn(&awayJournal{Journal: w.journal, until: w.start.Add(test.away)}, twophase.WithObserver(seen))
			var running sync.WaitGroup
			running.Go(func() { _, _ = w.run(t.Context(), c, "order-1", "store", "delivery") })
			time.Sleep(25 * time.Second)
			recovering := w.coordinator()
			recovered := make(chan twophase.Recovery, 1)
			running.Go(func() {
				recovery, err := recovering.Recover(t.Context())
				assert.NoError(t, err)
				recovered <- recovery
			})
			recovery := <-recovered
			assert.Equal(t, test.driven, recovery == twophase.Recovery{}, "%+v", recovery)
			assert.Equal(t, !test.driven, slices.Contains(seen.errorList(twophase.EventJournal), "renew leases: away"))
			running.Wait()
			w.settle()
			w.audit()
		})
	}
}

// A coordinator that claims what it drives itself only learns its epoch.
func TestOwnTransactionsAreNotTakenUpTwice(t *testing.T) {
	t.Parallel()
	bubble(t, "by the coordinator that drives them", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{delay: 4 * time.Second})
		c := w.coordinator(twophase.WithLease(time.Second))
		var running sync.WaitGroup
		running.Go(func() {
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			assert.NoError(t, err)
		})
		time.Sleep(2 * time.Second)
		require.NoError(t, w.journal.Renew(t.Context(), w.recordOf("order-1").Owner, 0, []string{"order-1"}))
		recovery, err := c.Recover(t.Context())
		require.NoError(t, err)
		assert.Equal(t, twophase.Recovery{}, recovery)
		running.Wait()
		assert.Equal(t, int64(2), w.recordOf("order-1").Epoch)
		assert.Equal(t, 1, w.stocks["store"].attempts(twophase.CallReserve))
		w.audit()
	})
}

// A caller who watches another coordinator's transaction gets its outcome from
// the recovery that takes it over.
func TestRecoveryTakesOverWhatIsBeingWatched(t *testing.T) {
	t.Parallel()
	bubble(t, "and tells the outcome", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Hour, Lease: 10 * time.Second}, "store", "delivery")
		c := w.coordinatorInBackground()
		result, err := c.Wait(t.Context(), "order-1")
		w.tell("order-1", err)
		require.NoError(t, err)
		assert.Equal(t, "store-1", result.Reservation("store").Resource())
		assert.Less(t, time.Since(w.start), 16*time.Second)
		w.audit()
	})
	bubble(t, "and goes on when the caller leaves", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{delay: 4 * time.Second})
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Hour, Lease: time.Second}, "store", "delivery")
		c := w.coordinatorInBackground(twophase.WithLease(3 * time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		_, err := c.Wait(ctx, "order-1")
		require.ErrorIs(t, err, twophase.ErrInDoubt)
		time.Sleep(10 * time.Second)
		assert.Equal(t, twophase.StateAssigned, w.recordOf("order-1").State)
		w.audit()
	})
}

func TestRecoverEndsWithItsContext(t *testing.T) {
	t.Parallel()
	bubble(t, "while something takes long", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, forEver(fault{hang: true})...)
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Minute}, "store", "delivery")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.coordinator().Recover(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "twophase: recover: ")
		synctest.Wait()
		w.settle()
		w.audit()
	})
	bubble(t, "and does nothing on a closed coordinator", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Minute}, "store", "delivery")
		c := w.coordinator()
		require.NoError(t, c.Close(t.Context()))
		_, err := c.Recover(t.Context())
		require.ErrorIs(t, err, twophase.ErrClosed)
	})
}

func TestOutcomesAreKeptForTheRetention(t *testing.T) {
	t.Parallel()
	bubble(t, "and then they are gone", func(t *testing.T, w *world) {
		w.stock("store")
		const many = 2500 // more than are pruned at a time
		for i := range many {
			w.leave(twophase.Record{ID: fmt.Sprintf("order-%d", i), State: twophase.StateReleasing})
		}
		c := w.coordinatorInBackground(twophase.WithRetention(2 * time.Hour))
		time.Sleep(2*time.Hour - time.Second)
		_, err := c.Lookup(t.Context(), "order-1")
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		time.Sleep(10 * time.Second)
		for _, i := range []int{0, many - 1} {
			_, err = c.Lookup(t.Context(), fmt.Sprintf("order-%d", i))
			require.ErrorIs(t, err, twophase.ErrGone)
		}
	})
	bubble(t, "for ever, where nothing is done in the background", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinator()
		_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
		require.NoError(t, err)
		time.Sleep(1000 * time.Hour)
		_, err = c.Lookup(t.Context(), "order-1")
		require.NoError(t, err)
	})
}

// A journal that does not take the releases makes the transaction stuck, and a
// later pass finds it.
func TestReleasesThatCannotBeRecordedAreDoneAgain(t *testing.T) {
	t.Parallel()
	bubble(t, "later", func(t *testing.T, w *world) {
		w.stockAll(2)
		refuseAssign(w)
		seen := &events{}
		w.journal.fail("released", forEver(fault{hang: true})...)
		w.journal.fail("yield", fault{err: errAway})
		_, err := w.run(t.Context(), w.coordinator(twophase.WithObserver(seen)), "order-1", "store", "delivery")
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		time.Sleep(time.Minute)
		assert.Equal(t, twophase.StateReleasing, w.recordOf("order-1").State)
		assert.Contains(t, seen.errors(twophase.EventStuck), "context deadline exceeded")
		w.settle()
		w.audit()
	})
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	away := errors.New("the books are being audited")
	tests := []struct {
		name   string
		happen func(w *world)
		since  time.Duration
		want   []string // of the errors
		exact  error
	}{
		{"books that agree", func(*world) {}, time.Hour, nil, nil},
		{"a participant that gave away what it had assigned", func(w *world) {
			w.stocks["store"].giveAway(twophase.Key{Transaction: "order-1", Step: "store"})
		}, time.Hour, []string{"twophase: order-1 was given [store-1] by step store at store, which no longer stands by it: unknown reservation"}, twophase.ErrUnknown},
		{"a participant that holds something else", func(w *world) {
			s := w.stocks["store"]
			s.entries[twophase.Key{Transaction: "order-1", Step: "store"}].resources = []string{"store-9"}
		}, time.Hour, []string{"which no longer stands by it: it holds [store-9]"}, nil},
		{"several, and it goes on", func(w *world) {
			w.stocks["store"].giveAway(twophase.Key{Transaction: "order-1", Step: "store"})
			w.stocks["delivery"].giveAway(twophase.Key{Transaction: "order-1", Step: "delivery"})
		}, time.Hour, []string{"store-1", "delivery-1"}, twophase.ErrUnknown},
		{"a participant that cannot be asked is no contradiction", func(w *world) {
			w.stocks["store"].fail(twophase.CallAssign, forEver(fault{err: away})...)
		}, time.Hour, []string{"twophase: reconcile order-1/store at store: the books are being audited"}, away},
		{"what is as old as since is asked about", func(w *world) {
			w.stocks["store"].giveAway(twophase.Key{Transaction: "order-1", Step: "store"})
			time.Sleep(time.Hour - w.recordOf("order-1").Age)
		}, time.Hour, []string{"store-1"}, twophase.ErrUnknown},
		{"what is older than since is left alone", func(w *world) {
			w.stocks["store"].giveAway(twophase.Key{Transaction: "order-1", Step: "store"})
			time.Sleep(2 * time.Hour)
		}, time.Hour, nil, nil},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			seen := &events{}
			c := w.coordinator(twophase.WithObserver(seen))
			_, err := w.run(t.Context(), c, "order-1", "store", "delivery")
			require.NoError(t, err)
			_, err = w.run(t.Context(), c, "order-2", "delivery")
			require.NoError(t, err)
			test.happen(w)
			var found []error
			for err := range c.Reconcile(t.Context(), test.since) {
				found = append(found, err)
			}
			require.Len(t, found, len(test.want))
			for i, err := range found {
				assert.ErrorContains(t, err, test.want[i])
				if test.exact != nil {
					assert.ErrorIs(t, err, test.exact)
				}
				_, contradiction := errors.AsType[*twophase.Contradiction](err)
				assert.Equal(t, !errors.Is(err, away), contradiction)
			}
			c.Reconcile(t.Context(), test.since)(func(error) bool { return false }) // whoever has seen enough may stop
		})
	}
	bubble(t, "what was dropped is nobody's", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stock("near")
		c := w.coordinator()
		_, err := w.runFunc(t.Context(), c, "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			_, _ = tx.Reserve(ctx, "near", nil)
			return reserveAll("store")(ctx, tx)
		})
		require.NoError(t, err)
		for err := range c.Reconcile(t.Context(), time.Hour) {
			assert.NoError(t, err)
		}
	})
	bubble(t, "a journal that cannot be read", func(t *testing.T, w *world) {
		w.stockAll(2)
		c := w.coordinator()
		_, err := w.run(t.Context(), c, "order-1", "store")
		require.NoError(t, err)
		n := 0
		for err := range c.Reconcile(ended(t.Context()), time.Hour) {
			n++
			require.ErrorIs(t, err, twophase.ErrUnavailable)
		}
		assert.Equal(t, 1, n)
	})
	bubble(t, "a participant that this coordinator does not know", func(t *testing.T, w *world) {
		w.stockAll(1)
		c := w.coordinator()
		w.stock("moon", "rock")
		_, err := w.run(t.Context(), w.coordinator(), "order-1", "moon")
		require.NoError(t, err)
		for err := range c.Reconcile(t.Context(), time.Hour) {
			assert.ErrorContains(t, err, `there is no participant "moon"`)
		}
	})
}
