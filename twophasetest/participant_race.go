package twophasetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Calls that come at once, and calls whose context ends.

var raceChecks = []Check{
	{
		Name:   "many who reserve at once get each resource once",
		Demand: "32 keys Reserve at once, with 8 resources free: 8 get one each, all different, and 24 are refused.",
		Why:    "two customers are promised the same packet, at the busiest hour.",
		Free:   8, run: manyAtOnce,
	},
	{
		Name:   "many who come and go never hold one resource together",
		Demand: "8 callers Reserve, Assign and Release 3 resources over and over. At no time do two hold the same.",
		Why:    "two customers are promised the same packet, at the busiest hour.",
		Free:   3, run: comeAndGo,
	},
	{
		Name:   "many who repeat one call at once get one answer",
		Demand: "16 equal Reserves of one key at once get one resource between them; equal Assigns and Releases at once are all ok.",
		Why:    "a repeated call that overlaps the first takes a second packet, which nobody will ever release.",
		Free:   8, run: repeatAtOnce,
	},
	{
		Name:   "Reserve and Release of one key at once end released",
		Demand: "Whichever comes first, in the end the key is released, and its resource free.",
		Why:    "a packet stays held for an order that was given up.",
		Free:   rounds, run: reserveRacesRelease,
	},
	{
		Name:   "Assign and Release of one key at once end released",
		Demand: "Whichever comes first, in the end the key is released, and its resource free.",
		Why:    "a packet stays assigned for ever to an order that was not placed.",
		Free:   rounds, run: assignRacesRelease,
	},
	{
		Name:   "Assign at the expiry races whoever takes the resource, and one has it",
		Demand: "At the instant of the expiry, its key assigns a resource while others Reserve. Either gets it, never both, and what was given stays so.",
		Why:    "two callers are told of one packet. Judge the expiry under the lock, not before.",
		Free:   rounds, run: assignRacesExpiry,
	},
	{
		Name:   "Assign and Release at the expiry end released",
		Demand: "Assign, Release and the expiry come together: in the end the key is released, and its resource free.",
		Why:    "a packet stays held for an order that was given up.",
		Free:   rounds, run: allRaceAtExpiry,
	},
}

// rounds is how often a race is run, each time on a key of its own.
const rounds = 16

func manyAtOnce(t tester, s *service) {
	keys := numbered("order", 32)
	held := make([][]string, len(keys))
	together(len(keys), func(i int) {
		r, err := s.reserve(t, s.request(keys[i]))
		if err != nil {
			assert.ErrorIs(t, err, twophase.ErrRefused)
			return
		}
		held[i] = r.Resources
	})
	all := slices.Concat(held...)
	requireDistinct(t, all)
	require.Len(t, all, 8, "resources that were given, of 8 that were free")
	s.requireFree(t, 0)
}

// holders counts who holds each resource.
type holders struct {
	mu   sync.Mutex
	held map[string]twophase.Key
}

func (h *holders) take(t tester, resource string, key twophase.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	other, taken := h.held[resource]
	assert.False(t, taken, "%s is given to %s while %s has it", resource, key, other)
	h.held[resource] = key
}

func (h *holders) give(resource string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, resource)
}

func comeAndGo(t tester, s *service) {
	h := &holders{held: map[string]twophase.Key{}}
	together(8, func(i int) {
		for n, key := range numbered(fmt.Sprintf("order-%d", i), rounds) {
			r, err := s.reserve(t, s.request(key))
			if errors.Is(err, twophase.ErrRefused) {
				continue
			}
			if !assert.NoError(t, err) {
				return
			}
			h.take(t, r.Resource(), key)
			s.sleep(time.Microsecond)
			if n%2 == 0 {
				assert.NoError(t, s.assign(t, key))
			}
			h.give(r.Resource())
			assert.NoError(t, s.release(t, key))
		}
	})
	s.requireFree(t, 3)
}

func repeatAtOnce(t tester, s *service) {
	reservations := make([]twophase.Reservation, 16)
	together(len(reservations), func(i int) {
		var err error
		reservations[i], err = s.reserve(t, s.request(mine))
		assert.NoError(t, err)
	})
	requireResources(t, 1, reservations[0])
	for _, r := range reservations {
		requireSame(t, reservations[0], r)
	}
	together(8, func(int) { assert.NoError(t, s.assign(t, mine)) })
	s.requireHeld(t, s.request(mine), reservations[0], true)
	s.requireFree(t, 7)
	together(8, func(int) { assert.NoError(t, s.release(t, mine)) })
	s.requireFree(t, 8)
}

func reserveRacesRelease(t tester, s *service) {
	for _, key := range numbered("order", rounds) {
		together(2, func(i int) {
			if i == 0 {
				assert.NoError(t, s.release(t, key))
				return
			}
			if _, err := s.reserve(t, s.request(key)); err != nil {
				assert.ErrorIs(t, err, twophase.ErrReleased)
			}
		})
		s.requireTurnedAway(t, key, twophase.ErrReleased)
	}
	s.requireFree(t, rounds)
}

func assignRacesRelease(t tester, s *service) {
	for _, key := range numbered("order", rounds) {
		s.take(t, key, s.long)
		together(2, func(i int) {
			if i == 0 {
				assert.NoError(t, s.release(t, key))
				return
			}
			if err := s.assign(t, key); err != nil {
				assert.ErrorIs(t, err, twophase.ErrReleased)
			}
		})
		s.requireTurnedAway(t, key, twophase.ErrReleased)
	}
	s.requireFree(t, rounds)
}

