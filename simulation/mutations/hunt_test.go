package main

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/seed-bcc3c603/twophase/simulation"
	"github.com/seed-bcc3c603/twophase/simulation/explore"
)

// The hunting tests are built with a mutation of the library, and say whether
// and by what they catch it. They are of no use in another build.

func TestHuntBySimulation(t *testing.T) {
	for seed := range uint64(huntingSeeds(t)) {
		report := simulation.Run(t, seed)
		if len(report.Violations) > 0 {
			fmt.Printf("%sseed %d: %s\n", bySimulation, seed, report.Violations[0])
			return
		}
	}
	fmt.Println(notCaught)
}

func TestHuntByExploration(t *testing.T) {
	huntingSeeds(t)
	// Two claims at once are what nothing smaller can give back wrongly.
	claims := explore.World{Second: explore.Recovers, FirstRecovers: true, Empty: true, Repeats: 1}
	for _, world := range append(explore.Small(), claims) {
		report := explore.Explore(t, world)
		if report.Breach != "" {
			fmt.Printf("%s%v, %d plays: %s\n", byExploration, world, report.Plays, report.Breach)
			return
		}
	}
	fmt.Println(notCaught)
}

func huntingSeeds(t *testing.T) int {
	t.Helper()
	seeds, err := strconv.Atoi(os.Getenv(seedsVariable))
	if err != nil {
		t.Skip("this is run by go run ./simulation/mutations")
	}
	return seeds
}
