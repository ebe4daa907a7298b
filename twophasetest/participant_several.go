package twophasetest

import (
	"slices"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Keys that hold several resources: all or none.

var severalChecks = []Check{
	{
		Name:   "several resources are taken together",
		Demand: "A Reserve of 2 answers with 2 different resources; 1 of 3 stays free.",
		Why:    "an order with two packets gets one, or holds all of the shelf.",
		Free:   3, several: true, run: severalTaken,
	},
	{
		Name:   "several of which not all are free are refused and none is kept",
		Demand: "A Reserve of 2 with 1 free answers refused; the 1 stays free, and the key unknown.",
		Why:    "half an order is placed, or packets are held for an order that was refused.",
		Free:   3, several: true, run: severalRefused,
	},
	{
		Name:   "several are assigned together",
		Demand: "Assign of a key that holds 2 gives both for good: neither runs out.",
		Why:    "an order is placed, and one of its packets is given to somebody else.",
		Free:   3, several: true, run: severalAssigned,
	},
	{
		Name:   "several are released together",
		Demand: "Release of a key gives back all that it holds, reserved or assigned.",
		Why:    "packets leak with every order that is given up.",
		Free:   3, several: true, run: severalReleased,
	},
	{
		Name:   "several run out together",
		Demand: "When the hold has passed, all that the key holds is free.",
		Why:    "packets leak with every order that is abandoned.",
		Free:   3, several: true, run: severalExpired,
	},
	{
		Name:   "several may be taken from what is free and what has run out",
		Demand: "With 1 free and 2 whose reservation has run out, a Reserve of 3 succeeds.",
		Why:    "orders are refused while there are packets enough.",
		Free:   3, several: true, run: severalFromExpired,
	},
	{
		Name:   "many who ask for several at once hold all or none",
		Demand: "12 keys Reserve 2 each at once, with 5 resources free: 2 keys get 2 each, 10 are refused, and 1 resource stays free.",
		Why:    "orders that want several block each other with halves, and none is placed.",
		Free:   5, several: true, run: severalAtOnce,
	},
}

func (s *service) takeSeveral(t tester, key twophase.Key, n int) twophase.Reservation {
	t.Helper()
	return s.mustReserve(t, s.severalRequest(t, key, n), n)
}

func severalTaken(t tester, s *service) {
	given := s.takeSeveral(t, mine, 2)
	s.requireHeld(t, s.severalRequest(t, mine, 2), given, false)
	s.requireFree(t, 1)
}

func severalRefused(t tester, s *service) {
	s.takeSeveral(t, theirs, 2)
	_, err := s.reserve(t, s.severalRequest(t, mine, 2))
	requireError(t, twophase.ErrRefused, err, "Reserve of 2 with 1 free")
	requireError(t, twophase.ErrUnknown, s.assign(t, mine), "Assign of a refused key")
	s.requireFree(t, 1)
	s.mustRelease(t, theirs)
	s.takeSeveral(t, mine, 2)
	s.requireFree(t, 1)
}

func severalAssigned(t tester, s *service) {
	req := s.severalRequest(t, mine, 2)
	req.Hold = s.short
	given := s.mustReserve(t, req, 2)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.requireHeld(t, req, given, true)
	s.requireFree(t, 1)
}

func severalReleased(t tester, s *service) {
	s.takeSeveral(t, mine, 2)
	s.mustRelease(t, mine)
	s.requireFree(t, 3)
	s.takeSeveral(t, theirs, 3)
	s.mustAssign(t, theirs)
	s.mustRelease(t, theirs)
	s.requireFree(t, 3)
}

func severalExpired(t tester, s *service) {
	req := s.severalRequest(t, mine, 2)
	req.Hold = s.short
	s.mustReserve(t, req, 2)
	s.until(s.short)
	s.requireFree(t, 3)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign of an expired key")
	s.requireFree(t, 3)
}

func severalFromExpired(t tester, s *service) {
	req := s.severalRequest(t, mine, 2)
	req.Hold = s.short
	s.mustReserve(t, req, 2)
	s.until(s.short)
	s.takeSeveral(t, theirs, 3)
	s.requireFree(t, 0)
}

func severalAtOnce(t tester, s *service) {
	keys := numbered("order", 12)
	requests := make([]twophase.Request, len(keys))
	for i, key := range keys {
		requests[i] = s.severalRequest(t, key, 2)
	}
	held := make([][]string, len(keys))
	together(len(keys), func(i int) {
		r, err := s.reserve(t, requests[i])
		if err != nil {
			assert.ErrorIs(t, err, twophase.ErrRefused)
			return
		}
		assert.Len(t, r.Resources, 2)
		held[i] = r.Resources
	})
	all := slices.Concat(held...)
	requireDistinct(t, all)
	require.Len(t, all, 4, "of 5 resources, 2 keys can have 2 each")
	s.requireFree(t, 1)
}
