package twophase_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// TestEntry is the contract's table, cell by cell.
func TestEntry(t *testing.T) {
	t.Parallel()
	const hold = time.Minute
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	payload, other := twophase.FingerprintOf([]byte(`{"food":"idli"}`)), twophase.FingerprintOf([]byte(`{"food":"vada"}`))
	entry := func(state twophase.EntryState) twophase.Entry {
		return twophase.Entry{State: state, Fingerprint: payload, Expires: now.Add(hold)}
	}
	tombstone := twophase.Entry{State: twophase.EntryReleased}
	reserve := func(e twophase.Entry, at time.Time) twophase.Verdict { return e.Reserve(payload, hold, at) }
	reserveOther := func(e twophase.Entry, at time.Time) twophase.Verdict { return e.Reserve(other, hold, at) }
	assign := func(e twophase.Entry, at time.Time) twophase.Verdict { return e.Assign(at) }
	release := func(e twophase.Entry, _ time.Time) twophase.Verdict { return e.Release() }
	expire := func(e twophase.Entry, at time.Time) twophase.Verdict { return e.Expire(at) }
	const (
		none     = twophase.EntryNone
		reserved = twophase.EntryReserved
		assigned = twophase.EntryAssigned
		released = twophase.EntryReleased
		expired  = twophase.EntryExpired
	)
	atExpiry, justBefore, longAfter := now.Add(hold), now.Add(hold-1), now.Add(24*time.Hour)
	tests := []struct {
		name  string
		entry twophase.Entry
		call  func(twophase.Entry, time.Time) twophase.Verdict
		at    time.Time
		want  twophase.Verdict
	}{
		{"Reserve of none takes", twophase.Entry{}, reserve, now, twophase.Verdict{Entry: entry(reserved), Take: true}},
		{"Reserve of reserved is the same", entry(reserved), reserve, justBefore, twophase.Verdict{Entry: entry(reserved)}},
		{"Reserve of assigned is the same", entry(assigned), reserve, now, twophase.Verdict{Entry: entry(assigned)}},
		{"Reserve of assigned is the same past its expiry", entry(assigned), reserve, longAfter, twophase.Verdict{Entry: entry(assigned)}},
		{"Reserve of released is turned away", entry(released), reserve, now, twophase.Verdict{Entry: entry(released), Err: twophase.ErrReleased}},
		{"Reserve of a tombstone is turned away, whatever it asks for", tombstone, reserveOther, now, twophase.Verdict{Entry: tombstone, Err: twophase.ErrReleased}},
		{"Reserve of expired is turned away", entry(expired), reserve, now, twophase.Verdict{Entry: entry(expired), Err: twophase.ErrExpired}},
		{"Reserve at its expiry expires", entry(reserved), reserve, atExpiry, twophase.Verdict{Entry: entry(expired), Free: true, Err: twophase.ErrExpired}},
		{"Reserve of reserved with another payload", entry(reserved), reserveOther, now, twophase.Verdict{Entry: entry(reserved), Err: twophase.ErrMismatch}},
		{"Reserve past its expiry with another payload touches nothing", entry(reserved), reserveOther, longAfter, twophase.Verdict{Entry: entry(reserved), Err: twophase.ErrMismatch}},
		{"Reserve of assigned with another payload", entry(assigned), reserveOther, now, twophase.Verdict{Entry: entry(assigned), Err: twophase.ErrMismatch}},
		{"Reserve of released with another payload", entry(released), reserveOther, now, twophase.Verdict{Entry: entry(released), Err: twophase.ErrMismatch}},
		{"Reserve of expired with another payload", entry(expired), reserveOther, now, twophase.Verdict{Entry: entry(expired), Err: twophase.ErrMismatch}},

		{"Assign of none is unknown", twophase.Entry{}, assign, now, twophase.Verdict{Err: twophase.ErrUnknown}},
		{"Assign of reserved assigns until its expiry", entry(reserved), assign, justBefore, twophase.Verdict{Entry: entry(assigned)}},
		{"Assign at its expiry expires", entry(reserved), assign, atExpiry, twophase.Verdict{Entry: entry(expired), Free: true, Err: twophase.ErrExpired}},
		{"Assign of assigned is ok again", entry(assigned), assign, now, twophase.Verdict{Entry: entry(assigned)}},
		{"Assign of assigned is ok past the old expiry", entry(assigned), assign, longAfter, twophase.Verdict{Entry: entry(assigned)}},
		{"Assign of released is turned away", entry(released), assign, now, twophase.Verdict{Entry: entry(released), Err: twophase.ErrReleased}},
		{"Assign of a tombstone is turned away", tombstone, assign, now, twophase.Verdict{Entry: tombstone, Err: twophase.ErrReleased}},
		{"Assign of expired is turned away", entry(expired), assign, now, twophase.Verdict{Entry: entry(expired), Err: twophase.ErrExpired}},

		{"Release of none leaves a tombstone", twophase.Entry{}, release, now, twophase.Verdict{Entry: tombstone}},
		{"Release of reserved frees", entry(reserved), release, now, twophase.Verdict{Entry: entry(released), Free: true}},
		{"Release of assigned frees", entry(assigned), release, now, twophase.Verdict{Entry: entry(released), Free: true}},
		{"Release of released is ok again", entry(released), release, now, twophase.Verdict{Entry: entry(released)}},
		{"Release of expired is ok, and frees nothing twice", entry(expired), release, now, twophase.Verdict{Entry: entry(released)}},

		{"time does nothing to none", twophase.Entry{}, expire, longAfter, twophase.Verdict{}},
		{"time does nothing to reserved before its expiry", entry(reserved), expire, justBefore, twophase.Verdict{Entry: entry(reserved)}},
		{"time expires reserved at its expiry", entry(reserved), expire, atExpiry, twophase.Verdict{Entry: entry(expired), Free: true}},
		{"time does nothing to assigned", entry(assigned), expire, longAfter, twophase.Verdict{Entry: entry(assigned)}},
		{"time does nothing to released", entry(released), expire, longAfter, twophase.Verdict{Entry: entry(released)}},
		{"time does nothing to expired", entry(expired), expire, longAfter, twophase.Verdict{Entry: entry(expired)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, test.call(test.entry, test.at))
		})
	}

	for state, name := range map[twophase.EntryState]string{
		none: "none", reserved: "reserved", assigned: "assigned", released: "released", expired: "expired", expired + 1: "5",
	} {
		assert.Equal(t, name, state.String())
		assert.Equal(t, state == reserved || state == assigned, entry(state).Holds())
	}
	assert.Equal(t, hold, entry(reserved).TimeLeft(now))
	assert.Zero(t, entry(reserved).TimeLeft(longAfter), "never less than zero")
	assert.Zero(t, entry(assigned).TimeLeft(now), "what is assigned has no time left to speak of")
}

