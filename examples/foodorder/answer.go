package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-bcc3c603/twophase"
)

// Answer is what the customer is told.
type Answer struct {
	Order   Order
	Verdict Verdict
	// Packets, one for each food, and Agent are what a placed order was given.
	Packets []string
	Agent   string
	// Reason is why an order is not placed.
	Reason Reason
	// Details say in words what it was given, or why it was not.
	Details string
}

// String returns the answer as one line.
func (a Answer) String() string { return fmt.Sprintf("%s (%s)", a.Verdict, a.Details) }

// Verdict is the answer in a word or two.
type Verdict string

// The verdicts.
const (
	Placed    Verdict = "Order Placed"
	NotPlaced Verdict = "Order Not Placed"
	InDoubt   Verdict = "Order In Doubt" // ask again
)

// Reason is one of the few kinds of why not.
type Reason string

// The reasons.
const (
	SoldOut   Reason = "sold out"
	NoAgent   Reason = "no agent free"
	NoAnswer  Reason = "a service did not answer"
	OutOfTime Reason = "out of time"
	CalledOff Reason = "called off"
	Trouble   Reason = "trouble"
)

func placed(order Order, result twophase.Result) Answer {
	a := Answer{Order: order, Verdict: Placed}
	for _, step := range result.Steps {
		if step.Participant == storeName {
			a.Packets = append(a.Packets, step.Reservation.Resource())
		} else {
			a.Agent = step.Reservation.Resource()
		}
	}
	a.Details = strings.Join(a.Packets, " and ") + " by " + a.Agent
	return a
}

func notPlaced(order Order, steps []twophase.Step, err error) Answer {
	reason, details := whyNot(steps, err)
	return Answer{Order: order, Verdict: NotPlaced, Reason: reason, Details: details}
}

func inDoubt(order Order) Answer {
	return Answer{Order: order, Verdict: InDoubt, Details: "ask again"}
}

// whyNot puts into words why an order is not placed.
func whyNot(steps []twophase.Step, err error) (Reason, string) {
	failed, ok := errors.AsType[*twophase.Error](err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, twophase.ErrGone):
		return CalledOff, "it was called off"
	case errors.Is(err, twophase.ErrExpired):
		return OutOfTime, "a reservation ran out before all was assigned"
	case ok && errors.Is(err, twophase.ErrRefused):
		return refused(steps, failed.Step)
	case ok && failed.Call != "" && !twophase.IsFinal(err):
		return NoAnswer, fmt.Sprintf("the %s service did not answer in time", failed.Participant)
	case errors.Is(err, context.DeadlineExceeded):
		return OutOfTime, "it could not be placed in time"
	}
	return Trouble, err.Error()
}

// refused says what is not to be had.
func refused(steps []twophase.Step, name string) (Reason, string) {
	for _, step := range steps {
		if step.Name != name {
			continue
		}
		switch wanted := step.Payload.(type) {
		case Packet:
			return SoldOut, "no " + wanted.Food + " left"
		case Agent:
			return NoAgent, "no agent free in " + wanted.Area
		}
	}
	return Trouble, "refused: " + name
}
