package twophase

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Policy says how a coordinator deals with a participant: how long it asks it
// to hold, and how often it repeats a call. Zero fields take the values of
// [WithPolicy], and those the defaults named here.
type Policy struct {
	// Hold is how long reservations are asked to last: long enough to outlast
	// an outage while assigning. Default 2 minutes.
	Hold time.Duration
	// ReserveFor is how long a Reserve is repeated before the transaction is
	// given up. Default 3 seconds.
	ReserveFor time.Duration
	// AssignFor is the outage that an Assign is meant to outlast. It is no
	// limit: Assign is repeated for as long as its reservation lives and the
	// transaction's timeout allows; but Hold and the timeout must leave that
	// much. Default 30 seconds.
	AssignFor time.Duration
	// ReleaseFor is how long a Release is repeated before it is left to
	// recovery, which goes on for ever. Default 10 seconds.
	ReleaseFor time.Duration
	// Margin is the life that the shortest reservation must have left for
	// assigning to begin at all. Default 1 second.
	Margin time.Duration
	// Reserve, Assign and Release say how fast the calls are repeated.
	// Default: first wait up to 50 ms, growing to 1, 5 and 5 seconds; an
	// attempt takes at most 5 seconds.
	Reserve, Assign, Release Retry
	// Budget keeps a participant that is down from being buried under retries.
	Budget RetryBudget
}

// Retry is the pace of repeated calls: exponential backoff with full jitter,
// that is, a random wait between zero and a bound that doubles each time
// (Brooker, "Exponential Backoff And Jitter", 2015). A [RetryAfterError] makes
// a wait longer, never shorter.
type Retry struct {
	// First bounds the wait after the first attempt.
	First time.Duration
	// Max bounds every wait.
	Max time.Duration
	// Attempt bounds one attempt; its context ends then.
	Attempt time.Duration
}

// RetryBudget bounds the retries that all transactions together spend on one
// participant: a bucket of tokens of which each retry takes one. First
// attempts are free. A retry that finds the bucket empty waits for its turn.
type RetryBudget struct {
	// Burst is how many tokens the bucket holds. Default 100.
	Burst float64
	// PerSecond is how many tokens come back each second. Default 10.
	PerSecond float64
	// PerSuccess is how many tokens come back with a first attempt that
	// succeeds: the share of retries that a participant in health may cause.
	// A retry that succeeds gives its token back. Default 0.1.
	PerSuccess float64
}

var defaultPolicy = Policy{
	Hold:       2 * time.Minute,
	ReserveFor: 3 * time.Second,
	AssignFor:  30 * time.Second,
	ReleaseFor: 10 * time.Second,
	Margin:     time.Second,
	Reserve:    Retry{First: 50 * time.Millisecond, Max: time.Second, Attempt: 5 * time.Second},
	Assign:     Retry{First: 50 * time.Millisecond, Max: 5 * time.Second, Attempt: 5 * time.Second},
	Release:    Retry{First: 50 * time.Millisecond, Max: 5 * time.Second, Attempt: 5 * time.Second},
	Budget:     RetryBudget{Burst: 100, PerSecond: 10, PerSuccess: 0.1},
}

// orElse returns the policy with its zero fields taken from another.
func (p Policy) orElse(other Policy) Policy {
	return Policy{
		Hold:       orElse(p.Hold, other.Hold),
		ReserveFor: orElse(p.ReserveFor, other.ReserveFor),
		AssignFor:  orElse(p.AssignFor, other.AssignFor),
		ReleaseFor: orElse(p.ReleaseFor, other.ReleaseFor),
		Margin:     orElse(p.Margin, other.Margin),
		Reserve:    p.Reserve.orElse(other.Reserve),
		Assign:     p.Assign.orElse(other.Assign),
		Release:    p.Release.orElse(other.Release),
		Budget: RetryBudget{
			Burst:      orElse(p.Budget.Burst, other.Budget.Burst),
			PerSecond:  orElse(p.Budget.PerSecond, other.Budget.PerSecond),
			PerSuccess: orElse(p.Budget.PerSuccess, other.Budget.PerSuccess),
		},
	}
}

func (r Retry) orElse(other Retry) Retry {
	return Retry{
		First:   orElse(r.First, other.First),
		Max:     orElse(r.Max, other.Max),
		Attempt: orElse(r.Attempt, other.Attempt),
	}
}

func orElse[T comparable](value, other T) T {
	var zero T
	if value == zero {
		return other
	}
	return value
}

// PanicError is the error of a participant that panicked: final, for a bug is
// not mended by repeating the call.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns what the participant panicked with.
func (e *PanicError) Error() string { return fmt.Sprintf("participant panicked: %v", e.Value) }

// pace is when a call is repeated, and for how long.
type pace struct {
	retry  Retry
	budget *retryBudget  // nil for no bound
	within time.Duration // how long to go on, from the first attempt; 0 is no bound
	until  time.Time     // when to stop; zero is never
	once   bool          // one attempt only
	paid   bool          // the first attempt has taken a token, too
	first  *lazyContext  // for the first attempt, if nobody has taken it; may be nil
	sent   time.Time     // now, if it is known; zero looks at the clock
}

