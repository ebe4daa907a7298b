package twophase

import (
	"fmt"
	"time"
)

// machine is the transaction's state machine: it is told what happened and
// says what to do next. Every rule of the protocol on the coordinator's side
// is here and nowhere else; there is no I/O, clock, lock or goroutine in it.
// Live transactions, functions and recovery all drive the same machine.
//
//	          ┌────────────┐ all reserved, begun, time left ┌───────────┐
//	start ───►│ reserving  ├───────────────────────────────►│ assigning │
//	          └──┬──────┬──┘                                └──┬─────┬──┘
//	  another's  │      │ anything else          anything else │     │ all assigned
//	  record     ▼      ▼                                      ▼     ▼
//	     ┌──────────┐ ┌─────────────────────────────────────────────────┐
//	     │ watching │ │                    deciding                     │
//	     └────┬─────┘ └───────────────────────┬─────────────────────────┘
//	          │ decided there                 │ the decision that stands
//	          ▼                               ▼
//	     ┌──────────┐   all acknowledged, ┌──────────┐
//	     │ settled  │◄────────────────────┤ settling │ Release what is not kept
//	     └──────────┘   or left           └──────────┘
type machine struct {
	phase phase
	// open: a function may still add steps; nothing is begun yet.
	open bool
	// begun: the record is durable, so there may be an Assign.
	begun bool
	steps []stepPhase
	// failure is the first reason to release; nil while there is none.
	failure *failure
	// decided is the decision that stands.
	decided State
}

type phase uint8

const (
	reserving phase = iota
	assigning
	deciding
	watching
	settling
	settled
)

var phases = [...]string{"reserving", "assigning", "deciding", "watching", "settling", "settled"}

func (p phase) String() string { return nameOf(phases[:], p) }

// stepPhase is how far one step has come.
type stepPhase uint8

const (
	stepReserving stepPhase = iota
	stepReserved
	stepAssigned
	stepDropped   // tried, and not kept
	stepReleasing // a Release is under way
	stepReleased  // and was acknowledged
	stepLeft      // or is left to recovery
)

// failure is why a transaction is to be released. Step is noStep if no call
// has failed.
type failure struct {
	step int
	call Call
	err  error
}

const noStep = -1

// event is something that happened to a transaction.
type event struct {
	kind eventKind
	// step is what it happened to.
	step int
	// state is what the journal holds: of evStanding, evDecided and evResume.
	state State
	// failure is why: of evFailed, evStop, evLeave and evResume.
	failure *failure
	// shortest is the reservation with the least time left, counted without
	// the margin: of evBegun and evReserved.
	shortest life
}

// life is the time that a step's reservation has left.
type life struct {
	step int
	left time.Duration
}

type eventKind uint8

const (
	evStart    eventKind = iota // the steps are known: go
	evOpen                      // a function is going to add steps
	evAdd                       // it added one
	evReturned                  // it returned without error
	evResume                    // recovery claimed the transaction
	evBegun                     // the record is durable, and ours
	evStanding                  // the record is another coordinator's
	evReserved                  // Reserve was acknowledged
	evAssigned                  // Assign was acknowledged
	evFailed                    // Reserve or Assign failed for good
	evRefused                   // the record could not be written: nothing is begun
	evStop                      // time ran out, or the function failed
	evLeave                     // the last caller has gone
	evDecided                   // a decision stands in the journal
	evReleased                  // Release was acknowledged
	evLeft                      // Release is left to recovery
)

// action is something to do for a transaction.
type action struct {
	kind actionKind
	step int
}

type actionKind uint8

const (
	actBegin    actionKind = iota // write the record; if there is a failure, as releasing
	actReserve                    // call Reserve
	actAssign                     // call Assign
	actAssigned                   // decide that it is assigned
	actRelease                    // call Release
	actReleases                   // decide that it is released
	actCancel                     // end the calls under way: their answers no longer matter
	actLook                       // learn what the journal has
	actWatch                      // wait for the other coordinator's decision
	actTell                       // tell whoever waits
	actFinish                     // record the acknowledged releases, then end
	actEnd                        // nothing is left to do
)

