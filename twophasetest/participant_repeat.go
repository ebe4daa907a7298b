package twophasetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Calls that are repeated, refused, late or mistaken.

var repeatChecks = []Check{
	{
		Name:   "a reservation lasts as long as was asked for",
		Demand: "The answer to Reserve tells the time that is left: the whole hold that was asked for, less the time that the call took. It is not assigned.",
		Why:    "the coordinator, which plans by the time left, assigns too late or gives up good orders.",
		Free:   1, run: lastsAsAsked,
	},
	{
		Name:   "a repeated Reserve takes no second resource",
		Demand: "A repeated Reserve answers with the stored reservation; the second resource stays free.",
		Why:    "a lost reply costs a second packet.",
		Free:   2, run: repeatTakesNothing,
	},
	{
		Name:   "a repeated Reserve tells the time that is left",
		Demand: "A repeated Reserve answers with what is left of the first hold at that moment: not with the hold, and not with a moment on a clock.",
		Why:    "the coordinator believes in time that is not there, and is too late for Assign.",
		Free:   1, run: repeatTellsTimeLeft,
	},
	{
		Name:   "a repeated Reserve does not make the reservation last longer",
		Demand: "A repeated Reserve that asks for a longer hold changes nothing: the reservation runs out when the first hold has passed.",
		Why:    "a message that is repeated over and over holds a packet for ever.",
		Free:   1, run: repeatExtendsNothing,
	},
	{
		Name:   "a repeated Assign is ok after the old expiry",
		Demand: "Assign of an assigned key answers assigned, also when the hold has passed: the state is looked at before the clock.",
		Why:    "the reply to an Assign is lost, its repetition answers expired, and an order is given up that had all it needs.",
		Free:   1, run: repeatAssignAfterExpiry,
	},
	{
		Name:   "a repeated Reserve of an assigned key is answered after the old expiry",
		Demand: "Reserve of an assigned key answers with its resource, as assigned, also when the hold has passed.",
		Why:    "a coordinator that recovers after a crash gives up an order that had all it needs.",
		Free:   1, run: repeatReserveAfterExpiry,
	},
	{
		Name:   "a repeated Release touches nothing of whoever has the resource now",
		Demand: "A Release that is repeated after the resource went to another key is ok, and leaves it there.",
		Why:    "an order that was placed loses its packet by a late message of another.",
		Free:   1, run: repeatReleaseTouchesNothing,
	},
	{
		Name:   "Reserve with nothing free is refused and keeps nothing",
		Demand: "With nothing free, Reserve answers refused. The key stays unknown: its Assign answers unknown.",
		Why:    "an order is placed with no packet behind it.",
		Free:   1, run: refusedKeepsNothing,
	},
	{
		Name:   "a refused key may reserve once something is free",
		Demand: "A key that was refused holds nothing and is not remembered: when something is free its Reserve succeeds.",
		Why:    "an order that is tried again stays refused though there are packets.",
		Free:   1, run: refusedMayReserveLater,
	},
	{
		Name:   "a refused key may ask for something else",
		Demand: "A key that was refused may Reserve with another payload: it succeeds, or is refused again, but is no mismatch.",
		Why:    "an order that falls back to another dish is turned away for good.",
		Free:   1, run: refusedMayAskOtherwise,
	},
	{
		Name:   "a refused key that is released is turned away",
		Demand: "Release of a key that was refused leaves a tombstone: Reserve and Assign answer released from then on.",
		Why:    "a Reserve that arrives late holds a packet for an order that is over.",
		Free:   1, run: refusedAndReleased,
	},
}

func lastsAsAsked(t tester, s *service) {
	var r twophase.Reservation
	taken := spanOf(func() { r = s.take(t, mine, s.long) })
	requireLeft(t, s.long, r.TimeLeft, taken, taken, "TimeLeft of a new reservation")
	require.False(t, r.Assigned, "a new reservation is assigned")
}

func repeatTakesNothing(t tester, s *service) {
	given := s.take(t, mine, s.long)
	for range 3 {
		s.requireHeld(t, s.request(mine), given, false)
	}
	s.requireFree(t, 1)
}

