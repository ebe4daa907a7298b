package twophasetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Reservations that run out.

var expiryChecks = []Check{
	{
		Name:   "Assign just before the expiry is in time",
		Demand: "Assign while the reservation still lasts answers assigned, and the resource stays so after the hold has passed.",
		Why:    "good orders are given up though their time was not over.",
		Free:   1, run: assignInTime,
	},
	{
		Name:   "Assign at the instant of the expiry is too late",
		Demand: "Assign when the hold has passed answers expired, by the participant's own clock, read after the entry is locked. The resource is free.",
		Why:    "the resource may have been given to somebody else: two callers are told of one packet.",
		Free:   1, run: assignTooLate,
	},
	{
		Name:   "Reserve is answered again until just before the expiry",
		Demand: "A repeated Reserve while the reservation still lasts answers with the same resource and the time that is left.",
		Why:    "a caller whose reply was lost is turned away though its packet is still there.",
		Free:   1, run: reserveInTime,
	},
	{
		Name:   "Reserve at the instant of the expiry is turned away",
		Demand: "A repeated Reserve when the hold has passed answers expired, and takes nothing.",
		Why:    "a coordinator goes on to Assign with what others may have by now.",
		Free:   1, run: reserveTooLate,
	},
	{
		Name:   "a resource is not free just before its reservation runs out",
		Demand: "While a reservation lasts, nobody else is given its resource.",
		Why:    "two callers are told of one packet.",
		Free:   1, run: notFreeBefore,
	},
	{
		Name:   "a resource is free at the instant its reservation runs out, with no other call",
		Demand: "When the hold has passed, the next Reserve of another key takes the resource: no sweeper and no call of the old key is needed.",
		Why:    "customers are refused while packets lie on the shelf, held for orders that are over.",
		Free:   1, run: freeAtOnce,
	},
	{
		Name:   "an expired key stays expired when its resource is free again",
		Demand: "Reserve and Assign of an expired key answer expired, also when the resource has gone to another key and come back.",
		Why:    "a late message holds a packet for an order that is over.",
		Free:   1, run: staysExpired,
	},
	{
		Name:   "an assigned resource never expires",
		Demand: "After Assign, the resource stays assigned however long ago the hold has passed, until it is released.",
		Why:    "an order is placed, and its packet is given to somebody else.",
		Free:   1, run: assignedNeverExpires,
	},
	{
		Name:   "reservations run out each at its own time",
		Demand: "Three keys with three different holds: after each hold, one more resource is free, and no more.",
		Why:    "reservations end before the time that their callers were told, or hold packets after it.",
		Free:   3, run: eachAtItsTime,
	},
	{
		Name:   "everything comes back that is not assigned",
		Demand: "Of 8 keys, 4 are assigned. When the hold has passed, exactly 4 resources are free, and the other keys are expired.",
		Why:    "packets leak, a few each day, until the store is sold out with a full shelf.",
		Free:   8, run: everythingComesBack,
	},
}

func assignInTime(t tester, s *service) {
	given := s.take(t, mine, s.short)
	s.justBefore(s.short)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.requireHeld(t, s.request(mine), given, true)
	s.requireFree(t, 0)
}

func assignTooLate(t tester, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign past the expiry")
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireFree(t, 1)
}

func reserveInTime(t tester, s *service) {
	given := s.take(t, mine, s.short)
	s.justBefore(s.short)
	again, err := s.reserve(t, s.request(mine))
	require.NoError(t, err)
	requireSame(t, given, again)
	require.LessOrEqual(t, again.TimeLeft, s.short/2+precision, "TimeLeft")
}

func reserveTooLate(t tester, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	_, err := s.reserve(t, s.request(mine))
	requireError(t, twophase.ErrExpired, err, "Reserve past the expiry")
	s.requireFree(t, 1)
}

func notFreeBefore(t tester, s *service) {
	s.take(t, mine, s.short)
	s.justBefore(s.short)
	s.requireFree(t, 0)
	s.mustAssign(t, mine)
}

func freeAtOnce(t tester, s *service) {
	s.take(t, mine, s.short)
	s.until(s.short)
	given := s.take(t, theirs, s.long)
	s.mustAssign(t, theirs)
	s.requireTurnedAway(t, mine, twophase.ErrExpired)
	s.requireUntouched(t, given, true)
}

func staysExpired(t tester, s *service) {
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

func assignedNeverExpires(t tester, s *service) {
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

func eachAtItsTime(t tester, s *service) {
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

func everythingComesBack(t tester, s *service) {
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
