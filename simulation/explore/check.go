package explore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// breach keeps the first rule that was broken.
func (p *play) breach(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == "" {
		p.broken = fmt.Sprintf(format, args...)
		p.note("! %s", p.broken)
	}
}

// inbound looks at a call when it is sent: I7.
func (p *play) inbound(c *call) {
	record, begun := p.ledger.stands()
	method, rest, _ := strings.Cut(c.what, " ")
	step, _, _ := strings.Cut(rest, " ")
	switch {
	case method == "assign" && !begun:
		p.breach("I7: %s is sent before begun is durable", c.name)
	case method == "release" && !owesRelease(record, step):
		p.breach("I7: %s is sent before releasing is durable", c.name)
	}
}

// owesRelease reports whether the decision that stands in a record is to
// release a step.
func owesRelease(record twophase.Record, step string) bool {
	dropped := func(s twophase.StepRecord) bool { return s.Name == step && s.Dropped }
	switch record.State {
	case twophase.StateReleasing, twophase.StateReleased:
		return true
	case twophase.StateAssigned:
		return slices.ContainsFunc(record.Steps, dropped)
	}
	return false
}

// tell keeps what a caller is told, which must be durable, and must not
// contradict what others were told: I2 and I7.
func (p *play) tell(v verdict) {
	p.mu.Lock()
	before := slices.Clone(p.told)
	p.told = append(p.told, v)
	p.note("  the caller of %s is told: %s", v.side.name, v)
	p.mu.Unlock()
	record, _ := p.ledger.stands()
	if v.err == nil && record.State != twophase.StateAssigned {
		p.breach("I7: told placed while %v is durable", record.State)
	}
	for _, other := range before {
		placed, not := v.err == nil || other.err == nil, errors.Is(v.err, twophase.ErrNotPlaced) || errors.Is(other.err, twophase.ErrNotPlaced)
		if placed && not {
			p.breach("I2: told both placed and not placed")
		}
	}
}

// check holds all books against what must be true at every moment.
func (p *play) check() {
	p.ledger.watch()
	_, begun := p.ledger.stands()
	p.mu.Lock()
	told := slices.Clone(p.told)
	p.mu.Unlock()
	for _, v := range told {
		for _, step := range v.steps {
			p.checkGiven(v.side, step)
		}
	}
	for _, s := range p.shops {
		s.mu.Lock()
		holders := map[string]twophase.Key{}
		for key, e := range s.entries {
			for _, resource := range e.resources {
				if other, twice := holders[resource]; twice {
					p.breach("I3: %s is held by %s and %s", resource, key, other)
				}
				holders[resource] = key
			}
			if e.State == twophase.EntryAssigned && !begun && !isRival(key.Transaction) {
				p.breach("I5: %s is assigned to %s, of which there is no record", s.name, key)
			}
		}
		if s.breach != "" {
			p.breach("%s", s.breach)
		}
		s.mu.Unlock()
	}
}

// checkGiven: what a caller was told that he has, he has: I1.
func (p *play) checkGiven(to *side, step twophase.StepResult) {
	key := twophase.Key{Transaction: transaction, Step: step.Name}
	for _, s := range p.shops {
		if s.name != step.Participant {
			continue
		}
		s.mu.Lock()
		e := s.entry(key)
		s.mu.Unlock()
		if to.asked != "" && e.payload != to.asked {
			p.breach("I1: told placed, and %s is given %s instead of %s", key, e.payload, to.asked)
		}
		if e.State != twophase.EntryAssigned || !slices.Equal(e.resources, step.Reservation.Resources) {
			p.breach("I1: told placed with %v, and %s is %v %v", step.Reservation.Resources, key, e.State, e.resources)
		}
	}
}

// settle ends all faults, lets a third coordinator recover what is left, and
// audits the books: before what is late arrives, after it, and when all time
// has run out.
func (p *play) settle() {
	p.note("everything is let through, and C recovers")
	p.wire.open()
	c := p.newSide("C")
	for _, act := range []func(){
		func() { p.recoverAll(c) },
		p.audit,
		p.wire.arriveAll,
		func() { p.recoverAll(c) },
		p.audit,
		func() { p.ask(c, c.lookAgain) },
		func() { p.sleep(time.Minute) },
		p.audit,
		p.probe,
	} {
		if p.broken == "" {
			act()
		}
	}
}

// lookAgain asks what became of the transaction.
func (s *side) lookAgain(ctx context.Context) (twophase.Result, error) {
	return s.coordinator.Wait(ctx, transaction)
}

// recoverAll recovers until nothing is left to do, and everybody was told.
func (p *play) recoverAll(c *side) {
	for range 5 {
		if _, err := c.coordinator.Recover(context.Background()); err != nil {
			p.breach("recovery fails: %v", err)
		}
		p.sleep(10 * time.Second)
		if record, ok := p.ledger.stands(); (!ok || record.Finished()) && !p.waits() {
			return
		}
	}
	p.breach("stuck: it is not finished, or a caller is not told, though all faults have ended")
}

// waits reports whether a caller of a living coordinator still waits.
func (p *play) waits() bool {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	return slices.ContainsFunc(p.sides, func(s *side) bool { return s.waiting > 0 && !s.crashed })
}

// audit holds the books against each other when nothing is under way.
func (p *play) audit() {
	p.check()
	record, _ := p.ledger.stands()
	for _, s := range p.shops {
		s.mu.Lock()
		for key, e := range s.entries {
			kept := slices.ContainsFunc(record.Steps, func(step twophase.StepRecord) bool { return step.Name == key.Step && !step.Dropped })
			switch {
			case isRival(key.Transaction) || !e.Holds() || s.ranOut(e):
			case record.State == twophase.StateReleased || record.State == twophase.StateAssigned && !kept:
				p.breach("I4: %s is %v in the end, and %s is %v", transaction, record.State, key, e.State)
			case e.State == twophase.EntryAssigned && record.State != twophase.StateAssigned:
				p.breach("I5: %s is assigned in the end, and the journal has %v", key, record.State)
			}
		}
		s.mu.Unlock()
	}
}

// probe lets all time run out, and sees that what is not assigned is free: I6.
func (p *play) probe() {
	for _, s := range p.shops {
		s.expire()
		s.rival("rival-at-last")
		s.mu.Lock()
		assigned := 0
		for _, e := range s.entries {
			if e.State == twophase.EntryAssigned {
				assigned += len(e.resources)
			}
		}
		s.mu.Unlock()
		if assigned != resources {
			p.breach("I6: %d resources of the %s are held by nobody, and not free", resources-assigned, s.name)
		}
	}
	p.check()
}
