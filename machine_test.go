package twophase

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMachine goes through every order in which answers, time and callers can
// happen to a transaction of two steps, and holds what the machine says to do
// against the rules of the protocol.
func TestMachine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		start func() []*path
	}{
		{"a transaction whose steps are known", startsOfSteps},
		{"a function that adds steps", startsOfFunction},
		{"recovery from any record", startsOfRecovery},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			states := explore(t, test.start())
			t.Logf("%d states", states)
			assert.Greater(t, states, 100)
		})
	}
}

// path is a machine with what it has asked for so far: a state of the world
// that the machine can be in.
type path struct {
	machine machine
	pending []action // under way: any of them may be answered next

	waiting   bool // a caller may still go away
	timed     bool // the timeout is still to come
	canAdd    int  // how many steps the function may still add
	function  bool // it has not returned yet
	cancelled bool // answers to calls under way may be dropped

	begun, decides, tells, ends int // how often each was asked for
	decided                     State
	refused, foreign            bool
	released                    []bool // a Release was asked for
	rule                        string // what rule was broken on the way
	trail                       []string
}

func startsOfSteps() []*path {
	p := &path{machine: machine{steps: make([]stepPhase, 2)}, waiting: true, timed: true}
	return []*path{p.after("start", event{kind: evStart})}
}

func startsOfFunction() []*path {
	p := &path{waiting: true, timed: true, canAdd: 2, function: true}
	return []*path{p.after("open", event{kind: evOpen})}
}

func startsOfRecovery() (starts []*path) {
	phases := []stepPhase{stepReserving, stepDropped, stepReleased}
	for _, state := range []State{StateBegun, StateAssigned, StateReleasing, StateReleased} {
		for _, one := range phases {
			for _, two := range phases {
				if state == StateBegun && (one == stepReleased || two == stepReleased) {
					continue // nothing is released before the decision
				}
				for _, late := range []*failure{nil, {step: noStep, err: errLate}} {
					p := &path{machine: machine{steps: []stepPhase{one, two}}, timed: true}
					if state != StateBegun {
						p.decided = state
					}
					name := fmt.Sprintf("resume %v %v late=%t", state, []stepPhase{one, two}, late != nil)
					starts = append(starts, p.after(name, event{kind: evResume, state: state, failure: late}))
				}
			}
		}
	}
	return starts
}

// explore goes breadth-first through all that can follow and returns how many
// states there are.
func explore(t *testing.T, starts []*path) int {
	t.Helper()
	seen := map[string]bool{}
	queue := slices.Clone(starts)
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		key := p.key()
		if seen[key] {
			continue
		}
		seen[key] = true
		require.Empty(t, p.broken(), "%s", strings.Join(p.trail, "\n"))
		next := p.next()
		if len(next) == 0 {
			require.Empty(t, p.brokenAtTheEnd(), "%s", strings.Join(p.trail, "\n"))
		}
		queue = append(queue, next...)
	}
	return len(seen)
}

func (p *path) key() string {
	pending := slices.Clone(p.pending)
	slices.SortFunc(pending, func(a, b action) int { return (int(a.kind)-int(b.kind))*100 + a.step - b.step })
	m := p.machine
	return fmt.Sprint(uint8(m.phase), m.open, m.begun, fmt.Sprintf("%d", m.steps), m.failure != nil, m.decided, pending,
		p.waiting, p.timed, p.canAdd, p.function, p.cancelled,
		p.begun, p.decides, p.tells, p.ends, p.decided, p.refused, p.foreign, p.released, p.rule)
}

// next returns what can follow: an answer to anything under way, or something
// that happens by itself. Nothing follows an end.
func (p *path) next() (next []*path) {
	if p.ends > 0 {
		return nil
	}
	for i, a := range p.pending {
		for _, answer := range p.answers(a) {
			next = append(next, p.without(i).after(answer.name, answer.event))
		}
		if p.cancelled && (a.kind == actReserve || a.kind == actAssign) {
			next = append(next, p.without(i))
		}
	}
	stop := &failure{step: noStep, err: errors.New("stopped")}
	if p.waiting {
		q := p.copy()
		q.waiting = false
		next = append(next, q.after("the caller leaves", event{kind: evLeave, failure: stop}))
	}
	if p.timed {
		q := p.copy()
		q.timed = false
		next = append(next, q.after("time runs out", event{kind: evStop, failure: stop}))
	}
	return append(next, p.functionNext(stop)...)
}

