package pool_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

func TestLateMessagesOfWhatWasConsumedAreAnsweredAsBefore(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-1", "packet-2")
	given := s.mustOrder("order-1", 2)
	s.mustAssign("order-1")
	require.NoError(t, s.Consume(key("order-1")))
	s.assertCount(0, 0, 0)
	assert.Empty(t, s.Kinds())

	s.mustAssign("order-1")
	r, err := s.order("order-1", 2)
	require.NoError(t, err)
	assert.True(t, r.Assigned)
	assert.Equal(t, given, r.Resources)
	holding, ok := s.Lookup(key("order-1"))
	require.True(t, ok)
	assert.Equal(t, pool.Holding{State: twophase.EntryAssigned, Kind: dosa, Resources: given}, holding)
	require.NoError(t, s.Consume(key("order-1")), "it may be repeated")

	s.mustRelease("order-1")
	assertError(t, twophase.ErrReleased, s.assign("order-1"), "order-1")
	s.assertCount(0, 0, 0)
}

func TestConsumedResourceMayComeBackAndIsAnothers(t *testing.T) {
	t.Parallel()
	s := newStore(t, "agent-1")
	s.mustOrder("order-1", 1)
	s.mustAssign("order-1")
	require.NoError(t, s.Consume(key("order-1")))
	require.NoError(t, s.Restock(dosa, "agent-1"))
	assert.Equal(t, []string{"agent-1"}, s.mustOrder("order-2", 1))
	s.mustAssign("order-2")
	require.NoError(t, s.Consume(key("order-1")))
	s.mustRelease("order-1")
	s.assertCount(0, 0, 1)
	s.mustAssign("order-2")
}

func TestConsumeIsAllOrNothing(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]func(*store){
		"unknown":  func(*store) {},
		"reserved": func(s *store) { s.mustOrder("order-2", 1) },
		"released": func(s *store) { s.mustRelease("order-2") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, "packet-1", "packet-2")
			s.mustOrder("order-1", 1)
			s.mustAssign("order-1")
			other(s)
			err := s.Consume(key("order-1"), key("order-2"))
			require.ErrorIs(t, err, pool.ErrNotAssigned)
			require.ErrorContains(t, err, "order-2/store")
			assert.Equal(t, 1, s.Count(dosa).Assigned)
		})
	}
}

func TestConsumedKeyIsForgottenAfterItsRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{Pool: newPool(t, pool.WithRetention(time.Hour)), t: t}
		require.NoError(t, s.Restock(dosa, "packet-1", "packet-2", "packet-3"))
		s.mustOrder("order-1", 1)
		s.mustAssign("order-1")
		time.Sleep(time.Hour)
		require.NoError(t, s.Consume(key("order-1")))
		time.Sleep(time.Hour - time.Nanosecond)
		s.mustOrder("order-2", 1)
		s.mustAssign("order-1")
		time.Sleep(time.Nanosecond)
		s.mustOrder("order-3", 1)
		assertError(t, twophase.ErrUnknown, s.assign("order-1"), "order-1")
	})
}

func ExamplePool_Consume() {
	store := newExamplePool()
	fmt.Println(store.Restock("masala dosa", "packet-1"))
	order := key("order-1001")
	_, err := store.Reserve(context.Background(), request("order-1001", pool.Want{Kind: "masala dosa"}))
	fmt.Println(err, store.Consume(order))
	fmt.Println(store.Assign(context.Background(), order), store.Consume(order)) // it was eaten
	fmt.Println(store.Restock("masala dosa", "packet-1"))
	// Output:
	// <nil>
	// <nil> pool: Consume: not assigned: order-1001/store
	// <nil> <nil>
	// <nil>
}
