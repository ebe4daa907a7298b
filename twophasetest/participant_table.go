package twophasetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// cell is one cell of the contract's table: a call, the state of its key, the
// answer, and the state that the call leaves.
type cell struct {
	name string
	call twophase.Call
	from twophase.EntryState
	want error
	to   twophase.EntryState
}

// table is that of twophase.Participant; its last row is among the checks of
// expiry.
var table = []cell{
	{
		"Reserve of a new key takes a free resource",
		twophase.CallReserve, twophase.EntryNone, nil, twophase.EntryReserved,
	}, {
		"Reserve of a reserved key gets the same reservation",
		twophase.CallReserve, twophase.EntryReserved, nil, twophase.EntryReserved,
	}, {
		"Reserve of an assigned key gets the same reservation",
		twophase.CallReserve, twophase.EntryAssigned, nil, twophase.EntryAssigned,
	}, {
		"Reserve of a released key is turned away",
		twophase.CallReserve, twophase.EntryReleased, twophase.ErrReleased, twophase.EntryReleased,
	}, {
		"Reserve of an expired key is turned away",
		twophase.CallReserve, twophase.EntryExpired, twophase.ErrExpired, twophase.EntryExpired,
	}, {
		"Assign of a new key is unknown",
		twophase.CallAssign, twophase.EntryNone, twophase.ErrUnknown, twophase.EntryNone,
	}, {
		"Assign of a reserved key gives what it holds",
		twophase.CallAssign, twophase.EntryReserved, nil, twophase.EntryAssigned,
	}, {
		"Assign of an assigned key is ok again",
		twophase.CallAssign, twophase.EntryAssigned, nil, twophase.EntryAssigned,
	}, {
		"Assign of a released key is turned away",
		twophase.CallAssign, twophase.EntryReleased, twophase.ErrReleased, twophase.EntryReleased,
	}, {
		"Assign of an expired key is turned away",
		twophase.CallAssign, twophase.EntryExpired, twophase.ErrExpired, twophase.EntryExpired,
	}, {
		"Release of a new key leaves a tombstone",
		twophase.CallRelease, twophase.EntryNone, nil, twophase.EntryReleased,
	}, {
		"Release of a reserved key frees what it holds",
		twophase.CallRelease, twophase.EntryReserved, nil, twophase.EntryReleased,
	}, {
		"Release of an assigned key frees what it holds",
		twophase.CallRelease, twophase.EntryAssigned, nil, twophase.EntryReleased,
	}, {
		"Release of a released key is ok again",
		twophase.CallRelease, twophase.EntryReleased, nil, twophase.EntryReleased,
	}, {
		"Release of an expired key is ok",
		twophase.CallRelease, twophase.EntryExpired, nil, twophase.EntryReleased,
	},
}

func tableChecks() []participantCheck {
	checks := make([]participantCheck, len(table))
	for i, cell := range table {
		checks[i] = participantCheck{name: cell.name, free: 1, run: cell.check}
	}
	return checks
}

func (c cell) check(t testing.TB, s *service) {
	given := s.reach(t, c.from)
	var err error
	switch c.call {
	case twophase.CallReserve:
		given, err = s.reserveAgain(t, given)
	case twophase.CallAssign:
		err = s.assign(t, mine)
	case twophase.CallRelease:
		err = s.release(t, mine)
	}
	if c.want == nil {
		require.NoError(t, err)
	} else {
		requireError(t, c.want, err, string(c.call))
	}
	s.requireState(t, c.to, given)
}

// reserveAgain checks that a Reserve that succeeds gets what is given already.
func (s *service) reserveAgain(t testing.TB, given twophase.Reservation) (twophase.Reservation, error) {
	t.Helper()
	r, err := s.reserve(t, s.request(mine))
	if err == nil {
		requireResources(t, 1, r)
		if len(given.Resources) > 0 {
			requireSame(t, given, r)
		}
	}
	return r, err
}

// reach brings the key into a state, and returns what it was given before.
func (s *service) reach(t testing.TB, state twophase.EntryState) (given twophase.Reservation) {
	t.Helper()
	switch state {
	case twophase.EntryReserved:
		given = s.take(t, mine, s.long)
	case twophase.EntryAssigned:
		given = s.takeForGood(t, mine)
	case twophase.EntryReleased:
		given = s.take(t, mine, s.long)
		s.mustRelease(t, mine)
	case twophase.EntryExpired:
		given = s.take(t, mine, s.short)
		s.until(s.short)
	}
	return given
}

// requireState checks that the key is in a state, by what it answers to calls
// that change nothing there, and by whether the only resource is free.
func (s *service) requireState(t testing.TB, state twophase.EntryState, given twophase.Reservation) {
	t.Helper()
	switch state {
	case twophase.EntryNone:
		requireError(t, twophase.ErrUnknown, s.assign(t, mine), "Assign")
		s.requireFree(t, 1)
		s.take(t, mine, s.long)
	case twophase.EntryReserved, twophase.EntryAssigned:
		s.requireHeld(t, s.request(mine), given, state == twophase.EntryAssigned)
		s.requireFree(t, 0)
	case twophase.EntryReleased:
		s.requireTurnedAway(t, mine, twophase.ErrReleased)
		s.requireFree(t, 1)
	case twophase.EntryExpired:
		s.requireTurnedAway(t, mine, twophase.ErrExpired)
		s.requireFree(t, 1)
	}
}
