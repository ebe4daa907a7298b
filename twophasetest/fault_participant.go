package twophasetest

import (
	"bytes"
	"context"

	"github.com/seed-bcc3c603/twophase"
)

// FaultyParticipant is a participant behind a network that loses, repeats and
// delays. Make it with [NewFaultyParticipant].
type FaultyParticipant struct {
	participant twophase.Participant
	wire        *wire
}

// NewFaultyParticipant returns a participant whose calls meet the faults of a
// plan. If the plan has late deliveries, end it with Stop.
func NewFaultyParticipant(participant twophase.Participant, plan Plan) *FaultyParticipant {
	return &FaultyParticipant{participant: participant, wire: newWire(plan)}
}

// Reserve implements [twophase.Participant].
func (f *FaultyParticipant) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	req.Payload = bytes.Clone(req.Payload) // a late delivery outlives the caller's
	return send(ctx, f.wire, twophase.CallReserve, req.Key, func(ctx context.Context) (twophase.Reservation, error) {
		return f.participant.Reserve(ctx, req)
	})
}

// Assign implements [twophase.Participant].
func (f *FaultyParticipant) Assign(ctx context.Context, key twophase.Key) error {
	_, err := send(ctx, f.wire, twophase.CallAssign, key, func(ctx context.Context) (nothing, error) {
		return nothing{}, f.participant.Assign(ctx, key)
	})
	return err
}

// Release implements [twophase.Participant].
func (f *FaultyParticipant) Release(ctx context.Context, key twophase.Key) error {
	_, err := send(ctx, f.wire, twophase.CallRelease, key, func(ctx context.Context) (nothing, error) {
		return nothing{}, f.participant.Release(ctx, key)
	})
	return err
}

// Wait returns when everything that is still to arrive late has arrived.
func (f *FaultyParticipant) Wait() { f.wire.settle() }

// Stop abandons what is still to arrive late, ends the context of what has
// arrived and is not answered, and waits for that.
func (f *FaultyParticipant) Stop() { f.wire.end() }
