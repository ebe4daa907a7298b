package pool_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	dosa = "masala dosa"
	idli = "idli"
	hold = time.Minute
)

var finalErrors = []error{
	twophase.ErrRefused, twophase.ErrExpired, twophase.ErrReleased, twophase.ErrUnknown, twophase.ErrMismatch,
}

// store is a pool under test.
type store struct {
	*pool.Pool
	t testing.TB
}

func newPool(t testing.TB, options ...pool.Option) *pool.Pool {
	t.Helper()
	p, err := pool.New(options...)
	require.NoError(t, err)
	return p
}

// newStore returns a pool that has packets of dosa.
func newStore(t testing.TB, packets ...string) *store {
	t.Helper()
	s := &store{Pool: newPool(t), t: t}
	require.NoError(t, s.Restock(dosa, packets...))
	return s
}

func key(order string) twophase.Key { return twophase.Key{Transaction: order, Step: "store"} }

func request(order string, want pool.Want) twophase.Request {
	payload, err := json.Marshal(want)
	if err != nil {
		panic(err)
	}
	return twophase.Request{Key: key(order), Payload: payload, Hold: hold}
}

// order asks for packets of dosa.
func (s *store) order(order string, count int) (twophase.Reservation, error) {
	return s.Reserve(s.t.Context(), request(order, pool.Want{Kind: dosa, Count: count}))
}

// orderFor asks for one packet of dosa, for a time of the test's choice.
func (s *store) orderFor(order string, hold time.Duration) (twophase.Reservation, error) {
	req := request(order, pool.Want{Kind: dosa})
	req.Hold = hold
	return s.Reserve(s.t.Context(), req)
}

// mustOrder returns the packets.
func (s *store) mustOrder(order string, count int) []string {
	s.t.Helper()
	r, err := s.order(order, count)
	require.NoError(s.t, err)
	require.Len(s.t, r.Resources, count)
	return r.Resources
}

func (s *store) assign(order string) error  { return s.Assign(s.t.Context(), key(order)) }
func (s *store) release(order string) error { return s.Release(s.t.Context(), key(order)) }

func (s *store) mustAssign(order string) {
	s.t.Helper()
	require.NoError(s.t, s.assign(order))
}

func (s *store) mustRelease(order string) {
	s.t.Helper()
	require.NoError(s.t, s.release(order))
}

func (s *store) state(order string) twophase.EntryState {
	holding, _ := s.Lookup(key(order))
	return holding.State
}

func (s *store) assertCount(free, reserved, assigned int) {
	s.t.Helper()
	assert.Equal(s.t, pool.Counts{Free: free, Reserved: reserved, Assigned: assigned}, s.Count(dosa))
}

// assertError checks that err is want and none of the other final errors, and
// that it names the key.
func assertError(t testing.TB, want, err error, order string) {
	t.Helper()
	if want == nil {
		assert.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, want)
	assert.ErrorContains(t, err, key(order).String())
	for _, final := range finalErrors {
		assert.Equal(t, errors.Is(want, final), errors.Is(err, final), "%v is %v", err, final)
	}
}
