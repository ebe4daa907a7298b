package pool_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

func TestI3ManyWhoReserveAtOnceGetEachResourceOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ callers, resources, each, winners int }{
		{64, 1, 1, 1},
		{64, 7, 1, 7},
		{64, 7, 2, 3},
		{64, 100, 1, 64},
	} {
		t.Run(fmt.Sprintf("%d callers want %d of %d", tc.callers, tc.each, tc.resources), func(t *testing.T) {
			t.Parallel()
			s := newStore(t, numbered("packet", tc.resources)...)
			given := make([][]string, tc.callers)
			together(tc.callers, func(i int) {
				r, err := s.order(fmt.Sprintf("order-%d", i), tc.each)
				if err != nil {
					assert.ErrorIs(t, err, twophase.ErrRefused)
					return
				}
				assert.Len(t, r.Resources, tc.each)
				given[i] = r.Resources
			})
			all := slices.Concat(given...)
			assert.Len(t, all, tc.winners*tc.each)
			assertDistinct(t, all)
			s.assertCount(tc.resources-len(all), len(all), 0)
		})
	}
}

func TestI3ManyWhoComeAndGoNeverHoldOneResourceTogether(t *testing.T) {
	t.Parallel()
	const callers, rounds = 16, 200
	packets := numbered("packet", 5)
	s := newStore(t, packets...)
	holders := make(map[string]*sync.Mutex, len(packets)) // locked while held
	for _, packet := range packets {
		holders[packet] = &sync.Mutex{}
	}
	together(callers, func(i int) {
		for round := range rounds {
			order := fmt.Sprintf("order-%d-%d", i, round)
			r, err := s.order(order, 1+round%2)
			if err != nil {
				assert.ErrorIs(t, err, twophase.ErrRefused)
				continue
			}
			for _, packet := range r.Resources {
				assert.True(t, holders[packet].TryLock(), "%s is held twice", packet)
			}
			if round%3 > 0 {
				assert.NoError(t, s.assign(order))
			}
			counts := s.Count(dosa)
			assert.Equal(t, len(packets), counts.Free+counts.Reserved+counts.Assigned)
			assert.GreaterOrEqual(t, counts.Reserved+counts.Assigned, len(r.Resources))
			for _, packet := range r.Resources {
				holders[packet].Unlock()
			}
			assert.NoError(t, s.release(order))
		}
	})
	s.assertCount(len(packets), 0, 0)
}

func TestManyWhoRepeatOneRequestAtOnceGetOneAnswer(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-1", "packet-2", "packet-3")
	together(16, func(int) {
		r, err := s.order("order-1", 2)
		assert.NoError(t, err)
		assert.Equal(t, []string{"packet-1", "packet-2"}, r.Resources)
	})
	s.assertCount(1, 2, 0)
}

func TestReserveAssignAndReleaseOfOneKeyAtOnceEndReleased(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-1")
	calls := []func(*store) error{reserve, assign, release}
	together(30, func(i int) { _ = calls[i%len(calls)](s) })
	assert.Equal(t, twophase.EntryReleased, s.state("order-1"))
	s.assertCount(1, 0, 0)
}

// Everything may be done at once.
func TestI3HoldsWhileTheStockChanges(t *testing.T) {
	t.Parallel()
	s := newStore(t, numbered("packet", 10)...)
	together(8, func(i int) {
		own := fmt.Sprintf("own-%d", i)
		for round := range 100 {
			order := fmt.Sprintf("order-%d-%d", i, round)
			assert.NoError(t, s.Restock(dosa, own))
			if _, err := s.order(order, 2); err == nil {
				assert.NoError(t, s.release(order))
			}
			listed := s.List(dosa)
			all := make([]string, len(listed))
			for i, r := range listed {
				all[i] = r.ID
			}
			assertDistinct(t, all)
			for err := pool.ErrHeld; err != nil; { // until whoever has it gives it back
				if err = s.Withdraw(own); err != nil {
					assert.ErrorIs(t, err, pool.ErrHeld)
				}
			}
		}
	})
	s.assertCount(10, 0, 0)
}

// together runs do n times at once.
func together(n int, do func(i int)) {
	var done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		done.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	done.Wait()
}

func assertDistinct(t testing.TB, ids []string) {
	t.Helper()
	sorted := slices.Sorted(slices.Values(ids))
	require.Len(t, slices.Compact(sorted), len(ids), "twice in %v", ids)
}
