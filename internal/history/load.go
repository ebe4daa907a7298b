package history

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Load is what many callers do at once to a service: each plays the story of one
// transaction after another, with calls that are left out, repeated, late, out
// of order or cut short, and meddles with those of the others.
type Load struct {
	Seed         uint64
	Callers      int
	Transactions int
	// Payload returns what a transaction asks for; it is called by one caller at
	// a time.
	Payload func(random *rand.Rand) any
	// Hold is how long reservations last at most. Some run out.
	Hold time.Duration
	// Cut is the share of calls whose caller soon gives up.
	Cut float64
}

const (
	// behind is how many transactions later one is released by whoever is there.
	behind = 20
	// slow is how often a caller takes so much time that what it has may run
	// out: only it releases what it has then.
	slow = 5
)

// Run returns when all callers are done. The calls take turns among the
// participants, which are instances of one service.
func (l Load) Run(t testing.TB, participants ...twophase.Participant) {
	t.Helper()
	var next atomic.Int64
	var callers sync.WaitGroup
	for i := range l.Callers {
		callers.Go(func() {
			c := &caller{Load: l, t: t, participants: participants, random: rand.New(rand.NewPCG(l.Seed, uint64(i)))}
			for n := next.Add(1); n <= int64(l.Transactions); n = next.Add(1) {
				c.story(int(n))
			}
		})
	}
	callers.Wait()
}

// caller plays stories.
type caller struct {
	Load
	t            testing.TB
	participants []twophase.Participant
	random       *rand.Rand
}

func (c *caller) likely(p float64) bool { return c.random.Float64() < p }

// story is that of the n-th transaction.
func (c *caller) story(n int) {
	key := keyOf(n)
	req := c.request(key)
	if c.likely(0.05) {
		c.release(key)
	}
	c.reserve(req)
	if c.likely(0.3) {
		c.reserve(req)
	}
	if c.likely(0.05) {
		c.reserve(c.request(key))
	}
	if n%slow == 0 {
		time.Sleep(time.Duration(c.random.Float64() * 2 * float64(req.Hold)))
		if c.likely(0.5) {
			c.reserve(req)
		}
	}
	if c.likely(0.7) {
		c.assign(key)
	}
	c.meddle(keyOf(max(1, n-c.random.IntN(4))))
	if c.likely(0.3) {
		c.reserve(req)
	}
	if n%slow == 0 || c.likely(0.4) {
		c.release(key)
	}
	if earlier := n - behind; earlier > 0 && earlier%slow != 0 {
		c.release(keyOf(earlier))
	}
}

// meddle makes a call on a transaction that is likely to be somebody else's.
func (c *caller) meddle(key twophase.Key) {
	switch c.random.IntN(6) {
	case 0:
		c.release(key)
	case 1:
		c.reserve(c.request(key))
	default:
		c.assign(key)
	}
}

func keyOf(n int) twophase.Key {
	return twophase.Key{Transaction: "order-" + strconv.Itoa(n), Step: "step"}
}

func (c *caller) request(key twophase.Key) twophase.Request {
	payload, err := json.Marshal(c.Payload(c.random))
	if err != nil {
		c.t.Errorf("the load's payload: %v", err)
	}
	return twophase.Request{Key: key, Payload: payload, Hold: c.Hold/4 + time.Duration(c.random.Int64N(int64(c.Hold)))*3/4}
}

func (c *caller) reserve(req twophase.Request) {
	c.call(func(ctx context.Context, p twophase.Participant) error {
		_, err := p.Reserve(ctx, req)
		return err
	})
}

func (c *caller) assign(key twophase.Key) {
	c.call(func(ctx context.Context, p twophase.Participant) error { return p.Assign(ctx, key) })
}

func (c *caller) release(key twophase.Key) {
	c.call(func(ctx context.Context, p twophase.Participant) error { return p.Release(ctx, key) })
}

func (c *caller) call(do func(context.Context, twophase.Participant) error) {
	patience := time.Minute
	if c.likely(c.Cut) {
		patience = time.Duration(c.random.Int64N(int64(2 * time.Millisecond)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = do(ctx, c.participants[c.random.IntN(len(c.participants))]) // the recorder has the answer
}

// Switch is a participant behind which another one may be put at any time: the
// service is restarted.
type Switch struct {
	mu      sync.RWMutex
	current twophase.Participant
}

// ErrDown is the transient error of a service that is not there.
var ErrDown = errors.New("the service is down")

// Set puts a participant behind the switch, nil for none. It returns at once;
// calls that are under way end where they began.
func (s *Switch) Set(p twophase.Participant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = p
}

func (s *Switch) get() (twophase.Participant, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.current == nil {
		return nil, ErrDown
	}
	return s.current, nil
}

// Reserve implements [twophase.Participant].
func (s *Switch) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	p, err := s.get()
	if err != nil {
		return twophase.Reservation{}, err
	}
	return p.Reserve(ctx, req)
}

// Assign implements [twophase.Participant].
func (s *Switch) Assign(ctx context.Context, key twophase.Key) error {
	p, err := s.get()
	if err != nil {
		return err
	}
	return p.Assign(ctx, key)
}

// Release implements [twophase.Participant].
func (s *Switch) Release(ctx context.Context, key twophase.Key) error {
	p, err := s.get()
	if err != nil {
		return err
	}
	return p.Release(ctx, key)
}
