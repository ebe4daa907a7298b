package twophasetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Calls that are repeated, refused, late or mistaken.

var repeatChecks = []participantCheck{
	{name: "a reservation lasts as long as was asked for", free: 1, run: lastsAsAsked},
	{name: "a repeated Reserve takes no second resource", free: 2, run: repeatTakesNothing},
	{name: "a repeated Reserve tells the time that is left", free: 1, run: repeatTellsTimeLeft},
	{name: "a repeated Reserve does not make the reservation last longer", free: 1, run: repeatExtendsNothing},
	{name: "a repeated Assign is ok after the old expiry", free: 1, run: repeatAssignAfterExpiry},
	{name: "a repeated Reserve of an assigned key is answered after the old expiry", free: 1, run: repeatReserveAfterExpiry},
	{name: "a repeated Release touches nothing of whoever has the resource now", free: 1, run: repeatReleaseTouchesNothing},
	{name: "Reserve with nothing free is refused and keeps nothing", free: 1, run: refusedKeepsNothing},
	{name: "a refused key may reserve once something is free", free: 1, run: refusedMayReserveLater},
	{name: "a refused key may ask for something else", free: 1, run: refusedMayAskOtherwise},
	{name: "a refused key that is released is turned away", free: 1, run: refusedAndReleased},
}

func lastsAsAsked(t testing.TB, s *service) {
	var r twophase.Reservation
	taken := spanOf(func() { r = s.take(t, mine, s.long) })
	requireLeft(t, s.long, r.TimeLeft, taken, taken, "TimeLeft of a new reservation")
	require.False(t, r.Assigned, "a new reservation is assigned")
}

func repeatTakesNothing(t testing.TB, s *service) {
	given := s.take(t, mine, s.long)
	for range 3 {
		s.requireHeld(t, s.request(mine), given, false)
	}
	s.requireFree(t, 1)
}

func repeatTellsTimeLeft(t testing.TB, s *service) {
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

func repeatExtendsNothing(t testing.TB, s *service) {
	given := s.take(t, mine, s.short)
	s.sleep(s.short / 2)
	s.requireHeld(t, s.request(mine), given, false) // asks for a longer hold
	s.until(s.short / 2)
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireFree(t, 1)
}

func repeatAssignAfterExpiry(t testing.TB, s *service) {
	given := s.take(t, mine, s.short)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.mustAssign(t, mine)
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 0)
}

func repeatReserveAfterExpiry(t testing.TB, s *service) {
	given := s.take(t, mine, s.short)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 0)
}

