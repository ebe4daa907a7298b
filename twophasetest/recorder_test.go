package twophasetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// recorder is a testing.TB that remembers a failure instead of passing it on.
type recorder struct {
	testing.TB
	ctx context.Context

	mu       sync.Mutex
	failed   bool
	messages []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.Fail()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

func (r *recorder) Logf(string, ...any) {}

// run runs a check to its end or to FailNow, and then its cleanups.
func (r *recorder) run(check check) {
	ctx, cancel := context.WithCancel(r.TB.Context())
	r.ctx = ctx
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			cancel()
			for _, cleanup := range slices.Backward(r.cleanups) {
				cleanup()
			}
		}()
		check.run(r)
	}()
	<-done
}

// failures runs checks in bubbles, and returns the names of those that fail.
func failures(t *testing.T, checks []check) (failed []string) {
	t.Helper()
	for _, check := range checks {
		if check.skip != "" {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{TB: t}
			r.run(check)
			if r.Failed() {
				failed = append(failed, check.name)
				t.Logf("%s: %s", check.name, strings.Join(r.messages, "\n"))
			}
		})
	}
	return failed
}

// requireCaught checks that those checks fail, by name.
func requireCaught(t *testing.T, checks []check, by []string) {
	t.Helper()
	require.NotEmpty(t, by)
	require.Subset(t, failures(t, checks), by)
}

func TestNamesOfChecksAreUnique(t *testing.T) {
	t.Parallel()
	for _, checks := range [][]check{participantSuite(newConfig(nil), nil), journalSuite(newConfig(nil), nil)} {
		names := map[string]bool{}
		for _, check := range checks {
			require.False(t, names[check.name], check.name)
			names[check.name] = true
		}
	}
}
