package pool_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// What may have happened to order-1, which asks for the only packet.
func nothing(*store)     {}
func reserved(s *store)  { s.mustOrder("order-1", 1) }
func assigned(s *store)  { reserved(s); s.mustAssign("order-1") }
func released(s *store)  { reserved(s); s.mustRelease("order-1") }
func expired(s *store)   { runOut(s); s.Lookup(key("order-1")) }
func runOut(s *store)    { reserved(s); time.Sleep(hold) } // nobody has looked yet
func tombstone(s *store) { s.mustRelease("order-1") }

// What may happen next.
func reserve(s *store) error { _, err := s.order("order-1", 1); return err }
func mistake(s *store) error { _, err := s.order("order-1", 2); return err }
func assign(s *store) error  { return s.assign("order-1") }
func release(s *store) error { return s.release("order-1") }
func timeGoes(*store) error  { time.Sleep(hold); return nil }

// The contract's table, cell by cell.
func TestTable(t *testing.T) {
	t.Parallel()
	const (
		none       = twophase.EntryNone
		isReserved = twophase.EntryReserved
		isAssigned = twophase.EntryAssigned
		isReleased = twophase.EntryReleased
		isExpired  = twophase.EntryExpired
	)
	for _, cell := range []struct {
		name string
		from func(*store)
		call func(*store) error
		want error
		to   twophase.EntryState
	}{
		{"Reserve of a new key takes a free resource", nothing, reserve, nil, isReserved},
		{"Reserve of a reserved key is answered again", reserved, reserve, nil, isReserved},
		{"Reserve of an assigned key is answered again", assigned, reserve, nil, isAssigned},
		{"Reserve of a released key is turned away", released, reserve, twophase.ErrReleased, isReleased},
		{"Reserve of an expired key is turned away", expired, reserve, twophase.ErrExpired, isExpired},
		{"Reserve of a key that has just run out is turned away", runOut, reserve, twophase.ErrExpired, isExpired},
		{"Reserve after a Release that overtook it is turned away", tombstone, reserve, twophase.ErrReleased, isReleased},

		{"Assign of a new key is unknown", nothing, assign, twophase.ErrUnknown, none},
		{"Assign of a reserved key gives it", reserved, assign, nil, isAssigned},
		{"Assign of an assigned key is ok again", assigned, assign, nil, isAssigned},
		{"Assign of a released key is turned away", released, assign, twophase.ErrReleased, isReleased},
		{"Assign of an expired key is turned away", expired, assign, twophase.ErrExpired, isExpired},
		{"Assign of a key that has just run out is turned away", runOut, assign, twophase.ErrExpired, isExpired},
		{"Assign after a Release that overtook it is turned away", tombstone, assign, twophase.ErrReleased, isReleased},

		{"Release of a new key leaves a tombstone", nothing, release, nil, isReleased},
		{"Release of a reserved key frees", reserved, release, nil, isReleased},
		{"Release of an assigned key frees", assigned, release, nil, isReleased},
		{"Release of a released key is ok again", released, release, nil, isReleased},
		{"Release of an expired key is ok", expired, release, nil, isReleased},
		{"Release of a key that has just run out is ok", runOut, release, nil, isReleased},
		{"Release of a tombstone is ok again", tombstone, release, nil, isReleased},

		{"time does nothing to a new key", nothing, timeGoes, nil, none},
		{"time ends a reservation", reserved, timeGoes, nil, isExpired},
		{"time does nothing to what is assigned", assigned, timeGoes, nil, isAssigned},
		{"time does nothing to a released key", released, timeGoes, nil, isReleased},
		{"time does nothing to an expired key", expired, timeGoes, nil, isExpired},

		{"Reserve of a reserved key with another payload is a mismatch", reserved, mistake, twophase.ErrMismatch, isReserved},
		{"Reserve of an assigned key with another payload is a mismatch", assigned, mistake, twophase.ErrMismatch, isAssigned},
		{"Reserve of a released key with another payload is a mismatch", released, mistake, twophase.ErrMismatch, isReleased},
		{"Reserve of an expired key with another payload is a mismatch", expired, mistake, twophase.ErrMismatch, isExpired},
		{"a tombstone turns every payload away", tombstone, mistake, twophase.ErrReleased, isReleased},
	} {
		t.Run(cell.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, "packet-1")
				cell.from(s)
				assertError(t, cell.want, cell.call(s), "order-1")

				assert.Equal(t, cell.to, s.state("order-1"))
				switch cell.to {
				case isReserved:
					s.assertCount(0, 1, 0)
				case isAssigned:
					s.assertCount(0, 0, 1)
				default:
					s.assertCount(1, 0, 0)
					s.mustOrder("order-2", 1)
				}
			})
		})
	}
}

