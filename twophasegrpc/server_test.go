package twophasegrpc_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
)

// slow is a participant that answers when its context ends, and tells how long
// that took.
type slow struct {
	answering
	took *atomic.Int64
}

func (s slow) Assign(ctx context.Context, _ twophase.Key) error {
	began := time.Now()
	<-ctx.Done()
	s.took.Store(int64(time.Since(began)))
	return ctx.Err()
}

func TestACallEndsWithTheFirstOfItsBounds(t *testing.T) {
	for _, test := range []struct {
		name                    string
		caller, client, service time.Duration // 0 is the default
		want                    time.Duration
	}{
		{"the caller's deadline", 2 * time.Second, 0, 0, 2 * time.Second},
		{"the client's, if the caller has none", 0, 3 * time.Second, 0, 3 * time.Second},
		{"the client's, if the caller's is later", time.Hour, 3 * time.Second, 0, 3 * time.Second},
		{"the service's", 0, 0, 4 * time.Second, 4 * time.Second},
		{"the service's, if the caller's is later", 20 * time.Second, time.Hour, 4 * time.Second, 4 * time.Second},
		{"30 seconds, if nobody says anything", 0, 0, 0, 30 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took := new(atomic.Int64)
				var service []twophasegrpc.ServiceOption
				if test.service > 0 {
					service = append(service, twophasegrpc.WithCallTimeout(test.service))
				}
				var client []twophasegrpc.ClientOption
				if test.client > 0 {
					client = append(client, twophasegrpc.WithTimeout(test.client))
				}
				ctx := t.Context()
				if test.caller > 0 {
					bounded, cancel := context.WithTimeout(ctx, test.caller)
					defer cancel()
					ctx = bounded
				}
				p, err := twophasegrpc.NewParticipant(serving(t, slow{took: took}, service...), client...)
				require.NoError(t, err)

				began := time.Now()
				err = p.Assign(ctx, mine)
				assert.Equal(t, test.want, time.Since(began), "the caller waits so long")
				assert.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
				assert.False(t, twophase.IsFinal(err))
				synctest.Wait()
				assert.Equal(t, test.want, time.Duration(took.Load()), "the participant works so long")
			})
		})
	}
}

func TestACallerWhoGoesAwayEndsTheParticipantsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := new(atomic.Int64)
		p := overGRPC(t, slow{took: took})
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(time.Second, cancel).Stop()
		err := p.Assign(ctx, mine)
		require.ErrorIs(t, err, context.Canceled)
		assert.False(t, twophase.IsFinal(err))
		synctest.Wait()
		assert.Equal(t, time.Second, time.Duration(took.Load()))
	})
}

// panicking is a participant with a bug.
type panicking struct{}

func (panicking) Reserve(context.Context, twophase.Request) (twophase.Reservation, error) {
	panic("secret bug")
}
func (panicking) Assign(context.Context, twophase.Key) error  { panic("secret bug") }
func (panicking) Release(context.Context, twophase.Key) error { panic("secret bug") }

func TestAPanicIsAnsweredAndTheServerGoesOn(t *testing.T) {
	t.Parallel()
	var log logged
	var seen atomic.Value // what interceptors get to see
	listener := serve(t, func(server *grpc.Server) {
		require.NoError(t, twophasegrpc.Register(server, panicking{}, twophasegrpc.WithLogger(log.logger())))
	}, grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			response, err := handler(ctx, req)
			seen.Store(status.Code(err))
			return response, err
		}))
	p := newParticipant(t, connect(t, listener))
	for name, call := range calls {
		err := call(t.Context(), p)
		assert.Equal(t, codes.Internal, status.Code(err), "%s: %v", name, err)
		assert.False(t, twophase.IsFinal(err), name)
		assert.NotContains(t, err.Error(), "secret", name)
		assert.Equal(t, codes.Internal, seen.Load(), name)
	}
	assert.Contains(t, log.String(), "secret bug")
	assert.Contains(t, log.String(), "server_test.go", "the stack")
}

func TestLookupTellsWhatIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := overGRPC(t, newPool(t, 1))
		requireHolding := func(want twophasegrpc.Holding) {
			t.Helper()
			got, found, err := p.Lookup(t.Context(), mine)
			require.NoError(t, err)
			assert.Equal(t, want.State != twophase.EntryNone, found)
			assert.Equal(t, want, got)
		}
		requireHolding(twophasegrpc.Holding{})

		_, err := p.Reserve(t.Context(), request(mine))
		require.NoError(t, err)
		time.Sleep(time.Second)
		requireHolding(twophasegrpc.Holding{State: twophase.EntryReserved, Reservation: twophase.Reservation{
			Resources: []string{"packet-1"}, TimeLeft: 59 * time.Second,
		}})
		require.NoError(t, p.Assign(t.Context(), mine))
		requireHolding(twophasegrpc.Holding{State: twophase.EntryAssigned, Reservation: twophase.Reservation{
			Resources: []string{"packet-1"}, Assigned: true,
		}})
		require.NoError(t, p.Release(t.Context(), mine))
		requireHolding(twophasegrpc.Holding{State: twophase.EntryReleased})
	})
}

