package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// OrderService is the Order service: it places an order at the store and at
// delivery, or at neither.
type OrderService struct {
	coordinator *twophase.Coordinator
	journal     twophase.Journal
}

// Lifetimes are how long things may take at most.
type Lifetimes struct {
	Hold    time.Duration // of a reservation
	Timeout time.Duration // of an order that is neither placed nor not placed
}

// How long a service may be out: orders outlast that.
const (
	reserveFor = 2 * time.Second
	assignFor  = 5 * time.Second
	margin     = 500 * time.Millisecond
)

func newOrderService(
	store, delivery twophase.Participant, lives Lifetimes, observers ...twophase.Observer,
) (*OrderService, error) {
	journal := twophase.NewMemoryJournal()
	options := []twophase.Option{
		twophase.WithParticipant(storeName, store),
		twophase.WithParticipant(deliveryName, delivery),
		twophase.WithPolicy(twophase.Policy{
			Hold: lives.Hold, ReserveFor: reserveFor, AssignFor: assignFor, Margin: margin,
			// The network is bad, but nobody is overloaded: there is nobody
			// to be spared by fewer retries.
			Budget: twophase.RetryBudget{Burst: 1000, PerSecond: 1000},
		}),
		twophase.WithTimeout(lives.Timeout),
	}
	for _, observer := range observers {
		options = append(options, twophase.WithObserver(observer))
	}
	coordinator, err := twophase.NewCoordinator(journal, options...)
	if err != nil {
		return nil, err
	}
	return &OrderService{coordinator: coordinator, journal: journal}, nil
}

// Place places an order: a packet of each food and an agent are given to it,
// all or none.
func (s *OrderService) Place(ctx context.Context, order Order) Answer {
	steps := order.steps()
	result, err := s.coordinator.Run(ctx, twophase.Transaction{ID: order.ID, Steps: steps})
	switch {
	case err == nil:
		return placed(order, result)
	case errors.Is(err, twophase.ErrInDoubt):
		return inDoubt(order)
	}
	return notPlaced(order, steps, err) // decided so, or not even begun
}

// Ask returns what has become of an order that was placed, or was not.
func (s *OrderService) Ask(ctx context.Context, order Order) Answer {
	result, err := s.coordinator.Lookup(ctx, order.ID)
	switch {
	case err == nil:
		return placed(order, result)
	case errors.Is(err, twophase.ErrNotPlaced), errors.Is(err, twophase.ErrGone):
		return notPlaced(order, order.steps(), err)
	}
	return inDoubt(order)
}

// Unfinished returns the ids of the orders that still have something to be
// released.
func (s *OrderService) Unfinished(ctx context.Context) ([]string, error) {
	var ids []string
	for record, err := range s.journal.List(ctx, twophase.Filter{Unfinished: true}) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, record.ID)
	}
	return ids, nil
}

// Close ends the service. It takes no new orders, and lets those under way come
// to their end until ctx ends.
func (s *OrderService) Close(ctx context.Context) error { return s.coordinator.Close(ctx) }

func (o Order) steps() []twophase.Step {
	steps := make([]twophase.Step, 0, len(o.Foods)+1)
	for i, food := range o.Foods {
		steps = append(steps, twophase.Step{
			Name: fmt.Sprintf("dish-%d", i+1), Participant: storeName, Payload: Packet{Food: food},
		})
	}
	return append(steps, twophase.Step{Name: "agent", Participant: deliveryName, Payload: Agent{Area: o.Area}})
}
