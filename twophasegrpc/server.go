package twophasegrpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/lookup"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// Register serves a participant on a server, which is the caller's to make (see
// [ServerOptions]), to start and to stop. A server has one participant at most.
// The error is [twophase.ErrInvalid] and names all that cannot be right.
//
// GetReservation is served, too, if the participant has a method Lookup like
// that of [Participant] or of this library's pools, or with [WithLookup].
func Register(server grpc.ServiceRegistrar, participant twophase.Participant, options ...ServiceOption) error {
	c, err := newServiceConfig(options)
	if participant == nil {
		err = errors.Join(wrong("the participant is nil"), err)
	}
	if server == nil {
		err = errors.Join(wrong("the server is nil: make one with grpc.NewServer"), err)
	}
	if err != nil {
		return err
	}
	s := &service{participant: participant, config: c, lookup: c.lookup}
	if s.lookup == nil {
		s.lookup = lookup.Of[Holding](participant)
	}
	server.RegisterService(s.desc(), s)
	return nil
}

// service implements the generated interface by asking a participant.
type service struct {
	twophasev1.UnimplementedParticipantServiceServer
	participant twophase.Participant
	config      *serviceConfig
	lookup      Lookup // nil if the participant cannot tell
}

// Reserve implements the service.
func (s *service) Reserve(ctx context.Context, in *twophasev1.ReserveRequest) (*twophasev1.ReserveResponse, error) {
	req, err := readReserve(in)
	if err != nil {
		return nil, err
	}
	r, err := s.participant.Reserve(ctx, req)
	if err != nil {
		return nil, s.statusOf(ctx, twophase.CallReserve, req.Key, err)
	}
	state := twophase.EntryReserved
	if r.Assigned {
		state = twophase.EntryAssigned
	}
	reservation, err := writeReservation(Holding{State: state, Reservation: r})
	if err != nil {
		return nil, s.statusOf(ctx, twophase.CallReserve, req.Key, err)
	}
	return &twophasev1.ReserveResponse{Reservation: reservation}, nil
}

// Assign implements the service.
func (s *service) Assign(ctx context.Context, in *twophasev1.AssignRequest) (*twophasev1.AssignResponse, error) {
	key, err := readKey(in)
	if err != nil {
		return nil, err
	}
	if err := s.participant.Assign(ctx, key); err != nil {
		return nil, s.statusOf(ctx, twophase.CallAssign, key, err)
	}
	return &twophasev1.AssignResponse{State: twophasev1.ReservationState_RESERVATION_STATE_ASSIGNED}, nil
}

// Release implements the service.
func (s *service) Release(ctx context.Context, in *twophasev1.ReleaseRequest) (*twophasev1.ReleaseResponse, error) {
	key, err := readKey(in)
	if err != nil {
		return nil, err
	}
	if err := s.participant.Release(ctx, key); err != nil {
		return nil, s.statusOf(ctx, twophase.CallRelease, key, err)
	}
	return &twophasev1.ReleaseResponse{State: twophasev1.ReservationState_RESERVATION_STATE_RELEASED}, nil
}

// GetReservation implements the service.
func (s *service) GetReservation(
	ctx context.Context, in *twophasev1.GetReservationRequest,
) (*twophasev1.GetReservationResponse, error) {
	if s.lookup == nil {
		return s.UnimplementedParticipantServiceServer.GetReservation(ctx, in)
	}
	key, err := readKey(in)
	if err != nil {
		return nil, err
	}
	holding, found, err := s.lookup(ctx, key)
	if err == nil && !found {
		err = fmt.Errorf("%w: nothing is on record under %s", twophase.ErrUnknown, key)
	}
	if err != nil {
		return nil, s.statusOf(ctx, callLookup, key, err)
	}
	reservation, err := writeReservation(holding)
	if err != nil {
		return nil, s.statusOf(ctx, callLookup, key, err)
	}
	return &twophasev1.GetReservationResponse{Reservation: reservation}, nil
}
