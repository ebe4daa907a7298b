package twophasegrpc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// stub is a connection to a service that answers everything with the same
// bytes, or the same error.
type stub struct {
	answer []byte
	err    error
}

func (s stub) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	if s.err != nil {
		return s.err
	}
	if err := proto.Unmarshal(s.answer, reply.(proto.Message)); err != nil {
		return status.Error(codes.Internal, err.Error()) // as gRPC has it
	}
	return nil
}

func (stub) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("there are no streams")
}

const (
	unspecified = twophasev1.ReservationState_RESERVATION_STATE_UNSPECIFIED
	reserved    = twophasev1.ReservationState_RESERVATION_STATE_RESERVED
	assigned    = twophasev1.ReservationState_RESERVATION_STATE_ASSIGNED
	released    = twophasev1.ReservationState_RESERVATION_STATE_RELEASED
	expired     = twophasev1.ReservationState_RESERVATION_STATE_EXPIRED
	unheardOf   = twophasev1.ReservationState(17)
)

func TestASuccessWithoutTheStateThatWasAskedForIsNone(t *testing.T) {
	reservation := func(r *twophasev1.Reservation) proto.Message {
		return &twophasev1.ReserveResponse{Reservation: r}
	}
	minute := durationpb.New(time.Minute)
	for _, test := range []struct {
		name   string
		call   twophase.Call
		answer proto.Message
	}{
		{"nothing at all, to a reserve", twophase.CallReserve, &twophasev1.ReserveResponse{}},
		{"no state", twophase.CallReserve, reservation(&twophasev1.Reservation{Resources: []string{"packet-1"}, TimeLeft: minute})},
		{"released, to a reserve", twophase.CallReserve, reservation(&twophasev1.Reservation{State: released, TimeLeft: minute})},
		{"expired, to a reserve", twophase.CallReserve, reservation(&twophasev1.Reservation{State: expired, TimeLeft: minute})},
		{"a state of a later version", twophase.CallReserve, reservation(&twophasev1.Reservation{State: unheardOf, TimeLeft: minute})},
		{"no time left", twophase.CallReserve, reservation(&twophasev1.Reservation{State: reserved})},
		{"less than no time left", twophase.CallReserve, reservation(&twophasev1.Reservation{State: reserved, TimeLeft: durationpb.New(-1)})},
		{"a time left of two signs", twophase.CallReserve, reservation(&twophasev1.Reservation{State: reserved, TimeLeft: &durationpb.Duration{Seconds: 1, Nanos: -1}})},
		{"details that are no JSON", twophase.CallReserve, reservation(&twophasev1.Reservation{State: assigned, Details: []byte("{")})},
		{"nothing at all, to an assign", twophase.CallAssign, &twophasev1.AssignResponse{}},
		{"reserved, to an assign", twophase.CallAssign, &twophasev1.AssignResponse{State: reserved}},
		{"released, to an assign", twophase.CallAssign, &twophasev1.AssignResponse{State: released}},
		{"nothing at all, to a release", twophase.CallRelease, &twophasev1.ReleaseResponse{}},
		{"assigned, to a release", twophase.CallRelease, &twophasev1.ReleaseResponse{State: assigned}},
		{"expired, to a release", twophase.CallRelease, &twophasev1.ReleaseResponse{State: expired}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := calls[test.call](t.Context(), newParticipant(t, stub{answer: encoded(t, test.answer)}))
			require.ErrorIs(t, err, twophasegrpc.ErrStrangeAnswer)
			assert.False(t, twophase.IsFinal(err))
			assert.ErrorContains(t, err, mine.String())
		})
	}
}

// What a later version adds to an answer does not matter to this one.
func TestAnAnswerMayHaveFieldsThatNobodyKnows(t *testing.T) {
	t.Parallel()
	answer := &twophasev1.AssignResponse{State: assigned}
	answer.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 1})
	assert.NoError(t, newParticipant(t, stub{answer: encoded(t, answer)}).Assign(t.Context(), mine))
}