// attempt is the n-th attempt of a call, counted from 1.
type attempt func(ctx context.Context, n int, sent time.Time) error

// run calls do until it succeeds, fails for good, or must not be repeated any
// more, and returns the last error. The context of each attempt is bounded.
func (p pace) run(ctx context.Context, do attempt) error {
	sent := p.sent
	if sent.IsZero() {
		sent = time.Now()
	}
	if p.within > 0 {
		p.until = sent.Add(p.within)
	}
	err := p.try(ctx, p.first.take(), 1, sent, do)
	if err == nil {
		p.budget.succeeded(p.paid)
		return nil
	}
	if p.once || !isTransient(err) {
		return err
	}
	return p.repeat(ctx, do, err)
}

// try makes one attempt, in a new context that it sets the bounds of.
func (p pace) try(ctx context.Context, bounded *lazyContext, n int, sent time.Time, do attempt) error {
	deadline := sent.Add(p.retry.Attempt)
	if !p.until.IsZero() && p.until.Before(deadline) {
		deadline = p.until
	}
	bounded.parent, bounded.deadline = ctx, deadline
	defer bounded.end()
	return do(bounded, n, sent)
}

// repeat goes on after a first attempt that has failed.
func (p pace) repeat(ctx context.Context, do attempt, err error) error {
	b := &paced{pace: p, waits: fullJitter(p.retry)}
	n := 1
	stopped := backoff.Retry(func() error {
		if n > 1 {
			err = p.try(ctx, new(lazyContext), n, time.Now(), do)
		}
		n++
		b.last = err
		if err != nil && !isTransient(err) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(b, ctx))
	if stopped == nil {
		p.budget.succeeded(true)
	}
	// The last answer says more than a context that ended meanwhile.
	return err
}

// paced is the [backoff.BackOff] of a pace: it heeds the budget, the moment to
// stop, and what the last error asks for.
type paced struct {
	pace
	waits *backoff.ExponentialBackOff
	last  error
}

// Reset implements [backoff.BackOff].
func (p *paced) Reset() {}

// NextBackOff implements [backoff.BackOff].
func (p *paced) NextBackOff() time.Duration {
	wait := p.waits.NextBackOff()
	if asked, ok := errors.AsType[*RetryAfterError](p.last); ok {
		wait = max(wait, asked.After)
	}
	now, atMost := time.Now(), endless
	if !p.until.IsZero() {
		atMost = p.until.Sub(now)
	}
	if wait >= atMost {
		return backoff.Stop
	}
	turn, ok := p.budget.take(now, atMost)
	if !ok {
		return backoff.Stop
	}
	return max(wait, turn)
}

// fullJitter returns waits that are uniform between zero and a bound that
// doubles from First to Max: backoff spreads them around half of it.
func fullJitter(r Retry) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(r.First/2),
		backoff.WithMaxInterval(r.Max/2),
		backoff.WithRandomizationFactor(1),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(0),
	)
}

// isTransient reports whether a call may be repeated: by the contract's errors,
// or by backoff's own mark.
func isTransient(err error) bool {
	_, panicked := errors.AsType[*PanicError](err)
	_, permanent := errors.AsType[*backoff.PermanentError](err)
	return !panicked && !permanent && !IsFinal(err)
}

// recovered turns a panic of a participant into its error.
func recovered(err *error) {
	if value := recover(); value != nil {
		*err = &PanicError{Value: value, Stack: debug.Stack()}
	}
}

// retryBudget is the bucket of a [RetryBudget]. It may go below zero: each
// retry that waits for its turn has taken a token that is still to come.
type retryBudget struct {
	full atomic.Bool // spares the lock while all is well
	RetryBudget

	mu     sync.Mutex
	tokens float64
	filled time.Time
}

func newRetryBudget(b RetryBudget) *retryBudget {
	budget := &retryBudget{RetryBudget: b, tokens: b.Burst, filled: time.Now()}
	budget.full.Store(true)
	return budget
}

// take spends a token and returns how long to wait for it. It spends none if
// that is atMost or longer. No budget is no bound.
func (b *retryBudget) take(now time.Time, atMost time.Duration) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.Burst, b.tokens+b.PerSecond*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens < 1 {
		wait = time.Duration((1 - b.tokens) / b.PerSecond * float64(time.Second))
	}
	if wait >= atMost {
		return 0, false
	}
	b.tokens--
	b.full.Store(false)
	return wait, true
}

// succeeded gives back what a call that succeeds is worth: all of it if it was
// a retry, which then was well spent.
func (b *retryBudget) succeeded(retry bool) {
	if b == nil || b.full.Load() {
		return
	}
	worth := b.PerSuccess
	if retry {
		worth = 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.Burst, b.tokens+worth)
	b.full.Store(b.tokens == b.Burst)
}
