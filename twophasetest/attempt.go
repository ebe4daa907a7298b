package twophasetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// attempt is a [testing.TB] for one run of a check, which may be followed by
// another: a failure is not passed on, and what was to be cleaned up is cleaned
// up when the run ends.
type attempt struct {
	testing.TB
	*findings

	cleaning sync.Mutex
	cleanups []func()
}

// try runs a check until its verdict is not in doubt, or cannot be bettered.
func (c check) try(t testing.TB, clock clock) {
	t.Helper()
	for {
		clock = clock.restarted()
		a := newAttempt(t, clock)
		a.run(c)
		longer, possible := clock.longer()
		if !a.Failed() || c.racing || !a.doubtful || !possible {
			a.passOn()
			return
		}
		t.Logf("calls took too long for what runs out after %v, so the check is run again: %s", clock.short, a.texts)
		clock = longer
	}
}

func newAttempt(t testing.TB, clock clock) *attempt {
	return &attempt{TB: t, findings: &findings{ctx: t.Context(), clock: clock}}
}

// run runs a check to its end or to FailNow, and cleans up.
func (a *attempt) run(c check) {
	ctx, cancel := context.WithCancel(a.ctx)
	a.ctx = ctx
	done := make(chan struct{})
	go func() { // ended by FailNow
		defer close(done)
		defer a.cleanUp()
		defer cancel()
		c.run(a, a.clock)
	}()
	<-done
}

// cleanUp calls what was to be called at the end, the last first.
func (a *attempt) cleanUp() {
	a.cleaning.Lock()
	defer a.cleaning.Unlock()
	for _, cleanup := range slices.Backward(a.cleanups) {
		cleanup()
	}
}

// passOn makes what was found a failure of the test.
func (a *attempt) passOn() {
	a.TB.Helper()
	for _, text := range a.texts {
		a.TB.Error(text)
	}
	if a.Failed() {
		a.TB.Fail()
	}
}

func (a *attempt) Cleanup(f func()) {
	a.cleaning.Lock()
	defer a.cleaning.Unlock()
	a.cleanups = append(a.cleanups, f)
}

func (a *attempt) Helper() { a.TB.Helper() }

func (a *attempt) Logf(format string, args ...any) {
	a.TB.Helper()
	a.TB.Logf(format, args...)
}

func (a *attempt) Context() context.Context { return a.findings.Context() }

func (a *attempt) Errorf(format string, args ...any) { a.findings.Errorf(format, args...) }

func (a *attempt) Error(args ...any) { a.Errorf("%s", fmt.Sprintln(args...)) }

func (a *attempt) Fatalf(format string, args ...any) {
	a.Errorf(format, args...)
	a.FailNow()
}

func (a *attempt) Fatal(args ...any) {
	a.Error(args...)
	a.FailNow()
}

func (a *attempt) Fail() { a.findings.Fail() }

func (a *attempt) FailNow() { a.findings.FailNow() }

func (a *attempt) Failed() bool { return a.findings.Failed() }
