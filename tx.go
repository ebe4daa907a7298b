package twophase

import (
	"context"
	"errors"
	"fmt"
)

// Tx is a transaction whose steps a function chooses as it goes. It is safe for
// concurrent use, and of no use once the function has returned.
type Tx struct{ run *run }

// RunFunc runs a transaction whose reservations depend on each other, or that
// has something to fall back on. It calls reserve, which reserves by
// [Tx.Reserve]; when that returns nil, everything it holds is assigned. If it
// returns an error, panics, or ctx ends, everything is released. Reserve may
// ignore the error of one step and try another: what was tried and not kept is
// released when the transaction is decided.
//
// It returns as [Coordinator.Run] does; the cause of a transaction that was not
// placed is the error that reserve returned. If the journal knows the id,
// reserve is not called, and the outcome is that of the transaction on record:
// the id alone tells transactions apart. A reserve that may be called for one
// id on two coordinators at once should make the same steps on both.
func (c *Coordinator) RunFunc(
	ctx context.Context, id string, reserve func(ctx context.Context, tx *Tx) error,
) (Result, error) {
	r, mine, err := c.join(ctx, c.emptyRecord(id, c.config.timeout))
	if err != nil {
		return Result{}, err
	}
	if mine {
		r.reserveBy(ctx, reserve)
	}
	return r.wait(ctx)
}

// ID returns the transaction's id.
func (tx *Tx) ID() string { return tx.run.id }

// Reserve reserves what payload asks for at a participant, and returns what is
// held. It is ReserveStep for a step that needs no name and no hold of its own.
func (tx *Tx) Reserve(ctx context.Context, participant string, payload any) (Reservation, error) {
	return tx.ReserveStep(ctx, Step{Participant: participant, Payload: payload})
}

// ReserveStep reserves what step asks for and returns what is held. The error is
// an [Error] with the step, the call and the cause, [ErrInvalid] if the step
// cannot be right, or [ErrClosed] if the transaction takes no more steps: it
// was given up, or the function has returned. Steps that are reserved side by
// side, at one participant, need names, or which is which depends on chance.
func (tx *Tx) ReserveStep(ctx context.Context, step Step) (Reservation, error) {
	r := tx.run
	i, added, own, calls, err := r.addStep(step)
	if err != nil {
		return Reservation{}, fmt.Errorf("twophase: transaction %q: %w", r.id, err)
	}
	actions, err := r.reserveStep(ctx, i, added, own, calls)
	r.spawn(actions)
	if err != nil {
		return Reservation{}, &Error{ID: r.id, Step: added.Name, Participant: added.Participant, Call: CallReserve, Err: err}
	}
	return own.reservation, nil // written by reserveStep, and by nobody else
}

// reserveBy runs the function, unless the journal knows the transaction.
func (r *run) reserveBy(ctx context.Context, reserve func(context.Context, *Tx) error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.calls, cancel)()
	standing, err := r.c.journal.Get(ctx, r.id)
	switch {
	case err == nil:
		r.spawn(r.found(standing))
		return
	case !errors.Is(err, ErrGone):
		r.spawn(r.refuse(fmt.Errorf("twophase: %s not begun: %w", r.id, err)))
		return
	}
	r.on(event{kind: evOpen})
	r.setTimer(r.record.Deadline)

	why := errFunctionPanicked
	defer func() {
		if why != nil {
			r.spawn(r.on(event{kind: evStop, failure: r.functionFailure(why)}))
			return
		}
		r.spawn(r.on(event{kind: evReturned}))
	}()
	why = reserve(ctx, &Tx{run: r})
}

var errFunctionPanicked = errors.New("the function panicked, or ended its goroutine")

// functionFailure finds the step whose failure the function passed on.
func (r *run) functionFailure(err error) *failure {
	failed, ok := errors.AsType[*Error](err)
	if !ok || failed.ID != r.id {
		return &failure{step: noStep, err: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, step := range r.record.Steps {
		if step.Name == failed.Step {
			return &failure{step: i, call: failed.Call, err: passedOn(err, failed)}
		}
	}
	return &failure{step: noStep, err: err}
}

// passedOn spares the message of a step's error from being told twice, unless
// the function has added something to it.
func passedOn(err error, failed *Error) error {
	if err == error(failed) { //nolint:errorlint // that very error, and nothing added
		return failed.Err
	}
	return err
}

// addStep takes on one more step of the function.
func (r *run) addStep(step Step) (i int, added StepRecord, own *runStep, calls *lazyContext, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.machine.open || r.ended {
		return 0, added, nil, nil, fmt.Errorf("%w: it takes no more steps", ErrClosed)
	}
	i = len(r.record.Steps)
	if i == MaxSteps {
		return 0, added, nil, nil, fmt.Errorf("%w: it has %d steps already", ErrInvalid, MaxSteps)
	}
	added, err = r.c.newStep(r.record.Steps, step)
	if err != nil {
		return 0, added, nil, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r.record.Steps = append(r.record.Steps, added)
	own = &runStep{participant: r.c.participants[step.Participant]}
	r.steps = append(r.steps, own)
	r.machine.on(event{kind: evAdd})
	return i, added, own, r.calls, nil
}
