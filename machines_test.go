//go:build !race

// The race detector makes this ten times as slow, and has nothing to find: one
// goroutine does it all.

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

// TestMachines exhausts the two state machines together: two coordinators that
// run or recover one transaction at once, as often as they like, two
// participants, and a journal. Messages are lost, repeated and late, and
// coordinators crash, without any bound; reservations run out, rivals take what
// is free, and callers leave at any moment.
func TestMachines(t *testing.T) {
	t.Parallel()
	states, broken := exhaust(flaws{})
	t.Logf("%d states", states)
	require.Empty(t, broken)
	assert.Greater(t, states, 10_000)
}

// TestMachinesFindWhatIsBroken takes one promise away at a time.
func TestMachinesFindWhatIsBroken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		flaws  flaws
		breaks string
	}{
		{"deciding without compare-and-set", flaws{overwrites: true}, "I"},
		{"no tombstone", flaws{forgets: true}, "I4"},
		{"begun is not durable", flaws{hastyBegin: true}, "I7"},
		{"releasing is not durable", flaws{hastyDecide: true}, "I7"},
		{"an expiry that Assign does not see", flaws{timeless: true}, "I3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			states, broken := exhaust(test.flaws)
			t.Logf("%d states: %s", states, broken)
			assert.True(t, strings.HasPrefix(broken, test.breaks), broken)
		})
	}
}

// flaws are broken promises of the journal and the participants.
type flaws struct{ overwrites, forgets, hastyBegin, hastyDecide, timeless bool }

// both is a state of the world: two coordinators and what they talk to.
type both struct {
	sides  [2]driver
	shops  [2]stall
	record State // 0 if there is none
	owner  int8  // who began it and is alive, if nobody has claimed it; else -1
	acked  [2]bool
	// sent are the requests that were ever sent, each of which may arrive at
	// any moment, however often. So may what was written to the journal.
	sent              [2]requests
	sentA, sentR      bool // decisions
	sentB             bool // begin
	placed, notPlaced bool // what callers were told
}

type requests struct{ reserve, assign, release bool }

// stall is one participant with one resource.
type stall struct {
	state EntryState
	late  bool // its clock has passed the reservation's expiry
	rival bool // the resource was given to somebody else
}

// driver is a coordinator that does what the machine says.
type driver struct {
	runs                     bool
	phase                    phase
	begun, failed            bool
	steps                    [2]stepPhase
	decided                  State
	caller                   bool
	begin, watch             bool // what is under way
	decideA, decideR         bool
	finish                   bool
	reserve, assign, release [2]bool
}

// key is a state in few bits, the same for states that differ only by which
// coordinator, or which participant, is which: the machines treat them alike.
type key [3]uint32

func (b *both) key() key {
	least := key{^uint32(0)}
	for _, shops := range [][2]int{{0, 1}, {1, 0}} {
		drivers := [2]uint32{b.sides[0].bits(shops), b.sides[1].bits(shops)}
		for _, sides := range [][2]int{{0, 1}, {1, 0}} {
			k := key{drivers[sides[0]], drivers[sides[1]]}
			if k[0] > least[0] {
				continue // the rest cannot make it the least
			}
			k[2] = b.bits(sides, shops)
			if slices.Compare(k[:], least[:]) < 0 {
				least = k
			}
		}
	}
	return least
}

// packed is a row of bits.
type packed uint32

func (p *packed) number(n int, width uint) { *p = *p<<width | packed(n) }

func (p *packed) flags(flags ...bool) {
	for _, flag := range flags {
		*p <<= 1
		if flag {
			*p |= 1
		}
	}
}

func (b *both) bits(sides, shops [2]int) uint32 {
	var p packed
	p.number(int(b.record), 3)
	owner := 2
	if b.owner >= 0 {
		owner = sides[b.owner]
	}
	p.number(owner, 2)
	p.flags(b.sentA, b.sentR, b.sentB, b.placed, b.notPlaced)
	for _, i := range shops {
		p.number(int(b.shops[i].state), 3)
		p.flags(b.shops[i].late, b.shops[i].rival, b.acked[i], b.sent[i].reserve, b.sent[i].assign, b.sent[i].release)
	}
	return uint32(p)
}

