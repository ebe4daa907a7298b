package main

import (
	"math"
	"slices"
	"time"
)

// percentile returns the value that a share p of all, between 0 and 1, does not
// exceed: the nearest rank, so always one that was measured. It sorts all, and
// returns 0 of none.
func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	rank := int(math.Ceil(p * float64(len(all))))
	return all[min(max(rank, 1), len(all))-1]
}
