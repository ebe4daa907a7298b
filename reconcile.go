package twophase

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Contradiction is a step of a placed transaction whose participant no longer
// stands by it: it gave away what it had assigned, or its books were restored
// from a backup. The protocol cannot lead to one, nor mend it.
type Contradiction struct {
	// Transaction and Step are the reservation's key.
	Transaction string
	Step        string
	Participant string
	// Given is what the transaction's caller was told.
	Given Reservation
	// Err is what the participant says now.
	Err error
}

// Error returns a message that names the transaction, the step and both sides.
func (c *Contradiction) Error() string {
	return fmt.Sprintf("twophase: %s was given %v by step %s at %s, which no longer stands by it: %v",
		c.Transaction, c.Given.Resources, c.Step, c.Participant, c.Err)
}

// Unwrap returns what the participant says now.
func (c *Contradiction) Unwrap() error { return c.Err }

// Reconcile compares the participants' books with the journal: it goes over the
// transactions that were placed, begun no longer ago than since, and asks each
// participant again what it had acknowledged, which changes nothing where the
// books agree. It yields each [Contradiction], which observers are told of too,
// and goes on; a participant that cannot be asked for now is an error that is
// none, and so is a journal that cannot be read. Since must be shorter than the
// time for which participants keep what is finished.
func (c *Coordinator) Reconcile(ctx context.Context, since time.Duration) iter.Seq[error] {
	return func(yield func(error) bool) {
		for record, err := range c.journal.List(ctx, Filter{State: StateAssigned}) {
			if err != nil {
				yield(fmt.Errorf("twophase: reconcile: %w", err))
				return
			}
			if record.Age > since {
				continue
			}
			for _, step := range record.Steps {
				if err := c.reconcile(ctx, record, step); err != nil && !yield(err) {
					return
				}
			}
		}
	}
}

// reconcile asks about one step. Assign comes first: it takes nothing from a
// participant that has forgotten the key, as a Reserve would.
func (c *Coordinator) reconcile(ctx context.Context, record Record, step StepRecord) error {
	if step.Dropped || step.Reservation == nil {
		return nil
	}
	p := c.participantOf(step)
	key := Key{Transaction: record.ID, Step: step.Name}
	var held Reservation
	err := pace{retry: p.policy.Assign, budget: p.budget, within: p.policy.ReserveFor}.run(ctx,
		func(ctx context.Context, _ int, sent time.Time) error {
			return guard(ctx, sent, func(ctx context.Context, _ time.Time) (err error) {
				if err = p.Assign(ctx, key); err == nil {
					held, err = p.Reserve(ctx, Request{Key: key, Payload: step.Payload, Hold: step.Hold})
				}
				return err
			})
		})
	switch {
	case err == nil && sameResources(held, *step.Reservation):
		return nil
	case err == nil:
		err = fmt.Errorf("it holds %v", held.Resources)
	case !IsFinal(err):
		return fmt.Errorf("twophase: reconcile %s at %s: %w", key, step.Participant, err)
	}
	found := &Contradiction{
		Transaction: record.ID, Step: step.Name, Participant: step.Participant, Given: *step.Reservation, Err: err,
	}
	c.observe(ctx, Event{
		Kind: EventContradiction, Transaction: record.ID, Step: step.Name, Participant: step.Participant,
		Call: CallAssign, Err: found,
	})
	return found
}

func sameResources(a, b Reservation) bool {
	return slices.Equal(slices.Sorted(slices.Values(a.Resources)), slices.Sorted(slices.Values(b.Resources)))
}
