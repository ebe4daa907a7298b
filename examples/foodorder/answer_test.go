package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
)

func TestWhyNot(t *testing.T) {
	t.Parallel()
	lost := errors.New("message lost")
	steps := Order{Foods: []string{"masala dosa", "filter coffee"}, Area: "Hebbal"}.steps()
	failed := func(step, participant string, call twophase.Call, err error) error {
		return &twophase.Error{
			ID: "order-1", Verdict: twophase.ErrNotPlaced, Step: step, Participant: participant, Call: call, Err: err,
		}
	}
	for _, test := range []struct {
		name    string
		err     error
		reason  Reason
		details string
	}{
		{
			"the first food is sold out", failed("dish-1", storeName, twophase.CallReserve, twophase.ErrRefused),
			SoldOut, "no masala dosa left",
		},
		{
			"the second food is sold out", failed("dish-2", storeName, twophase.CallReserve, twophase.ErrRefused),
			SoldOut, "no filter coffee left",
		},
		{
			"all agents are away", failed("agent", deliveryName, twophase.CallReserve, twophase.ErrRefused),
			NoAgent, "no agent free in Hebbal",
		},
		{
			"the store does not answer", failed("dish-1", storeName, twophase.CallReserve, lost),
			NoAnswer, "the store service did not answer in time",
		},
		{
			"delivery is too slow", failed("agent", deliveryName, twophase.CallAssign, context.DeadlineExceeded),
			NoAnswer, "the delivery service did not answer in time",
		},
		{
			"a reservation has run out", failed("agent", deliveryName, twophase.CallAssign, twophase.ErrExpired),
			OutOfTime, "a reservation ran out before all was assigned",
		},
		{
			"the timeout has passed", failed("", "", "", context.DeadlineExceeded),
			OutOfTime, "it could not be placed in time",
		},
		{"the customer has gone", failed("", "", "", context.Canceled), CalledOff, "it was called off"},
		{"it was never begun", fmt.Errorf("look up: %w", twophase.ErrGone), CalledOff, "it was called off"},
		{
			"a service has forgotten what it promised", failed("agent", deliveryName, twophase.CallAssign, twophase.ErrUnknown),
			Trouble, "twophase: order-1 not placed: assign agent at delivery: unknown reservation",
		},
		{"anything else", lost, Trouble, "message lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reason, details := whyNot(steps, test.err)
			assert.Equal(t, test.reason, reason)
			assert.Equal(t, test.details, details)
		})
	}
}
