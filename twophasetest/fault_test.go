package twophasetest

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

// counter is a participant that counts what is delivered, and when.
type counter struct {
	start time.Time

	mu        sync.Mutex
	delivered []time.Duration // since the start
}

func (c *counter) deliver() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivered = append(c.delivered, time.Since(c.start))
	return len(c.delivered)
}

func (c *counter) Reserve(context.Context, twophase.Request) (twophase.Reservation, error) {
	return twophase.Reservation{Resources: []string{fmt.Sprintf("answer-%d", c.deliver())}}, nil
}

func (c *counter) Assign(context.Context, twophase.Key) error {
	c.deliver()
	return twophase.ErrExpired
}

func (c *counter) Release(context.Context, twophase.Key) error {
	c.deliver()
	return nil
}

func TestFaults(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	for _, tt := range []struct {
		name      string
		fault     Fault
		answer    string // of Reserve
		err       error
		took      time.Duration
		delivered []time.Duration
	}{
		{
			name:   "no fault is the call as it is",
			answer: "answer-1", delivered: []time.Duration{0},
		}, {
			name:  "a lost request is not delivered",
			fault: Fault{LoseRequest: true},
			err:   ErrLost,
		}, {
			name:  "a lost request is told as the plan says",
			fault: Fault{LoseRequest: true, Err: mine},
			err:   mine,
		}, {
			name:  "a lost reply is delivered",
			fault: Fault{LoseReply: true},
			err:   ErrLost, delivered: []time.Duration{0},
		}, {
			name:  "a lost reply is told as the plan says",
			fault: Fault{LoseReply: true, Err: mine},
			err:   mine, delivered: []time.Duration{0},
		}, {
			name:   "an error of the plan is told only for what is lost",
			fault:  Fault{Err: mine},
			answer: "answer-1", delivered: []time.Duration{0},
		}, {
			name:   "a repeated request is answered by the second answer",
			fault:  Fault{Repeat: true},
			answer: "answer-2", delivered: []time.Duration{0, 0},
		}, {
			name:   "a delayed request is delivered late",
			fault:  Fault{Delay: 3 * time.Second},
			answer: "answer-1", took: 3 * time.Second, delivered: []time.Duration{3 * time.Second},
		}, {
			name:   "a delayed reply is delivered in time",
			fault:  Fault{ReplyDelay: 3 * time.Second},
			answer: "answer-1", took: 3 * time.Second, delivered: []time.Duration{0},
		}, {
			name:  "a request delayed for longer than the caller waits is not delivered",
			fault: Fault{Delay: time.Minute},
			err:   context.DeadlineExceeded, took: 10 * time.Second,
		}, {
			name:  "a request whose reply is delayed for longer than the caller waits is delivered",
			fault: Fault{ReplyDelay: time.Minute},
			err:   context.DeadlineExceeded, took: 10 * time.Second, delivered: []time.Duration{0},
		}, {
			name:   "a late repetition comes after the answer",
			fault:  Fault{Delay: time.Second, Late: time.Minute},
			answer: "answer-1", took: time.Second, delivered: []time.Duration{time.Second, 61 * time.Second},
		}, {
			name:  "a lost request may arrive late",
			fault: Fault{LoseRequest: true, Late: time.Minute},
			err:   ErrLost, delivered: []time.Duration{time.Minute},
		}, {
			name:  "a request that its caller gave up may arrive late",
			fault: Fault{Delay: time.Hour, Late: time.Minute},
			err:   context.DeadlineExceeded, took: 10 * time.Second, delivered: []time.Duration{70 * time.Second},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &counter{start: time.Now()}
				p := NewFaultyParticipant(c, Script(Rule{Fault: tt.fault}))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				r, err := p.Reserve(ctx, twophase.Request{Key: mineKey})
				cancel()
				require.ErrorIs(t, err, tt.err)
				require.Equal(t, tt.answer, r.Resource())
				require.Equal(t, tt.took, time.Since(c.start))
				p.Wait()
				require.Equal(t, tt.delivered, c.delivered)
			})
		})
	}
}

var mineKey = twophase.Key{Transaction: "order-1", Step: "store"}

func TestFaultyParticipantPassesAnswersOn(t *testing.T) {
	t.Parallel()
	c := &counter{start: time.Now()}
	p := NewFaultyParticipant(c, Script())
	_, err := p.Reserve(t.Context(), twophase.Request{Key: mineKey})
	require.NoError(t, err)
	require.ErrorIs(t, p.Assign(t.Context(), mineKey), twophase.ErrExpired)
	require.NoError(t, p.Release(t.Context(), mineKey))
	require.Len(t, c.delivered, 3)
	p.Wait()
	p.Stop()
}

func TestStopAbandonsWhatIsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &counter{start: time.Now()}
		p := NewFaultyParticipant(c, Script(Rule{Fault: Fault{Late: time.Minute}}))
		require.NoError(t, p.Release(t.Context(), mineKey))
		time.Sleep(time.Second)
		p.Stop()
		require.Equal(t, time.Second, time.Since(c.start))
		require.NoError(t, p.Release(t.Context(), mineKey), "after Stop")
		p.Wait()
		require.Len(t, c.delivered, 2)
	})
}

// stuckParticipant answers when its context ends.
type stuckParticipant struct{ counter }

func (s *stuckParticipant) Release(ctx context.Context, _ twophase.Key) error {
	if s.deliver() > 1 {
		<-ctx.Done()
	}
	return ctx.Err()
}

func TestStopEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stuckParticipant{}
		p := NewFaultyParticipant(s, Script(Rule{Fault: Fault{Late: time.Minute}}))
		require.NoError(t, p.Release(t.Context(), mineKey))
		time.Sleep(time.Hour)
		p.Stop()
		require.Len(t, s.delivered, 2)
	})
}

func TestScript(t *testing.T) {
	t.Parallel()
	other := twophase.Key{Transaction: "order-2", Step: "store"}
	plan := Script(
		Rule{On: Delivery{Call: twophase.CallAssign, Attempt: 2}, Fault: Fault{Delay: 1}},
		Rule{On: Delivery{Key: other}, Fault: Fault{Delay: 2}},
		Rule{On: Delivery{Key: twophase.Key{Step: "delivery"}}, Fault: Fault{Delay: 3}},
		Rule{On: Delivery{Call: CallDecide}, Fault: Fault{Delay: 4}},
	)
	for _, tt := range []struct {
		name  string
		on    Delivery
		delay time.Duration
	}{
		{"a call and an attempt", Delivery{twophase.CallAssign, mineKey, 2}, 1},
		{"another attempt", Delivery{twophase.CallAssign, mineKey, 1}, 0},
		{"the first rule that matches", Delivery{twophase.CallAssign, other, 2}, 1},
		{"a key", Delivery{twophase.CallReserve, other, 7}, 2},
		{"a step", Delivery{twophase.CallReserve, twophase.Key{Transaction: "order-1", Step: "delivery"}, 1}, 3},
		{"a call on a journal", Delivery{CallDecide, twophase.Key{Transaction: "order-1"}, 3}, 4},
		{"none", Delivery{twophase.CallRelease, mineKey, 1}, 0},
	} {
		assert.Equal(t, Fault{Delay: tt.delay}, plan(tt.on), tt.name)
	}
}

func TestAttemptsAreCountedByCallAndKey(t *testing.T) {
	t.Parallel()
	var seen []Delivery
	p := NewFaultyParticipant(&counter{}, func(d Delivery) Fault {
		seen = append(seen, d)
		return Fault{Repeat: true}
	})
	other := twophase.Key{Transaction: "order-2", Step: "store"}
	for _, key := range []twophase.Key{mineKey, mineKey, other} {
		require.NoError(t, p.Release(t.Context(), key))
	}
	require.Error(t, p.Assign(t.Context(), mineKey))
	require.Equal(t, []Delivery{
		{twophase.CallRelease, mineKey, 1}, {twophase.CallRelease, mineKey, 2},
		{twophase.CallRelease, other, 1}, {twophase.CallAssign, mineKey, 1},
	}, seen)
}

// deliveries are many different ones.
func deliveries() (all []Delivery) {
	for _, call := range []twophase.Call{twophase.CallReserve, twophase.CallAssign, twophase.CallRelease, CallDecide} {
		for _, key := range numbered("order", 250) {
			for attempt := 1; attempt <= 3; attempt++ {
				all = append(all, Delivery{call, key, attempt})
			}
		}
	}
	return all
}

var someOfEach = Rates{LoseRequest: 0.1, LoseReply: 0.2, Repeat: 0.3, Delay: 0.4, Late: 0.5, Longest: time.Minute}

func TestSeededIsTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	plan := Seeded(7, someOfEach)
	faults := map[Delivery]Fault{}
	for _, d := range deliveries() {
		faults[d] = plan(d)
	}
	again, another := Seeded(7, someOfEach), Seeded(8, someOfEach)
	different := 0
	for _, d := range slices.Backward(deliveries()) {
		require.Equal(t, faults[d], again(d))
		if faults[d] != another(d) {
			different++
		}
	}
	require.Greater(t, different, len(faults)/2, "another seed is another plan")
}

