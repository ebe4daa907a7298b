package twophasegrpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// Participant is a [twophase.Participant] that is served over gRPC, by
// [Register] or by whatever implements the contract. It is safe for concurrent
// use. Make it with [NewParticipant].
type Participant struct {
	client  twophasev1.ParticipantServiceClient
	options []grpc.CallOption
	timeout time.Duration
}

var _ twophase.Participant = (*Participant)(nil)

// NewParticipant returns the participant at the other end of a connection,
// which stays the caller's to close: see [DialOptions] for how to make it. The
// error is [twophase.ErrInvalid] and names all that cannot be right.
func NewParticipant(conn grpc.ClientConnInterface, options ...ClientOption) (*Participant, error) {
	c, err := newClientConfig(options)
	if conn == nil {
		err = errors.Join(wrong("the connection is nil: make one with grpc.NewClient"), err)
	}
	if err != nil {
		return nil, err
	}
	return &Participant{
		client: twophasev1.NewParticipantServiceClient(conn), options: c.callOptions, timeout: c.timeout,
	}, nil
}

// Reserve implements [twophase.Participant].
func (p *Participant) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	response, err := p.client.Reserve(ctx, &twophasev1.ReserveRequest{
		Transaction: req.Key.Transaction,
		Step:        req.Key.Step,
		Payload:     req.Payload,
		Hold:        durationpb.New(req.Hold),
	}, p.options...)
	if err != nil {
		return twophase.Reservation{}, answerOf(ctx, twophase.CallReserve, req.Key, err)
	}
	state, r, err := readReservation(response.GetReservation())
	switch {
	case err != nil:
		return twophase.Reservation{}, strange(twophase.CallReserve, req.Key, err)
	case state == twophase.EntryReserved, state == twophase.EntryAssigned:
		return r, nil
	}
	return twophase.Reservation{}, strange(twophase.CallReserve, req.Key, fmt.Errorf("the state is %s", state))
}

// Assign implements [twophase.Participant].
func (p *Participant) Assign(ctx context.Context, key twophase.Key) error {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	response, err := p.client.Assign(ctx, &twophasev1.AssignRequest{Transaction: key.Transaction, Step: key.Step}, p.options...)
	if err != nil {
		return answerOf(ctx, twophase.CallAssign, key, err)
	}
	return expect(twophase.CallAssign, key, response.GetState(), twophasev1.ReservationState_RESERVATION_STATE_ASSIGNED)
}

// Release implements [twophase.Participant].
func (p *Participant) Release(ctx context.Context, key twophase.Key) error {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	response, err := p.client.Release(ctx, &twophasev1.ReleaseRequest{Transaction: key.Transaction, Step: key.Step}, p.options...)
	if err != nil {
		return answerOf(ctx, twophase.CallRelease, key, err)
	}
	return expect(twophase.CallRelease, key, response.GetState(), twophasev1.ReservationState_RESERVATION_STATE_RELEASED)
}

// Lookup returns what the participant has under a key, and whether it has
// anything. The error is [errors.ErrUnsupported] if it cannot tell.
func (p *Participant) Lookup(ctx context.Context, key twophase.Key) (Holding, bool, error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	response, err := p.client.GetReservation(ctx,
		&twophasev1.GetReservationRequest{Transaction: key.Transaction, Step: key.Step}, p.options...)
	if err != nil {
		err = answerOf(ctx, callLookup, key, err)
		if errors.Is(err, twophase.ErrUnknown) {
			return Holding{}, false, nil
		}
		return Holding{}, false, err
	}
	state, r, err := readReservation(response.GetReservation())
	if err != nil {
		return Holding{}, false, strange(callLookup, key, err)
	}
	return Holding{State: state, Reservation: r}, true, nil
}

// bounded returns a context that ends in time.
func (p *Participant) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= p.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, p.timeout)
}

// callLookup names Lookup in messages.
const callLookup twophase.Call = "lookup"

// expect makes of a success without the state that was asked for a transient
// error.
func expect(call twophase.Call, key twophase.Key, got, want twophasev1.ReservationState) error {
	if got != want {
		return strange(call, key, fmt.Errorf("the state is %v", got))
	}
	return nil
}

// strange is the error of an answer that is no answer to what was asked.
func strange(call twophase.Call, key twophase.Key, err error) error {
	return fmt.Errorf("twophasegrpc: %s %s: %w: %w", call, key, ErrStrangeAnswer, err)
}

// ErrStrangeAnswer says that a service answered, but not as the contract has
// it. It is transient: whether the call was carried out is not known.
var ErrStrangeAnswer = errors.New("strange answer")
