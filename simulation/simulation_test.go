package simulation_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/simulation"
)

var (
	lasting = flag.Duration("for", 0, "how long to go on with new seeds; also as TWOPHASE_SIM_FOR")
	seeds   = flag.Uint64("seeds", 0, "how many seeds to run, however long that takes")
	first   = flag.Uint64("first", 0, "the first seed")
	oneSeed = flag.Int64("seed", -1, "run this seed only, and print its trace")
)

// enoughSeeds reach what is to be reached; they are run unless flags say otherwise.
const enoughSeeds = 800

// TestSimulation runs the worlds of many seeds, and prints the first failure with
// what is left of it.
func TestSimulation(t *testing.T) {
	if *oneSeed >= 0 {
		report := simulation.Run(t, uint64(*oneSeed), simulation.WithTrace())
		t.Logf("seed %d\n%s", report.Seed, report.Trace)
		assert.Empty(t, report.Violations)
		return
	}
	s := newSeries(t)
	t.Run("worlds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprintf("worker %d", i), s.work)
		}
	})
	took := time.Since(s.began)
	t.Logf("%d seeds, %d transactions in %v: %.0f in a second on each of %d cores\n%s", s.done, s.transactions,
		took.Round(time.Millisecond), float64(s.transactions)/took.Seconds()/float64(runtime.GOMAXPROCS(0)),
		runtime.GOMAXPROCS(0), &s.coverage)
	if s.failed == nil && s.done >= enoughSeeds {
		assert.Empty(t, s.coverage.Missing(), "every cell is reached")
		assert.Empty(t, s.coverage.Impossible(), "what cannot happen does not")
	}
}

// series is a number of seeds that workers share.
type series struct {
	began time.Time
	until time.Time // zero is for ever
	last  uint64
	next  atomic.Uint64

	mu           sync.Mutex
	failed       *simulation.Report
	done         int
	transactions int
	coverage     simulation.Coverage
}

func newSeries(t *testing.T) *series {
	t.Helper()
	s := &series{began: time.Now(), last: *first + uint64(pick(enoughSeeds, 60))}
	s.next.Store(*first)
	if text := os.Getenv("TWOPHASE_SIM_FOR"); text != "" && *lasting == 0 {
		d, err := time.ParseDuration(text)
		require.NoError(t, err, "TWOPHASE_SIM_FOR is a duration, such as 1h")
		*lasting = d
	}
	switch {
	case *seeds > 0:
		s.last = *first + *seeds
	case *lasting > 0:
		s.last, s.until = 1<<63, s.began.Add(*lasting)
	}
	return s
}

func (s *series) work(t *testing.T) {
	t.Parallel()
	for s.isOpen() {
		seed := s.next.Add(1) - 1
		if seed >= s.last {
			return
		}
		report := simulation.Run(t, seed)
		if s.add(report) {
			t.Errorf("seed %d: %s\n%s", seed, strings.Join(report.Violations, "\n"), shrunk(t, report))
		}
	}
}

func (s *series) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed == nil && (s.until.IsZero() || time.Now().Before(s.until))
}

// add counts a run, and reports whether it is the first that has failed.
func (s *series) add(r *simulation.Report) (failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	s.transactions += r.Transactions
	s.coverage.Add(r.Coverage)
	if len(r.Violations) == 0 || s.failed != nil {
		return false
	}
	s.failed = r
	return true
}

// shrunk is what is left of a failure when all is left out that it does not need.
func shrunk(t *testing.T, r *simulation.Report) string {
	t.Helper()
	small := simulation.Shrink(t, r.Seed)
	return fmt.Sprintf("to see all of it: go test ./simulation -run TestSimulation -seed %d -v\n"+
		"it takes no more than these %d of %d things:\n  %s\nand goes like this:\n%s",
		r.Seed, len(small.Struck), len(r.Struck), strings.Join(small.Struck, "\n  "), small.Trace)
}

func TestOneSeedGivesOneRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(pick(200, 10)) {
		one, other := simulation.Run(t, seed), simulation.Run(t, seed)
		if !assert.Equal(t, one.Sum, other.Sum, "seed %d", seed) {
			return
		}
	}
	one, other := simulation.Run(t, 7, simulation.WithTrace()), simulation.Run(t, 7, simulation.WithTrace())
	assert.Equal(t, one.Trace, other.Trace)
	assert.NotEmpty(t, one.Trace)
	assert.NotEqual(t, one.Sum, simulation.Run(t, 8).Sum)
}

// pick returns how much of something to do: less where the race detector makes it
// slow.
func pick(n, raced int) int {
	if raceEnabled {
		return raced
	}
	return n
}