func TestRepeatedReserveGetsTheSameReservationWithTheTimeThatIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1", "packet-2")
		r, err := s.order("order-1", 1)
		require.NoError(t, err)
		assert.Equal(t, twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: hold}, r)

		time.Sleep(hold / 3)
		r.Resources[0] = "scribbled on by the caller"
		r, err = s.order("order-1", 1)
		require.NoError(t, err)
		assert.Equal(t, twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: hold - hold/3}, r)

		s.mustAssign("order-1")
		time.Sleep(2 * hold)
		r, err = s.order("order-1", 1)
		require.NoError(t, err)
		assert.Equal(t, twophase.Reservation{Resources: []string{"packet-1"}, Assigned: true}, r)
		s.assertCount(1, 0, 1)
	})
}

func TestLateCallsOfAFinishedKeyTouchNothingOfTheNextHolder(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]func(*store){"released": released, "expired": expired, "just run out": runOut} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, "packet-1")
				finish(s)
				s.mustOrder("order-2", 1)
				for _, late := range []func(*store) error{reserve, assign, release} {
					_ = late(s)
					assert.Equal(t, []string{"packet-1"}, s.mustOrder("order-2", 1))
					s.assertCount(0, 1, 0)
				}
				s.mustAssign("order-2")
				_ = release(s)
				s.assertCount(0, 0, 1)
			})
		})
	}
}

func TestSeveralAreHeldAllOrNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1", "packet-2", "packet-3")
		assert.Equal(t, []string{"packet-1", "packet-2"}, s.mustOrder("order-1", 2))
		s.assertCount(1, 2, 0)

		_, err := s.order("order-2", 2)
		assertError(t, twophase.ErrRefused, err, "order-2")
		assert.ErrorContains(t, err, `wants 2 of "masala dosa": 1 free`)
		assert.Equal(t, twophase.EntryNone, s.state("order-2"), "a refused key keeps nothing")
		s.assertCount(1, 2, 0)

		s.mustAssign("order-1")
		s.assertCount(1, 0, 2)
		s.mustRelease("order-1")
		s.assertCount(3, 0, 0)

		assert.Equal(t, []string{"packet-3", "packet-1", "packet-2"}, s.mustOrder("order-2", 3))
		time.Sleep(hold)
		s.assertCount(3, 0, 0)
	})
}

func TestSeveralMayComeFromWhatIsFreeAndWhatHasRunOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "packet-1", "packet-2", "packet-3", "packet-4")
		s.mustOrder("order-1", 1)
		s.mustOrder("order-2", 2)
		time.Sleep(hold)
		assert.Equal(t, []string{"packet-4", "packet-1"}, s.mustOrder("order-3", 2))
		assert.Equal(t, []string{"packet-2", "packet-3"}, s.mustOrder("order-4", 2))
		s.assertCount(0, 4, 0)
	})
}

func TestWhatIsFreeForTheLongestIsGivenFirst(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-2", "packet-1")
	require.NoError(t, s.Restock(dosa, "packet-3"))
	assert.Equal(t, []string{"packet-2", "packet-1"}, s.mustOrder("order-1", 2))
	s.mustRelease("order-1")
	assert.Equal(t, []string{"packet-3", "packet-2", "packet-1"}, s.mustOrder("order-2", 3))
}

