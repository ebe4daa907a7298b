package twophasetest

import (
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Keys that must not be taken for one another.

var keyChecks = []Check{
	{
		Name:   "steps of one transaction are different keys",
		Demand: "Two steps of one transaction hold a resource each, and are assigned and released each by itself.",
		Why:    "an order with two dishes gets one packet, or loses both when one is released.",
		Free:   2, run: stepsAreKeys,
	},
	{
		Name:   "keys that look alike are different keys",
		Demand: "Keys that differ in case, in a space, in a leading zero, in an accent, in where a slash stands or in the last of 255 bytes have a reservation each.",
		Why:    "two orders share one packet, and the release of one takes it from the other.",
		Free:   len(alike), run: lookAlikes,
	},
	{
		Name:   "keys may have any valid characters",
		Demand: "Transaction and step may be any text of up to 255 bytes. Over HTTP each is one percent-encoded segment of the path: split the raw path first, then decode each segment.",
		Why:    "an order whose id has a slash, a dot segment, a percent sign or an emoji can never be placed, or touches another.",
		Free:   len(odd), run: oddKeys,
	},
}

// numbered returns n keys of different transactions.
func numbered(prefix string, n int) []twophase.Key {
	keys := make([]twophase.Key, n)
	for i := range keys {
		keys[i] = twophase.Key{Transaction: fmt.Sprintf("%s-%d", prefix, i), Step: "step"}
	}
	return keys
}

// alike are keys that careless joining, folding or cutting makes equal.
var alike = []twophase.Key{
	{Transaction: "a", Step: "b/c"}, {Transaction: "a/b", Step: "c"},
	{Transaction: "a", Step: "b:c"}, {Transaction: "a:b", Step: "c"},
	{Transaction: "ab", Step: "c"}, {Transaction: "a", Step: "bc"},
	{Transaction: "b", Step: "a"}, {Transaction: "a", Step: "b"},
	{Transaction: "A", Step: "b"}, {Transaction: "a", Step: "B"},
	{Transaction: "a ", Step: "b"}, {Transaction: " a", Step: "b"},
	{Transaction: "a", Step: "b "}, {Transaction: "a", Step: " b"},
	{Transaction: "1", Step: "b"}, {Transaction: "01", Step: "b"},
	{Transaction: "a", Step: "1"}, {Transaction: "a", Step: "01"},
	{Transaction: "é", Step: "b"}, {Transaction: "e\u0301", Step: "b"},
	{Transaction: strings.Repeat("x", twophase.MaxIDLength), Step: "b"},
	{Transaction: strings.Repeat("x", twophase.MaxIDLength-1) + "y", Step: "b"},
}

// odd are ids that mean something to a shell, a URL, a query or a terminal.
var odd = []twophase.Key{
	{Transaction: "o'rder", Step: `"step"`},
	{Transaction: "100%", Step: "%s %d"},
	{Transaction: "_", Step: "*"},
	{Transaction: "../..", Step: "."},
	{Transaction: "a?b=c&d", Step: "#e"},
	{Transaction: `\`, Step: `\n`},
	{Transaction: "a+b", Step: "a b"},
	{Transaction: "{}[]<>", Step: "$1;--"},
	{Transaction: "ದೋಸೆ", Step: "🛵"},
	{Transaction: "null", Step: "0"},
	{Transaction: "..", Step: ".."},
	{Transaction: strings.Repeat("ü", twophase.MaxIDLength/2), Step: strings.Repeat("%", twophase.MaxIDLength)},
}

func stepsAreKeys(t tester, s *service) {
	other := twophase.Key{Transaction: mine.Transaction, Step: "another step"}
	given := []twophase.Reservation{s.take(t, mine, s.long), s.take(t, other, s.long)}
	requireDistinct(t, []string{given[0].Resource(), given[1].Resource()})
	s.requireFree(t, 0)
	s.mustAssign(t, mine)
	s.requireHeld(t, s.request(other), given[1], false)
	s.mustRelease(t, other)
	s.requireHeld(t, s.request(mine), given[0], true)
	s.requireTurnedAway(t, other, twophase.ErrReleased)
	s.requireFree(t, 1)
}

func lookAlikes(t tester, s *service) { s.requireApart(t, alike) }

func oddKeys(t tester, s *service) { s.requireApart(t, odd) }

// requireApart checks that each key has a state of its own: one third are
// reserved, one third assigned and one third released.
func (s *service) requireApart(t tester, keys []twophase.Key) {
	t.Helper()
	given := make([]twophase.Reservation, len(keys))
	resources := make([]string, len(keys))
	for i, key := range keys {
		given[i] = s.take(t, key, s.long)
		resources[i] = given[i].Resource()
	}
	requireDistinct(t, resources)
	released := 0
	for i, key := range keys {
		switch i % 3 {
		case 1:
			s.mustAssign(t, key)
		case 2:
			s.mustRelease(t, key)
			released++
		}
	}
	for i, key := range keys {
		if i%3 == 2 {
			s.requireTurnedAway(t, key, twophase.ErrReleased)
			continue
		}
		s.requireHeld(t, s.request(key), given[i], i%3 == 1)
	}
	require.Positive(t, released)
	s.requireFree(t, released)
}
