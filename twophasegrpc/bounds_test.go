package twophasegrpc_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
)

// across returns a participant behind a network, in a bubble.
func across(t testing.TB) (*network, *twophasegrpc.Participant) {
	t.Helper()
	listener, dial := inMemory(t)
	start(t, listener, func(server *grpc.Server) {
		require.NoError(t, twophasegrpc.Register(server, newPool(t, 1)))
	})
	n := newNetwork(dial, kind)
	return n, newParticipant(t, dialTarget(t, "passthrough:///network", n.option()))
}

// release asks until it is answered, as a coordinator does, and returns how long
// that took.
func release(t *testing.T, p *twophasegrpc.Participant, atMost time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < atMost {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := p.Release(ctx, mine)
		cancel()
		if err == nil {
			return time.Since(began)
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.Fail(t, "no answer", "in %v", atMost)
	return 0
}

func TestAConnectionThatFallsSilentIsFoundDeadInTimeToAssign(t *testing.T) {
	for name, idle := range map[string]time.Duration{"while in use": 0, "while idle": 7 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network, p := across(t)
				release(t, p, time.Minute)
				network.silence()
				time.Sleep(idle)
				took := release(t, p, time.Hour)
				assert.LessOrEqual(t, took, 16*time.Second)
				assert.Equal(t, idle > 0, took == 0, "an idle connection is pinged, too")
			})
		})
	}
}

func TestAServiceThatComesBackIsFoundWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, p := across(t)
		release(t, p, time.Minute)
		network.setDown(true)
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(time.Second) {
			sent := time.Now()
			assert.Equal(t, codes.Unavailable, status.Code(p.Release(t.Context(), mine)))
			assert.Zero(t, time.Since(sent), "a call to a service that is down fails at once")
		}
		network.setDown(false)
		assert.LessOrEqual(t, release(t, p, time.Hour), 2500*time.Millisecond)
	})
}

func TestPingsAreNotHeldAgainstAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, p := across(t)
		release(t, p, time.Minute)
		time.Sleep(25 * time.Minute) // gRPC lets go of what is idle for 30
		assert.Zero(t, release(t, p, time.Minute))
		assert.Equal(t, int64(1), network.connects.Load(), "connections")
	})
}

// stubborn is a participant that takes its time, whatever its context.
type stubborn struct {
	answering
	asked    chan<- struct{}
	answered *atomic.Bool
}

func (s stubborn) Assign(context.Context, twophase.Key) error {
	close(s.asked)
	time.Sleep(time.Minute)
	s.answered.Store(true)
	return nil
}

func TestStopWaitsForTheParticipant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answered := make(chan struct{}), new(atomic.Bool)
		listener, dial := inMemory(t)
		server := start(t, listener, func(server *grpc.Server) {
			require.NoError(t, twophasegrpc.Register(server, stubborn{asked: asked, answered: answered}))
		})
		p := newParticipant(t, dialTarget(t, "passthrough:///network", newNetwork(dial, kind).option()))
		var calling sync.WaitGroup
		calling.Go(func() { assert.Equal(t, codes.Unavailable, status.Code(p.Assign(t.Context(), mine))) })
		<-asked
		server.Stop()
		assert.True(t, answered.Load(), "its store may be closed now")
		calling.Wait()
	})
}
