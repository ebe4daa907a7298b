package twophase_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// A reservation's life is counted from before Reserve was sent: what the reply
// took is lost.
func TestLifeIsCountedFromBeforeTheCall(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		slow   time.Duration // the reply to Reserve, of four seconds' hold more than is needed
		placed bool
	}{
		{"a quick reply leaves enough", 0, true},
		{"a reply that takes two seconds leaves enough", 2 * time.Second, true},
		{"a reply that takes until the margin does not", 3 * time.Second, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// The participant promises four seconds at the end of the call.
				p := slowReply{idle{twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: 4 * time.Second}}, test.slow}
				c := newTimedCoordinator(t, p, twophase.WithPolicy(twophase.Policy{ReserveFor: 5 * time.Second}))
				err := runAtStore(t, c, "order-1")
				if test.placed {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, twophase.ErrNotPlaced)
				require.ErrorIs(t, err, twophase.ErrExpired)
				assert.ErrorContains(t, err, "assign store: expired: too little time left to begin assigning")
			})
		})
	}
}

type slowReply struct {
	idle
	slow time.Duration
}

func (p slowReply) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	time.Sleep(p.slow)
	return p.idle.Reserve(ctx, req)
}

// Assigning does not begin when the shortest reservation has no more than the
// margin left.
func TestMarginRefusesToBeginAssigning(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		left, margin time.Duration
		placed       bool
	}{
		{time.Second, time.Second, false},
		{time.Second + 1, time.Second, true},
		{10 * time.Second, 11 * time.Second, false},
		{0, time.Nanosecond, false},
		{-time.Hour, time.Second, false},
	} {
		t.Run(fmt.Sprintf("%v left with a margin of %v", test.left, test.margin), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newTimed()
				p.Participant = idle{twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: test.left}}
				c := newTimedCoordinator(t, p, twophase.WithPolicy(twophase.Policy{Margin: test.margin}),
					twophase.WithParticipant("delivery", newIdle("agent-1")))
				_, err := c.Run(t.Context(), twophase.Transaction{ID: "order-1", Steps: []twophase.Step{
					{Participant: "delivery"}, {Participant: "store"},
				}})
				if test.placed {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, twophase.ErrExpired)
				assert.Empty(t, p.arrivals[twophase.CallAssign])
			})
		})
	}
}

// What is assigned already never expires, whatever time it is said to have.
func TestWhatIsAssignedHasAllTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := idle{twophase.Reservation{Resources: []string{"packet-1"}, Assigned: true}}
		require.NoError(t, runAtStore(t, newTimedCoordinator(t, p), "order-1"))
	})
}

func TestTimeoutGivesUp(t *testing.T) {
	t.Parallel()
	bubble(t, "what is undecided then", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, forEver(fault{hang: true})...)
		c := w.coordinator()
		_, err := c.Run(t.Context(), twophase.Transaction{
			ID: "order-1", Steps: []twophase.Step{{Participant: "store"}, {Participant: "delivery"}}, Timeout: 20 * time.Second,
		})
		w.tell("order-1", err)
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "undecided at its timeout")
		assert.Equal(t, 20*time.Second, time.Since(w.start).Truncate(time.Second))
		w.settle()
		w.audit()
	})
	bubble(t, "and says what was still being tried, not what had failed before", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallReserve, fault{err: errors.New("the store is busy")})
		w.stocks["delivery"].fail(twophase.CallAssign, forEver(fault{err: errors.New("delivery is away")})...)
		_, err := w.coordinator().Run(t.Context(), twophase.Transaction{
			ID: "order-1", Steps: []twophase.Step{{Participant: "store"}, {Participant: "delivery"}}, Timeout: 5 * time.Second,
		})
		w.tell("order-1", err)
		require.ErrorContains(t, err, "not placed: assign delivery: undecided at its timeout")
		assert.ErrorContains(t, err, "delivery is away")
		w.settle()
		w.audit()
	})
	bubble(t, "and runs from the start, however long a function takes before Begin", func(t *testing.T, w *world) {
		w.stockAll(2)
		w.stocks["store"].fail(twophase.CallAssign, fault{hang: true})
		c := w.coordinator()
		go func() {
			_, _ = w.runFunc(t.Context(), c, "order-1", func(ctx context.Context, tx *twophase.Tx) error {
				time.Sleep(30 * time.Second)
				return reserveAll("store")(ctx, tx)
			})
		}()
		time.Sleep(31 * time.Second)
		record, err := w.journal.Get(t.Context(), "order-1")
		require.NoError(t, err)
		assert.InDelta(t, 29*time.Second, record.Deadline, float64(time.Second/100))
		time.Sleep(time.Minute)
		w.settle()
		w.audit()
	})
}

func TestPoliciesThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		policy  twophase.Policy
		timeout time.Duration
		want    string
	}{
		{"a hold that runs out while it is still to be assigned", twophase.Policy{Hold: 30 * time.Second}, 0,
			"Hold is 30s, shorter than ReserveFor 3s + AssignFor 30s + Margin 1s = 34s: " +
				"a reservation would run out while it is still to be assigned; raise Hold, or lower them"},
		{"an outage longer than the hold", twophase.Policy{AssignFor: time.Hour}, 2 * time.Hour, "Hold is 2m0s, shorter than"},
		{"a timeout shorter than the calls", twophase.Policy{}, 10 * time.Second,
			"the timeout of 10s is shorter than ReserveFor 3s + AssignFor 30s = 33s: raise it with WithTimeout, or lower them"},
		{"a negative hold", twophase.Policy{Hold: -1}, 0, "Hold is -1ns: it must be above zero"},
		{"a negative margin", twophase.Policy{Margin: -1}, 0, "Margin is -1ns: it must be above zero"},
		{"a negative attempt", twophase.Policy{Release: twophase.Retry{Attempt: -1}}, 0, "Release.Attempt is -1ns"},
		{"a first wait above the longest", twophase.Policy{Reserve: twophase.Retry{First: time.Minute}}, 0, "Reserve.First 1m0s is above Reserve.Max 1s"},
		{"a budget without a retry", twophase.Policy{Budget: twophase.RetryBudget{Burst: 0.5}}, 0, "it needs a Burst of 1 at least"},
		{"a budget that never fills", twophase.Policy{Budget: twophase.RetryBudget{PerSecond: -1}}, 0, "and some PerSecond"},
		{"a budget that success drains", twophase.Policy{Budget: twophase.RetryBudget{PerSuccess: -1}}, 0, "PerSuccess:-1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := []twophase.Option{twophase.WithParticipant("store", newIdle("packet-1")), twophase.WithPolicyFor("store", test.policy)}
			if test.timeout > 0 {
				options = append(options, twophase.WithTimeout(test.timeout))
			}
			_, err := twophase.NewCoordinator(twophase.NewMemoryJournal(), options...)
			require.ErrorIs(t, err, twophase.ErrInvalid)
			assert.ErrorContains(t, err, `policy for participant "store"`)
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestPoliciesMayBeExactlyLongEnough(t *testing.T) {
	t.Parallel()
	policy := twophase.Policy{
		ReserveFor: time.Second, AssignFor: 2 * time.Second, Margin: time.Second, Hold: 4 * time.Second,
		Reserve: twophase.Retry{First: time.Second, Max: time.Second},
		Budget:  twophase.RetryBudget{Burst: 1},
	}
	c, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("store", newIdle("packet-1")), twophase.WithPolicy(policy), twophase.WithTimeout(3*time.Second),
		twophase.WithRetention(3*time.Second), twophase.WithRecoveryLimit(1))
	require.NoError(t, err)
	require.NoError(t, c.Close(t.Context()))
}