func (p *path) functionNext(stop *failure) (next []*path) {
	if !p.function {
		return nil
	}
	if p.canAdd > 0 && p.machine.open {
		q := p.copy()
		q.canAdd--
		next = append(next, q.after("add", event{kind: evAdd}))
	}
	returned, failed := p.copy(), p.copy()
	returned.function, failed.function = false, false
	return append(next,
		returned.after("the function returns", event{kind: evReturned}),
		failed.after("the function fails", event{kind: evStop, failure: stop}))
}

type answer struct {
	name  string
	event event
}

// answers returns what can become of something that is under way.
func (p *path) answers(a action) []answer {
	failed := func(call Call) event {
		return event{kind: evFailed, step: a.step, failure: &failure{step: a.step, call: call, err: ErrRefused}}
	}
	enough, short := life{left: time.Second}, life{step: a.step, left: 0}
	decided := func(states ...State) (answers []answer) {
		for _, state := range states {
			answers = append(answers, answer{fmt.Sprintf("decided %v", state), event{kind: evDecided, state: state}})
		}
		return append(answers, answer{"the record is gone", event{kind: evRefused}})
	}
	switch a.kind {
	case actBegin:
		return p.beginAnswers(enough, short)
	case actReserve:
		return []answer{
			{fmt.Sprintf("reserved %d", a.step), event{kind: evReserved, step: a.step, shortest: enough}},
			{fmt.Sprintf("reserved %d, too late", a.step), event{kind: evReserved, step: a.step, shortest: short}},
			{fmt.Sprintf("reserve %d failed", a.step), failed(CallReserve)},
		}
	case actAssign:
		return []answer{
			{fmt.Sprintf("assigned %d", a.step), event{kind: evAssigned, step: a.step}},
			{fmt.Sprintf("assign %d failed", a.step), failed(CallAssign)},
		}
	case actAssigned:
		return decided(StateAssigned, StateReleasing, StateReleased)
	case actReleases:
		return decided(StateReleasing, StateAssigned, StateReleased)
	case actRelease:
		return []answer{
			{fmt.Sprintf("released %d", a.step), event{kind: evReleased, step: a.step}},
			{fmt.Sprintf("release %d left", a.step), event{kind: evLeft, step: a.step}},
		}
	case actWatch:
		return p.watchAnswers()
	}
	return nil
}

func (p *path) watchAnswers() []answer {
	answers := []answer{
		{"assigned elsewhere", event{kind: evStanding, state: StateAssigned}},
		{"releasing elsewhere", event{kind: evStanding, state: StateReleasing}},
		{"gone elsewhere", event{kind: evRefused}},
	}
	if !p.waiting {
		answers = append(answers, answer{"nobody waits", event{kind: evLeave}})
	}
	return answers
}

// beginAnswers: the record is written as releasing if there was a failure when
// it was sent, which may be earlier than now.
func (p *path) beginAnswers(enough, short life) []answer {
	answers := []answer{
		{"begun elsewhere", event{kind: evStanding, state: StateBegun}},
		{"assigned elsewhere", event{kind: evStanding, state: StateAssigned}},
		{"releasing elsewhere", event{kind: evStanding, state: StateReleasing}},
		{"not begun", event{kind: evRefused}},
		{"begun", event{kind: evBegun, shortest: enough}},
		{"begun, too late", event{kind: evBegun, shortest: short}},
	}
	if p.machine.failure != nil {
		answers = append(answers, answer{"begun as releasing", event{kind: evDecided, state: StateReleasing}})
	}
	return answers
}

func (p *path) copy() *path {
	q := *p
	q.machine.steps = slices.Clone(p.machine.steps)
	q.pending = slices.Clone(p.pending)
	q.released = slices.Clone(p.released)
	q.trail = slices.Clone(p.trail)
	return &q
}

func (p *path) without(i int) *path {
	q := p.copy()
	q.pending = slices.Delete(q.pending, i, i+1)
	return q
}

// after tells the machine of an event and takes up what it says to do.
func (p *path) after(name string, ev event) *path {
	p.trail = append(p.trail, fmt.Sprintf("%s (%v)", name, p.machine.phase))
	if ev.kind == evDecided || ev.kind == evStanding && ev.state != StateBegun {
		p.decided = ev.state
	}
	p.refused = p.refused || ev.kind == evRefused
	p.foreign = p.foreign || ev.kind == evStanding
	open := p.machine.open
	for _, a := range p.machine.on(ev) {
		p.take(a)
		if a.kind == actAssign && ev.shortest.left <= 0 {
			p.rule = "assigns although too little time is left"
		}
	}
	if open && ev.kind == evFailed && p.machine.failure != nil {
		p.rule = "gives up although the function may choose something else"
	}
	return p
}