func (d *driver) bits(shops [2]int) uint32 {
	var p packed
	p.number(int(d.phase), 3)
	p.number(int(d.decided), 3)
	p.flags(d.runs, d.begun, d.failed, d.caller, d.begin, d.watch, d.decideA, d.decideR, d.finish)
	for _, i := range shops {
		p.number(int(d.steps[i]), 3)
		p.flags(d.reserve[i], d.assign[i], d.release[i])
	}
	return uint32(p)
}

// reached is a state, and the one that it was first reached from.
type reached struct {
	both
	from int32
}

// exhaust goes breadth-first through all states, and returns how many there
// are, and the first rule that is broken with the way to it.
func exhaust(f flaws) (states int, broken string) {
	all := []reached{{both: both{owner: -1}, from: -1}}
	seen := map[key]bool{all[0].key(): true}
	e := &explorer{flaws: f}
	for i := 0; i < len(all); i++ {
		e.follow(all[i].both)
		for _, next := range e.found {
			if k := next.key(); !seen[k] {
				seen[k] = true
				all = append(all, reached{next, int32(i)})
			}
		}
		if e.broken == "" {
			e.broken = all[i].settled(f)
		}
		if e.broken != "" {
			return len(all), e.broken + "\n" + e.trail(all, i)
		}
	}
	return len(all), ""
}

// explorer finds what can follow a state.
type explorer struct {
	flaws
	here   both
	move   move
	found  []both
	named  bool     // for a trail
	names  []string // of the moves to what was found
	broken string
}

// follow finds all that can follow a state.
func (e *explorer) follow(here both) {
	e.here, e.found, e.names = here, e.found[:0], e.names[:0]
	e.all()
}

// trail names the moves that lead to a state.
func (e *explorer) trail(all []reached, to int) string {
	var names []string
	walk := explorer{flaws: e.flaws, named: true}
	for ; all[to].from >= 0; to = int(all[to].from) {
		walk.follow(all[all[to].from].both)
		names = append(names, walk.names[slices.Index(walk.found, all[to].both)])
	}
	slices.Reverse(names)
	return strings.Join(names, "\n")
}

// then adds what follows when a move is made in a copy of the state.
func (e *explorer) then(name string, i, step int, make func(*move)) {
	e.move = move{flaws: e.flaws, both: e.here}
	make(&e.move)
	e.move.check()
	if e.move.broken != "" && e.broken == "" {
		e.broken = fmt.Sprintf("%s, by: %s", e.move.broken, named(name, i, step))
	}
	if e.move.both != e.here {
		e.found = append(e.found, e.move.both)
		if e.named {
			e.names = append(e.names, named(name, i, step))
		}
	}
}

// named puts a coordinator and a participant into a move's name.
func named(name string, i, step int) string {
	return strings.NewReplacer("C", "AB"[i:i+1], "P", [...]string{"the store", "the delivery"}[step]).Replace(name)
}

func (e *explorer) all() {
	for i := range e.here.sides {
		e.ofSide(i)
	}
	for i := range e.here.shops {
		e.ofShop(i)
	}
	if e.here.sentB {
		e.then("a late begin arrives", 0, 0, func(m *move) { m.writeBegin(-1) })
	}
	if e.here.sentA && e.here.record != 0 {
		e.then("a late decision arrives: assigned", 0, 0, func(m *move) { m.write(StateAssigned) })
	}
	if e.here.sentR && e.here.record != 0 {
		e.then("a late decision arrives: releasing", 0, 0, func(m *move) { m.write(StateReleasing) })
	}
}

func (e *explorer) ofShop(i int) {
	shop, sent := e.here.shops[i], e.here.sent[i]
	if shop.state == EntryReserved && !shop.late {
		e.then("time runs out at P", 0, i, func(m *move) { m.shops[i].late = true })
	}
	if !shop.rival {
		e.then("a rival takes at P", 0, i, func(m *move) { m.shops[i].takeByRival() })
	}
	if sent.reserve {
		e.then("a late reserve arrives at P", 0, i, func(m *move) { _ = m.atReserve(i) })
	}
	if sent.assign {
		e.then("a late assign arrives at P", 0, i, func(m *move) { _ = m.atAssign(i) })
	}
	if sent.release {
		e.then("a late release arrives at P", 0, i, func(m *move) { m.atRelease(i) })
	}
}

