package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/benchmarks/internal/command"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brief returns the flags of a run that measures next to nothing.
func brief(dir, journal string) []string {
	return []string{
		"-journals", journal, "-callers", "1,16", "-duration", "90ms",
		"-finished", "300", "-unfinished", "250", "-dir", dir,
	}
}

func TestEveryJournalIsMeasuredAndNothingIsLeft(t *testing.T) {
	for name, of := range kinds {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			letOthersIn(t, dir)
			var out, errs strings.Builder
			code := run(append(brief(dir, name), "-markdown"), &out, &errs)
			require.Zero(t, code, errs.String())
			for _, want := range []string{
				"# " + name + ": ", "## Placed transactions", "## With finished transactions on record, 16 callers",
				"## Recovery", "## Goals, and what was measured", "| transactions ",
			} {
				assert.Contains(t, out.String(), want)
			}
			assert.Contains(t, out.String(), " 250 |")
			if of.place > 1 {
				assert.Contains(t, out.String(), "| raw file ")
			}
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

// letOthersIn opens the way to a directory of the test: PostgreSQL may have to
// run as somebody else.
func letOthersIn(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

// watched tells when something is printed.
type watched struct {
	mu      sync.Mutex
	text    strings.Builder
	printed chan struct{}
	once    sync.Once
}

// Write implements [io.Writer].
func (w *watched) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.printed) })
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func TestInterruptTidiesUp(t *testing.T) {
	for name := range kinds {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			letOthersIn(t, dir)
			errs := &watched{printed: make(chan struct{})}
			go func() {
				<-errs.printed // the first cell is being measured
				_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
			}()
			var out strings.Builder
			args := []string{"-journals", name, "-callers", "16", "-duration", "1h", "-dir", dir}
			assert.Equal(t, command.Interrupted, run(args, &out, errs))
			assert.Contains(t, errs.text.String(), "interrupted")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

func TestOnlyWhatEndsInTheWindowCounts(t *testing.T) {
	const worker = 10 * time.Millisecond
	s := &subject{workers: alike(2, timed(func(ctx context.Context) error {
		pause(ctx, worker)
		return nil
	}))}
	require.NoError(t, s.drive(t.Context(), 100*time.Millisecond, 200*time.Millisecond))
	assert.LessOrEqual(t, s.series.transactions, 42)
	assert.Greater(t, s.series.all, s.series.transactions, "those of the warm-up do not count")
	assert.Equal(t, 200*time.Millisecond, s.series.measured)
	assert.GreaterOrEqual(t, percentile(s.series.took, 0), worker)
}

func TestFailureOfOneWorkerEndsTheSeries(t *testing.T) {
	broken := errors.New("broken disk")
	s := &subject{workers: []work{
		func(ctx context.Context) (int, time.Duration, error) {
			pause(ctx, time.Millisecond)
			return 1, time.Millisecond, nil
		},
		func(context.Context) (int, time.Duration, error) { return 0, 0, broken },
	}}
	start := time.Now()
	require.ErrorIs(t, s.drive(t.Context(), 0, time.Hour), broken)
	assert.Less(t, time.Since(start), time.Minute)
}

func TestGoalsHaveADirection(t *testing.T) {
	t.Parallel()
	assert.True(t, goal{measured: 0.8, wanted: 0.8, atLeast: true}.reached())
	assert.False(t, goal{measured: 0.79, wanted: 0.8, atLeast: true}.reached())
	assert.True(t, goal{measured: 200, wanted: 200}.reached())
	assert.False(t, goal{measured: 201, wanted: 200}.reached())
}

func TestIDsAreNew(t *testing.T) {
	t.Parallel()
	for _, order := range []idOrder{randomIDs, growingIDs} {
		ids, seen := newIDs(order), map[string]bool{}
		for range 10_000 {
			seen[ids.take()] = true
		}
		assert.Len(t, seen, 10_000, order)
	}
}

func TestGrowingIDsComeEachAfterTheLast(t *testing.T) {
	t.Parallel()
	ids, last := newIDs(growingIDs), ""
	for range 100 {
		next := ids.take()
		require.Greater(t, next, last)
		last = next
	}
	require.Greater(t, last, fmt.Sprintf("order-%016x", maxRows), "after all that a journal is filled with")
}

func TestJournalsAreFilledInEitherOrderOfIDs(t *testing.T) {
	for name, kind := range kinds {
		for _, order := range []idOrder{randomIDs, growingIDs} {
			t.Run(name+" "+string(order), func(t *testing.T) {
				dir := t.TempDir()
				letOthersIn(t, dir)
				s, err := kind.open(t.Context(), dir, order)
				require.NoError(t, err)
				defer func() { assert.NoError(t, s.Close()) }()
				require.NoError(t, s.fill(t.Context(), "filled", true, 20))
				j, err := s.open(t.Context(), "filled")
				require.NoError(t, err)
				defer func() { assert.NoError(t, j.close()) }()
				n := 0
				for record, err := range j.List(t.Context(), twophase.Filter{}) {
					require.NoError(t, err)
					assert.Equal(t, twophase.StateAssigned, record.State)
					n++
				}
				assert.Equal(t, 20, n)
			})
		}
	}
}
