package pool_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

func TestExpiryIsExact(t *testing.T) {
	t.Parallel()
	const just = time.Nanosecond
	for _, tc := range []struct {
		name  string
		after time.Duration
		call  func(*store) error
		want  error
	}{
		{"Assign just before the expiry is in time", hold - just, assign, nil},
		{"Assign at the instant of the expiry is too late", hold, assign, twophase.ErrExpired},
		{"Reserve just before the expiry is answered again", hold - just, reserve, nil},
		{"Reserve at the instant of the expiry is too late", hold, reserve, twophase.ErrExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, "packet-1")
				reserved(s)
				time.Sleep(tc.after)
				assertError(t, tc.want, tc.call(s), "order-1")
			})
		})
	}
}

func TestI6AReservationNeverOutlivesItsExpiryThoughNobodyComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1")
		reserved(s)
		time.Sleep(hold - time.Nanosecond)
		_, err := s.order("order-2", 1)
		assertError(t, twophase.ErrRefused, err, "order-2")
		time.Sleep(time.Nanosecond)
		s.mustOrder("order-2", 1)
		assertError(t, twophase.ErrExpired, s.assign("order-1"), "order-1")
		s.mustAssign("order-2")
	})
}

// I6 for whoever only looks: each of the reads comes first in a pool of its own.
func TestI6ReadsTakeWhatHasRunOutForFree(t *testing.T) {
	t.Parallel()
	for name, isFree := range map[string]func(*store) bool{
		"Count":    func(s *store) bool { return s.Count(dosa) == pool.Counts{Free: 1} },
		"List":     func(s *store) bool { return s.List()[0] == pool.Resource{ID: "packet-1", Kind: dosa} },
		"Lookup":   func(s *store) bool { return s.state("order-1") == twophase.EntryExpired },
		"Withdraw": func(s *store) bool { return s.Withdraw("packet-1") == nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, "packet-1")
				reserved(s)
				time.Sleep(hold - time.Nanosecond)
				assert.False(t, isFree(s), "just before the expiry")
				time.Sleep(time.Nanosecond)
				assert.True(t, isFree(s), "at the instant of the expiry")
			})
		})
	}
}

func TestAnAssignedResourceNeverExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1")
		assigned(s)
		time.Sleep(1000 * 24 * time.Hour)
		_, err := s.order("order-2", 1)
		assertError(t, twophase.ErrRefused, err, "order-2")
		s.mustAssign("order-1")
		s.assertCount(0, 0, 1)
	})
}

// In whatever order reservations of several holds are made, and leave, each
// runs out at its own time.
func TestReservationsOfDifferentHoldsRunOutEachAtItsTime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runOutEachAtItsTime(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func runOutEachAtItsTime(t *testing.T, random *rand.Rand) {
	const orders = 60
	s := newStore(t, numbered("packet", orders)...)
	start := time.Now()
	ends := map[string]time.Time{} // of what is left to run out
	for _, order := range numbered("order", orders) {
		hold := time.Minute + time.Duration(random.IntN(8))*5*time.Second
		_, err := s.orderFor(order, hold)
		require.NoError(t, err)
		ends[order] = time.Now().Add(hold)
		if random.IntN(3) == 0 {
			time.Sleep(time.Second)
		}
	}
	require.Less(t, time.Since(start), time.Minute, "nothing is to run out yet")
	assigned := 0
	for order := range ends {
		switch random.IntN(4) {
		case 0:
			s.mustAssign(order)
			delete(ends, order)
			assigned++
		case 1:
			s.mustRelease(order)
			delete(ends, order)
		}
	}
	for len(ends) > 0 {
		time.Sleep(time.Second)
		for order, end := range ends {
			if !time.Now().Before(end) {
				delete(ends, order)
			}
		}
		s.assertCount(orders-assigned-len(ends), len(ends), assigned)
	}
}

// A day of random comings and goings: whoever comes back too late has nothing.
func TestI3AndI6NoResourceIsHeldTwiceAtAnyTime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { comeAndGo(t, seed) })
		})
	}
}

// span is the time for which a resource was held.
type span struct{ from, to time.Time }