// assignRacesExpiry has all resources reserved, and at their expiry each
// assigned by its own key, while as many others ask for what is free.
func assignRacesExpiry(t tester, s *service) {
	keys, others := numbered("order", rounds), numbered("other", rounds)
	given := make([][]string, 2*rounds)
	began := make([]time.Time, rounds)
	for i, key := range keys {
		began[i] = time.Now()
		given[i] = s.take(t, key, s.short).Resources
	}
	together(2*rounds, func(i int) {
		s.nearExpiry(began[i%rounds], i)
		if i < rounds {
			if err := s.assign(t, keys[i]); err != nil {
				assert.ErrorIs(t, err, twophase.ErrExpired)
				given[i] = nil
			}
			return
		}
		r, err := s.reserve(t, s.request(others[i-rounds]))
		if err != nil {
			assert.ErrorIs(t, err, twophase.ErrRefused)
		}
		given[i] = r.Resources
	})
	requireDistinct(t, slices.Concat(given...))
	for i, key := range append(keys, others...) {
		if len(given[i]) > 0 {
			assert.NoError(t, s.assign(t, key), "what was given stays so")
		}
	}
}

// nearExpiry sleeps until what began to be taken then for a short time runs
// out: a little less, or a little more, in turn.
func (s *service) nearExpiry(began time.Time, turn int) {
	step := time.Nanosecond
	if !s.exact {
		step = s.short / 50
	}
	s.sleep(time.Until(began.Add(s.short)) + time.Duration(turn%3-1)*step)
}

func allRaceAtExpiry(t tester, s *service) {
	keys := numbered("order", rounds)
	began := make([]time.Time, rounds)
	for i, key := range keys {
		began[i] = time.Now()
		s.take(t, key, s.short)
	}
	together(2*rounds, func(i int) {
		key := keys[i/2]
		s.nearExpiry(began[i/2], i/2)
		if i%2 == 0 {
			assert.NoError(t, s.release(t, key))
			return
		}
		if err := s.assign(t, key); err != nil {
			expectEither(t, err, twophase.ErrReleased, twophase.ErrExpired)
		}
	})
	for _, key := range keys {
		s.requireTurnedAway(t, key, twophase.ErrReleased)
	}
	s.requireFree(t, rounds)
}

var contextChecks = []Check{
	{
		Name:   "Reserve with an ended context loses nothing",
		Demand: "A Reserve whose caller has gone answers a transient error, or holds what it says. Repeated, it succeeds, and the resource is there once.",
		Why:    "a caller that hangs up costs a packet.",
		Free:   1, run: endedReserve,
	},
	{
		Name:   "Assign with an ended context loses nothing",
		Demand: "An Assign whose caller has gone answers a transient error, or has assigned. Repeated, it succeeds.",
		Why:    "an order is given up, or is placed without its packet, because somebody hung up.",
		Free:   1, run: endedAssign,
	},
	{
		Name:   "Release with an ended context loses nothing",
		Demand: "A Release whose caller has gone answers a transient error, or has released. Repeated, it succeeds.",
		Why:    "a packet stays held for an order that was given up.",
		Free:   1, run: endedRelease,
	},
	{
		Name:   "calls whose context ends under way lose nothing",
		Demand: "Of Reserves and Assigns that are cut off under way, each has happened or has not. After Release of each key all resources are free.",
		Why:    "each connection that is cut costs a packet.",
		Free:   4, run: cutShort,
	},
}

func endedReserve(t tester, s *service) {
	r, err := s.next().Reserve(ended(t), s.request(mine))
	expectTransient(t, err, "Reserve")
	again := s.take(t, mine, s.long)
	if err == nil {
		requireSame(t, r, again)
	}
	s.requireFree(t, 0)
	s.mustRelease(t, mine)
	s.requireFree(t, 1)
}

func endedAssign(t tester, s *service) {
	given := s.take(t, mine, s.long)
	err := s.next().Assign(ended(t), mine)
	expectTransient(t, err, "Assign")
	if err == nil {
		s.requireHeld(t, s.request(mine), given, true)
	}
	s.mustAssign(t, mine)
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 0)
}

func endedRelease(t tester, s *service) {
	s.takeForGood(t, mine)
	err := s.next().Release(ended(t), mine)
	expectTransient(t, err, "Release")
	if err != nil {
		s.mustRelease(t, mine)
	}
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
	s.requireFree(t, 1)
}

func cutShort(t tester, s *service) {
	takes := s.callTakes(t)
	keys := numbered("order", 16)
	together(2*len(keys), func(i int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if after := time.Duration(i%8) * takes / 4; after > 0 {
			defer time.AfterFunc(after, cancel).Stop()
		} else {
			go cancel()
		}
		key := keys[i/2]
		if i%2 == 0 {
			_, _ = s.next().Reserve(ctx, s.request(key))
		} else {
			_ = s.next().Assign(ctx, key)
		}
	})
	for _, key := range keys {
		s.mustRelease(t, key)
		s.requireTurnedAway(t, key, twophase.ErrReleased)
	}
	s.requireFree(t, 4)
}

// callTakes returns how long a Reserve takes at least.
func (s *service) callTakes(t tester) time.Duration {
	t.Helper()
	var took []time.Duration
	for _, key := range numbered("order-before", 3) {
		call := spanOf(func() { s.take(t, key, s.long) })
		took = append(took, call.to.Sub(call.from))
		s.mustRelease(t, key)
	}
	return slices.Min(took)
}