func repeatTellsTimeLeft(t tester, s *service) {
	taken := spanOf(func() { s.take(t, mine, s.long) })
	for range 3 {
		s.sleep(s.short)
		var r twophase.Reservation
		var err error
		repeated := spanOf(func() { r, err = s.reserve(t, s.request(mine)) })
		require.NoError(t, err)
		requireLeft(t, s.long, r.TimeLeft, taken, repeated, "TimeLeft of a repeated Reserve")
	}
}

func repeatExtendsNothing(t tester, s *service) {
	given := s.take(t, mine, s.short)
	s.sleep(s.short / 2)
	s.requireHeld(t, s.request(mine), given, false) // asks for a longer hold
	s.until(s.short / 2)
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireFree(t, 1)
}

func repeatAssignAfterExpiry(t tester, s *service) {
	given := s.take(t, mine, s.short)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.mustAssign(t, mine)
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 0)
}

func repeatReserveAfterExpiry(t tester, s *service) {
	given := s.take(t, mine, s.short)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 0)
}

func repeatReleaseTouchesNothing(t tester, s *service) {
	s.take(t, mine, s.long)
	s.mustRelease(t, mine)
	given := s.take(t, theirs, s.long)
	s.mustRelease(t, mine)
	s.requireUntouched(t, given, false)
	s.mustAssign(t, theirs)
	s.mustRelease(t, mine)
	s.requireUntouched(t, given, true)
}

// requireUntouched checks that the other key still has the only resource.
func (s *service) requireUntouched(t tester, given twophase.Reservation, assigned bool) {
	t.Helper()
	s.requireHeld(t, s.request(theirs), given, assigned)
	s.requireFree(t, 0)
}

// refuse makes the only resource the other key's, and has mine refused.
func (s *service) refuse(t tester) {
	t.Helper()
	s.take(t, theirs, s.long)
	_, err := s.reserve(t, s.request(mine))
	requireError(t, twophase.ErrRefused, err, "Reserve with nothing free")
}

func refusedKeepsNothing(t tester, s *service) {
	s.refuse(t)
	requireError(t, twophase.ErrUnknown, s.assign(t, mine), "Assign of a refused key")
	s.mustAssign(t, theirs)
	s.mustRelease(t, theirs)
	s.requireFree(t, 1)
}

func refusedMayReserveLater(t tester, s *service) {
	s.refuse(t)
	s.mustRelease(t, theirs)
	given := s.take(t, mine, s.long)
	s.mustAssign(t, mine)
	s.requireHeld(t, s.request(mine), given, true)
}

func refusedMayAskOtherwise(t tester, s *service) {
	s.refuse(t)
	s.mustRelease(t, theirs)
	req := s.request(mine)
	req.Payload = s.different
	if _, err := s.reserve(t, req); err != nil {
		requireError(t, twophase.ErrRefused, err, "Reserve of a refused key with another payload")
	}
}

func refusedAndReleased(t tester, s *service) {
	s.refuse(t)
	s.mustRelease(t, mine)
	s.mustRelease(t, theirs)
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
	s.requireFree(t, 1)
}

var lateChecks = []Check{
	{
		Name:   "a late Reserve or Assign after Release is turned away however often it comes",
		Demand: "After Release, Reserve and Assign of the key answer released, each time, and the resource stays free.",
		Why:    "a message that was under way when its order was given up takes a packet that nobody will release.",
		Free:   1, run: lateAfterRelease,
	},
	{
		Name:   "a Reserve overtaken by its Release is turned away however often it comes",
		Demand: "Release of a key that was never seen answers ok and is remembered: a Reserve that comes after it answers released, each time.",
		Why:    "a Reserve that was delayed on its way holds a packet for an order that is over.",
		Free:   1, run: overtakenReserve,
	},
	{
		Name:   "a tombstone is kept",
		Demand: "Some time after a Release of a key that was never seen, its Reserve still answers released. Keep tombstones for a day.",
		Why:    "the slowest message takes a packet for an order that is over.",
		Free:   1, run: tombstoneIsKept,
	},
	{
		Name:   "a late Assign of an expired key touches nothing of whoever has the resource now",
		Demand: "Assign of an expired key answers expired when another key has the resource, and leaves it there.",
		Why:    "an order that was placed loses its packet, or shares it.",
		Free:   1, run: lateAssignTouchesNothing,
	},
	{
		Name:   "a late Release of an expired key touches nothing of whoever has the resource now",
		Demand: "Release of an expired key is ok when another key has the resource, and leaves it there.",
		Why:    "the cleaning up after one order takes the packet of another.",
		Free:   1, run: lateReleaseTouchesNothing,
	},
}

