package twophasegrpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
)

// answering is a participant that answers every call with the same.
type answering struct {
	reservation twophase.Reservation
	err         error
}

func (a answering) Reserve(context.Context, twophase.Request) (twophase.Reservation, error) {
	return a.reservation, a.err
}
func (a answering) Assign(context.Context, twophase.Key) error  { return a.err }
func (a answering) Release(context.Context, twophase.Key) error { return a.err }

// Every call, by its name.
var calls = map[twophase.Call]func(context.Context, twophase.Participant) error{
	twophase.CallReserve: func(ctx context.Context, p twophase.Participant) error {
		_, err := p.Reserve(ctx, request(mine))
		return err
	},
	twophase.CallAssign:  func(ctx context.Context, p twophase.Participant) error { return p.Assign(ctx, mine) },
	twophase.CallRelease: func(ctx context.Context, p twophase.Participant) error { return p.Release(ctx, mine) },
}

func request(key twophase.Key) twophase.Request {
	return twophase.Request{Key: key, Payload: json.RawMessage(`{"kind":"masala dosa"}`), Hold: time.Minute}
}

func TestAFinalErrorArrivesAsItWas(t *testing.T) {
	for _, test := range []struct {
		sentinel error
		code     codes.Code
		reason   string
	}{
		{twophase.ErrRefused, codes.FailedPrecondition, "REFUSED"},
		{twophase.ErrExpired, codes.FailedPrecondition, "EXPIRED"},
		{twophase.ErrReleased, codes.FailedPrecondition, "RELEASED"},
		{twophase.ErrUnknown, codes.NotFound, "UNKNOWN"},
		{twophase.ErrMismatch, codes.AlreadyExists, "MISMATCH"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			sent := fmt.Errorf("%w: no %s left", test.sentinel, dosa)
			p := overGRPC(t, answering{err: sent})
			for name, call := range calls {
				err := call(t.Context(), p)
				assert.ErrorIs(t, err, test.sentinel, name)
				assert.EqualError(t, err, sent.Error(), name)
				s, ok := status.FromError(err)
				require.True(t, ok, name)
				assert.Equal(t, test.code, s.Code(), name)
				info := detail[*errdetails.ErrorInfo](t, s)
				assert.Equal(t, test.reason, info.GetReason(), name)
				assert.Equal(t, "twophase", info.GetDomain(), name)
			}
		})
	}
}

func TestAFinalErrorOfOnlyTheSentinelArrivesAsIt(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, answering{err: twophase.ErrMismatch})
	assert.EqualError(t, p.Assign(t.Context(), mine), twophase.ErrMismatch.Error())
}

func TestAFinalErrorThatNamesItsCallerFirstKeepsItsVerdictInFront(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, answering{err: fmt.Errorf("store: %w", twophase.ErrRefused)})
	err := p.Assign(t.Context(), mine)
	assert.ErrorIs(t, err, twophase.ErrRefused)
	assert.EqualError(t, err, "refused: store: refused")
}

// detail returns a status's detail of a type.
func detail[T any](t testing.TB, s *status.Status) T {
	t.Helper()
	for _, d := range s.Details() {
		if d, ok := d.(T); ok {
			return d
		}
	}
	require.Fail(t, "no such detail", "%v has no %T", s, *new(T))
	panic("not reached")
}

func TestAnyOtherErrorIsTransientAndItsTextIsNotForCallers(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		code   codes.Code
		reason string
		logged bool
	}{
		{"one that nobody knows", errors.New("the secret database is away"), codes.Unavailable, "UNAVAILABLE", true},
		{"one of the journal", fmt.Errorf("secret: %w", twophase.ErrUnavailable), codes.Unavailable, "UNAVAILABLE", true},
		{"a status of some other service", status.Error(codes.NotFound, "no secret table"), codes.Unavailable, "UNAVAILABLE", true},
		{"an ended context", fmt.Errorf("secret: %w", context.Canceled), codes.Canceled, "TIMEOUT", false},
		{"a context that ran out", fmt.Errorf("secret: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "TIMEOUT", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for name, call := range calls {
				var log logged
				err := call(t.Context(), overGRPC(t, answering{err: test.err}, twophasegrpc.WithLogger(log.logger())))
				require.Error(t, err, name)
				assert.False(t, twophase.IsFinal(err), "%s: %v", name, err)
				assert.Equal(t, test.code, status.Code(err), name)
				assert.Equal(t, test.reason, detail[*errdetails.ErrorInfo](t, status.Convert(err)).GetReason())
				assert.ErrorContains(t, err, mine.String(), name)
				assert.NotContains(t, err.Error(), "secret", name)
				if test.logged {
					assert.Contains(t, log.String(), test.err.Error(), name)
					assert.Contains(t, log.String(), "call="+string(name)+" key=order-1001/store")
				} else {
					assert.Empty(t, log.String())
				}
			}
		})
	}
}