func (p *path) take(a action) {
	switch a.kind {
	case actBegin:
		p.begun++
	case actAssigned, actReleases:
		p.decides++
	case actTell:
		p.tells++
		return
	case actCancel:
		p.cancelled = true
		return
	case actFinish, actEnd:
		p.ends++
		return
	case actRelease:
		for len(p.released) < len(p.machine.steps) {
			p.released = append(p.released, false)
		}
		if p.released[a.step] {
			p.rule = "releases twice"
		}
		p.released[a.step] = true
	}
	p.pending = append(p.pending, a)
}

// broken says which rule what was just asked for breaks, and "" if none.
func (p *path) broken() string {
	m := p.machine
	for _, a := range p.pending {
		switch {
		case a.kind == actAssign && !m.begun:
			return "I7: an Assign before begun is durable"
		case a.kind == actAssigned && (m.failure != nil || !m.begun || !p.allKept(stepAssigned)):
			return "decides assigned although not everything is"
		case a.kind == actReleases && (m.failure == nil || !m.begun):
			return "decides releasing without a reason, or a record"
		case a.kind == actRelease && p.decided == 0:
			return "I7: a Release before the decision"
		case a.kind == actRelease && p.decided == StateAssigned && m.steps[a.step] == stepAssigned:
			return "I1: releases what was assigned"
		case a.kind == actAssign && m.phase == assigning && m.any(stepReserving):
			return "assigns before everything is reserved"
		}
	}
	switch {
	case p.begun > 1:
		return "begins twice"
	case p.decides > 1:
		return "asks for two decisions"
	case p.tells > 1:
		return "I2: tells twice"
	case p.tells > 0 && p.decided == 0 && !p.refused:
		return "I7: tells before the decision"
	case p.ends > 1:
		return "ends twice"
	}
	return p.rule
}

// allKept reports whether all steps that are kept are in a phase.
func (p *path) allKept(want stepPhase) bool {
	return !slices.ContainsFunc(p.machine.steps, func(s stepPhase) bool { return s != want && s != stepDropped })
}

// brokenAtTheEnd says what is left undone where nothing can follow.
func (p *path) brokenAtTheEnd() string {
	m := p.machine
	switch {
	case m.phase != settled || p.ends != 1:
		return fmt.Sprintf("ends %v", m.phase)
	case p.tells == 0 && p.waiting:
		return "a caller waits for ever"
	case p.decided == StateReleasing && !p.foreign && !p.allReleased():
		return "I4: not everything is released"
	case p.decided == StateAssigned && !p.foreign && m.any(stepDropped):
		return "what was tried and not kept is not released"
	}
	return ""
}

// allReleased reports whether every step is released, or was asked to be.
func (p *path) allReleased() bool {
	for i, step := range p.machine.steps {
		if asked := i < len(p.released) && p.released[i]; !asked && step != stepReleased {
			return false
		}
	}
	return true
}

func TestMachineIgnoresWhatComesTooLate(t *testing.T) {
	t.Parallel()
	m := machine{steps: []stepPhase{stepReserving}}
	m.on(event{kind: evStart})
	m.on(event{kind: evReserved})
	m.on(event{kind: evBegun, shortest: life{left: time.Second}})
	m.on(event{kind: evAssigned})
	m.on(event{kind: evDecided, state: StateAssigned})
	require.Equal(t, settled, m.phase)
	for kind := evStart + 1; kind <= evLeft; kind++ {
		if kind == evResume || kind == evOpen {
			continue // these come first or not at all
		}
		late := event{kind: kind, state: StateReleasing, failure: &failure{step: noStep, err: errLate}}
		assert.Empty(t, m.on(late), "event %d", kind)
	}
	assert.Empty(t, m.on(event{kind: evLeft + 1}), "an event that does not exist")
	assert.Equal(t, StateAssigned, m.decided)
}

func TestPhasesHaveNames(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "reserving", reserving.String())
	assert.Equal(t, "settled", settled.String())
	assert.Equal(t, "6", phase(6).String())
}
