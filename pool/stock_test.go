package pool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

func TestRestockIsAllOrNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		kind string
		ids  []string
		want error
		says string
	}{
		{"an id that the pool has", dosa, []string{"packet-9", "packet-1"}, pool.ErrExists, `"packet-1"`},
		{"an id that the pool has as another kind", idli, []string{"packet-9", "packet-1"}, pool.ErrExists, `as "masala dosa"`},
		{"an id that is assigned", dosa, []string{"packet-9", "packet-2"}, pool.ErrExists, `"packet-2"`},
		{"an id twice", dosa, []string{"packet-9", "packet-9"}, twophase.ErrInvalid, `"packet-9" is given twice`},
		{"an empty id", dosa, []string{"packet-9", ""}, twophase.ErrInvalid, "an id is empty"},
		{"an empty kind", "", []string{"packet-9"}, twophase.ErrInvalid, "empty kind"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, "packet-2", "packet-1")
			s.mustOrder("order-1", 1)
			s.mustAssign("order-1")
			err := s.Restock(tc.kind, tc.ids...)
			require.ErrorIs(t, err, tc.want)
			assert.ErrorContains(t, err, tc.says)
			s.assertCount(1, 0, 1)
			assert.Equal(t, []string{dosa}, s.Kinds())
			require.NoError(t, s.Restock(dosa, "packet-9"))
		})
	}
}

func TestWithdrawIsAllOrNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		ids  []string
		want error
		says string
	}{
		{"one is reserved", []string{"packet-3", "packet-1"}, pool.ErrHeld, `"packet-1" is reserved for order-1/store`},
		{"one is assigned", []string{"packet-3", "packet-2"}, pool.ErrHeld, `"packet-2" is assigned for order-2/store`},
		{"one is unknown", []string{"packet-3", "packet-9"}, pool.ErrNotFound, `"packet-9"`},
		{"one is given twice", []string{"packet-3", "packet-3"}, twophase.ErrInvalid, `"packet-3" is given twice`},
		{"one is empty", []string{"packet-3", ""}, twophase.ErrInvalid, "an id is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, "packet-1", "packet-2", "packet-3")
			s.mustOrder("order-1", 1)
			s.mustOrder("order-2", 1)
			s.mustAssign("order-2")
			err := s.Withdraw(tc.ids...)
			require.ErrorIs(t, err, tc.want)
			assert.ErrorContains(t, err, tc.says)
			s.assertCount(1, 1, 1)
		})
	}
}

func TestWhatIsWithdrawnIsNotGiven(t *testing.T) {
	t.Parallel()
	s := newStore(t, numbered("packet", 5)...)
	require.NoError(t, s.Withdraw("packet-1", "packet-5", "packet-3"))
	assert.Equal(t, []string{"packet-2", "packet-4"}, s.mustOrder("order-1", 2))
	_, err := s.order("order-2", 1)
	assertError(t, twophase.ErrRefused, err, "order-2")

	require.NoError(t, s.Restock(dosa, "packet-1"), "it may come back")
	assert.Equal(t, []string{"packet-1"}, s.mustOrder("order-2", 1))
}

func TestAKindStaysForAsLongAsSomethingOfItIsHeld(t *testing.T) {
	t.Parallel()
	for _, free := range []int{0, 1} {
		s := newStore(t, numbered("packet", 2+free)...)
		s.mustOrder("order-1", 1)
		require.NoError(t, s.Withdraw("packet-2"))
		assert.Equal(t, []string{dosa}, s.Kinds())
		s.assertCount(free, 1, 0)
		s.mustAssign("order-1")
		require.NoError(t, s.Restock(dosa, "packet-2"))
		require.NoError(t, s.Withdraw("packet-2"))
		s.assertCount(free, 0, 1)
		s.mustRelease("order-1")
		s.assertCount(free+1, 0, 0)
	}
}

func TestAKindWithoutResourcesIsNone(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-1")
	require.NoError(t, s.Restock(idli))
	assert.Equal(t, []string{dosa}, s.Kinds())
	require.NoError(t, s.Withdraw("packet-1"))
	assert.Empty(t, s.Kinds())
	assert.Zero(t, s.Count(dosa))
	assert.Empty(t, s.List(dosa))
	_, err := s.order("order-1", 1)
	assertError(t, twophase.ErrRefused, err, "order-1")
}

func TestKindsAreInOrder(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, kind := range []string{"vada", "dosa", "idli"} {
		require.NoError(t, p.Restock(kind, "packet of "+kind))
	}
	assert.Equal(t, []string{"dosa", "idli", "vada"}, p.Kinds())
}

func TestListTellsWhoHoldsWhat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, numbered("packet", 5)...)
		require.NoError(t, s.Restock(idli, "packet-6"))
		s.mustOrder("order-1", 2)
		s.mustAssign("order-1")
		s.mustOrder("order-2", 1)
		s.mustOrder("order-3", 1)
		time.Sleep(hold / 2)
		s.mustRelease("order-2")

		ofDosa := []pool.Resource{
			{ID: "packet-5", Kind: dosa},
			{ID: "packet-3", Kind: dosa},
			{ID: "packet-4", Kind: dosa, State: pool.Reserved, Key: key("order-3"), TimeLeft: hold / 2},
			{ID: "packet-1", Kind: dosa, State: pool.Assigned, Key: key("order-1")},
			{ID: "packet-2", Kind: dosa, State: pool.Assigned, Key: key("order-1")},
		}
		ofIdli := []pool.Resource{{ID: "packet-6", Kind: idli}}
		assert.Equal(t, ofDosa, s.List(dosa))
		assert.Equal(t, append(ofIdli, ofDosa...), s.List(), "all kinds, by name")
		assert.Empty(t, s.List("pizza"))
		assert.Zero(t, s.Count("pizza"))
	})
}

func TestLookupTellsWhatAKeyHolds(t *testing.T) {
	t.Parallel()
	packets := []string{"packet-1"}
	for _, tc := range []struct {
		name string
		from func(*store)
		want pool.Holding
		ok   bool
	}{
		{"nothing", nothing, pool.Holding{}, false},
		{"reserved", reserved, pool.Holding{State: twophase.EntryReserved, Kind: dosa, Resources: packets, TimeLeft: hold}, true},
		{"assigned", assigned, pool.Holding{State: twophase.EntryAssigned, Kind: dosa, Resources: packets}, true},
		{"released", released, pool.Holding{State: twophase.EntryReleased}, true},
		{"a tombstone", tombstone, pool.Holding{State: twophase.EntryReleased}, true},
		{"expired", expired, pool.Holding{State: twophase.EntryExpired}, true},
		{"just run out", runOut, pool.Holding{State: twophase.EntryExpired}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, "packet-1")
				tc.from(s)
				got, ok := s.Lookup(key("order-1"))
				assert.Equal(t, tc.want, got)
				assert.Equal(t, tc.ok, ok)
			})
		})
	}
}

func TestStatesHaveNames(t *testing.T) {
	t.Parallel()
	for state, name := range map[pool.State]string{
		pool.Free: "free", pool.Reserved: "reserved", pool.Assigned: "assigned", 9: "9",
	} {
		assert.Equal(t, name, state.String())
	}
}
