package twophase_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Calls, and recovery, that meet on one transaction in one process.

// willing is a participant that has everything, unless it is told otherwise.
type willing struct {
	reserve func(ctx context.Context, req twophase.Request) (twophase.Reservation, error)
	assign  func(ctx context.Context, key twophase.Key) error
}

func (p *willing) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if p.reserve != nil {
		return p.reserve(ctx, req)
	}
	return twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: req.Hold}, nil
}

func (p *willing) Assign(ctx context.Context, key twophase.Key) error {
	if p.assign != nil {
		return p.assign(ctx, key)
	}
	return nil
}

func (*willing) Release(context.Context, twophase.Key) error { return nil }

// open opens a coordinator on a journal and a store until the test ends.
func open(
	t *testing.T, journal twophase.Journal, store twophase.Participant, options ...twophase.Option,
) *twophase.Coordinator {
	t.Helper()
	c, err := twophase.NewCoordinator(journal, append(options, twophase.WithParticipant("store", store))...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close(context.WithoutCancel(t.Context()))) })
	return c
}

func atStore(id string) twophase.Transaction {
	return twophase.Transaction{ID: id, Steps: []twophase.Step{{Participant: "store"}}}
}

// leaveBehind begins what its coordinator leaves behind.
func leaveBehind(t *testing.T, journal twophase.Journal, id string) {
	t.Helper()
	_, created, err := journal.Begin(t.Context(), twophase.Record{
		Version: twophase.RecordVersion, ID: id, State: twophase.StateBegun, Owner: "dead", Deadline: time.Minute,
		Steps: []twophase.StepRecord{{Name: "store", Participant: "store", Hold: 2 * time.Minute}},
	})
	require.NoError(t, err)
	require.True(t, created)
}

// slowBegin is a journal whose Begin takes its time, before or after.
type slowBegin struct {
	twophase.Journal
	before, after time.Duration
}

func (j slowBegin) Begin(ctx context.Context, r twophase.Record) (twophase.Record, bool, error) {
	time.Sleep(j.before)
	standing, created, err := j.Journal.Begin(ctx, r)
	time.Sleep(j.after)
	return standing, created, err
}

// A service starts again, recovers what it has left, and its clients ask again.
func TestRecoveryMayClaimWhatIsJustBegunAgain(t *testing.T) {
	t.Parallel()
	for name, journal := range map[string]slowBegin{
		"claimed before Begin": {before: 2 * time.Millisecond},
		"claimed after Begin":  {after: 2 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				journal.Journal = twophase.NewMemoryJournal()
				leaveBehind(t, journal.Journal, "order-1")
				c := open(t, journal, &willing{}, twophase.WithoutBackgroundRecovery())
				go func() {
					time.Sleep(time.Millisecond)
					_, _ = c.Recover(t.Context())
				}()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := c.Run(ctx, atStore("order-1"))
				require.NoError(t, err)
			})
		})
	}
}

func TestRecoverGoesOnWhateverIsDrivenHereAlready(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := twophase.NewMemoryJournal()
		slow := &willing{assign: func(_ context.Context, key twophase.Key) error {
			if key.Transaction == "own" {
				time.Sleep(4 * time.Second)
			}
			return nil
		}}
		c := open(t, journal, slow, twophase.WithoutBackgroundRecovery(), twophase.WithRecoveryLimit(1))
		go func() { _, _ = c.Run(t.Context(), atStore("own")) }()
		time.Sleep(time.Second)
		own, err := journal.Get(t.Context(), "own")
		require.NoError(t, err)
		require.NoError(t, journal.Renew(t.Context(), own.Owner, 0, []string{"own"})) // the process stood still, say
		time.Sleep(time.Second)
		leaveBehind(t, journal, "order-1")
		recovery, err := c.Recover(t.Context())
		require.NoError(t, err)
		assert.Equal(t, twophase.Recovery{Finished: 1}, recovery)
		time.Sleep(time.Minute)
	})
}

func TestClosedCoordinatorClaimsNothing(t *testing.T) {
	t.Parallel()
	journal := twophase.NewMemoryJournal()
	leaveBehind(t, journal, "order-1")
	c := open(t, journal, &willing{}, twophase.WithoutBackgroundRecovery())
	require.NoError(t, c.Close(t.Context()))
	_, err := c.Recover(t.Context())
	require.ErrorIs(t, err, twophase.ErrClosed)
	record, err := journal.Get(t.Context(), "order-1")
	require.NoError(t, err)
	assert.Equal(t, "dead", record.Owner)
}

