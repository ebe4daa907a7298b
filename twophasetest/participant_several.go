package twophasetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Keys that hold several resources: all or none.

var severalChecks = []participantCheck{
	{name: "several resources are taken together", free: 3, several: true, run: severalTaken},
	{name: "several of which not all are free are refused and none is kept", free: 3, several: true, run: severalRefused},
	{name: "several are assigned together", free: 3, several: true, run: severalAssigned},
	{name: "several are released together", free: 3, several: true, run: severalReleased},
	{name: "several run out together", free: 3, several: true, run: severalExpired},
	{name: "several may be taken from what is free and what has run out", free: 3, several: true, run: severalFromExpired},
	{name: "many who ask for several at once hold all or none", free: 5, several: true, run: severalAtOnce},
}

func (s *service) takeSeveral(t testing.TB, key twophase.Key, n int) twophase.Reservation {
	t.Helper()
	return s.mustReserve(t, s.severalRequest(t, key, n), n)
}

func severalTaken(t testing.TB, s *service) {
	given := s.takeSeveral(t, mine, 2)
	s.requireHeld(t, s.severalRequest(t, mine, 2), given, false)
	s.requireFree(t, 1)
}

func severalRefused(t testing.TB, s *service) {
	s.takeSeveral(t, theirs, 2)
	_, err := s.reserve(t, s.severalRequest(t, mine, 2))
	requireError(t, twophase.ErrRefused, err, "Reserve of 2 with 1 free")
	requireError(t, twophase.ErrUnknown, s.assign(t, mine), "Assign of a refused key")
	s.requireFree(t, 1)
	s.mustRelease(t, theirs)
	s.takeSeveral(t, mine, 2)
	s.requireFree(t, 1)
}

func severalAssigned(t testing.TB, s *service) {
	req := s.severalRequest(t, mine, 2)
	req.Hold = s.short
	given := s.mustReserve(t, req, 2)
	s.mustAssign(t, mine)
	s.until(s.short)
	s.requireHeld(t, req, given, true)
	s.requireFree(t, 1)
}

func severalReleased(t testing.TB, s *service) {
	s.takeSeveral(t, mine, 2)
	s.mustRelease(t, mine)
	s.requireFree(t, 3)
	s.takeSeveral(t, theirs, 3)
	s.mustAssign(t, theirs)
	s.mustRelease(t, theirs)
	s.requireFree(t, 3)
}

func severalExpired(t testing.TB, s *service) {
	req := s.severalRequest(t, mine, 2)
	req.Hold = s.short
	s.mustReserve(t, req, 2)
	s.until(s.short)
	s.requireFree(t, 3)
	requireError(t, twophase.ErrExpired, s.assign(t, mine), "Assign of an expired key")
	s.requireFree(t, 3)
}

func severalFromExpired(t testing.TB, s *service) {
	req := s.severalRequest(t, mine, 2)
	req.Hold = s.short
	s.mustReserve(t, req, 2)
	s.until(s.short)
	s.takeSeveral(t, theirs, 3)
	s.requireFree(t, 0)
}

func severalAtOnce(t testing.TB, s *service) {
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