func TestSeededKeepsItsRates(t *testing.T) {
	t.Parallel()
	plan := Seeded(7, someOfEach)
	all := deliveries()
	share := func(met func(Fault) bool) float64 {
		n := 0
		for _, d := range all {
			if met(plan(d)) {
				n++
			}
		}
		return float64(n) / float64(len(all))
	}
	for _, tt := range []struct {
		name string
		want float64
		met  func(Fault) bool
	}{
		{"lost requests", 0.1, func(f Fault) bool { return f.LoseRequest }},
		{"lost replies", 0.2, func(f Fault) bool { return f.LoseReply }},
		{"repeats", 0.3, func(f Fault) bool { return f.Repeat }},
		{"delayed requests", 0.4, func(f Fault) bool { return f.Delay > 0 }},
		{"delayed replies", 0.4, func(f Fault) bool { return f.ReplyDelay > 0 }},
		{"late", 0.5, func(f Fault) bool { return f.Late > 0 }},
		{"long", 0, func(f Fault) bool { return max(f.Delay, f.ReplyDelay, f.Late) > time.Minute }},
		{"all at once", 0.1 * 0.2 * 0.3, func(f Fault) bool { return f.LoseRequest && f.LoseReply && f.Repeat }},
	} {
		assert.InDelta(t, tt.want, share(tt.met), 0.03, tt.name)
	}
}

func TestSeededUnavailableIsNothingElse(t *testing.T) {
	t.Parallel()
	rates := someOfEach
	rates.Unavailable = 1
	plan := Seeded(7, rates)
	for _, d := range deliveries() {
		require.Equal(t, Fault{LoseRequest: true, Err: twophase.ErrUnavailable}, plan(d))
	}
}

func TestSeededDelaysAreBounded(t *testing.T) {
	t.Parallel()
	plan := Seeded(7, Rates{Delay: 1})
	for _, d := range deliveries() {
		require.Positive(t, plan(d).Delay)
		require.LessOrEqual(t, plan(d).Delay, time.Second)
	}
}

func TestFaultyJournalWithoutFaultsPasses(t *testing.T) {
	TestJournal(t, func(testing.TB) twophase.Journal { return NewFaultyJournal(newNotebook(), Script()) })
}

// What may be repeated is repeated, so lost and repeated messages do not show.
func TestFaultyJournalPasses(t *testing.T) {
	seeded := Seeded(2, Rates{LoseRequest: 0.2, LoseReply: 0.2, Repeat: 0.2, Unavailable: 0.1})
	idempotent := []twophase.Call{CallBegin, CallDecide, CallReleased}
	TestJournal(t, func(testing.TB) twophase.Journal {
		return NewFaultyJournal(twophase.NewMemoryJournal(), func(d Delivery) Fault {
			if !slices.Contains(idempotent, d.Call) {
				return Fault{}
			}
			return seeded(d)
		})
	})
}

func TestFaultyJournalLosesEveryCall(t *testing.T) {
	t.Parallel()
	var seen []Delivery
	j := NewFaultyJournal(nil, func(d Delivery) Fault {
		seen = append(seen, d)
		return Fault{LoseRequest: true, Err: twophase.ErrUnavailable}
	})
	ctx := t.Context()
	_, _, begin := j.Begin(ctx, twophase.Record{ID: "order-1"})
	_, decide := j.Decide(ctx, "order-1", twophase.Decision{})
	_, claim := j.Claim(ctx, ours, time.Minute, 1)
	_, get := j.Get(ctx, "order-1")
	_, prune := j.Prune(ctx, 0, 1)
	errs := []error{
		begin, decide, j.Released(ctx, "order-1", nil), claim, j.Renew(ctx, ours, 0, nil),
		j.Yield(ctx, "order-1", ours, 1, 0, ""), get, prune,
	}
	for _, err := range j.List(ctx, twophase.Filter{}) {
		errs = append(errs, err)
	}
	for _, err := range errs {
		require.ErrorIs(t, err, twophase.ErrUnavailable)
	}
	id := keyOf("order-1")
	require.ElementsMatch(t, []Delivery{
		{CallBegin, id, 1}, {CallDecide, id, 1}, {CallReleased, id, 1}, {CallYield, id, 1}, {CallGet, id, 1},
		{CallClaim, twophase.Key{}, 1}, {CallRenew, twophase.Key{}, 1},
		{CallList, twophase.Key{}, 1}, {CallPrune, twophase.Key{}, 1},
	}, seen)
}

func TestLateDecisionOnAJournalDecidesNothingAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{clock: newConfig(nil).clock, journal: twophase.NewMemoryJournal()}
		l.begin(t, l.record("order-1"))
		late := NewFaultyJournal(l.journal, Script(Rule{Fault: Fault{LoseRequest: true, Late: time.Minute}}))
		_, err := late.Decide(t.Context(), "order-1", releasingFor(refusal()))
		require.ErrorIs(t, err, ErrLost)
		decision := assigning("packet-1", "agent-1")
		requireDecision(t, decision, l.decide(t, "order-1", decision))
		late.Wait()
		requireDecision(t, decision, l.get(t, "order-1").Decision())
		late.Stop()
	})
}
