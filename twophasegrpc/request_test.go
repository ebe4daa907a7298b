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
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// raw is a codec for messages that are encoded already, or cannot be.
type raw struct{}

var _ encoding.Codec = raw{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

// send sends bytes as the request of a method and returns those of the answer.
func send(ctx context.Context, conn *grpc.ClientConn, method string, request []byte) (response []byte, err error) {
	err = conn.Invoke(ctx, "/"+twophasegrpc.ServiceName+"/"+method, &request, &response, grpc.ForceCodec(raw{}))
	return response, err
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	require.NoError(t, err)
	return b
}

// sound returns a request that nothing is wrong with, but for what change does.
func sound(change func(*twophasev1.ReserveRequest)) *twophasev1.ReserveRequest {
	r := &twophasev1.ReserveRequest{
		Transaction: mine.Transaction, Step: mine.Step,
		Payload: []byte(`{"kind":"masala dosa"}`), Hold: durationpb.New(time.Minute),
	}
	change(r)
	return r
}

func TestARequestThatCannotBeRightIsRefusedByTheNameOfItsFields(t *testing.T) {
	t.Parallel()
	conn := serving(t, newPool(t, 1))
	type request = twophasev1.ReserveRequest
	for _, test := range []struct {
		name   string
		change func(*request)
		field  string
		says   string
	}{
		{"no transaction", func(r *request) { r.Transaction = "" }, "transaction", "is empty"},
		{"no step", func(r *request) { r.Step = "" }, "step", "is empty"},
		{"a long id", func(r *request) { r.Transaction = strings.Repeat("x", 256) }, "transaction", "256 bytes: at most 255"},
		{"a line break in an id", func(r *request) { r.Step = "a\nb" }, "step", "control characters"},
		{"a payload that is no JSON", func(r *request) { r.Payload = []byte("masala dosa") }, "payload", "is no JSON"},
		{"two payloads", func(r *request) { r.Payload = []byte("{}{}") }, "payload", "is no JSON"},
		{"half a payload", func(r *request) { r.Payload = []byte(`{"kind":`) }, "payload", "is no JSON"},
		{"a large payload", func(r *request) { r.Payload = []byte(`"` + strings.Repeat("x", 256<<10) + `"`) }, "payload", "at most 262144"},
		{"no hold", func(r *request) { r.Hold = nil }, "hold", "is missing"},
		{"a hold of no time", func(r *request) { r.Hold = durationpb.New(0) }, "hold", "above zero"},
		{"a hold that is over", func(r *request) { r.Hold = durationpb.New(-time.Second) }, "hold", "above zero"},
		{"a hold for ever", func(r *request) { r.Hold = durationpb.New(twophasegrpc.MaxHold + 1) }, "hold", "720h0m0s at most"},
		{"a hold of two signs", func(r *request) { r.Hold = &durationpb.Duration{Seconds: 1, Nanos: -1} }, "hold", "different signs"},
		{"a hold beyond all bounds", func(r *request) { r.Hold = &durationpb.Duration{Seconds: 1 << 60} }, "hold", "exceeds"},
		{"a field of a later version", func(r *request) { r.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 1}) }, "", "does not know"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := send(t.Context(), conn, "Reserve", encoded(t, sound(test.change)))
			requireInvalid(t, err, test.field, test.says)
		})
	}
}

// requireInvalid requires an error that names one field and says what is wrong
// with it.
func requireInvalid(t testing.TB, err error, field, says string) {
	t.Helper()
	s := status.Convert(err)
	require.Equal(t, codes.InvalidArgument, s.Code(), "%v", err)
	assert.Equal(t, "INVALID", detail[*errdetails.ErrorInfo](t, s).GetReason())
	violations := detail[*errdetails.BadRequest](t, s).GetFieldViolations()
	require.Len(t, violations, 1)
	assert.Equal(t, field, violations[0].GetField())
	assert.Contains(t, violations[0].GetDescription(), says)
	assert.Contains(t, s.Message(), says)
}