// on tells the machine of an event and returns what to do: first what never
// blocks, then the rest, side by side. Events that come too late to matter do
// nothing.
func (m *machine) on(ev event) []action {
	switch ev.kind {
	case evStart:
		return append(m.each(stepReserving, actReserve), action{kind: actBegin})
	case evOpen:
		m.open = true
	case evAdd:
		return m.add()
	case evReturned:
		return m.returned()
	case evResume:
		return m.resume(ev.state, ev.failure)
	case evBegun:
		m.begun = true
		return m.advance(ev.shortest)
	case evStanding:
		return m.standing(ev.state)
	case evReserved:
		return m.reserved(ev.step, ev.shortest)
	case evAssigned:
		return m.assigned(ev.step)
	case evFailed:
		return m.failed(ev.step, ev.failure)
	case evRefused:
		return m.refused()
	case evStop:
		return m.stop(ev.failure)
	case evLeave:
		return m.leave(ev.failure)
	case evDecided:
		return m.decide(ev.state)
	case evReleased:
		return m.settle(ev.step, stepReleased)
	case evLeft:
		return m.settle(ev.step, stepLeft)
	}
	return nil
}

// add takes on a step of a function that may still add steps.
func (m *machine) add() []action {
	if !m.open {
		return nil
	}
	m.steps = append(m.steps, stepReserving)
	return []action{{kind: actReserve, step: len(m.steps) - 1}}
}

// returned begins what a function has reserved. What it did not wait for is
// not kept.
func (m *machine) returned() []action {
	if !m.open {
		return nil
	}
	m.open = false
	for i, step := range m.steps {
		if step == stepReserving {
			m.steps[i] = stepDropped
		}
	}
	return []action{{kind: actBegin}}
}

// resume takes up a transaction from its record: forward if it is undecided
// and in time, to the end of its releases if it is decided.
func (m *machine) resume(state State, late *failure) []action {
	m.phase, m.begun = reserving, true
	if state != StateBegun {
		return m.decide(state)
	}
	if late != nil {
		return m.stop(late)
	}
	return m.each(stepReserving, actReserve)
}

// standing obeys the record of another coordinator that runs the same.
func (m *machine) standing(state State) []action {
	if m.phase != reserving && m.phase != watching {
		return nil
	}
	m.phase = watching
	if state == StateBegun {
		return []action{{kind: actCancel}, {kind: actWatch}}
	}
	m.phase, m.decided = settled, state
	return tellAndEnd
}

// refused ends a transaction that has no record: nothing was assigned, and
// what is reserved expires by itself.
func (m *machine) refused() []action {
	if m.phase >= settling {
		return nil
	}
	m.phase = settled
	return tellAndEnd
}

// asksForLife reports whether the event may be the one that lets assigning
// begin, so that it has to say what is left of the reservations.
func (m *machine) asksForLife(ev event) bool {
	switch ev.kind {
	case evBegun:
		return !m.any(stepReserving)
	case evReserved:
		return m.begun && m.count(stepReserving) == 1
	}
	return false
}

func (m *machine) reserved(step int, shortest life) []action {
	if m.phase != reserving || m.steps[step] != stepReserving {
		return nil
	}
	m.steps[step] = stepReserved
	if m.open {
		return nil
	}
	return m.advance(shortest)
}

// advance assigns when begun is durable and every reservation is held, with
// enough of the shortest one's life left. It releases as soon as begun is
// durable if there is a reason.
func (m *machine) advance(shortest life) []action {
	switch {
	case m.phase != reserving || !m.begun:
		return nil
	case m.failure != nil:
		return m.release()
	case m.any(stepReserving):
		return nil
	case shortest.left <= 0:
		m.failure = &failure{step: shortest.step, call: CallAssign, err: errNoTimeLeft}
		return m.release()
	}
	m.phase = assigning
	return m.orAllAssigned(m.each(stepReserved, actAssign))
}