func (e *explorer) ofSide(i int) {
	s := e.here.sides[i]
	if !s.runs {
		e.then("C is asked to run it", i, 0, func(m *move) { m.start(i) })
	}
	if (!s.runs || s.phase == watching) && e.here.unfinished() {
		e.then("C claims it", i, 0, func(m *move) { m.resume(i, nil) })
		e.then("C claims it, late", i, 0, func(m *move) { m.resume(i, why) })
	}
	if !s.runs {
		return
	}
	e.then("C crashes", i, 0, func(m *move) { m.crash(i) })
	e.then("C runs out of time", i, 0, func(m *move) { m.tell(i, event{kind: evStop, failure: why}) })
	if s.caller {
		e.then("the caller of C leaves", i, 0, func(m *move) {
			m.sides[i].caller = false
			m.tell(i, event{kind: evLeave, failure: why})
		})
	}
	e.journalOf(i)
	for step := range s.steps {
		e.callsOf(i, step)
	}
}

func (e *explorer) journalOf(i int) {
	s := e.here.sides[i]
	for _, left := range []time.Duration{time.Second, 0} {
		if s.begin {
			e.then("C begins"+afterwards(left), i, 0, func(m *move) { m.begin(i, left) })
		}
	}
	if s.decideA {
		e.then("C decides assigned", i, 0, func(m *move) { m.decide(i, StateAssigned) })
	}
	if s.decideR {
		e.then("C decides releasing", i, 0, func(m *move) { m.decide(i, StateReleasing) })
	}
	if s.watch && e.here.record > StateBegun {
		e.then("C looks", i, 0, func(m *move) { m.look(i) })
	}
	if s.watch && !s.caller {
		e.then("nobody waits at C", i, 0, func(m *move) {
			m.sides[i].watch = false
			m.tell(i, event{kind: evLeave, failure: why})
		})
	}
	if s.finish {
		e.then("C finishes", i, 0, func(m *move) { m.finish(i) })
	}
}

func (e *explorer) callsOf(i, step int) {
	s := e.here.sides[i]
	if s.reserve[step] {
		for _, left := range []time.Duration{time.Second, 0} {
			e.then("C reserves at P"+afterwards(left), i, step, func(m *move) { m.reserve(i, step, left) })
		}
		e.then("C gives up reserving at P", i, step, func(m *move) { m.failed(i, step, &m.sides[i].reserve) })
	}
	if s.assign[step] {
		e.then("C assigns at P", i, step, func(m *move) { m.assign(i, step) })
		e.then("C gives up assigning at P", i, step, func(m *move) { m.failed(i, step, &m.sides[i].assign) })
	}
	if s.release[step] {
		e.then("C releases at P", i, step, func(m *move) { m.release(i, step, evReleased) })
		e.then("C leaves the release at P", i, step, func(m *move) { m.release(i, step, evLeft) })
	}
}

// afterwards says that what is reserved has no time left, if that is so.
func afterwards(left time.Duration) string {
	if left > 0 {
		return ""
	}
	return ", and too little time is left"
}

// move is one thing that happens to a copy of a state.
type move struct {
	flaws
	both
	broken string
}

var why = &failure{step: noStep, err: errors.New("why not")}

func (m *move) breach(rule string) {
	if m.broken == "" {
		m.broken = rule
	}
}

// The participants: what stands under the key is judged by [Entry].

