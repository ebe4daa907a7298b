package twophasehttp_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// A coordinator keeps its word (I1 to I6) whatever becomes of the connections to
// its participants: cut in a request or in a reply, half open, slow, with
// requests that arrive twice or late, and replies that come twice. Time is that
// of a bubble, so minutes of trouble pass at once.
func TestInvariantsHoldThoughConnectionsAreCut(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	met := map[string]int{}
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(20) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(t, newPipes(), seed, 1, 1)
					s.order(t, 24)
					time.Sleep(time.Minute) // what is late arrives
					s.audit(t)
					mu.Lock()
					defer mu.Unlock()
					s.addMet(met)
				})
			})
		}
	})
	assert.Len(t, met, 8, "each fault is met: %v", met)
}

// The same over TCP, in real time: delays are shorter.
func TestInvariantsHoldThoughTCPConnectionsAreCut(t *testing.T) {
	s := newShop(t, tcp{}, 1, 5, 50)
	s.order(t, 24)
	time.Sleep(500 * time.Millisecond) // what is late arrives
	s.audit(t)
}

// shop is a store and a delivery service, each behind an unreliable network.
type shop struct {
	journal   *twophase.MemoryJournal
	pools     map[string]*pool.Pool
	proxies   []*proxy
	unsound   map[string]twophase.Participant // behind the proxies
	sound     map[string]twophase.Participant // past them
	policy    twophase.Policy
	told      map[string]outcome
	toldMutex sync.Mutex
}

// outcome is what a caller was told of an order.
type outcome struct {
	result twophase.Result
	err    error
}

const (
	packets = 20
	agents  = 16
)

// newShop returns a shop with policies, and faults, that are so many times faster
// than they would be otherwise.
func newShop(t *testing.T, n network, seed uint64, faster, faultsFaster time.Duration) *shop {
	s := &shop{
		journal: twophase.NewMemoryJournal(),
		pools:   map[string]*pool.Pool{"store": newPool(t, packets), "delivery": newPool(t, agents)},
		unsound: map[string]twophase.Participant{}, sound: map[string]twophase.Participant{},
		told: map[string]outcome{},
		policy: twophase.Policy{
			Hold: 40 * time.Second / faster, ReserveFor: 10 * time.Second / faster, AssignFor: 20 * time.Second / faster,
			ReleaseFor: 5 * time.Second / faster, Margin: time.Second / faster,
			Reserve: twophase.Retry{First: 50 * time.Millisecond / faster, Max: time.Second / faster, Attempt: 5 * time.Second / faster},
			Assign:  twophase.Retry{First: 50 * time.Millisecond / faster, Max: time.Second / faster, Attempt: 5 * time.Second / faster},
			Release: twophase.Retry{First: 50 * time.Millisecond / faster, Max: time.Second / faster, Attempt: 5 * time.Second / faster},
		},
	}
	for name, p := range s.pools {
		service := serveOn(t, n, newHandler(t, p))
		proxy, address := newProxy(t, n, service, func(kind string, n int) fault {
			f := drawFault(seed, name+" "+kind, n)
			f.delay, f.late, f.replyDelay = f.delay/faultsFaster, f.late/faultsFaster, f.replyDelay/faultsFaster
			return f
		})
		s.proxies = append(s.proxies, proxy)
		s.unsound[name] = newClientOn(t, n, address)
		s.sound[name] = newClientOn(t, n, service)
	}
	return s
}

func (s *shop) coordinator(t *testing.T, participants map[string]twophase.Participant) *twophase.Coordinator {
	t.Helper()
	options := []twophase.Option{twophase.WithPolicy(s.policy), twophase.WithLease(time.Second)}
	for name, p := range participants {
		options = append(options, twophase.WithParticipant(name, p))
	}
	c, err := twophase.NewCoordinator(s.journal, options...)
	require.NoError(t, err)
	return c
}

// transaction is the n-th order.
func transaction(n int) twophase.Transaction {
	return twophase.Transaction{
		ID: fmt.Sprintf("order-%d", n),
		Steps: []twophase.Step{
			{Participant: "store", Payload: pool.Want{Kind: dosa}},
			{Participant: "delivery", Payload: pool.Want{Kind: dosa}},
		},
	}
}

