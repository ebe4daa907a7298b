package twophasegrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// Whatever a stranger sends, the participant is asked only what can be right;
// all else is answered as the contract has it, and what is no message at all by
// gRPC.
//
//	go test -run '^$' -fuzz FuzzReserve -fuzztime 1m .

func FuzzReserve(f *testing.F) {
	f.Add("order-1001", "store", []byte(`{"kind":"masala dosa"}`), int64(60), int32(0), []byte{})
	f.Add("ದೋಸೆ", "../..", []byte{}, int64(2592000), int32(0), []byte{})
	f.Add("order\x00", "", []byte(` [{"a": "\u0000"}, 1e999] `), int64(1), int32(-1), []byte{})
	f.Add("\xff", strings.Repeat("x", 256), []byte(`{}{}`), int64(1)<<60, int32(0), []byte{0x98, 0x06, 1})
	f.Add("", "", []byte{}, int64(0), int32(0), []byte{0x0a, 200})
	answers := fuzzed(f, "Reserve")
	f.Fuzz(func(t *testing.T, transaction, step string, payload []byte, seconds int64, nanos int32, more []byte) {
		var sent []byte
		for i, field := range []string{transaction, step, string(payload)} {
			sent = protowire.AppendTag(sent, protowire.Number(i+1), protowire.BytesType)
			sent = protowire.AppendString(sent, field)
		}
		sent = protowire.AppendTag(sent, 4, protowire.BytesType)
		sent = protowire.AppendBytes(sent, encoded(t, &durationpb.Duration{Seconds: seconds, Nanos: nanos}))
		answers(t, append(sent, more...), new(twophasev1.ReserveRequest))
	})
}

func FuzzAssign(f *testing.F) {
	fuzzKey(f, "Assign", func() proto.Message { return new(twophasev1.AssignRequest) })
}

func FuzzRelease(f *testing.F) {
	fuzzKey(f, "Release", func() proto.Message { return new(twophasev1.ReleaseRequest) })
}

func FuzzGetReservation(f *testing.F) {
	fuzzKey(f, "GetReservation", func() proto.Message { return new(twophasev1.GetReservationRequest) })
}

func fuzzKey(f *testing.F, method string, request func() proto.Message) {
	f.Helper()
	f.Add(encoded(f, &twophasev1.AssignRequest{Transaction: "order-1001", Step: "store"}))
	f.Add(encoded(f, &twophasev1.AssignRequest{Transaction: "order\x00", Step: ""}))
	f.Add([]byte{0x0a, 1, 0xff, 0x12, 1, 'x'})
	answers := fuzzed(f, method)
	f.Fuzz(func(t *testing.T, sent []byte) { answers(t, sent, request()) })
}

// fuzzed returns a function that sends bytes to a method and checks the answer.
func fuzzed(f *testing.F, method string) func(t *testing.T, sent []byte, request proto.Message) {
	f.Helper()
	conn := serving(f, picky{}, twophasegrpc.WithLookup(
		func(_ context.Context, key twophase.Key) (twophasegrpc.Holding, bool, error) {
			return twophasegrpc.Holding{State: twophase.EntryReleased}, true, pick(key)
		}))
	return func(t *testing.T, sent []byte, request proto.Message) {
		_, err := send(t.Context(), conn, method, sent)
		decodable := proto.Unmarshal(sent, request) == nil
		switch code := status.Code(err); code {
		case codes.OK:
			assert.True(t, decodable)
		case codes.Internal:
			assert.False(t, decodable, "it is a message, and was answered %v", err)
		case codes.InvalidArgument:
			assert.True(t, decodable)
			assert.NotEmpty(t, detail[*errdetails.BadRequest](t, status.Convert(err)).GetFieldViolations())
		case codes.ResourceExhausted:
			assert.Greater(t, len(sent), twophase.MaxPayloadSize)
		default:
			assert.Fail(t, "an answer that is none", "%v", err)
		}
	}
}

// picky is a participant that is content with whatever it may be asked, and
// fails if it is asked anything else.
type picky struct{}