var (
	payload = FingerprintOf(nil)
	noon    = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

func (s stall) entry() (e Entry, now time.Time) {
	now = noon
	if s.late {
		now = noon.Add(time.Hour)
	}
	e = Entry{State: s.state, Fingerprint: payload, Expires: noon.Add(time.Minute)}
	if s.state == EntryNone {
		e = Entry{}
	}
	return e, now
}

func (s *stall) takeByRival() {
	e, now := s.entry()
	v := e.Expire(now)
	s.state = v.Entry.State
	s.rival = !v.Entry.Holds()
}

func (m *move) atReserve(i int) error {
	s := &m.shops[i]
	e, now := s.entry()
	v := e.Reserve(payload, time.Minute, now)
	if v.Take && s.rival {
		return ErrRefused
	}
	s.state = v.Entry.State
	return v.Err
}

func (m *move) atAssign(i int) error {
	s := &m.shops[i]
	e, now := s.entry()
	if m.timeless {
		now = noon
	}
	if m.timeless && e.State == EntryExpired {
		e.State = EntryReserved
	}
	v := e.Assign(now)
	s.state = v.Entry.State
	return v.Err
}

func (m *move) atRelease(i int) {
	s := &m.shops[i]
	e, _ := s.entry()
	if m.forgets && e.State == EntryNone {
		return
	}
	s.state = e.Release().Entry.State
}

// The journal.

func (m *move) writeBegin(owner int) {
	if m.record == 0 {
		m.record, m.owner = StateBegun, int8(owner)
	}
}

func (m *move) write(decision State) {
	if m.record == StateBegun || m.overwrites && m.record != StateReleased {
		m.record = decision
	}
}

func (b *both) unfinished() bool {
	return b.record == StateBegun || b.record == StateReleasing
}

// The coordinators.

func (m *move) start(i int) {
	m.sides[i] = driver{runs: true, caller: true}
	m.tell(i, event{kind: evStart})
}

func (m *move) crash(i int) {
	m.sides[i] = driver{}
	if m.owner == int8(i) {
		m.owner = -1
	}
}

func (m *move) resume(i int, late *failure) {
	waits := m.sides[i].caller
	m.sides[i] = driver{runs: true, caller: waits}
	m.owner = -1
	for step, acked := range m.acked {
		if acked {
			m.sides[i].steps[step] = stepReleased
		}
	}
	m.tell(i, event{kind: evResume, state: m.record, failure: late})
}

func (m *move) begin(i int, left time.Duration) {
	s := &m.sides[i]
	s.begin = false
	if m.hastyBegin && m.record == 0 {
		m.tell(i, event{kind: evBegun, shortest: life{left: left}})
		return
	}
	m.writeBegin(i)
	switch {
	case m.owner != int8(i):
		m.tell(i, event{kind: evStanding, state: m.record})
	case m.record != StateBegun:
		m.tell(i, event{kind: evDecided, state: m.record})
	default:
		m.tell(i, event{kind: evBegun, shortest: life{left: left}})
	}
}

func (m *move) decide(i int, d State) {
	s := &m.sides[i]
	s.decideA, s.decideR = false, false
	if m.hastyDecide && d == StateReleasing && m.record == StateBegun {
		m.tell(i, event{kind: evDecided, state: d})
		return
	}
	if m.record == 0 { // of a begin that was never durable
		m.tell(i, event{kind: evRefused})
		return
	}
	m.write(d)
	m.tell(i, event{kind: evDecided, state: m.record})
}

func (m *move) look(i int) {
	m.sides[i].watch = false
	m.tell(i, event{kind: evStanding, state: m.record})
}

func (m *move) finish(i int) {
	for step, phase := range m.sides[i].steps {
		m.acked[step] = m.acked[step] || phase == stepReleased
	}
	if m.record == StateReleasing && m.acked == [2]bool{true, true} {
		m.record = StateReleased
	}
	m.sides[i] = driver{}
}

func (m *move) reserve(i, step int, left time.Duration) {
	m.sides[i].reserve[step] = false
	if err := m.atReserve(step); err != nil {
		m.tell(i, event{kind: evFailed, step: step, failure: &failure{step: step, call: CallReserve, err: err}})
		return
	}
	m.tell(i, event{kind: evReserved, step: step, shortest: life{step: step, left: left}})
}

func (m *move) assign(i, step int) {
	m.sides[i].assign[step] = false
	if err := m.atAssign(step); err != nil {
		m.tell(i, event{kind: evFailed, step: step, failure: &failure{step: step, call: CallAssign, err: err}})
		return
	}
	m.tell(i, event{kind: evAssigned, step: step})
}

func (m *move) failed(i, step int, calls *[2]bool) {
	calls[step] = false
	m.tell(i, event{kind: evFailed, step: step, failure: why})
}

func (m *move) release(i, step int, kind eventKind) {
	m.sides[i].release[step] = false
	if kind == evReleased {
		m.atRelease(step)
	}
	m.tell(i, event{kind: kind, step: step})
}

// tell tells a coordinator's machine of an event, and sends what it says.
func (m *move) tell(i int, ev event) {
	s := &m.sides[i]
	machine := machine{phase: s.phase, begun: s.begun, steps: s.steps[:], decided: s.decided}
	if s.failed {
		machine.failure = why
	}
	actions := machine.on(ev)
	s.phase, s.begun, s.failed, s.decided = machine.phase, machine.begun, machine.failure != nil, machine.decided
	for _, a := range actions {
		m.act(i, a)
	}
}

func (m *move) act(i int, a action) {
	s := &m.sides[i]
	switch a.kind {
	case actBegin:
		s.begin, m.sentB = true, !m.hastyBegin
	case actReserve:
		s.reserve[a.step], m.sent[a.step].reserve = true, true
	case actAssign:
		if m.record == 0 {
			m.breach("I7: an Assign before begun is durable")
		}
		s.assign[a.step], m.sent[a.step].assign = true, true
	case actAssigned:
		s.decideA, m.sentA = true, true
	case actReleases:
		s.decideR, m.sentR = true, !m.hastyDecide
	case actRelease:
		if m.record < StateReleasing {
			m.breach("I7: a Release before releasing is durable")
		}
		s.release[a.step], m.sent[a.step].release = true, true
	case actCancel:
		s.reserve, s.assign = [2]bool{}, [2]bool{}
	case actWatch:
		s.watch = true
	case actTell:
		m.told(i)
	case actFinish:
		s.finish = true
	case actEnd:
		m.sides[i] = driver{}
	}
}

func (m *move) told(i int) {
	if !m.sides[i].caller {
		return
	}
	switch m.sides[i].decided {
	case StateAssigned:
		m.placed = true
		if m.record != StateAssigned {
			m.breach("I7: told placed before assigned is durable")
		}
	case StateReleasing, StateReleased:
		m.notPlaced = true
	}
}

// check holds the state against the invariants.
func (m *move) check() {
	if m.placed && m.notPlaced {
		m.breach("I2: told both placed and not placed")
	}
	for _, s := range m.shops {
		e, _ := s.entry()
		switch {
		case m.placed && s.state != EntryAssigned:
			m.breach("I1: told placed, and not everything is assigned")
		case e.Holds() && s.rival:
			m.breach("I3: a resource is held twice")
		case m.record == StateReleased && e.Holds():
			m.breach("I4: released, and something is held")
		case s.state == EntryAssigned && m.record == 0:
			m.breach("I5: something is assigned, and there is no record")
		}
	}
}

// settled lets both coordinators crash and one recover without any further
// fault, and says what is wrong with the books then.
func (b both) settled(f flaws) string {
	m := &move{flaws: f, both: b}
	m.crash(0)
	m.crash(1)
	for m.unfinished() {
		m.resume(0, nil)
		for m.sides[0].runs {
			if !m.step() {
				return "stuck: recovery does not finish"
			}
		}
	}
	m.check()
	for _, s := range m.shops {
		if s.state == EntryAssigned && m.record != StateAssigned {
			m.breach("I5: something is assigned in the end, and that was not decided")
		}
	}
	return m.broken
}

// step does the first thing that is under way at the first coordinator, and
// reports whether there was any.
func (m *move) step() bool {
	s := m.sides[0]
	for i := range s.steps {
		switch {
		case s.reserve[i]:
			m.reserve(0, i, time.Second)
			return true
		case s.assign[i]:
			m.assign(0, i)
			return true
		case s.release[i]:
			m.release(0, i, evReleased)
			return true
		}
	}
	switch {
	case s.decideA:
		m.decide(0, StateAssigned)
	case s.decideR:
		m.decide(0, StateReleasing)
	case s.finish:
		m.finish(0)
	default:
		return false
	}
	return true
}
