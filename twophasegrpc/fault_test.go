package twophasegrpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// Connections are cut in the middle of replies, fall silent and are slow, and
// behind them calls are repeated and arrive late: in the end each order holds
// everything or nothing, as its caller was told.
func TestInvariantsHoldOnAnUnkindNetwork(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCity(t, inMemory, unkind(seed, 0.3, 2*time.Second),
					twophasetest.Seeded(seed, twophasetest.Rates{Repeat: 0.1, Delay: 0.1, Late: 0.1, Longest: 20 * time.Second}))
				told := c.run(t, 60, 8)
				c.settle(t)
				c.audit(t, told)
			})
		})
	}
}

// The same by TCP and the real clock, but for silence, which takes long to find
// out.
func TestInvariantsHoldOnAnUnkindNetworkByTCP(t *testing.T) {
	t.Parallel()
	c := newCity(t, byTCP, unkind(1, 0, 20*time.Millisecond), twophasetest.Script(),
		twophase.WithLease(time.Second), twophase.WithPolicy(twophase.Policy{Hold: 40 * time.Second}))
	told := c.run(t, 100, 16)
	c.settle(t)
	c.audit(t, told)
}

// medium is how a client reaches a server.
type medium func(t testing.TB) (net.Listener, func(context.Context) (net.Conn, error))

func inMemory(testing.TB) (net.Listener, func(context.Context) (net.Conn, error)) {
	listener := bufconn.Listen(64 << 10)
	return listener, listener.DialContext
}

func byTCP(t testing.TB) (net.Listener, func(context.Context) (net.Conn, error)) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	}
}

// city is a store and a delivery service, each behind a network of its own, and
// a coordinator that orders from them.
type city struct {
	journal *twophase.MemoryJournal
	sides   map[string]*side
	options []twophase.Option
}

// side is a participant's books, and the way to them.
type side struct {
	books   *pool.Pool
	faulty  *twophasetest.FaultyParticipant
	network *network
	remote  twophase.Participant
}

// packets and agents are too few for all who order.
const packets, agents = 50, 40

func newCity(t *testing.T, by medium, fates func() fate, plan twophasetest.Plan, options ...twophase.Option) *city {
	t.Helper()
	c := &city{journal: twophase.NewMemoryJournal(), sides: map[string]*side{}, options: options}
	for name, free := range map[string]int{"store": packets, "delivery": agents} {
		s := &side{books: newPool(t, free)}
		s.faulty = twophasetest.NewFaultyParticipant(s.books, plan)
		t.Cleanup(s.faulty.Stop)
		listener, dial := by(t)
		s.network = newNetwork(dial, fates)
		start(t, listener, func(server *grpc.Server) {
			require.NoError(t, twophasegrpc.Register(server, s.faulty, quiet))
		})
		s.remote = newParticipant(t, dialTarget(t, "passthrough:///city", s.network.option()))
		c.sides[name] = s
	}
	return c
}

// told is what a caller was told.
type told struct {
	id     string
	result twophase.Result
	err    error
}

// run has so many orders placed, by callers side by side.
func (c *city) run(t *testing.T, orders, callers int) []told {
	t.Helper()
	coordinator := c.newCoordinator(t)
	answers := make([]told, orders)
	var next atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < orders; i = int(next.Add(1)) - 1 {
				answers[i].id = fmt.Sprintf("order-%d", i)
				answers[i].result, answers[i].err = coordinator.Run(t.Context(), twophase.Transaction{
					ID: answers[i].id,
					Steps: []twophase.Step{
						{Participant: "store", Payload: pool.Want{Kind: dosa}},
						{Participant: "delivery", Payload: pool.Want{Kind: dosa}},
					},
				})
			}
		})
	}
	all.Wait()
	for name, s := range c.sides {
		assert.Greater(t, s.network.broken.Load(), int64(2), "connections to %s", name)
		s.network.mend()
	}
	_ = coordinator.Close(t.Context())
	return answers
}

func (c *city) newCoordinator(t *testing.T) *twophase.Coordinator {
	t.Helper()
	options := c.options
	for name, s := range c.sides {
		options = append(options, twophase.WithParticipant(name, s.remote))
	}
	coordinator, err := twophase.NewCoordinator(c.journal, options...)
	require.NoError(t, err)
	return coordinator
}

// settle lets what is still under way arrive, and has another coordinator finish
// what is left.
func (c *city) settle(t *testing.T) {
	t.Helper()
	for _, s := range c.sides {
		s.faulty.Wait()
	}
	coordinator := c.newCoordinator(t)
	require.Eventually(t, func() bool {
		for _, err := range c.journal.List(t.Context(), twophase.Filter{Unfinished: true}) {
			assert.NoError(t, err)
			return false
		}
		for _, s := range c.sides {
			if s.books.Count(dosa).Reserved > 0 {
				return false
			}
		}
		return true
	}, time.Hour, 50*time.Millisecond, "all is finished, and what is not assigned has expired")
	require.NoError(t, coordinator.Close(t.Context()))
}

// audit compares what callers were told, what the journal says and what the
// books hold.
func (c *city) audit(t *testing.T, answers []told) {
	t.Helper()
	placed := 0
	for _, told := range answers {
		record, gone := c.journal.Get(t.Context(), told.id)
		stands := gone == nil && record.State == twophase.StateAssigned
		if stands {
			placed++
		}
		if told.err == nil || errors.Is(told.err, twophase.ErrNotPlaced) {
			assert.Equal(t, stands, told.err == nil, "%s was told %v", told.id, told.err)
		}
		for name, s := range c.sides {
			holding, _ := s.books.Lookup(twophase.Key{Transaction: told.id, Step: name})
			assert.Equal(t, stands, holding.State == twophase.EntryAssigned, "%s at %s is %v", told.id, name, holding.State)
			if told.err == nil {
				assert.Equal(t, holding.Resources, told.result.Reservation(name).Resources, told.id)
			}
		}
	}
	for name, s := range c.sides {
		assert.Equal(t, placed, s.books.Count(dosa).Assigned, "assigned at %s", name)
	}
	assert.Positive(t, placed, "some are placed")
	assert.Less(t, placed, len(answers), "and some are not")
	t.Logf("%d of %d placed; broken: store %d, delivery %d", placed, len(answers),
		c.sides["store"].network.broken.Load(), c.sides["delivery"].network.broken.Load())
}
