package twophase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase/internal/queue"
)

// run is one transaction under way in this process. It does what the machine
// says: calls participants, writes to the journal, tells whoever waits.
type run struct {
	c       *Coordinator
	id      string
	started time.Time
	callers atomic.Int64 // how many wait for the outcome

	life     lifeContext
	mu       sync.Mutex
	news     chan struct{} // closed when those who wait need not do so any longer
	told     bool          // the outcome is known
	result   Result
	err      error
	timer    *time.Timer      // for a timeout of its own, and then for overdue
	deadline queue.Place[run] // of the others
	machine  machine
	record   Record
	steps    []*runStep
	calls    *lazyContext  // of Reserve and Assign; ends when they no longer matter
	standing Decision      // the decision that stands
	refusal  error         // why nothing was begun
	untried  int           // releases that were not tried yet
	tried    chan struct{} // closed when each was tried once
	claimed  bool          // recovery has claimed it: it goes on without callers
	stuck    bool          // recovery could not finish it
	ended    bool
	over     chan struct{} // closed at the end of a claimed run

	// The first contexts of their kind, each used once: with the run, and with
	// its steps, they cost less than one by one.
	firstCalls, firstBegin, firstDecide lazyContext
}

// runStep is what a run knows of a step besides its record.
type runStep struct {
	participant *participant
	reservation Reservation
	lifetime    lifetime
	trouble     *failure // of the last attempt that failed
	left        error    // why its Release is left to recovery

	firstReserve, firstAssign lazyContext
}

// patience is how long after its timeout a transaction's callers wait for the
// journal to answer, before they are told that it is in doubt.
const patience = 5 * time.Second

func newRun(ctx context.Context, c *Coordinator, record Record) *run {
	r := &run{c: c, id: record.ID, started: time.Now(), news: make(chan struct{})}
	r.life = lifeContext{Context: c.life, values: ctx}
	r.calls = &r.firstCalls
	r.calls.parent = &r.life
	r.load(record)
	return r
}

// load makes the record's steps those of the run.
func (r *run) load(record Record) {
	r.record = record
	r.steps = make([]*runStep, len(record.Steps))
	r.machine.steps = make([]stepPhase, len(record.Steps))
	steps := make([]runStep, len(record.Steps))
	for i, step := range record.Steps {
		r.steps[i] = &steps[i]
		r.steps[i].participant = r.c.participantOf(step)
		switch {
		case step.Released:
			r.machine.steps[i] = stepReleased
		case step.Dropped:
			r.machine.steps[i] = stepDropped
		}
	}
}

// start runs a transaction whose steps are known.
func (r *run) start() {
	r.setTimer(r.record.Deadline)
	r.spawn(r.on(event{kind: evStart}))
}

// setTimer lets the time run that the transaction may stay undecided.
func (r *run) setTimer(timeout time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
	case timeout == r.c.deadlines.timeout:
		r.c.deadlines.add(r)
	default:
		r.timer = time.AfterFunc(timeout, r.late)
	}
}

// stopTimer ends the time that was set. The lock is held.
func (r *run) stopTimer() {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.c.deadlines.remove(r)
}

var errLate = fmt.Errorf("undecided at its timeout: %w", context.DeadlineExceeded)

// late gives the transaction up at its timeout, and soon after no longer lets
// its callers wait for the journal.
func (r *run) late() {
	r.spawn(r.on(event{kind: evStop, failure: r.lateness()}))
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended && r.machine.phase != watching {
		r.timer = time.AfterFunc(patience, r.giveUpWaiting)
	}
}

// lateness says why a transaction is undecided at its timeout: what a call is
// still being repeated for, if one is.
func (r *run) lateness() *failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, phase := range r.machine.steps {
		if trouble := r.steps[i].trouble; trouble != nil && r.machine.awaits(phase) &&
			(trouble.call == CallReserve) == (phase == stepReserving) {
			return &failure{step: i, call: trouble.call, err: fmt.Errorf("%w: %w", errLate, trouble.err)}
		}
	}
	return &failure{step: noStep, err: errLate}
}

// giveUpWaiting lets callers go who have waited for the journal for too long.
func (r *run) giveUpWaiting() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told && !r.ended {
		close(r.news)
		r.news = make(chan struct{}) // for those who ask later, and wait again
	}
}