func TestAnErrorThatDoesNotSpeakOfThisContractIsTransient(t *testing.T) {
	info := func(domain, reason string) protoadapt.MessageV1 {
		return &errdetails.ErrorInfo{Domain: domain, Reason: reason}
	}
	for _, test := range []struct {
		name string
		err  error
	}{
		{"only a code, of a refusal", status.Error(codes.FailedPrecondition, "refused")},
		{"only a code, of a key never reserved", status.Error(codes.NotFound, "no such route")},
		{"only a code, of a mismatch", status.Error(codes.AlreadyExists, "exists")},
		{"only a code, of a mistake", status.Error(codes.InvalidArgument, "no")},
		{"a service that is not there", status.Error(codes.Unimplemented, "unknown service")},
		{"a caller who may not", status.Error(codes.PermissionDenied, "no")},
		{"another domain", withDetails(t, codes.FailedPrecondition, info("store.example.com", "REFUSED"))},
		{"another reason", withDetails(t, codes.FailedPrecondition, info("twophase", "CLOSED_ON_SUNDAYS"))},
		{"no reason", withDetails(t, codes.FailedPrecondition, info("twophase", ""))},
		{"a reason of small letters", withDetails(t, codes.FailedPrecondition, info("twophase", "refused"))},
		{"no status at all", errors.New("broken pipe")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for name, call := range calls {
				err := call(t.Context(), newParticipant(t, stub{err: test.err}))
				require.ErrorIs(t, err, test.err, name)
				assert.False(t, twophase.IsFinal(err), name)
			}
		})
	}
}

func TestAReasonOfThisContractDecidesWhateverTheCode(t *testing.T) {
	t.Parallel()
	foreign := &errdetails.ErrorInfo{Domain: "mesh.example.com", Reason: "UPSTREAM"}
	ours := &errdetails.ErrorInfo{Domain: "twophase", Reason: "EXPIRED"}
	err := newParticipant(t, stub{err: withDetails(t, codes.Unknown, foreign, ours)}).Assign(t.Context(), mine)
	assert.ErrorIs(t, err, twophase.ErrExpired)
}

func TestAFinalErrorWithADelayIsFinal(t *testing.T) {
	t.Parallel()
	ours := &errdetails.ErrorInfo{Domain: "twophase", Reason: "REFUSED"}
	later := &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)}
	_, err := newParticipant(t, stub{err: withDetails(t, codes.Unavailable, ours, later)}).Reserve(t.Context(), request(mine))
	require.ErrorIs(t, err, twophase.ErrRefused)
	_, ok := errors.AsType[*twophase.RetryAfterError](err)
	assert.False(t, ok)
}

func TestADelayOfWhomeverIsHonouredIfItMakesSense(t *testing.T) {
	for name, test := range map[string]struct {
		delay *durationpb.Duration
		want  bool
	}{
		"a second":    {durationpb.New(time.Second), true},
		"none":        {nil, false},
		"no time":     {durationpb.New(0), false},
		"of the past": {durationpb.New(-time.Second), false},
		"of no range": {&durationpb.Duration{Seconds: 1 << 60}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := newParticipant(t, stub{
				err: withDetails(t, codes.ResourceExhausted, &errdetails.RetryInfo{RetryDelay: test.delay}),
			}).Assign(t.Context(), mine)
			require.Error(t, err)
			_, ok := errors.AsType[*twophase.RetryAfterError](err)
			assert.Equal(t, test.want, ok)
		})
	}
}

func withDetails(t testing.TB, code codes.Code, details ...protoadapt.MessageV1) error {
	t.Helper()
	s, err := status.New(code, "something").WithDetails(details...)
	require.NoError(t, err)
	return s.Err()
}

// lavish is a service, not of this package, whose answers are too large.
type lavish struct {
	twophasev1.UnimplementedParticipantServiceServer
}

func (lavish) Reserve(context.Context, *twophasev1.ReserveRequest) (*twophasev1.ReserveResponse, error) {
	return &twophasev1.ReserveResponse{Reservation: &twophasev1.Reservation{
		State: reserved, TimeLeft: durationpb.New(time.Minute), Resources: []string{strings.Repeat("x", 1<<20)},
	}}, nil
}

func TestAnAnswerBeyondAllBoundsIsNotRead(t *testing.T) {
	t.Parallel()
	conn := connect(t, serve(t, func(server *grpc.Server) { twophasev1.RegisterParticipantServiceServer(server, lavish{}) }))
	_, err := newParticipant(t, conn).Reserve(t.Context(), request(mine))
	assert.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	assert.False(t, twophase.IsFinal(err))
}