// logged is what was logged.
type logged struct {
	mu sync.Mutex
	strings.Builder
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.String()
}

func TestARequestForPatienceArrives(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, answering{err: &twophase.RetryAfterError{After: 1500 * time.Millisecond, Err: errors.New("overloaded")}})
	for name, call := range calls {
		err := call(t.Context(), p)
		asked, ok := errors.AsType[*twophase.RetryAfterError](err)
		require.True(t, ok, "%s: %v", name, err)
		assert.Equal(t, 1500*time.Millisecond, asked.After, name)
		assert.False(t, twophase.IsFinal(err), name)
		assert.ErrorContains(t, err, "overloaded", name)
	}
}

func TestARequestForPatienceOfNoTimeIsNone(t *testing.T) {
	t.Parallel()
	p := overGRPC(t, answering{err: &twophase.RetryAfterError{After: -time.Second, Err: errors.New("busy")}})
	err := p.Assign(t.Context(), mine)
	require.ErrorContains(t, err, "busy")
	_, ok := errors.AsType[*twophase.RetryAfterError](err)
	assert.False(t, ok)
}

func TestAMessageIsShortAndOfOneLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 100_000)
	p := overGRPC(t, answering{err: fmt.Errorf("%w: \xff\n%s", twophase.ErrRefused, long)})
	err := p.Assign(t.Context(), mine)
	require.ErrorIs(t, err, twophase.ErrRefused)
	assert.LessOrEqual(t, len(err.Error()), 1024)
	assert.Contains(t, err.Error(), "refused:  üü")
}

func TestAReservationArrivesAsItIs(t *testing.T) {
	for _, test := range []struct {
		name string
		twophase.Reservation
	}{
		{"reserved", twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: 119*time.Second + 1}},
		{"assigned", twophase.Reservation{Resources: []string{"packet-1"}, Assigned: true}},
		{"several, with details", twophase.Reservation{
			Resources: []string{"packet-1", "ದೋಸೆ"}, TimeLeft: time.Hour, Details: json.RawMessage(`{"oven": 3}`),
		}},
		{"with no time left", twophase.Reservation{Resources: []string{"packet-1"}}},
		{"of nothing", twophase.Reservation{TimeLeft: time.Second}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := overGRPC(t, answering{reservation: test.Reservation}).Reserve(t.Context(), request(mine))
			require.NoError(t, err)
			assert.Equal(t, test.Reservation, got)
		})
	}
}

func TestAReservationThatCannotBeSentIsTheParticipantsFault(t *testing.T) {
	for _, test := range []struct {
		name, why string
		twophase.Reservation
	}{
		{"an id that is no text", "not valid UTF-8", twophase.Reservation{Resources: []string{"\xff"}}},
		{"details that are no JSON", "no JSON", twophase.Reservation{Details: json.RawMessage(`{`)}},
		{"too many resources", "at most", twophase.Reservation{Resources: make([]string, 1<<20)}},
		{"details beyond all bounds", "at most", twophase.Reservation{Details: json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var log logged
			p := overGRPC(t, answering{reservation: test.Reservation}, twophasegrpc.WithLogger(log.logger()))
			_, err := p.Reserve(t.Context(), request(mine))
			require.Error(t, err)
			assert.False(t, twophase.IsFinal(err))
			assert.Equal(t, codes.Unavailable, status.Code(err))
			assert.Contains(t, log.String(), "cannot be sent")
			assert.Contains(t, log.String(), test.why)
		})
	}
}
