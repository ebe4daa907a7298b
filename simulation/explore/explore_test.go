//go:build !race

// The race detector makes exhausting ten times as slow; what it can find it finds in
// the worlds of broken_test.go.

package explore_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase/simulation/explore"
)

// everything asks for the worlds that take minutes, too.
var everything = os.Getenv("TWOPHASE_EXPLORE") == "everything"

func TestNoScheduleBreaksAnInvariant(t *testing.T) {
	t.Parallel()
	worlds := explore.Small()
	if everything {
		worlds = slices.Concat(worlds, explore.Large())
	}
	for _, world := range worlds {
		t.Run(world.String(), func(t *testing.T) {
			t.Parallel()
			report := explore.Explore(t, world)
			t.Log(report)
			assert.Empty(t, report.Breach)
			assert.Positive(t, report.Ends)
		})
	}
}

// TestMergedStatesLoseNothing: what the search takes for one state has the
// same future, or the number of schedules would differ.
func TestMergedStatesLoseNothing(t *testing.T) {
	t.Parallel()
	for _, world := range []explore.World{
		{Crashes: 1, Repeats: 1},
		{Expiries: 1},
		{Second: explore.Recovers},
		{Second: explore.Recovers, Crashes: 1},
		{Second: explore.RunsTheSame},
	} {
		t.Run(world.String(), func(t *testing.T) {
			t.Parallel()
			merged := explore.Explore(t, world)
			world.Unmerged = true
			unmerged := explore.Explore(t, world)
			t.Logf("%v\n%v", merged, unmerged)
			assert.Less(t, merged.States, unmerged.States)
			assert.Equal(t, unmerged.Schedules, merged.Schedules)
		})
	}
}

// TestSlowAnswersReachNothingElse: the books can come to the same whether or
// not answers are steps of their own.
func TestSlowAnswersReachNothingElse(t *testing.T) {
	t.Parallel()
	for _, world := range []explore.World{
		{Crashes: 1, Repeats: 1},
		{Expiries: 1, GiveUps: 1},
		{Second: explore.Recovers},
		{Second: explore.Recovers, Crashes: 1},
	} {
		t.Run(world.String(), func(t *testing.T) {
			t.Parallel()
			quick := explore.Explore(t, world)
			world.Split = true
			slow := explore.Explore(t, world)
			t.Logf("%v\n%v", quick, slow)
			assert.Empty(t, slow.Breach)
			assert.Less(t, quick.States, slow.States)
			assert.ElementsMatch(t, slices.Collect(maps.Keys(slow.Books)), slices.Collect(maps.Keys(quick.Books)))
		})
	}
}
