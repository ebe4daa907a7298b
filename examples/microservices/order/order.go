// Package order is the Order service: it places an order at the store and at
// delivery, or at neither, and tells whoever asks again the same.
package order

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// Service is the Order service. Make it with [New].
type Service struct {
	coordinator *twophase.Coordinator
	journal     twophase.Journal
	latest      *Latest
	store       twophase.Participant
	delivery    twophase.Participant
	lives       Lifetimes
}

// Lifetimes are how long things may take; docs/deploying.md says how they fit
// together.
type Lifetimes struct {
	// Hold is how long a packet or an agent is reserved.
	Hold time.Duration
	// Timeout is how long an order may stay undecided.
	Timeout time.Duration
	// ReserveFor is how long a service that does not answer is asked to reserve.
	ReserveFor time.Duration
	// AssignFor is the outage that an order outlasts once everything is reserved.
	AssignFor time.Duration
	// Attempt is how long one call may take.
	Attempt time.Duration
	// Lease is how long an order belongs to a process that gives no sign of life.
	Lease time.Duration
}

// DefaultLifetimes outlast a service that is restarted.
func DefaultLifetimes() Lifetimes {
	return Lifetimes{
		Hold: 20 * time.Second, Timeout: 20 * time.Second,
		ReserveFor: 2 * time.Second, AssignFor: 12 * time.Second, Attempt: 2 * time.Second,
		Lease: 5 * time.Second,
	}
}

// AnswerWithin is how long a customer waits for an answer at most: the order's
// timeout, then some time for a journal that does not answer.
func (l Lifetimes) AnswerWithin() time.Duration { return l.Timeout + 7*time.Second }

const margin = 500 * time.Millisecond

func (l Lifetimes) options() []twophase.Option {
	retry := func(longest time.Duration) twophase.Retry {
		return twophase.Retry{First: 50 * time.Millisecond, Max: longest, Attempt: l.Attempt}
	}
	return []twophase.Option{
		twophase.WithTimeout(l.Timeout),
		twophase.WithLease(l.Lease),
		twophase.WithPolicy(twophase.Policy{
			Hold: l.Hold, ReserveFor: l.ReserveFor, AssignFor: l.AssignFor, ReleaseFor: l.AssignFor, Margin: margin,
			Reserve: retry(500 * time.Millisecond), Assign: retry(time.Second), Release: retry(time.Second),
			// Two services on one machine: there is nobody else to be spared.
			Budget: twophase.RetryBudget{Burst: 200, PerSecond: 100},
		}),
	}
}

// New returns the service on a journal, which stays the caller's to close.
func New(
	journal twophase.Journal, packets, agents twophase.Participant, lives Lifetimes, observers ...twophase.Observer,
) (*Service, error) {
	s := &Service{journal: journal, latest: newLatest(), store: packets, delivery: agents, lives: lives}
	options := append(lives.options(),
		twophase.WithParticipant(store.Name, packets),
		twophase.WithParticipant(delivery.Name, agents),
		twophase.WithObserver(s.latest),
	)
	for _, o := range observers {
		options = append(options, twophase.WithObserver(o))
	}
	coordinator, err := twophase.NewCoordinator(journal, options...)
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	s.coordinator = coordinator
	return s, nil
}

// steps are what an order takes: a packet and an agent.
func steps(o api.Order) []twophase.Step {
	return []twophase.Step{
		{Participant: store.Name, Payload: store.Packet{Food: o.Food}},
		{Participant: delivery.Name, Payload: delivery.Agent{Area: o.Area}},
	}
}

// Place places an order, or says why not. The error is for a caller who is wrong,
// or who may send the same again: nothing was begun by this call.
func (s *Service) Place(ctx context.Context, o api.Order) (api.Answer, error) {
	s.latest.begin(o)
	result, err := s.coordinator.Run(ctx, twophase.Transaction{ID: o.ID, Steps: steps(o)})
	answer, err := answerOf(o, result, err)
	if err != nil {
		s.latest.notBegun(o.ID, err.Error())
		return answer, err
	}
	s.latest.answered(answer)
	return answer, nil
}

// Ask returns what has become of an order, without waiting. The error is
// [twophase.ErrGone] if there is no such order.
func (s *Service) Ask(ctx context.Context, id string) (api.Answer, error) {
	record, err := s.journal.Get(ctx, id)
	if err != nil {
		return api.Answer{}, err
	}
	o, err := orderOf(record)
	if err != nil {
		return api.Answer{}, err
	}
	result, err := s.coordinator.Lookup(ctx, id)
	return answerOf(o, result, err)
}

// Close takes no new orders, and lets those under way come to their end until ctx
// ends. What is left by then is no error: another process goes on with it.
func (s *Service) Close(ctx context.Context) error {
	err := s.coordinator.Close(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
