package simulation

import (
	"maps"
	"regexp"
	"slices"
	"testing"
)

// Shrink runs the world of a seed again and again, with fewer and fewer orders,
// callers and faults, for as long as it breaks the same invariant, and returns the
// last run that did, with its trace. If the seed breaks nothing, that is the run
// of the whole world. It makes a few hundred runs at most.
func Shrink(t *testing.T, seed uint64, options ...Option) *Report {
	t.Helper()
	s := shrinking{t: t, seed: seed, options: options, without: map[string]bool{}, runs: mostRuns}
	s.best = s.run(nil)
	for size := len(s.best.Struck) / 2; size > 0 && s.runs > 0; size /= 2 {
		for s.pass(size) && size == 1 && s.runs > 0 {
			continue // what is left may have become superfluous
		}
	}
	return Run(t, seed, append(slices.Clone(options), Without(slices.Collect(maps.Keys(s.without))...), WithTrace())...)
}

// mostRuns bounds how long it takes to shrink a failure.
const mostRuns = 500

type shrinking struct {
	t       *testing.T
	seed    uint64
	options []Option
	without map[string]bool
	best    *Report
	runs    int
}

// pass tries to do without each group of so many things, and reports whether it
// could do without any.
func (s *shrinking) pass(size int) (progress bool) {
	for start := 0; start < len(s.best.Struck) && s.runs > 0; {
		group := s.best.Struck[start:min(start+size, len(s.best.Struck))]
		r := s.run(group)
		if len(r.Violations) == 0 || breaks(r) != breaks(s.best) {
			start += size
			continue
		}
		progress = true
		s.best = r
		for _, name := range group {
			s.without[name] = true
		}
	}
	return progress
}

func (s *shrinking) run(without []string) *Report {
	s.runs--
	return Run(s.t, s.seed, append(slices.Clone(s.options), Without(slices.Collect(maps.Keys(s.without))...), Without(without...))...)
}

var invariant = regexp.MustCompile(`\b(I[1-7]|stuck|lease|panic):`)

// breaks names the invariant that a run broke first.
func breaks(r *Report) string {
	if len(r.Violations) == 0 {
		return ""
	}
	return invariant.FindString(r.Violations[0])
}
