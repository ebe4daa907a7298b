package twophase

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// What a run has to do with participants: reserve, assign and release.

// reserve calls Reserve of a step until it is answered, and returns what
// follows, and the error if there is one.
func (r *run) reserve(ctx context.Context, i int) ([]action, error) {
	step, own, calls := r.step(i)
	return r.reserveStep(ctx, i, step, own, calls)
}

// reserveStep is reserve for those who know the step: the run's own list may be
// that of another coordinator's record meanwhile.
func (r *run) reserveStep(ctx context.Context, i int, step StepRecord, own *runStep, calls *lazyContext) ([]action, error) {
	p := own.participant
	request := Request{Key: Key{Transaction: r.id, Step: step.Name}, Payload: step.Payload, Hold: step.Hold}
	var reservation Reservation
	var lived lifetime
	pace := pace{
		retry: p.policy.Reserve, budget: p.budget, within: p.policy.ReserveFor, first: &own.firstReserve, sent: r.now(),
	}
	err := r.call(ctx, pace, step, own, CallReserve, func(ctx context.Context, sent time.Time) (err error) {
		reservation, err = p.Reserve(ctx, request)
		lived = newLifetime(sent, reservation)
		return err
	})
	if err != nil {
		return r.answered(calls, callFailed(i, CallReserve, err)), err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	own.reservation, own.lifetime = reservation, lived
	return r.answeredLocked(calls, event{kind: evReserved, step: i}), nil
}

// assign calls Assign of a step for as long as its reservation lives.
func (r *run) assign(i int) []action {
	step, own, calls := r.step(i)
	p := own.participant
	pace := pace{retry: p.policy.Assign, budget: p.budget, until: own.lifetime.end(), first: &own.firstAssign, sent: r.now()}
	err := r.call(calls, pace, step, own, CallAssign, func(ctx context.Context, _ time.Time) error {
		return p.Assign(ctx, Key{Transaction: r.id, Step: step.Name})
	})
	if err == nil {
		return r.answered(calls, event{kind: evAssigned, step: i})
	}
	if isTransient(err) {
		err = fmt.Errorf("%w before it could be assigned: %w", ErrExpired, err)
	}
	if errors.Is(err, ErrUnknown) {
		r.c.observe(calls, Event{
			Kind: EventContradiction, Transaction: r.id,
			Step: step.Name, Participant: step.Participant, Call: CallAssign, Err: err,
		})
	}
	return r.answered(calls, callFailed(i, CallAssign, err))
}

func callFailed(i int, call Call, err error) event {
	return event{kind: evFailed, step: i, failure: &failure{step: i, call: call, err: err}}
}

// answered tells the machine of an answer, unless it no longer matters: the
// calls that it belongs to were ended.
func (r *run) answered(calls context.Context, ev event) []action {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answeredLocked(calls, ev)
}

// answeredLocked is answered for those who hold the lock.
func (r *run) answeredLocked(calls context.Context, ev event) []action {
	if calls.Err() != nil {
		return nil
	}
	return r.onLocked(ev)
}

// step returns a step, and the context of the calls that are made for it now.
func (r *run) step(i int) (StepRecord, *runStep, *lazyContext) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record.Steps[i], r.steps[i], r.calls
}

// release calls Release of a step until it is acknowledged, for a while.
// Recovery asks once, and only if the participant's retries allow it, so that
// one that is down keeps nobody waiting.
func (r *run) release(i int) []action {
	tried := sync.OnceFunc(r.triedOne)
	defer tried()
	step, own, _ := r.step(i)
	p := own.participant
	pace := pace{retry: p.policy.Release, budget: p.budget, within: p.policy.ReleaseFor}
	err := r.spare(&pace)
	if err == nil {
		err = r.call(&r.life, pace, step, own, CallRelease, func(ctx context.Context, _ time.Time) error {
			defer tried()
			return p.Release(ctx, Key{Transaction: r.id, Step: step.Name})
		})
	}
	if err == nil {
		return r.on(event{kind: evReleased, step: i})
	}
	r.mu.Lock()
	r.steps[i].left = fmt.Errorf("%s %s: %w", CallRelease, step.Name, err)
	r.mu.Unlock()
	return r.on(event{kind: evLeft, step: i})
}

// spare makes recovery sparing: one attempt, and none if others have failed
// before and the participant's budget is spent.
func (r *run) spare(p *pace) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.once = r.claimed
	if !r.claimed || r.record.Attempts == 0 {
		return nil
	}
	if _, ok := p.budget.take(time.Now(), 1); !ok {
		return errBudget
	}
	p.paid = true
	return nil
}

var errBudget = errors.New("not tried: the participant's retry budget is spent")

func (r *run) triedOne() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untried--
	if r.untried == 0 {
		close(r.tried)
	}
}

// call makes one call on a participant at the pace given, and tells of each
// attempt.
func (r *run) call(
	ctx context.Context, p pace, step StepRecord, own *runStep, call Call,
	do func(ctx context.Context, sent time.Time) error,
) error {
	return p.run(ctx, func(ctx context.Context, n int, sent time.Time) error {
		err := guard(ctx, sent, do)
		if err != nil {
			r.mu.Lock()
			own.trouble = &failure{call: call, err: err}
			r.mu.Unlock()
		}
		if r.c.observed() {
			var left time.Duration
			if call == CallAssign {
				left = max(0, own.lifetime.left(sent))
			}
			r.c.observe(ctx, Event{
				Kind: EventCall, Transaction: r.id, Step: step.Name, Participant: step.Participant, Call: call,
				Attempt: n, TimeLeft: left, Start: sent, Duration: time.Since(sent), Err: err,
			})
		}
		return err
	})
}

// guard turns a panic of a participant into its error.
func guard(ctx context.Context, sent time.Time, do func(context.Context, time.Time) error) (err error) {
	defer recovered(&err)
	return do(ctx, sent)
}
