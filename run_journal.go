package twophase

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// What a run has to do with the journal: begin, decide, watch and finish.

// journalRetry is the pace at which an unanswered write is asked for again.
var journalRetry = Retry{First: 20 * time.Millisecond, Max: 2 * time.Second, Attempt: 10 * time.Second}

// begin writes the record, and learns whose it is.
func (r *run) begin() []action {
	record := r.recordToBegin()
	var standing Record
	var created bool
	ambiguous := false
	err := r.write(EventBegun, &r.firstBegin, func(ctx context.Context) (err error) {
		standing, created, err = r.c.journal.Begin(ctx, record)
		certain := errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid)
		if err != nil && certain && !ambiguous {
			return backoff.Permanent(err)
		}
		ambiguous = ambiguous || err != nil
		return err
	})
	if r.life.Err() != nil {
		return nil
	}
	r.mu.Lock()
	ev := event{kind: evBegun}
	switch {
	case err != nil:
		r.refusal = fmt.Errorf("twophase: %s not begun: %w", r.id, err)
		ev.kind = evRefused
	case !created && !standing.sameWork(record) && record.State == StateBegun:
		r.refusal = mismatch(r.id)
		ev.kind = evRefused
	case !created:
		r.record, r.standing = standing, standing.Decision()
		ev = event{kind: evStanding, state: standing.State}
	case standing.State != StateBegun:
		r.record, r.standing = standing, standing.Decision()
		ev = event{kind: evDecided, state: standing.State}
	default:
		r.record.Epoch = standing.Epoch
	}
	r.mu.Unlock()
	if ev.kind == evDecided && r.c.observed() {
		r.observeDecided(standing.Decision())
	}
	return r.on(ev)
}

// recordToBegin returns the record as it is now: with what a function has
// dropped, and as releasing if it has failed already.
func (r *run) recordToBegin() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, step := range r.machine.steps {
		r.record.Steps[i].Dropped = step == stepDropped
	}
	record := r.record
	record.Deadline -= time.Since(r.started)
	if f := r.machine.failure; f != nil {
		record.State, record.Cause = StateReleasing, r.cause(f)
	}
	return record
}

// cause returns the journal's form of a failure. The lock is held.
func (r *run) cause(f *failure) *Cause {
	if f.step == noStep {
		return newCause(StepRecord{}, "", f.err)
	}
	return newCause(r.record.Steps[f.step], f.call, f.err)
}

// write repeats a write to the journal until its effect is known, for as long
// as the run lasts.
func (r *run) write(kind EventKind, first *lazyContext, attempt func(ctx context.Context) error) error {
	pace := pace{retry: journalRetry, first: first, sent: r.now()}
	return pace.run(&r.life, func(ctx context.Context, n int, sent time.Time) error {
		err := attempt(ctx)
		if kind == EventBegun || err != nil {
			r.observeWrite(ctx, kind, n, sent, err)
		}
		return err
	})
}

func (r *run) observeWrite(ctx context.Context, kind EventKind, n int, sent time.Time, err error) {
	if !r.c.observed() {
		return
	}
	r.c.observe(ctx, Event{
		Kind: kind, Transaction: r.id, Attempt: n, Start: sent, Duration: time.Since(sent), Err: err,
	})
}

func (r *run) assignedDecision() Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := Decision{State: StateAssigned, Reservations: make([]Reservation, len(r.steps))}
	for i, phase := range r.machine.steps {
		if phase == stepAssigned {
			d.Reservations[i] = r.steps[i].reservation
			d.Reservations[i].TimeLeft, d.Reservations[i].Assigned = 0, true
		}
	}
	return d
}

func (r *run) releasingDecision() Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Decision{State: StateReleasing, Cause: r.cause(r.machine.failure)}
}

// decide asks for a decision, and obeys the one that stands.
func (r *run) decide(d Decision) []action {
	var standing Decision
	err := r.write(EventJournal, &r.firstDecide, func(ctx context.Context) (err error) {
		standing, err = r.c.journal.Decide(ctx, r.id, d)
		if errors.Is(err, ErrGone) {
			return backoff.Permanent(err)
		}
		return err
	})
	if r.life.Err() != nil {
		return nil
	}
	r.mu.Lock()
	ev := event{kind: evDecided, state: standing.State}
	r.standing = standing
	if err != nil {
		// Somebody deleted the record: there is nothing to obey.
		r.refusal = inDoubt(r.id, err)
		ev = event{kind: evRefused}
	}
	r.mu.Unlock()
	if r.c.observed() && err == nil {
		r.observeDecided(standing)
	}
	return r.on(ev)
}