// order places orders side by side, more than can be met, and closes the
// coordinator at once.
func (s *shop) order(t *testing.T, orders int) {
	t.Helper()
	c := s.coordinator(t, s.unsound)
	var done sync.WaitGroup
	for n := range orders {
		done.Go(func() {
			result, err := c.Run(t.Context(), transaction(n))
			s.toldMutex.Lock()
			defer s.toldMutex.Unlock()
			s.told[transaction(n).ID] = outcome{result, err}
		})
	}
	done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // it may leave something to the next
}

// audit lets another coordinator finish what was left, and compares what callers
// were told with the books of the journal and of both services.
func (s *shop) audit(t *testing.T) {
	t.Helper()
	c := s.coordinator(t, s.sound)
	s.finish(t, c)
	holders := map[string]string{}
	placed := map[string]int{}
	for id, told := range s.told {
		again, err := c.Wait(t.Context(), id)
		require.True(t, err == nil || errors.Is(err, twophase.ErrNotPlaced), "%s: %v", id, err)
		if told.err == nil || errors.Is(told.err, twophase.ErrNotPlaced) {
			assert.Equal(t, told.err == nil, err == nil, "I2: %s was told %v, and then %v", id, told.err, err)
		}
		if told.err == nil {
			for _, step := range told.result.Steps {
				assert.Equal(t, step.Reservation.Resources, again.Reservation(step.Name).Resources, "I2: %s", id)
			}
		}
		for name, p := range s.pools {
			holding, _ := p.Lookup(twophase.Key{Transaction: id, Step: name})
			if err != nil {
				assert.False(t, holding.State == twophase.EntryReserved || holding.State == twophase.EntryAssigned,
					"I4: %s is not placed, and %v at %s", id, holding.State, name)
				continue
			}
			placed[name]++
			assert.Equal(t, twophase.EntryAssigned, holding.State, "I1: %s is placed, at %s", id, name)
			assert.Equal(t, again.Reservation(name).Resources, holding.Resources, "I1: %s at %s", id, name)
			for _, resource := range holding.Resources {
				assert.NotContains(t, holders, name+" "+resource, "I3: %s", id)
				holders[name+" "+resource] = id
			}
		}
	}
	require.NoError(t, c.Close(t.Context()))
	for name, p := range s.pools {
		counts := p.Count(dosa)
		assert.Equal(t, placed[name], counts.Assigned, "I5: nothing is assigned at %s but what was placed", name)
		assert.Zero(t, counts.Reserved, "I6: nothing is held at %s for long", name)
	}
	t.Logf("placed %d of %d", placed["store"], len(s.told))
	assert.Positive(t, placed["store"], "some orders are placed")
	assert.Less(t, placed["store"], len(s.told), "and some are not")
}

// finish lets a coordinator finish what another has left, whose lease may not be
// over yet.
func (s *shop) finish(t *testing.T, c *twophase.Coordinator) {
	t.Helper()
	for range 100 {
		_, err := c.Recover(t.Context())
		require.NoError(t, err)
		left := 0
		for _, err := range s.journal.List(t.Context(), twophase.Filter{Unfinished: true}) {
			require.NoError(t, err)
			left++
		}
		if left == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the journal has transactions that are not finished")
}

// addMet counts the faults that were met.
func (s *shop) addMet(met map[string]int) {
	for _, p := range s.proxies {
		p.mu.Lock()
		for name := range maps.Keys(p.met) {
			met[name] += p.met[name]
		}
		p.mu.Unlock()
	}
}

// I6: a coordinator that never comes back leaves nothing held.
func TestI6AReservationWhoseCallerIsGoneRunsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, p := newPipes(), newPool(t, 1)
		_, address := newProxy(t, n, serveOn(t, n, newHandler(t, p)), func(string, int) fault { return fault{halfOpen: true} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := newClientOn(t, n, address).Reserve(ctx, twophase.Request{
			Key: oneKey, Payload: []byte(`{"kind":"masala dosa"}`), Hold: time.Minute,
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, pool.Counts{Reserved: 1}, p.Count(dosa))
		time.Sleep(time.Minute)
		assert.Equal(t, pool.Counts{Free: 1}, p.Count(dosa))
	})
}