func (picky) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, req.Payload); len(req.Payload) > 0 && (err != nil || compact.String() != string(req.Payload)) {
		return twophase.Reservation{}, fmt.Errorf("the payload %q is not compact: %w", req.Payload, err)
	}
	if req.Hold <= 0 || req.Hold > twophasegrpc.MaxHold || len(req.Payload) > twophase.MaxPayloadSize {
		return twophase.Reservation{}, fmt.Errorf("out of bounds: %v", req)
	}
	return twophase.Reservation{Resources: []string{"packet-1"}}, pick(req.Key)
}
func (picky) Assign(_ context.Context, key twophase.Key) error  { return pick(key) }
func (picky) Release(_ context.Context, key twophase.Key) error { return pick(key) }

// pick is content with keys that a coordinator may have.
func pick(key twophase.Key) error {
	for _, id := range []string{key.Transaction, key.Step} {
		if id == "" || len(id) > twophase.MaxIDLength || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
			return fmt.Errorf("the key is %q", key)
		}
	}
	return nil
}

// Whatever bytes a service answers with, the client takes nothing for a success
// that does not say so, and nothing for final that is not of the contract.
func FuzzAnswer(f *testing.F) {
	for _, state := range []twophasev1.ReservationState{unspecified, reserved, assigned, released, expired, unheardOf} {
		f.Add(encoded(f, &twophasev1.ReserveResponse{Reservation: &twophasev1.Reservation{
			State: state, Resources: []string{"packet-1"}, TimeLeft: durationpb.New(time.Minute), Details: []byte(`{}`),
		}}))
		f.Add(encoded(f, &twophasev1.AssignResponse{State: state}))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		p := newParticipant(t, stub{answer: answer})
		var reserve twophasev1.ReserveResponse
		var state twophasev1.AssignResponse // and a Release's, which is alike
		isReserve, isState := proto.Unmarshal(answer, &reserve) == nil, proto.Unmarshal(answer, &state) == nil

		r, err := p.Reserve(t.Context(), request(mine))
		assert.False(t, twophase.IsFinal(err))
		if err == nil {
			require.True(t, isReserve)
			assert.Contains(t, []any{reserved, assigned}, reserve.GetReservation().GetState())
			assert.GreaterOrEqual(t, r.TimeLeft, time.Duration(0))
			_, err := twophase.DetailsOf[any](r)
			assert.True(t, r.Details == nil || err == nil, "the details are JSON, or there are none")
		}
		assert.Equal(t, isState && state.GetState() == assigned, p.Assign(t.Context(), mine) == nil)
		assert.Equal(t, isState && state.GetState() == released, p.Release(t.Context(), mine) == nil)
		_, _, err = p.Lookup(t.Context(), mine)
		assert.False(t, twophase.IsFinal(err))
	})
}

// Whatever status a service answers with, an error is final only if its details
// say so.
func FuzzStatus(f *testing.F) {
	f.Add(encoded(f, status.Convert(withDetails(f, codes.FailedPrecondition,
		&errdetails.ErrorInfo{Domain: "twophase", Reason: "REFUSED"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})).Proto()))
	f.Add(encoded(f, &spb.Status{Code: 9, Message: "\n", Details: []*anypb.Any{
		{TypeUrl: "type.googleapis.com/google.rpc.ErrorInfo", Value: []byte{0xff}}, {TypeUrl: "?"}, {},
	}}))
	f.Add(protowire.AppendVarint([]byte{0x08}, 1<<40))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var sent spb.Status
		if proto.Unmarshal(answer, &sent) != nil || sent.GetCode() == 0 {
			return
		}
		for name, call := range calls {
			err := call(t.Context(), newParticipant(t, stub{err: status.ErrorProto(&sent)}))
			require.Error(t, err, name)
			assert.NotPanics(t, func() { _ = err.Error() })
			if twophase.IsFinal(err) {
				assert.True(t, speaksOfUs(&sent), "%s took %v for final", name, err)
			}
			if asked, ok := errors.AsType[*twophase.RetryAfterError](err); ok {
				assert.Positive(t, asked.After)
			}
		}
	})
}

// speaksOfUs reports whether a status has an ErrorInfo of this contract.
func speaksOfUs(s *spb.Status) bool {
	for _, any := range s.GetDetails() {
		var info errdetails.ErrorInfo
		if any.UnmarshalTo(&info) == nil && info.GetDomain() == "twophase" {
			return true
		}
	}
	return false
}
