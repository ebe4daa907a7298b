package twophasetest

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Option changes how a suite is run.
type Option func(*config)

// RealTime runs the subtests by the real clock instead of in bubbles: for
// implementations on a database or over a network. They mostly wait, so several
// run at a time, whatever -parallel says. What is to run out runs out after
// short, which is to be longer than a handful of calls takes: 200 milliseconds
// are enough within a process, 2 seconds for a database nearby. A check that
// fails when its calls have taken longer than that is run again with more time,
// on another subject: so the suite does not fail because a machine was busy.
func RealTime(short time.Duration) Option {
	return func(c *config) {
		c.clock = realClock(short)
	}
}

// SingleResource declares that the participant never gives a key more than
// one resource, so that [Subject.Several] may be left out. The subtests for
// several are then skipped.
func SingleResource() Option {
	return func(c *config) { c.single = true }
}

// LongHold sets how long is held, under [RealTime], what is not to run out while
// a check runs: an hour, unless the implementation allows less than that. It
// must be some thirty times as long as what RealTime was given.
func LongHold(long time.Duration) Option {
	return func(c *config) { c.longHold = long }
}

type config struct {
	clock
	storage
	single   bool
	longHold time.Duration
}

func newConfig(options []Option) config {
	c := config{clock: exactClock()}
	for _, option := range options {
		option(&c)
	}
	if c.longHold > 0 && !c.exact {
		c.long = c.longHold
	}
	return c
}

// check is one promise of a contract, named by a sentence. It runs in a test
// of its own, in a bubble if time is to be exact.
type check struct {
	name   string
	skip   string // why it does not apply
	racing bool   // see [clock.doubtful]
	run    func(t testing.TB, clock clock)
}

// atATime is how many checks run at a time by the real clock.
const atATime = 8

// runAll runs every check as a subtest, and returns when all have ended.
func (c config) runAll(t *testing.T, checks []check) {
	t.Helper()
	if c.exact {
		for _, check := range checks {
			t.Run(check.name, func(t *testing.T) {
				check.skipIfDeclared(t)
				synctest.Test(t, func(t *testing.T) { check.run(t, c.clock) })
			})
		}
		return
	}
	queue := make(chan check, len(checks))
	for _, check := range checks {
		queue <- check
	}
	close(queue)
	together(atATime, func(int) {
		for check := range queue {
			t.Run(check.name, func(t *testing.T) {
				check.skipIfDeclared(t)
				check.try(t, c.clock)
			})
		}
	})
}

func (c check) skipIfDeclared(t testing.TB) {
	if c.skip != "" {
		t.Skip(c.skip)
	}
}

// together calls do n times at once, and waits.
func together(n int, do func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			do(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}