func lateAfterRelease(t tester, s *service) {
	s.takeForGood(t, mine)
	s.mustRelease(t, mine)
	for range 3 {
		s.requireTurnedAway(t, mine, twophase.ErrReleased)
	}
	s.requireFree(t, 1)
}

func overtakenReserve(t tester, s *service) {
	s.mustRelease(t, mine)
	for range 3 {
		s.requireTurnedAway(t, mine, twophase.ErrReleased)
	}
	s.requireFree(t, 1)
}

func tombstoneIsKept(t tester, s *service) {
	s.mustRelease(t, mine)
	if s.exact {
		s.sleep(time.Hour)
	} else {
		s.sleep(s.short)
	}
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
	s.requireFree(t, 1)
}

func lateAssignTouchesNothing(t tester, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	given := s.take(t, theirs, s.long)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign of an expired key")
	s.requireUntouched(t, given, false)
	s.mustAssign(t, theirs)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign of an expired key")
	s.requireUntouched(t, given, true)
}

func lateReleaseTouchesNothing(t tester, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	given := s.take(t, theirs, s.long)
	s.mustRelease(t, mine)
	s.requireUntouched(t, given, false)
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
}

var mismatchChecks = []Check{
	{
		Name:   "another payload under a reserved key is a mismatch and touches nothing",
		Demand: "Reserve of a reserved key with another payload answers mismatch. What is reserved stays so, and nothing else is taken.",
		Why:    "an id that is used twice by mistake places an order for what its customer did not ask for.",
		Free:   2, run: mismatchReserved,
	},
	{
		Name:   "another payload under an assigned key is a mismatch and touches nothing",
		Demand: "Reserve of an assigned key with another payload answers mismatch. What is assigned stays so, and nothing else is taken.",
		Why:    "an id that is used twice by mistake places an order for what its customer did not ask for.",
		Free:   2, run: mismatchAssigned,
	},
	{
		Name:   "another payload under a released key is turned away",
		Demand: "Reserve of a released key with another payload answers mismatch or released, and takes nothing.",
		Why:    "an id that is used again holds a packet for an order that is over.",
		Free:   1, run: mismatchReleased,
	},
	{
		Name:   "another payload under an expired key is turned away",
		Demand: "Reserve of an expired key with another payload answers mismatch or expired, and takes nothing.",
		Why:    "an id that is used again holds a packet for an order that is over.",
		Free:   1, run: mismatchExpired,
	},
}

// reserveOtherwise reserves under my key what differs from what I asked for.
func (s *service) reserveOtherwise(t tester) error {
	t.Helper()
	req := s.request(mine)
	req.Payload = s.different
	_, err := s.reserve(t, req)
	return err
}

func mismatchReserved(t tester, s *service) {
	given := s.take(t, mine, s.long)
	requireError(t, twophase.ErrMismatch, s.reserveOtherwise(t), "Reserve with another payload")
	s.requireHeld(t, s.request(mine), given, false)
	s.mustAssign(t, mine)
	s.requireFree(t, 1)
}

func mismatchAssigned(t tester, s *service) {
	given := s.takeForGood(t, mine)
	requireError(t, twophase.ErrMismatch, s.reserveOtherwise(t), "Reserve with another payload")
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 1)
}

func mismatchReleased(t tester, s *service) {
	s.take(t, mine, s.long)
	s.mustRelease(t, mine)
	expectEither(t, s.reserveOtherwise(t), twophase.ErrMismatch, twophase.ErrReleased)
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
	s.requireFree(t, 1)
}

func mismatchExpired(t tester, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	expectEither(t, s.reserveOtherwise(t), twophase.ErrMismatch, twophase.ErrExpired)
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireFree(t, 1)
}