func TestLookupIsServedForWhateverCanTell(t *testing.T) {
	holding := twophasegrpc.Holding{State: twophase.EntryExpired}
	for name, p := range map[string]twophase.Participant{
		"a pool in memory":           newPool(t, 0),
		"a pool of a database":       database{},
		"another service":            overGRPC(t, newPool(t, 0)),
		"a participant with a table": answering{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var options []twophasegrpc.ServiceOption
			if _, ok := p.(answering); ok {
				options = append(options, twophasegrpc.WithLookup(
					func(context.Context, twophase.Key) (twophasegrpc.Holding, bool, error) { return holding, true, nil }))
			}
			_, _, err := overGRPC(t, p, options...).Lookup(t.Context(), mine)
			assert.NoError(t, err)
		})
	}
}

// database has the Lookup of the pools on SQLite and PostgreSQL.
type database struct{ answering }

func (database) Lookup(context.Context, twophase.Key) (pool.Holding, bool, error) {
	return pool.Holding{State: twophase.EntryReleased}, true, nil
}

func TestLookupOfAParticipantThatCannotTellIsUnsupported(t *testing.T) {
	t.Parallel()
	_, _, err := overGRPC(t, answering{}).Lookup(t.Context(), mine)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Equal(t, codes.Unimplemented, status.Code(err))
}

func TestALookupThatFailsIsAnError(t *testing.T) {
	t.Parallel()
	for name, lookup := range map[string]twophasegrpc.Lookup{
		"itself": func(context.Context, twophase.Key) (twophasegrpc.Holding, bool, error) {
			return twophasegrpc.Holding{}, false, errors.New("the database is away")
		},
		"by a state that there is not": func(context.Context, twophase.Key) (twophasegrpc.Holding, bool, error) {
			return twophasegrpc.Holding{}, true, nil
		},
	} {
		p := overGRPC(t, answering{}, twophasegrpc.WithLookup(lookup))
		_, _, err := p.Lookup(t.Context(), mine)
		assert.Equal(t, codes.Unavailable, status.Code(err), name)
	}
}

func TestHealthIsReported(t *testing.T) {
	t.Parallel()
	var health interface{ Shutdown() }
	client := grpc_health_v1.NewHealthClient(connect(t, serve(t, func(server *grpc.Server) {
		require.NoError(t, twophasegrpc.Register(server, newPool(t, 0)))
		health = twophasegrpc.RegisterHealth(server)
	})))
	requireHealth := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, name := range []string{"", "twophase.v1.ParticipantService"} {
			response, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
			require.NoError(t, err)
			assert.Equal(t, want, response.GetStatus(), name)
		}
	}
	requireHealth(grpc_health_v1.HealthCheckResponse_SERVING)
	health.Shutdown()
	requireHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
}

func TestWhatCannotBeRightIsRefusedAtOnceAndByName(t *testing.T) {
	conn, server := stub{}, grpc.NewServer()
	t.Cleanup(server.Stop)
	participant := func(options ...twophasegrpc.ClientOption) error {
		_, err := twophasegrpc.NewParticipant(conn, options...)
		return err
	}
	register := func(options ...twophasegrpc.ServiceOption) error {
		return twophasegrpc.Register(server, answering{}, options...)
	}
	_, noConn := twophasegrpc.NewParticipant(nil)
	for _, test := range []struct {
		err  error
		says string
	}{
		{noConn, "the connection is nil"},
		{participant(nil), "option 1 is nil"},
		{participant(twophasegrpc.WithTimeout(0)), "WithTimeout(0s): it must be above zero"},
		{twophasegrpc.Register(nil, answering{}), "the server is nil"},
		{twophasegrpc.Register(server, nil), "the participant is nil"},
		{register(twophasegrpc.WithLogger(nil)), "WithLogger is given nil"},
		{register(twophasegrpc.WithLookup(nil)), "WithLookup is given nil"},
		{register(twophasegrpc.WithLogger(slog.Default()), nil), "option 2 is nil"},
		{register(twophasegrpc.WithCallTimeout(-1)), "WithCallTimeout(-1ns): it must be above zero"},
	} {
		require.ErrorIs(t, test.err, twophase.ErrInvalid)
		assert.ErrorContains(t, test.err, "twophasegrpc: invalid: "+test.says)
	}
}

func TestAllThatCannotBeRightIsNamed(t *testing.T) {
	err := twophasegrpc.Register(nil, nil, nil, twophasegrpc.WithCallTimeout(-1))
	for _, says := range []string{"the server", "the participant", "option 1", "WithCallTimeout"} {
		assert.ErrorContains(t, err, says)
	}
}

func TestCallOptionsGoWithEveryCall(t *testing.T) {
	t.Parallel()
	p, err := twophasegrpc.NewParticipant(serving(t, newPool(t, 1)),
		twophasegrpc.WithCallOptions(grpc.MaxCallSendMsgSize(1)))
	require.NoError(t, err)
	for name, call := range calls {
		assert.Equal(t, codes.ResourceExhausted, status.Code(call(t.Context(), p)), name)
	}
}