func repeatReleaseTouchesNothing(t testing.TB, s *service) {
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
func (s *service) requireUntouched(t testing.TB, given twophase.Reservation, assigned bool) {
	t.Helper()
	s.requireHeld(t, s.request(theirs), given, assigned)
	s.requireFree(t, 0)
}

// refuse makes the only resource the other key's, and has mine refused.
func (s *service) refuse(t testing.TB) {
	t.Helper()
	s.take(t, theirs, s.long)
	_, err := s.reserve(t, s.request(mine))
	requireError(t, twophase.ErrRefused, err, "Reserve with nothing free")
}

func refusedKeepsNothing(t testing.TB, s *service) {
	s.refuse(t)
	requireError(t, twophase.ErrUnknown, s.assign(t, mine), "Assign of a refused key")
	s.mustAssign(t, theirs)
	s.mustRelease(t, theirs)
	s.requireFree(t, 1)
}

func refusedMayReserveLater(t testing.TB, s *service) {
	s.refuse(t)
	s.mustRelease(t, theirs)
	given := s.take(t, mine, s.long)
	s.mustAssign(t, mine)
	s.requireHeld(t, s.request(mine), given, true)
}

func refusedMayAskOtherwise(t testing.TB, s *service) {
	s.refuse(t)
	s.mustRelease(t, theirs)
	req := s.request(mine)
	req.Payload = s.different
	if _, err := s.reserve(t, req); err != nil {
		requireError(t, twophase.ErrRefused, err, "Reserve of a refused key with another payload")
	}
}

func refusedAndReleased(t testing.TB, s *service) {
	s.refuse(t)
	s.mustRelease(t, mine)
	s.mustRelease(t, theirs)
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
	s.requireFree(t, 1)
}

var lateChecks = []participantCheck{
	{name: "a late Reserve or Assign after Release is turned away however often it comes", free: 1, run: lateAfterRelease},
	{name: "a Reserve overtaken by its Release is turned away however often it comes", free: 1, run: overtakenReserve},
	{name: "a tombstone is kept", free: 1, run: tombstoneIsKept},
	{name: "a late Assign of an expired key touches nothing of whoever has the resource now", free: 1, run: lateAssignTouchesNothing},
	{name: "a late Release of an expired key touches nothing of whoever has the resource now", free: 1, run: lateReleaseTouchesNothing},
}

func lateAfterRelease(t testing.TB, s *service) {
	s.takeForGood(t, mine)
	s.mustRelease(t, mine)
	for range 3 {
		s.requireTurnedAway(t, mine, twophase.ErrReleased)
	}
	s.requireFree(t, 1)
}

func overtakenReserve(t testing.TB, s *service) {
	s.mustRelease(t, mine)
	for range 3 {
		s.requireTurnedAway(t, mine, twophase.ErrReleased)
	}
	s.requireFree(t, 1)
}

func tombstoneIsKept(t testing.TB, s *service) {
	s.mustRelease(t, mine)
	if s.exact {
		s.sleep(time.Hour)
	} else {
		s.sleep(s.short)
	}
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
	s.requireFree(t, 1)
}

func lateAssignTouchesNothing(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	given := s.take(t, theirs, s.long)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign of an expired key")
	s.requireUntouched(t, given, false)
	s.mustAssign(t, theirs)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign of an expired key")
	s.requireUntouched(t, given, true)
}

func lateReleaseTouchesNothing(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	given := s.take(t, theirs, s.long)
	s.mustRelease(t, mine)
	s.requireUntouched(t, given, false)
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
}

var mismatchChecks = []participantCheck{
	{name: "another payload under a reserved key is a mismatch and touches nothing", free: 2, run: mismatchReserved},
	{name: "another payload under an assigned key is a mismatch and touches nothing", free: 2, run: mismatchAssigned},
	{name: "another payload under a released key is turned away", free: 1, run: mismatchReleased},
	{name: "another payload under an expired key is turned away", free: 1, run: mismatchExpired},
}

// reserveOtherwise reserves under my key what differs from what I asked for.
func (s *service) reserveOtherwise(t testing.TB) error {
	t.Helper()
	req := s.request(mine)
	req.Payload = s.different
	_, err := s.reserve(t, req)
	return err
}

func mismatchReserved(t testing.TB, s *service) {
	given := s.take(t, mine, s.long)
	requireError(t, twophase.ErrMismatch, s.reserveOtherwise(t), "Reserve with another payload")
	s.requireHeld(t, s.request(mine), given, false)
	s.mustAssign(t, mine)
	s.requireFree(t, 1)
}

func mismatchAssigned(t testing.TB, s *service) {
	given := s.takeForGood(t, mine)
	requireError(t, twophase.ErrMismatch, s.reserveOtherwise(t), "Reserve with another payload")
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 1)
}

func mismatchReleased(t testing.TB, s *service) {
	s.take(t, mine, s.long)
	s.mustRelease(t, mine)
	expectEither(t, s.reserveOtherwise(t), twophase.ErrMismatch, twophase.ErrReleased)
	s.requireTurnedAway(t, mine, twophase.ErrReleased)
	s.requireFree(t, 1)
}

func mismatchExpired(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	expectEither(t, s.reserveOtherwise(t), twophase.ErrMismatch, twophase.ErrExpired)
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireFree(t, 1)
}