func (r *run) observeDecided(standing Decision) {
	e := Event{
		Kind: EventDecided, Transaction: r.id, State: standing.State,
		Start: r.started, Duration: time.Since(r.started),
	}
	if standing.Cause != nil {
		e.Err = notPlaced(r.id, standing.Cause)
	}
	r.c.observe(&r.life, e)
}

// watch waits for the decision of another coordinator, for as long as somebody
// waits for it here.
func (r *run) watch() []action {
	ctx := r.startWatch()
	for wait := time.Duration(0); sleep(ctx, wait); wait = min(max(2*wait, firstLook), lastLook) {
		record, err := r.read(ctx)
		switch {
		case err == nil && record.State != StateBegun:
			return r.found(record)
		case err == nil && record.Owner == r.c.owner && r.c.untriable(record) == nil:
			// Recovery claimed it here before this run was found to be watching.
			r.resume(record, false)
			return nil
		case errors.Is(err, ErrGone):
			return r.refuse(fmt.Errorf("twophase: %w", err))
		case r.callers.Load() == 0:
			return r.abandoned(&failure{step: noStep, err: errNobody})
		}
	}
	return nil
}

// read reads the record, once: the last caller may have left before, and whom a
// journal keeps waiting for ever does not find that out.
func (r *run) read(ctx context.Context) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, journalRetry.Attempt)
	defer cancel()
	return r.c.journal.Get(ctx, r.id)
}

var errNobody = errors.New("nobody waits for it")

// startWatch returns a context that ends with the watch. How long it may take
// is the other coordinator's to say.
func (r *run) startWatch() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx := &lazyContext{parent: &r.life}
	if r.ended || r.machine.phase != watching { // recovery was faster
		ctx.end()
		return ctx
	}
	r.stopTimer()
	r.calls = ctx
	return ctx
}

// A watch looks often at first and once a second in the end.
const (
	firstLook = 10 * time.Millisecond
	lastLook  = time.Second
)

// found obeys a record that stands in the journal.
func (r *run) found(record Record) []action {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimed {
		return nil // by recovery, meanwhile: it is this run's to decide
	}
	r.record, r.standing = record, record.Decision()
	return r.onLocked(event{kind: evStanding, state: record.State})
}

// refuse ends a run that has begun nothing.
func (r *run) refuse(err error) []action {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimed {
		return nil // by recovery, meanwhile: there is a record after all
	}
	r.refusal = err
	return r.onLocked(event{kind: evRefused})
}

// look learns what the journal has, for a caller who only knows the id.
func (r *run) look(ctx context.Context) []action {
	record, err := r.c.journal.Get(ctx, r.id)
	if err != nil {
		return r.refuse(fmt.Errorf("twophase: wait for %s: %w", r.id, err))
	}
	return r.found(record)
}

// finish records which releases were acknowledged. What is left goes back to
// the journal, for recovery to try again later.
func (r *run) finish() {
	defer r.end()
	acknowledged, left := r.releases()
	ctx, cancel := context.WithTimeout(r.life, journalRetry.Attempt)
	defer cancel()
	err := pace{retry: journalRetry}.run(ctx, func(ctx context.Context, _ int, _ time.Time) error {
		return r.c.journal.Released(ctx, r.id, acknowledged)
	})
	if err == nil && left == nil {
		r.c.observe(r.life, Event{
			Kind: EventFinished, Transaction: r.id, Start: r.started, Duration: time.Since(r.started),
		})
		return
	}
	r.yield(ctx, errors.Join(left, err))
}

// releases returns the steps that are released, and why others are not.
func (r *run) releases() (acknowledged []string, left error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for i, phase := range r.machine.steps {
		switch phase {
		case stepReleased:
			acknowledged = append(acknowledged, r.record.Steps[i].Name)
		case stepLeft:
			errs = append(errs, r.steps[i].left)
		}
	}
	return acknowledged, errors.Join(errs...)
}

// yield gives the transaction back to the journal with its trouble.
func (r *run) yield(ctx context.Context, trouble error) {
	r.mu.Lock()
	r.stuck = true
	record := r.record
	r.mu.Unlock()
	r.c.yield(ctx, record, recoveryDelay(record.Attempts), trouble)
}

// sleep waits, and reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
