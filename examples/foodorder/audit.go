package main

import (
	"fmt"
	"slices"

	"github.com/seed-bcc3c603/twophase/pool"
)

// invariants are the promises of the protocol, as far as they show in answers
// and books.
var invariants = []struct{ name, means string }{
	{"I1", "a placed order has its packets and its agent"},
	{"I2", "whoever asks again is told the same"},
	{"I3", "nothing is given to two orders"},
	{"I4", "an order that is not placed holds nothing"},
	{"I5", "nothing is assigned but to orders that are placed"},
	{"I6", "no reservation is left over"},
}

// Breach is an invariant that does not hold, and how that shows.
type Breach struct{ Invariant, Shows string }

// audit compares what the customers were told, and what they are told when they
// ask again, with the books of the services. It returns every breach that it
// finds.
func audit(e *Evening) []Breach {
	a := &auditor{verdicts: map[string]Verdict{}, books: map[thing]pool.Resource{}, given: map[thing]string{}}
	for i, told := range e.Told {
		a.compare(told, e.Asked[i])
	}
	a.enter(storeName, e.Store)
	a.enter(deliveryName, e.Delivery)
	for _, answer := range e.final() {
		a.verdicts[answer.Order.ID] = answer.Verdict
		if answer.Verdict == Placed {
			a.checkPlaced(answer)
		}
	}
	a.checkHolders(storeName, e.Store, e.Unfinished)
	a.checkHolders(deliveryName, e.Delivery, e.Unfinished)
	return a.breaches
}

type auditor struct {
	verdicts map[string]Verdict      // the last one, by order
	books    map[thing]pool.Resource // of both services
	given    map[thing]string        // the placed order that was told so
	breaches []Breach
}

// thing is a resource of a service.
type thing struct{ service, id string }

func (a *auditor) found(invariant, format string, args ...any) {
	a.breaches = append(a.breaches, Breach{Invariant: invariant, Shows: fmt.Sprintf(format, args...)})
}

func (a *auditor) compare(told, asked Answer) {
	same := told.Verdict == asked.Verdict && told.Agent == asked.Agent && slices.Equal(told.Packets, asked.Packets)
	if told.Verdict != InDoubt && !same {
		a.found("I2", "%s was told %s, and then %s", told.Order.ID, told, asked)
	}
}

// enter takes in a service's books.
func (a *auditor) enter(service string, books []pool.Resource) {
	for _, line := range books {
		at := thing{service, line.ID}
		if other, twice := a.books[at]; twice {
			a.found("I3", "%s is in the books of the %s service twice: %s and %s", line.ID, service, held(other), held(line))
		}
		a.books[at] = line
	}
}

// checkPlaced looks for what a placed order was told that it has.
func (a *auditor) checkPlaced(answer Answer) {
	order := answer.Order
	if len(answer.Packets) != len(order.Foods) {
		a.found("I1", "%s was given %d of its %d packets", order.ID, len(answer.Packets), len(order.Foods))
	}
	for i := range min(len(answer.Packets), len(order.Foods)) {
		a.checkGiven(order, thing{storeName, answer.Packets[i]}, order.Foods[i])
	}
	a.checkGiven(order, thing{deliveryName, answer.Agent}, order.Area)
}

func (a *auditor) checkGiven(order Order, given thing, kind string) {
	if other, twice := a.given[given]; twice {
		a.found("I3", "%s was given to %s and to %s", given.id, other, order.ID)
	} else {
		a.given[given] = order.ID
	}
	line, known := a.books[given]
	switch {
	case !known:
		a.found("I1", "%s was given %q, which the %s service does not have", order.ID, given.id, given.service)
	case line.Kind != kind:
		a.found("I1", "%s was given %s of %s, and wants %s", order.ID, given.id, line.Kind, kind)
	case line.State != pool.Assigned || line.Key.Transaction != order.ID:
		a.found("I1", "%s was given %s, which is %s", order.ID, given.id, held(line))
	}
}

// checkHolders looks for what somebody holds and should not. Those who are not
// finished may hold something for now.
func (a *auditor) checkHolders(service string, books []pool.Resource, unfinished []string) {
	for _, line := range books {
		holder := line.Key.Transaction
		if line.State == pool.Free || slices.Contains(unfinished, holder) {
			continue
		}
		switch {
		case a.verdicts[holder] == NotPlaced:
			a.found("I4", "%s is not placed, and %s is %s", holder, line.ID, held(line))
		case line.State == pool.Assigned && a.given[thing{service, line.ID}] != holder:
			a.found("I5", "%s is %s, which was not given it", line.ID, held(line))
		}
		if line.State == pool.Reserved {
			a.found("I6", "%s is still %s", line.ID, held(line))
		}
	}
}

// held says who holds a resource.
func held(r pool.Resource) string {
	switch r.State {
	case pool.Reserved:
		return "reserved for " + r.Key.Transaction
	case pool.Assigned:
		return "assigned to " + r.Key.Transaction
	}
	return "free"
}