var errNoTimeLeft = fmt.Errorf("%w: too little time left to begin assigning", ErrExpired)

func (m *machine) assigned(step int) []action {
	if m.phase != assigning {
		return nil
	}
	m.steps[step] = stepAssigned
	return m.orAllAssigned(nil)
}

// orAllAssigned decides when every Assign is acknowledged. A function that
// reserved nothing has nothing to wait for.
func (m *machine) orAllAssigned(assigns []action) []action {
	if m.any(stepReserved) {
		return assigns
	}
	m.phase = deciding
	return decideAssigned
}

// The answers that every placed transaction gets are made once; nobody changes
// them.
var (
	decideAssigned = []action{{kind: actAssigned}}
	tellAndEnd     = []action{{kind: actCancel}, {kind: actTell}, {kind: actEnd}}
)

// failed makes of a call's failure that of the transaction, unless a function
// may still choose something else.
func (m *machine) failed(step int, f *failure) []action {
	if m.open {
		m.steps[step] = stepDropped
	}
	if m.phase > assigning || m.steps[step] == stepDropped {
		return nil
	}
	return m.stop(f)
}

// awaits reports whether a step's Reserve or Assign is still to be acknowledged.
func (m *machine) awaits(step stepPhase) bool {
	return step == stepReserving || step == stepReserved && m.phase == assigning
}

// leave gives up what nobody waits for. Another coordinator's transaction is
// none of its business.
func (m *machine) leave(f *failure) []action {
	if m.phase == watching {
		m.phase = settled
		return []action{{kind: actEnd}}
	}
	return m.stop(f)
}

// stop gives the transaction up, if it is not yet being decided.
func (m *machine) stop(f *failure) []action {
	if m.phase > assigning || m.failure != nil {
		return nil
	}
	m.failure = f
	cancel := []action{{kind: actCancel}}
	switch {
	case m.open:
		m.open = false
		return append(cancel, action{kind: actBegin})
	case m.begun:
		return append(cancel, m.release()...)
	}
	return cancel
}

func (m *machine) release() []action {
	m.phase = deciding
	return []action{{kind: actReleases}}
}

// decide obeys the decision that stands: it tells it, and only then releases
// what the transaction does not keep.
func (m *machine) decide(state State) []action {
	if m.phase >= settling {
		return nil
	}
	m.phase, m.decided = settling, state
	for i, step := range m.steps {
		if m.owesRelease(step) {
			m.steps[i] = stepReleasing
		}
	}
	if m.any(stepReleasing) {
		return append([]action{{kind: actCancel}, {kind: actTell}}, m.each(stepReleasing, actRelease)...)
	}
	m.phase = settled
	if state == StateReleasing {
		return []action{{kind: actCancel}, {kind: actTell}, {kind: actFinish}}
	}
	return tellAndEnd
}

// owesRelease reports whether a step is released under the decision: all that
// a Reserve may have reached if it is releasing, else what was tried and not
// kept.
func (m *machine) owesRelease(step stepPhase) bool {
	if step == stepReleased {
		return false
	}
	return m.decided == StateReleasing || (m.decided == StateAssigned && step == stepDropped)
}

// settle ends one step's Release, and with the last one the transaction.
func (m *machine) settle(step int, as stepPhase) []action {
	m.steps[step] = as
	if m.phase != settling || m.any(stepReleasing) {
		return nil
	}
	m.phase = settled
	return []action{{kind: actFinish}}
}

// each returns an action for every step of a phase.
func (m *machine) each(p stepPhase, kind actionKind) []action {
	actions := make([]action, 0, len(m.steps)+1)
	for i, step := range m.steps {
		if step == p {
			actions = append(actions, action{kind: kind, step: i})
		}
	}
	return actions
}

func (m *machine) any(p stepPhase) bool { return m.count(p) > 0 }

func (m *machine) count(p stepPhase) (n int) {
	for _, step := range m.steps {
		if step == p {
			n++
		}
	}
	return n
}
