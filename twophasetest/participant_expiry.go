package twophasetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Reservations that run out.

var expiryChecks = []participantCheck{
	{name: "Assign just before the expiry is in time", free: 1, run: assignInTime},
	{name: "Assign at the instant of the expiry is too late", free: 1, run: assignTooLate},
	{name: "Reserve is answered again until just before the expiry", free: 1, run: reserveInTime},
	{name: "Reserve at the instant of the expiry is turned away", free: 1, run: reserveTooLate},
	{name: "a resource is not free just before its reservation runs out", free: 1, run: notFreeBefore},
	{name: "a resource is free at the instant its reservation runs out, with no other call", free: 1, run: freeAtOnce},
	{name: "an expired key stays expired when its resource is free again", free: 1, run: staysExpired},
	{name: "an assigned resource never expires", free: 1, run: assignedNeverExpires},
	{name: "reservations run out each at its own time", free: 3, run: eachAtItsTime},
	{name: "everything comes back that is not assigned", free: 8, run: everythingComesBack},
}

func assignInTime(t testing.TB, s *service) {
	given := s.take(t, mine, s.short)
	s.justBefore(s.short)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 0)
}

func assignTooLate(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign past the expiry")
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireFree(t, 1)
}

func reserveInTime(t testing.TB, s *service) {
	given := s.take(t, mine, s.short)
	s.justBefore(s.short)
	again, err := s.reserve(t, s.request(mine))
	require.NoError(t, err)
	requireSame(t, given, again)
	require.LessOrEqual(t, again.TimeLeft, s.short/2+precision, "TimeLeft")
}

func reserveTooLate(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	_, err := s.reserve(t, s.request(mine))
	requireError(t, twophase.ErrExpired, err, "Reserve past the expiry")
	s.requireFree(t, 1)
}

func notFreeBefore(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.justBefore(s.short)
	s.requireFree(t, 0)
	s.mustAssign(t, mine)
}

func freeAtOnce(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	given := s.take(t, theirs, s.long)
	s.mustAssign(t, theirs)
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireUntouched(t, given, true)
}

func staysExpired(t testing.TB, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	s.take(t, theirs, s.long)
	s.mustRelease(t, theirs)
	for range 3 {
		s.requireTurnedAway(t, mine, twophase.ErrExpired)
		s.sleep(s.short)
	}
	s.requireFree(t, 1)
}

func assignedNeverExpires(t testing.TB, s *service) {
	given := s.take(t, mine, s.short)
	s.mustAssign(t, mine)
	wait := s.short
	if s.exact {
		wait = time.Hour
	}
	for range 2 {
		s.until(wait)
		s.requireFree(t, 0)
		s.requireHeld(t, s.request(mine), given, true)
	}
	s.mustRelease(t, mine)
	s.requireFree(t, 1)
}

func eachAtItsTime(t testing.TB, s *service) {
	s.take(t, twophase.Key{Transaction: "order-1", Step: "long"}, s.long)
	s.take(t, twophase.Key{Transaction: "order-2", Step: "longer"}, 2*s.short)
	s.take(t, twophase.Key{Transaction: "order-3", Step: "short"}, s.short)
	s.requireFree(t, 0)
	s.until(s.short)
	s.requireFree(t, 1)
	s.until(s.short)
	s.requireFree(t, 2)
	s.mustAssign(t, twophase.Key{Transaction: "order-1", Step: "long"})
}

func everythingComesBack(t testing.TB, s *service) {
	keys := numbered("order", 8)
	for i, key := range keys {
		s.take(t, key, s.short)
		if i%2 == 0 {
			s.mustAssign(t, key)
		}
	}
	s.until(s.short)
	s.requireFree(t, 4)
	for i, key := range keys {
		if i%2 == 0 {
			s.mustAssign(t, key)
		} else {
			s.requireTurnedAway(t, key, twophase.ErrExpired)
		}
	}
}