func TestIsFinal(t *testing.T) {
	t.Parallel()
	for _, final := range []error{
		twophase.ErrRefused, twophase.ErrExpired, twophase.ErrReleased, twophase.ErrUnknown, twophase.ErrMismatch,
	} {
		assert.True(t, twophase.IsFinal(fmt.Errorf("%w: why", final)))
	}
	for _, transient := range []error{
		nil, errors.New("down"), twophase.ErrUnavailable, &twophase.RetryAfterError{After: time.Second, Err: errors.New("busy")},
	} {
		assert.False(t, twophase.IsFinal(transient))
	}
}

func TestRetryAfterErrorSaysWhen(t *testing.T) {
	t.Parallel()
	busy := errors.New("busy")
	err := &twophase.RetryAfterError{After: time.Second, Err: busy}
	assert.EqualError(t, err, "busy (retry after 1s)")
	assert.ErrorIs(t, err, busy)
}

func TestPayloadsAndDetailsHaveTypes(t *testing.T) {
	t.Parallel()
	type packet struct {
		Food string `json:"food"`
	}
	key := twophase.Key{Transaction: "order-1", Step: "store"}

	got, err := twophase.PayloadOf[packet](twophase.Request{Key: key, Payload: []byte(`{"food":"idli"}`)})
	require.NoError(t, err)
	assert.Equal(t, packet{"idli"}, got)

	_, err = twophase.PayloadOf[packet](twophase.Request{Key: key, Payload: []byte(`{"food":1}`)})
	require.ErrorIs(t, err, twophase.ErrRefused, "a payload that does not fit is not going to fit later")
	assert.ErrorContains(t, err, "order-1/store")

	_, err = twophase.PayloadOf[packet](twophase.Request{Key: key})
	require.ErrorIs(t, err, twophase.ErrRefused, "nor is one that is missing")

	details, err := twophase.DetailsOf[packet](twophase.Reservation{Details: []byte(`{"food":"vada"}`)})
	require.NoError(t, err)
	assert.Equal(t, packet{"vada"}, details)

	_, err = twophase.DetailsOf[packet](twophase.Reservation{Resources: []string{"packet-1"}, Details: []byte(`[]`)})
	assert.ErrorContains(t, err, "packet-1")
}