func TestKindsAreApart(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-1")
	require.NoError(t, s.Restock(idli, "packet-2"))
	s.mustOrder("order-1", 1)
	_, err := s.order("order-2", 1)
	assertError(t, twophase.ErrRefused, err, "order-2")
	r, err := s.Reserve(t.Context(), request("order-2", pool.Want{Kind: idli}))
	require.NoError(t, err)
	assert.Equal(t, "packet-2", r.Resource())
}

func TestStepsOfOneTransactionAreKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-1", "packet-2")
	s.mustOrder("order-1", 1)
	req := request("order-1", pool.Want{Kind: dosa})
	req.Key.Step = "store-2"
	r, err := s.Reserve(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, "packet-2", r.Resource())
}

func TestAsMuchAsIsAllowedMayBeAskedFor(t *testing.T) {
	t.Parallel()
	s := newStore(t, numbered("packet", pool.MaxCount)...)
	assert.Len(t, s.mustOrder("order-1", pool.MaxCount), pool.MaxCount)
}

func TestARequestThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []struct {
		name    string
		payload string
		hold    time.Duration
		says    string
	}{
		{"no payload", ``, hold, "payload of order-1/store"},
		{"no JSON", `{`, hold, "payload of order-1/store"},
		{"another type", `"masala dosa"`, hold, "payload of order-1/store"},
		{"an empty kind", `{}`, hold, "the kind is empty"},
		{"a kind that the pool does not have", `{"kind":"pizza"}`, hold, `wants 1 of "pizza": there is no such kind`},
		{"a negative count", `{"kind":"masala dosa","count":-1}`, hold, "a count is from 1 to 1000"},
		{"a count beyond bounds", `{"kind":"masala dosa","count":1001}`, hold, "a count is from 1 to 1000"},
		{"a count beyond a machine's word", `{"kind":"masala dosa","count":1e30}`, hold, "payload of order-1/store"},
		{"no hold", `{"kind":"masala dosa"}`, 0, "a hold of 0s"},
		{"a negative hold", `{"kind":"masala dosa"}`, -hold, "a hold of -1m0s"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, "packet-1")
			req := twophase.Request{Key: key("order-1"), Payload: json.RawMessage(bad.payload), Hold: bad.hold}
			_, err := s.Reserve(t.Context(), req)
			assertError(t, twophase.ErrRefused, err, "order-1")
			assert.ErrorContains(t, err, bad.says)
			assert.Equal(t, twophase.EntryNone, s.state("order-1"))
			s.assertCount(1, 0, 0)
		})
	}
}

func TestAKeyThatHasAnEntryIsAnsweredFromItWhateverTheRequestSays(t *testing.T) {
	t.Parallel()
	s := newStore(t, "packet-1")
	s.mustOrder("order-1", 1)
	s.mustRelease("order-2")
	for order, want := range map[string]error{"order-1": twophase.ErrMismatch, "order-2": twophase.ErrReleased} {
		_, err := s.Reserve(t.Context(), twophase.Request{Key: key(order), Payload: json.RawMessage(`{`)})
		assertError(t, want, err, order)
	}
	s.assertCount(0, 1, 0)
}

func TestAnEndedContextTouchesNothing(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s := newStore(t, "packet-1", "packet-2")
	s.mustOrder("order-1", 1)

	_, err := s.Reserve(ended, request("order-2", pool.Want{Kind: dosa}))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Assign(ended, key("order-1")), context.Canceled)
	require.ErrorIs(t, s.Release(ended, key("order-1")), context.Canceled)
	assert.False(t, twophase.IsFinal(err))
	assert.Equal(t, twophase.EntryReserved, s.state("order-1"))
	s.assertCount(1, 1, 0)
}
