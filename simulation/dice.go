package simulation

import (
	"math/rand/v2"
	"time"
)

// dice are thrown for one thing that may happen, and know its name: what they
// show depends on the seed and that name alone, and not on what else has happened.
// So a run can be repeated without some of its faults, and the others stay.
type dice struct{ source rand.PCG }

// newDice returns the dice of the n-th thing of a name.
func newDice(seed uint64, name string, n int) dice {
	var d dice
	d.source.Seed(seed, mix(nameHash(name), uint64(n)))
	return d
}

// nameHash is FNV-1a: it must be the same in every process.
func nameHash(name string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(name) {
		hash = (hash ^ uint64(name[i])) * 1099511628211
	}
	return hash
}

// mix makes one number of two, with every bit depending on all.
func mix(a, b uint64) uint64 {
	var p rand.PCG
	p.Seed(a, b)
	return p.Uint64()
}

// share returns a number from 0 up to but not 1.
func (d *dice) share() float64 { return float64(d.source.Uint64()>>11) / (1 << 53) }

func (d *dice) chance(p float64) bool { return d.share() < p }

// below returns a number from 0 up to but not n.
func (d *dice) below(n int) int { return int(d.share() * float64(n)) }

// upTo returns a time above zero, to the nanosecond: no two are ever the same.
func (d *dice) upTo(longest time.Duration) time.Duration { return d.between(0, longest) }

func (d *dice) between(shortest, longest time.Duration) time.Duration {
	return shortest + 1 + time.Duration(d.share()*float64(longest-shortest))
}
