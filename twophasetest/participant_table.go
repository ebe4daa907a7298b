package twophasetest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// cell is one cell of the contract's table: a call, the state of its key, the
// answer, the state that the call leaves, and what goes wrong otherwise.
type cell struct {
	name string
	call twophase.Call
	from twophase.EntryState
	want error
	to   twophase.EntryState
	why  string
}

// table is that of twophase.Participant; its last row is among the checks of
// expiry.
var table = []cell{
	{
		"Reserve of a new key takes a free resource",
		twophase.CallReserve, twophase.EntryNone, nil, twophase.EntryReserved,
		"nothing can be ordered, or an order is placed with nothing set aside for it.",
	}, {
		"Reserve of a reserved key gets the same reservation",
		twophase.CallReserve, twophase.EntryReserved, nil, twophase.EntryReserved,
		"a lost reply costs a second packet, or gives up an order that had one.",
	}, {
		"Reserve of an assigned key gets the same reservation",
		twophase.CallReserve, twophase.EntryAssigned, nil, twophase.EntryAssigned,
		"a coordinator that recovers after a crash gives up an order that had all it needs.",
	}, {
		"Reserve of a released key is turned away",
		twophase.CallReserve, twophase.EntryReleased, twophase.ErrReleased, twophase.EntryReleased,
		"a late message takes a packet for an order that is over, and nobody will release it.",
	}, {
		"Reserve of an expired key is turned away",
		twophase.CallReserve, twophase.EntryExpired, twophase.ErrExpired, twophase.EntryExpired,
		"an order holds on to packets for longer than anybody agreed to.",
	}, {
		"Assign of a new key is unknown",
		twophase.CallAssign, twophase.EntryNone, twophase.ErrUnknown, twophase.EntryNone,
		"an order is placed with no packet behind it: the books of a participant that was restored from a backup, say.",
	}, {
		"Assign of a reserved key gives what it holds",
		twophase.CallAssign, twophase.EntryReserved, nil, twophase.EntryAssigned,
		"no order is ever placed, or a placed order loses its packet when the hold has passed.",
	}, {
		"Assign of an assigned key is ok again",
		twophase.CallAssign, twophase.EntryAssigned, nil, twophase.EntryAssigned,
		"a lost reply gives up an order that had all it needs.",
	}, {
		"Assign of a released key is turned away",
		twophase.CallAssign, twophase.EntryReleased, twophase.ErrReleased, twophase.EntryReleased,
		"a packet is given to an order whose customer was told that it is not placed.",
	}, {
		"Assign of an expired key is turned away",
		twophase.CallAssign, twophase.EntryExpired, twophase.ErrExpired, twophase.EntryExpired,
		"two callers are told of one packet, since somebody else may have it by now.",
	}, {
		"Release of a new key leaves a tombstone",
		twophase.CallRelease, twophase.EntryNone, nil, twophase.EntryReleased,
		"a Reserve that was delayed on its way holds a packet for an order that is over.",
	}, {
		"Release of a reserved key frees what it holds",
		twophase.CallRelease, twophase.EntryReserved, nil, twophase.EntryReleased,
		"packets stay on the shelf for orders that were given up, until the holds have passed.",
	}, {
		"Release of an assigned key frees what it holds",
		twophase.CallRelease, twophase.EntryAssigned, nil, twophase.EntryReleased,
		"packets stay on the shelf, for ever, for orders that are not placed.",
	}, {
		"Release of a released key is ok again",
		twophase.CallRelease, twophase.EntryReleased, nil, twophase.EntryReleased,
		"a lost reply makes the coordinator repeat the Release for ever, and raise an alarm.",
	}, {
		"Release of an expired key is ok",
		twophase.CallRelease, twophase.EntryExpired, nil, twophase.EntryReleased,
		"the coordinator repeats the Release for ever, and raises an alarm.",
	},
}

func tableChecks() []Check {
	checks := make([]Check, len(table))
	for i, cell := range table {
		checks[i] = Check{Name: cell.name, Demand: cell.demand(), Why: cell.why, Free: 1, run: cell.check}
	}
	return checks
}

// demand says what the cell demands, in a sentence.
func (c cell) demand() string {
	before := map[twophase.EntryState]string{
		twophase.EntryNone:     "that was never seen",
		twophase.EntryReserved: "that is reserved",
		twophase.EntryAssigned: "that is assigned",
		twophase.EntryReleased: "that was reserved and then released",
		twophase.EntryExpired:  "whose hold has passed",
	}[c.from]
	answer := "succeeds"
	if c.want != nil {
		answer = "answers " + nameOf(c.want)
	}
	after := map[twophase.EntryState]string{
		twophase.EntryNone:     "The key stays unknown, and a later Reserve of it succeeds.",
		twophase.EntryReserved: "Then the key holds one resource, reserved, and a repeated Reserve answers with it.",
		twophase.EntryAssigned: "Then the key holds one resource, assigned, and a repeated Reserve answers with it, as assigned.",
		twophase.EntryReleased: "Then the resource is free, and Reserve and Assign of the key answer released.",
		twophase.EntryExpired:  "The resource is free, and Reserve and Assign of the key go on to answer expired.",
	}[c.to]
	call := map[twophase.Call]string{
		twophase.CallReserve: "Reserve", twophase.CallAssign: "Assign", twophase.CallRelease: "Release",
	}[c.call]
	return fmt.Sprintf("%s of a key %s %s. %s", call, before, answer, after)
}

func (c cell) check(t tester, s *service) {
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
		require.NoError(t, err, "%s of %s", c.call, mine)
	} else {
		requireError(t, c.want, err, string(c.call))
	}
	s.requireState(t, c.to, given)
}

// reserveAgain checks that a Reserve that succeeds gets what is given already.
func (s *service) reserveAgain(t tester, given twophase.Reservation) (twophase.Reservation, error) {
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
func (s *service) reach(t tester, state twophase.EntryState) (given twophase.Reservation) {
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
func (s *service) requireState(t tester, state twophase.EntryState, given twophase.Reservation) {
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
