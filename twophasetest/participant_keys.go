package twophasetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Keys that must not be taken for one another.

var keyChecks = []participantCheck{
	{name: "steps of one transaction are different keys", free: 2, run: stepsAreKeys},
	{name: "keys that look alike are different keys", free: len(alike), run: lookAlikes},
	{name: "keys may have any valid characters", free: len(odd), run: oddKeys},
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
	{Transaction: "1", Step: "b"}, {Transaction: "01", Step: "b"},
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
	{Transaction: strings.Repeat("ü", twophase.MaxIDLength/2), Step: strings.Repeat("%", twophase.MaxIDLength)},
}

func stepsAreKeys(t testing.TB, s *service) {
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

func lookAlikes(t testing.TB, s *service) { s.requireApart(t, alike) }

func oddKeys(t testing.TB, s *service) { s.requireApart(t, odd) }

// requireApart checks that each key has a state of its own: one third are
// reserved, one third assigned and one third released.
func (s *service) requireApart(t testing.TB, keys []twophase.Key) {
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
