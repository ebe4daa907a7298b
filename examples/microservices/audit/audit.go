// Package audit compares what customers were told with the books of all three
// services.
package audit

import (
	"fmt"
	"slices"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/load"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// Invariants are the promises of the protocol, as far as they show in answers and
// books.
var Invariants = []struct{ Name, Means string }{
	{"I1", "an order that was told placed has its packet and its agent"},
	{"I2", "whoever asks again is told the same, and the journal says so"},
	{"I3", "nothing is given to two orders"},
	{"I4", "an order that is not placed holds nothing"},
	{"I5", "nothing is assigned but to orders that are placed"},
	{"I6", "no reservation and no unfinished order is left over"},
	{"books", "delivery's own table and its fence agree, as do the store's tables"},
}

// Breach is an invariant that does not hold, and how that shows.
type Breach struct{ Invariant, Shows string }

// Check returns every breach that shows in the books, which nobody writes in any
// more, and in what customers were told. Settled says that what was under way has
// come to its end.
func Check(b Books, told []*load.Told, settled bool) []Breach {
	a := &auditor{records: make(map[string]*twophase.Record, len(b.Journal))}
	if !settled {
		a.found("I6", "orders were unfinished, or reservations left over, long after everything was well again")
	}
	for i := range b.Journal {
		a.records[b.Journal[i].ID] = &b.Journal[i]
	}
	packets := a.enter(store.Name, b.Packets)
	agents := a.enter(delivery.Name, b.Agents)
	a.checkJournal(packets, agents)
	for _, t := range told {
		a.checkTold(t)
	}
	a.checkKeys(packets, b.PacketKeys)
	a.checkKeys(agents, b.AgentKeys)
	return a.breaches
}

type auditor struct {
	records  map[string]*twophase.Record
	breaches []Breach
}

// shelf is the stock of a service, by id and by whose it is.
type shelf struct {
	service string
	lines   map[string]Line
	held    map[twophase.Key][]string
}

func (a *auditor) found(invariant, format string, args ...any) {
	a.breaches = append(a.breaches, Breach{Invariant: invariant, Shows: fmt.Sprintf(format, args...)})
}

// enter takes in a service's stock, and looks for what somebody holds and should
// not.
func (a *auditor) enter(service string, lines []Line) *shelf {
	s := &shelf{service: service, lines: make(map[string]Line, len(lines)), held: map[twophase.Key][]string{}}
	for _, line := range lines {
		if _, twice := s.lines[line.ID]; twice {
			a.found("I3", "%s is in the books of the %s service twice", line.ID, service)
		}
		s.lines[line.ID] = line
		if line.State == api.Free {
			continue
		}
		s.held[line.Key] = append(s.held[line.Key], line.ID)
		a.checkHolder(service, line)
	}
	return s
}

func (a *auditor) checkHolder(service string, line Line) {
	record := a.records[line.Key.Transaction]
	switch {
	case line.State == api.Reserved:
		a.found("I6", "%s at the %s service is still reserved for %s", line.ID, service, line.Key)
	case record == nil:
		a.found("I5", "%s at the %s service is assigned to %s, which the journal does not have", line.ID, service, line.Key)
	case record.State == twophase.StateBegun:
		a.found("I5", "%s at the %s service is assigned to %s, which is undecided", line.ID, service, line.Key)
	case record.State != twophase.StateAssigned:
		a.found("I4", "%s at the %s service is assigned to %s, which is not placed", line.ID, service, line.Key)
	}
}

// checkJournal looks for what orders that are placed were given.
func (a *auditor) checkJournal(packets, agents *shelf) {
	given := map[string]string{}
	for _, record := range a.records {
		if !record.Finished() {
			a.found("I6", "%s is %v and unfinished: %s", record.ID, record.State, record.Trouble)
		}
		if record.State != twophase.StateAssigned {
			continue
		}
		for _, step := range record.Steps {
			at := packets
			if step.Participant == delivery.Name {
				at = agents
			}
			a.checkGiven(record.ID, step, at, given)
		}
	}
}

func (a *auditor) checkGiven(id string, step twophase.StepRecord, at *shelf, given map[string]string) {
	if step.Reservation == nil || len(step.Reservation.Resources) == 0 {
		a.found("I1", "%s is placed, and was given nothing by the %s service", id, at.service)
		return
	}
	for _, resource := range step.Reservation.Resources {
		name := at.service + " " + resource
		if other, twice := given[name]; twice {
			a.found("I3", "%s was given to %s and to %s", name, other, id)
		}
		given[name] = id
		line, known := at.lines[resource]
		switch {
		case !known:
			a.found("I1", "%s was given %s, which is not in the books", id, name)
		case line.State != api.Assigned || line.Key != (twophase.Key{Transaction: id, Step: step.Name}):
			a.found("I1", "%s was given %s, which is %s %s", id, name, line.State, line.Key)
		}
	}
}

// checkTold compares what a customer was told with the journal.
func (a *auditor) checkTold(t *load.Told) {
	if t.Other != nil {
		a.found("I2", "%s was told %v, and then %v", t.Order.ID, t.Answer, *t.Other)
	}
	record := a.records[t.Order.ID]
	switch t.Answer.Status {
	case api.Placed:
		a.checkPlaced(t, record)
	case api.NotPlaced:
		if record == nil || record.State != twophase.StateReleasing && record.State != twophase.StateReleased {
			a.found("I2", "%s was told that it is not placed, and the journal has it %s", t.Order.ID, stateOf(record))
		}
	}
}

func (a *auditor) checkPlaced(t *load.Told, record *twophase.Record) {
	if record == nil || record.State != twophase.StateAssigned {
		a.found("I1", "%s was told that it is placed, and the journal has it %s", t.Order.ID, stateOf(record))
		return
	}
	for _, step := range record.Steps {
		told := t.Answer.Packet
		if step.Participant == delivery.Name {
			told = t.Answer.Agent
		}
		if step.Reservation == nil || !slices.Equal(step.Reservation.Resources, []string{told}) {
			a.found("I1", "%s was told that it has %q, and the journal has %+v", t.Order.ID, told, step.Reservation)
		}
	}
}

func stateOf(record *twophase.Record) string {
	if record == nil {
		return "not at all"
	}
	return record.State.String()
}

// checkKeys compares a service's stock with what its participant keeps of each key.
func (a *auditor) checkKeys(s *shelf, keys []Key) {
	for _, key := range keys {
		held := s.held[key.Key]
		delete(s.held, key.Key)
		switch {
		case key.Live:
			a.found("I6", "%s is still reserved at the %s service", key, s.service)
		case key.State == twophase.EntryAssigned:
			slices.Sort(held)
			if !slices.Equal(held, slices.Sorted(slices.Values(key.Resources))) {
				a.found("books", "%s is assigned %v at the %s service, whose stock has %v", key, key.Resources, s.service, held)
			}
		case len(held) > 0:
			a.found("books", "%s is %v at the %s service, whose stock has %v", key, key.State, s.service, held)
		}
	}
	for key, held := range s.held {
		a.found("books", "%v at the %s service is held by %s, of which its participant knows nothing", held, s.service, key)
	}
}