// slowGet is a journal whose second Get takes a second.
type slowGet struct {
	twophase.Journal
	gets atomic.Int64
}

func (j *slowGet) Get(ctx context.Context, id string) (twophase.Record, error) {
	if j.gets.Add(1) == 2 {
		select {
		case <-ctx.Done():
			return twophase.Record{}, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return j.Journal.Get(ctx, id)
}

func TestCallerWhoLeavesTakesNobodyWithHim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := &slowGet{Journal: twophase.NewMemoryJournal()}
		leaveBehind(t, journal, "order-1")
		_, err := journal.Decide(t.Context(), "order-1", twophase.Decision{
			State: twophase.StateAssigned, Reservations: make([]twophase.Reservation, 1),
		})
		require.NoError(t, err)
		c := open(t, journal, &willing{})
		hasty, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		go func() { _, _ = c.Wait(hasty, "order-1") }()
		time.Sleep(10 * time.Millisecond)
		_, err = c.Run(t.Context(), atStore("order-1"))
		require.NoError(t, err)
	})
}

func TestFunctionMayHaveMoreStepsThanTheRecordThatStands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := twophase.NewMemoryJournal()
		deaf := &willing{reserve: func(ctx context.Context, _ twophase.Request) (twophase.Reservation, error) {
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond)
			return twophase.Reservation{}, ctx.Err()
		}}
		c := open(t, journal, &willing{}, twophase.WithParticipant("delivery", deaf), twophase.WithTimeout(31*time.Second),
			twophase.WithPolicy(twophase.Policy{
				Hold: time.Minute, ReserveFor: 30 * time.Second, AssignFor: time.Second,
				Reserve: twophase.Retry{Attempt: 40 * time.Second},
			}))
		_, err := c.RunFunc(t.Context(), "order-1", func(ctx context.Context, tx *twophase.Tx) error {
			if _, err := tx.Reserve(ctx, "store", nil); err != nil {
				return err
			}
			time.Sleep(10 * time.Second)       // so that the timeout comes first
			leaveBehind(t, journal, "order-1") // by another coordinator, which did without the second step
			_, err := journal.Decide(ctx, "order-1", twophase.Decision{
				State: twophase.StateAssigned, Reservations: make([]twophase.Reservation, 1),
			})
			require.NoError(t, err)
			_, err = tx.Reserve(ctx, "delivery", nil)
			var failed *twophase.Error
			assert.ErrorAs(t, err, &failed)
			assert.Equal(t, "delivery", failed.Step)
			return err
		})
		assert.NotErrorIs(t, err, twophase.ErrNotPlaced)
	})
}

func TestNothingPlacedIsNoAnswerToWhoAsksForSomething(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, twophase.NewMemoryJournal(), &willing{})
		for _, id := range []string{"is over", "is under way"} {
			go func() {
				_, _ = c.RunFunc(t.Context(), id, func(context.Context, *twophase.Tx) error {
					time.Sleep(time.Second)
					return nil
				})
			}()
			synctest.Wait()
			if id == "is over" {
				time.Sleep(2 * time.Second)
			}
			_, err := c.Run(t.Context(), atStore(id))
			assert.ErrorIs(t, err, twophase.ErrMismatch, id)
		}
	})
}

func TestTimeoutNamesNoCallThatHasSucceededSince(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reserves atomic.Int64
		c := open(t, twophase.NewMemoryJournal(), &willing{
			reserve: func(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
				if reserves.Add(1) == 1 {
					return twophase.Reservation{}, errors.New("connection reset")
				}
				return twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: req.Hold}, nil
			},
			assign: func(ctx context.Context, _ twophase.Key) error {
				<-ctx.Done()
				return ctx.Err()
			},
		})
		tx := atStore("order-1")
		tx.Timeout = 3 * time.Second
		_, err := c.Run(t.Context(), tx)
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		assert.NotContains(t, err.Error(), "connection reset")
	})
}

func TestResultIsItsCallersOwn(t *testing.T) {
	t.Parallel()
	c := open(t, twophase.NewMemoryJournal(), &willing{})
	result, err := c.Run(t.Context(), atStore("order-1"))
	require.NoError(t, err)
	result.Steps[0].Reservation.Resources[0] = "mine!"
	again, err := c.Run(t.Context(), atStore("order-1"))
	require.NoError(t, err)
	assert.Equal(t, "packet-1", again.Steps[0].Reservation.Resource())
}