func TestEveryMethodRefusesAKeyThatCannotBeRight(t *testing.T) {
	t.Parallel()
	conn := serving(t, newPool(t, 1))
	for method, request := range map[string]proto.Message{
		"Assign":         &twophasev1.AssignRequest{Transaction: "order-1", Step: "\x00"},
		"Release":        &twophasev1.ReleaseRequest{Transaction: "order-1", Step: "\x00"},
		"GetReservation": &twophasev1.GetReservationRequest{Transaction: "order-1", Step: "\x00"},
	} {
		_, err := send(t.Context(), conn, method, encoded(t, request))
		requireInvalid(t, err, "step", "control characters")
	}
}

// They never reach the participant: gRPC itself answers, in its own words.
func TestBytesThatAreNoMessageAreAnsweredByGRPC(t *testing.T) {
	t.Parallel()
	conn := serving(t, answering{err: errors.New("it was asked")})
	for _, method := range []string{"Reserve", "Assign", "Release", "GetReservation"} {
		for name, request := range map[string][]byte{
			"cut short":         {0x0a, 200},
			"an id, no UTF-8":   {0x0a, 1, 0xff, 0x12, 1, 'x'},
			"a field, no bytes": {0x0a},
		} {
			_, err := send(t.Context(), conn, method, request)
			assert.Equal(t, codes.Internal, status.Code(err), "%s of %s: %v", name, method, err)
			assert.Empty(t, status.Convert(err).Details())
		}
	}
}

func TestARequestBeyondAllBoundsIsNotRead(t *testing.T) {
	t.Parallel()
	_, err := send(t.Context(), serving(t, newPool(t, 1)), "Reserve", make([]byte, 1<<20))
	assert.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
}

func TestAnInvalidReserveIsFinal(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, newPool(t, 1))
	_, err := p.Reserve(t.Context(), twophase.Request{Key: mine, Hold: 31 * 24 * time.Hour})
	require.ErrorIs(t, err, twophase.ErrRefused)
	assert.ErrorIs(t, err, twophase.ErrInvalid)
	assert.ErrorContains(t, err, "refused: invalid: hold is 744h0m0s")
}

func TestAnyOtherInvalidCallIsTransient(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, newPool(t, 1))
	for name, call := range map[string]func(context.Context, twophase.Key) error{"assign": p.Assign, "release": p.Release} {
		err := call(t.Context(), twophase.Key{Transaction: "order-1"})
		require.ErrorContains(t, err, "step is empty", name)
		assert.ErrorIs(t, err, twophase.ErrInvalid, name)
		assert.False(t, twophase.IsFinal(err), name)
	}
}

func TestAnIDThatIsNoTextIsNotSent(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, newPool(t, 1))
	err := p.Release(t.Context(), twophase.Key{Transaction: "\xff", Step: "store"})
	require.ErrorContains(t, err, "invalid UTF-8")
	assert.False(t, twophase.IsFinal(err))
}

func TestAPayloadIsTheSameWhateverItsWhitespace(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, newPool(t, 2))
	first, err := p.Reserve(t.Context(), request(mine))
	require.NoError(t, err)
	spaced := request(mine)
	spaced.Payload = []byte("{ \"kind\":\n\t\"masala dosa\" }")
	again, err := p.Reserve(t.Context(), spaced)
	require.NoError(t, err)
	assert.Equal(t, first.Resources, again.Resources)
}

func TestAStepWithoutAPayloadHasNoneOnTheOtherSide(t *testing.T) {
	t.Parallel()
	asked := make(chan twophase.Request, 1)
	p := overGRPC(t, asking{asked: asked})
	_, err := p.Reserve(t.Context(), twophase.Request{Key: mine, Hold: time.Minute})
	require.NoError(t, err)
	assert.Equal(t, twophase.Request{Key: mine, Hold: time.Minute}, <-asked)
}

// asking is a participant that tells what it is asked.
type asking struct {
	answering
	asked chan<- twophase.Request
}

func (a asking) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	a.asked <- req
	return a.reservation, a.err
}
