package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// answerOf puts what the coordinator says into the customer's words. The error is
// what is no answer about the order.
func answerOf(o api.Order, result twophase.Result, err error) (api.Answer, error) {
	answer := api.Answer{ID: o.ID, Food: o.Food, Area: o.Area}
	switch {
	case err == nil:
		answer.Status = api.Placed
		answer.Packet = result.Reservation(store.Name).Resource()
		answer.Agent = result.Reservation(delivery.Name).Resource()
	case errors.Is(err, twophase.ErrNotPlaced):
		answer.Status = api.NotPlaced
		answer.Reason, answer.Detail = whyNot(o, err)
	case errors.Is(err, twophase.ErrInDoubt):
		answer.Status = api.InDoubt
		answer.Detail = "it is not known yet: ask again"
		answer.Ask = "/orders/" + o.ID
	default:
		return answer, err
	}
	return answer, nil
}

// whyNot puts into words why an order is not placed.
func whyNot(o api.Order, err error) (api.Reason, string) {
	failed, ok := errors.AsType[*twophase.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return api.CalledOff, "it was called off"
	case errors.Is(err, twophase.ErrExpired):
		return api.OutOfTime, "a reservation ran out before all was assigned"
	case ok && errors.Is(err, twophase.ErrRefused):
		return refused(o, failed.Participant)
	case ok && failed.Call != "" && !twophase.IsFinal(err):
		return api.NoAnswer, fmt.Sprintf("the %s service did not answer in time", failed.Participant)
	case errors.Is(err, context.DeadlineExceeded):
		return api.OutOfTime, "it could not be placed in time"
	}
	return api.Trouble, err.Error()
}

// refused says what is not to be had.
func refused(o api.Order, participant string) (api.Reason, string) {
	if participant == store.Name {
		return api.SoldOut, "no " + o.Food + " left"
	}
	return api.NoAgent, "no agent free in " + o.Area
}

// orderOf returns the order that a record in the journal is of.
func orderOf(record twophase.Record) (api.Order, error) {
	o := api.Order{ID: record.ID}
	var packet store.Packet
	var agent delivery.Agent
	for _, step := range record.Steps {
		var err error
		switch step.Participant {
		case store.Name:
			err = json.Unmarshal(step.Payload, &packet)
		case delivery.Name:
			err = json.Unmarshal(step.Payload, &agent)
		}
		if err != nil {
			return o, fmt.Errorf("order: %s: payload of %s in the journal: %w", record.ID, step.Name, err)
		}
	}
	o.Food, o.Area = packet.Food, agent.Area
	return o, nil
}