// wait returns the outcome, or that it is in doubt if the caller cannot wait.
func (r *run) wait(ctx context.Context) (Result, error) {
	r.mu.Lock()
	news := r.news
	r.mu.Unlock()
	var why error
	select {
	case <-news: // or the end of the run, if the coordinator is closed meanwhile
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	r.mu.Lock()
	told, result, err, tried := r.told, r.result, r.err, r.tried
	if why == nil {
		why = r.silence()
	}
	r.mu.Unlock()
	if !told {
		r.leave(why)
		return Result{}, inDoubt(r.id, why)
	}
	if tried != nil {
		select {
		case <-tried:
		case <-ctx.Done():
		case <-r.life.Done():
		}
	}
	return result, err
}

var errNoAnswer = errors.New("the journal does not answer")

// silence says why callers are let go without an outcome. The lock is held.
func (r *run) silence() error {
	switch {
	case r.life.Err() != nil:
		return ErrClosed
	case r.ended:
		return errUnderWay // elsewhere: the watch ended as they came
	}
	return errNoAnswer
}

// leave counts a caller out. What nobody waits for is given up.
func (r *run) leave(why error) {
	if r.callers.Add(-1) > 0 {
		return
	}
	r.spawn(r.abandoned(&failure{step: noStep, err: fmt.Errorf("the caller gave up: %w", why)}))
}

// abandoned tells the machine that the last caller has gone, unless recovery has
// claimed the run: it goes on without callers.
func (r *run) abandoned(f *failure) []action {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimed {
		return nil
	}
	return r.onLocked(event{kind: evLeave, failure: f})
}

// runs reports whether the run is of the same transaction as record, as far as
// is known: before a function has returned, its steps are not, nor are those of
// a run that only looks for a record.
func (r *run) runs(record Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	unknown := len(r.record.Steps) == 0 && (!r.told || r.refusal != nil)
	return r.machine.open || unknown || r.record.sameWork(record)
}

// on tells the machine what happened and returns what to do.
func (r *run) on(ev event) []action {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.onLocked(ev)
}

// onLocked is on for those who hold the lock.
func (r *run) onLocked(ev event) []action {
	if r.ended {
		return nil
	}
	if r.machine.asksForLife(ev) {
		ev.shortest = r.shortest()
	}
	return r.instantLocked(r.machine.on(ev)) // at once: recovery may give the run another life
}

// now reads the clock relative to the start, which costs half of [time.Now].
func (r *run) now() time.Time { return r.started.Add(time.Since(r.started)) }

// shortest returns the reservation with the least life left, less the margin.
// The lock is held.
func (r *run) shortest() life {
	now, shortest := r.now(), life{left: endless}
	for i := range r.steps {
		if phase := r.machine.steps[i]; phase == stepDropped {
			continue
		}
		step := r.steps[i]
		if left := step.lifetime.left(now) - step.participant.policy.Margin; left < shortest.left {
			shortest = life{step: i, left: left}
		}
	}
	return shortest
}

// spawn does what the machine says on other goroutines: on one, which hands over
// all but the last, so that a caller is free at once.
func (r *run) spawn(actions []action) {
	if actions = r.instant(actions); len(actions) > 0 && r.working(1) {
		r.c.workers.start(job{r, actions})
	}
}

// launch does each thing, and all that follows from it, on a goroutine that
// Close waits for.
func (r *run) launch(actions []action) {
	if len(actions) == 0 || !r.working(len(actions)) {
		return
	}
	for i := range actions { // without the lock, which the jobs need at once
		r.c.workers.start(job{r, actions[i : i+1]})
	}
}

// working counts n more jobs in, unless the run has ended.
func (r *run) working(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.c.work.Add(n)
	}
	return !r.ended
}

// work does one thing after another: the last of what follows from each on
// this goroutine, the rest side by side.
func (r *run) work(actions []action) {
	defer r.c.work.Done()
	for len(actions) > 0 {
		last := len(actions) - 1
		r.launch(actions[:last])
		actions = r.instant(r.do(actions[last]))
	}
}

// instant does what never blocks, and returns the rest.
func (r *run) instant(actions []action) []action {
	if len(actions) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.instantLocked(actions)
}

// instantLocked is instant for those who hold the lock.
func (r *run) instantLocked(actions []action) []action {
	for i, a := range actions {
		switch a.kind {
		case actCancel:
			r.calls.end()
		case actTell:
			r.tell()
		case actEnd:
			r.endLocked()
		default:
			return actions[i:]
		}
	}
	return nil
}

// do does one thing and returns what follows from it.
func (r *run) do(a action) []action {
	switch a.kind {
	case actBegin:
		return r.begin()
	case actReserve:
		actions, _ := r.reserve(r.context(), a.step)
		return actions
	case actAssign:
		return r.assign(a.step)
	case actAssigned:
		return r.decide(r.assignedDecision())
	case actReleases:
		return r.decide(r.releasingDecision())
	case actRelease:
		return r.release(a.step)
	case actLook:
		return r.look(r.context())
	case actWatch:
		return r.watch()
	case actFinish:
		r.finish()
	}
	return nil
}

// context returns that of the Reserve and Assign calls under way.
func (r *run) context() *lazyContext {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// tell makes the outcome known, and counts the releases that follow. The lock is
// held.
func (r *run) tell() {
	if r.refusal != nil {
		r.err = r.refusal
	} else {
		r.result, r.err = r.record.outcome(r.standing)
	}
	r.untried = r.machine.count(stepReleasing)
	if r.untried > 0 {
		r.tried = make(chan struct{})
	}
	r.stopTimer()
	r.told = true
	if !r.ended { // or those who wait were let go
		close(r.news)
	}
}

// end ends the run, wherever it stands: the machine is not told of anything any
// more.
func (r *run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked()
}

// endLocked is end for those who hold the lock.
func (r *run) endLocked() {
	if r.ended {
		return
	}
	r.ended = true
	if !r.told {
		close(r.news)
	}
	r.stopTimer()
	r.calls.end()
	if r.over != nil {
		close(r.over)
	}
	r.c.unregister(r.id, r.claimed)
}

// outcome returns what the transaction's caller is told of a decision.
func (r Record) outcome(d Decision) (Result, error) {
	if d.State != StateAssigned {
		return Result{}, notPlaced(r.ID, d.Cause)
	}
	result := Result{ID: r.ID, Steps: make([]StepResult, 0, len(r.Steps))}
	for i, step := range r.Steps {
		if !step.Dropped {
			given := d.Reservations[i] // which the journal may keep, too
			given.Resources, given.Details = slices.Clone(given.Resources), slices.Clone(given.Details)
			result.Steps = append(result.Steps, StepResult{Name: step.Name, Participant: step.Participant, Reservation: given})
		}
	}
	return result, nil
}
