package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// City is Order, Store and Delivery in one process, with a bad network between
// them.
type City struct {
	orders          *OrderService
	store, delivery *pool.Pool
	traffic         *traffic
}

func newCity(day *Day, faults Faults, lives Lifetimes, observers ...twophase.Observer) (*City, error) {
	store, err := newStore(day)
	if err != nil {
		return nil, err
	}
	delivery, err := newDelivery(day)
	if err != nil {
		return nil, err
	}
	traffic := &traffic{}
	orders, err := newOrderService(
		twophasetest.NewFaultyParticipant(store, faults.plan()),
		twophasetest.NewFaultyParticipant(delivery, faults.plan()),
		lives, append(observers, traffic)...,
	)
	if err != nil {
		return nil, err
	}
	return &City{orders: orders, store: store, delivery: delivery, traffic: traffic}, nil
}

// Evening is what is known when the day is over.
type Evening struct {
	Told  []Answer // to the customers, when they ordered
	Asked []Answer // to those who ask now what became of their orders
	// Store and Delivery are the books of the services: what they have, and
	// who holds it.
	Store, Delivery []pool.Resource
	// Unfinished are the ids of orders that have something to be released
	// that a service has not acknowledged. Recovery would go on trying.
	Unfinished []string

	Took  time.Duration
	Calls int64 // on the store and on delivery
	Lost  int64 // of these, or their replies
}

// final returns what the customers know in the end: who was left in doubt asks
// again.
func (e *Evening) final() []Answer {
	answers := slices.Clone(e.Told)
	for i, told := range e.Told {
		if told.Verdict == InDoubt {
			answers[i] = e.Asked[i]
		}
	}
	return answers
}

// patience is how long the city waits in the evening for what is still to be
// released.
const patience = 30 * time.Second

// spend lives through a day: it takes so many orders at a time. When ctx ends
// it takes no more, and still comes to an orderly end.
func (c *City) spend(ctx context.Context, orders []Order, atATime int, p progress) (*Evening, error) {
	began := time.Now()
	e := &Evening{Told: c.placeAll(ctx, orders, atATime, p), Took: time.Since(began)}
	ctx = context.WithoutCancel(ctx)
	if err := c.tidy(ctx, p); err != nil {
		return nil, err
	}
	unfinished, err := c.orders.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	e.Unfinished = unfinished
	e.Asked = make([]Answer, len(orders))
	for i, order := range orders {
		e.Asked[i] = c.orders.Ask(ctx, order)
	}
	e.Store, e.Delivery = c.store.List(), c.delivery.List()
	e.Calls, e.Lost = c.traffic.calls.Load(), c.traffic.lost.Load()
	return e, nil
}

// placeAll places the orders as they come in, and returns the answers in that
// order.
func (c *City) placeAll(ctx context.Context, orders []Order, atATime int, p progress) []Answer {
	answers := make([]Answer, len(orders))
	next := make(chan int)
	var counters sync.WaitGroup
	for range min(atATime, len(orders)) {
		counters.Go(func() {
			for i := range next {
				answers[i] = c.orders.Place(ctx, orders[i])
				p.answered(answers[i])
			}
		})
	}
	for i := range orders {
		next <- i
	}
	close(next)
	counters.Wait()
	return answers
}

// tidy waits until nothing is left to be released, but not for ever, and closes
// the order service. What is left by then is not an error: it shows as
// unfinished.
func (c *City) tidy(ctx context.Context, p progress) error {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		unfinished, err := c.orders.Unfinished(ctx)
		if err != nil || len(unfinished) == 0 || patient.Err() != nil {
			closed := c.orders.Close(patient)
			if errors.Is(closed, context.DeadlineExceeded) {
				closed = nil
			}
			return errors.Join(err, closed)
		}
		p.releasing(len(unfinished))
		select {
		case <-time.After(50 * time.Millisecond):
		case <-patient.Done():
		}
	}
}