func comeAndGo(t *testing.T, seed uint64) {
	s := newStore(t, numbered("packet", 5)...)
	held := make(chan map[string]span)
	orders := numbered("order", 200)
	for i, order := range orders {
		go func() { held <- s.comeAndGo(order, rand.New(rand.NewPCG(seed, uint64(i)))) }()
	}
	spans := map[string][]span{}
	for range orders {
		for packet, span := range <-held {
			spans[packet] = append(spans[packet], span)
		}
	}
	require.NotEmpty(t, spans)
	for packet, held := range spans {
		slices.SortFunc(held, func(a, b span) int { return a.from.Compare(b.from) })
		for i := range held[1:] {
			assert.False(t, held[i+1].from.Before(held[i].to), "%s is held twice: %v and %v", packet, held[i], held[i+1])
		}
	}
}

// comeAndGo places an order in one way or another, and returns what it held and
// when.
func (s *store) comeAndGo(order string, random *rand.Rand) map[string]span {
	moments := func(n int) time.Duration { return time.Duration(random.IntN(n)) * time.Minute }
	time.Sleep(moments(24 * 60))
	req := request(order, pool.Want{Kind: dosa, Count: 1 + random.IntN(2)})
	req.Hold = 10*time.Minute + moments(3)
	from := time.Now()
	r, err := s.Reserve(s.t.Context(), req)
	if err != nil {
		assertError(s.t, twophase.ErrRefused, err, order)
		return nil
	}
	time.Sleep(moments(20))
	to := from.Add(req.Hold)
	err = s.assign(order)
	if inTime := time.Now().Before(to); inTime != (err == nil) {
		assert.Fail(s.t, "expiry is not exact", "%s: in time: %v, Assign: %v", order, inTime, err)
	}
	if err == nil {
		time.Sleep(moments(60))
		to = time.Now()
		s.mustRelease(order)
	}
	held := map[string]span{}
	for _, packet := range r.Resources {
		held[packet] = span{from, to}
	}
	return held
}

func TestFinishedKeysAreKeptForTheRetention(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]func(*store){"released": released, "expired": expired, "a tombstone": tombstone} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, "packet-1")
				finish(s)
				kept := s.state("order-1")
				time.Sleep(24*time.Hour - time.Nanosecond)
				s.mustRelease("order-2")
				assert.Equal(t, kept, s.state("order-1"))
				time.Sleep(time.Nanosecond)
				s.mustRelease("order-3")
				assert.Equal(t, twophase.EntryNone, s.state("order-1"), "it is forgotten")
				assert.Equal(t, twophase.EntryReleased, s.state("order-2"))
				reserved(s)
			})
		})
	}
}

func TestALateCallDoesNotShortenTheRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1")
		tombstone(s)
		for range 23 {
			time.Sleep(time.Hour)
			s.mustRelease("some other order")
			assertError(t, twophase.ErrReleased, reserve(s), "order-1")
			assertError(t, twophase.ErrReleased, assign(s), "order-1")
		}
	})
}

// A Release that comes late makes a tombstone of what has expired, and others
// are not kept for longer because of it.
func TestAReleaseOfAnExpiredKeyBeginsItsRetentionAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1")
		expired(s)
		time.Sleep(time.Hour)
		s.mustRelease("order-2")
		time.Sleep(time.Hour)
		s.mustRelease("order-1")
		time.Sleep(23 * time.Hour)
		s.mustRelease("order-3")
		assert.Equal(t, twophase.EntryNone, s.state("order-2"), "it is forgotten")
		assert.Equal(t, twophase.EntryReleased, s.state("order-1"))
		time.Sleep(time.Hour)
		s.mustRelease("order-4")
		assert.Equal(t, twophase.EntryNone, s.state("order-1"), "it is forgotten")
	})
}

func TestWhatIsHeldIsNeverForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1", "packet-2")
		s.mustOrder("order-1", 1)
		s.mustAssign("order-1")
		_, err := s.orderFor("order-2", 1000*time.Hour)
		require.NoError(t, err)
		time.Sleep(999 * time.Hour)
		for _, order := range numbered("other", 10) {
			s.mustRelease(order)
		}
		s.mustAssign("order-1")
		s.mustAssign("order-2")
	})
}

// Every new key forgets two old ones, so the books are as long as one
// retention's work, though nobody tidies.
func TestTheBooksDoNotGrowBeyondTheRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, pool.WithRetention(time.Hour))
		s := &store{Pool: p, t: t}
		first := numbered("first", 100)
		for _, order := range first {
			s.mustRelease(order)
		}
		time.Sleep(time.Hour)
		for _, order := range numbered("second", 50) {
			s.mustRelease(order)
		}
		for _, order := range first {
			assert.Equal(t, twophase.EntryNone, s.state(order), order)
		}
	})
}

// numbered returns prefix-1 to prefix-n.
func numbered(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i+1)
	}
	return names
}
