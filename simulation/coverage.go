package simulation

import (
	"errors"

	"github.com/seed-bcc3c603/twophase"
)

// Coverage counts how often each rule of the protocol was met. The zero value has
// counted nothing.
type Coverage struct {
	worlds      int
	contract    [contractEvents][contractStates]int
	records     [journalOps][recordStates]int
	coordinator [wireEvents][phases]int
	faults      map[string]int
	views       map[view]phase
	paused      bool // nothing more is counted of coordinators
}

// view is a transaction as one process has it.
type view struct {
	process *process
	id      string
}

func newCoverage() *Coverage {
	return &Coverage{worlds: 1, faults: map[string]int{}, views: map[view]phase{}}
}

// Add adds the counts of another run.
func (c *Coverage) Add(other *Coverage) {
	c.worlds += other.worlds
	for i := range c.contract {
		for j := range c.contract[i] {
			c.contract[i][j] += other.contract[i][j]
		}
	}
	for i := range c.records {
		for j := range c.records[i] {
			c.records[i][j] += other.records[i][j]
		}
	}
	for i := range c.coordinator {
		for j := range c.coordinator[i] {
			c.coordinator[i][j] += other.coordinator[i][j]
		}
	}
	if c.faults == nil {
		c.faults = map[string]int{}
	}
	for fault, n := range other.faults {
		c.faults[fault] += n
	}
}

// contractEvent is a row of the participant's table. Where the clock or the
// payload makes a difference, it is a row of its own.
type contractEvent uint8

const (
	onReserve contractEvent = iota
	onReserveOther
	onAssign
	onRelease
	onTimeOut
	contractEvents
)

// contractState is a column of the participant's table.
type contractState uint8

const (
	inNone     contractState = iota
	inNoneFree               // nothing is free
	inReserved
	inReservedPast // its time has run out, and nobody has noticed
	inAssigned
	inAssignedPast // the time that its reservation had has run out
	inReleased
	inExpired
	contractStates
)

// contractCell is a cell of that table.
type contractCell struct {
	event contractEvent
	state contractState
}

// cellOf returns the cell that a call is about to meet, by the books. The world's
// lock is held.
func (s *service) cellOf(call twophase.Call, key twophase.Key) (cell contractCell) {
	switch call {
	case twophase.CallReserve:
		cell.event = onReserve
	case twophase.CallAssign:
		cell.event = onAssign
	default:
		cell.event = onRelease
	}
	p, now := s.ledger.promises[key], s.now()
	past := !p.expires.IsZero() && !now.Before(p.expires)
	state := p.state
	if s.store != nil {
		entry := s.store.entry(key)
		state, past = entry.State, !entry.Expires.IsZero() && !now.Before(entry.Expires)
	}
	switch state {
	case twophase.EntryReserved:
		cell.state = orIf(past, inReservedPast, inReserved)
	case twophase.EntryAssigned:
		cell.state = orIf(past, inAssignedPast, inAssigned)
	case twophase.EntryReleased:
		cell.state = inReleased
	case twophase.EntryExpired:
		cell.state = inExpired
	}
	return cell
}

func orIf[T any](condition bool, yes, no T) T {
	if condition {
		return yes
	}
	return no
}

// call counts a call that a participant has answered.
func (c *Coverage) call(cell contractCell, err error, m *message) {
	switch {
	case c.paused:
	case errors.Is(err, twophase.ErrMismatch):
		cell.event = onReserveOther
	case cell.state == inNone && errors.Is(err, twophase.ErrRefused):
		cell.state = inNoneFree
		c.reach(refusesFault)
	case cell.event == onAssign && errors.Is(err, twophase.ErrExpired):
		c.reach(runsOutFault)
	case cell.event != onRelease && errors.Is(err, twophase.ErrReleased):
		c.reach(lateFault)
	case cell.event == onAssign && errors.Is(err, twophase.ErrUnknown):
		c.reach(forgotFault)
	}
	if m.fault == replyLost {
		c.reach(replyFault)
	}
	c.contract[cell.event][cell.state]++
	if cell.state == inReservedPast || cell.state == inAssignedPast {
		c.contract[onTimeOut][cell.state]++
	}
}

// recordStates are the columns of the journal's table: none, and the four states.
const recordStates = int(twophase.StateReleased) + 1

// journalOp is a row of the journal's table.
type journalOp uint8

const (
	opBegun journalOp = iota
	opBegunReleasing
	opAssigned
	opReleasing
	opReleased
	opClaim
	opClaimLate
	opRenew
	opYield
	opGet
	opPrune
	journalOps
)

func opBegin(r twophase.Record) journalOp {
	return orIf(r.State == twophase.StateBegun, opBegun, opBegunReleasing)
}

func opDecide(d twophase.Decision) journalOp {
	return orIf(d.State == twophase.StateAssigned, opAssigned, opReleasing)
}

func (c *Coverage) journal(op journalOp, before twophase.Record) { c.records[op][before.State]++ }

// phase is how far a process has come with a transaction, as the wire can tell.
type phase uint8

const (
	phaseReserving phase = iota
	phaseAssigning
	phaseDeciding
	phaseWatching
	phaseSettling
	phaseSettled
	phases
)

// wireEvent is what happens to a transaction at a process.
type wireEvent uint8

const (
	evReserved wireEvent = iota
	evReserveFailed
	evBegun
	evForeign
	evNotBegun
	evAssigned
	evAssignFailed
	evDecidedAssigned
	evDecidedReleasing
	evReleased
	evReleaseFailed
	evTimeOut
	evLeft
	evClaimed
	evLost
	evKilled
	evFrozen
	wireEvents
)

// sees counts an event, in the phase that the process is in.
func (c *Coverage) sees(p *process, id string, ev wireEvent) {
	if at, ok := c.views[view{p, id}]; ok && !p.gone && !c.paused {
		c.coordinator[ev][at]++
	}
}

func (c *Coverage) enters(p *process, id string, at phase) { c.views[view{p, id}] = at }

func (c *Coverage) each(p *process, ev wireEvent) {
	for v, at := range c.views {
		if v.process == p {
			c.coordinator[ev][at]++
		}
	}
}

func (c *Coverage) killed(p *process) {
	c.each(p, evKilled)
	for v, at := range c.views {
		if v.process != p || at >= phaseSettling {
			continue
		}
		switch r, _ := p.world.state(v.id); r.State {
		case 0:
			c.reach(diesBeforeBegin)
		case twophase.StateBegun:
			c.reach(diesAfterBegin)
		default:
			c.reach(diesAfterDecision)
		}
	}
}

func (c *Coverage) froze(p *process) { c.each(p, evFrozen) }

// reach counts a row of the table of faults.
func (c *Coverage) reach(fault string) { c.faults[fault]++ }

// observed counts what coordinators tell their observers.
func (c *Coverage) observed(e twophase.Event) {
	if e.Kind == twophase.EventStuck {
		c.reach(awayForEverFault)
	}
}
