package twophasetest

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Option changes how a suite is run.
type Option func(*config)

// RealTime runs the subtests by the real clock instead of in bubbles: for
// implementations on a database or over a network. They mostly wait, so several
// run at a time, whatever -parallel says. What is to run out runs out after
// short, so short must be longer than a handful of calls ever takes: 200
// milliseconds are enough within a process, 2 seconds for a database nearby.
func RealTime(short time.Duration) Option {
	return func(c *config) {
		c.clock = clock{short: short, long: time.Hour, slack: short / 4}
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
	c := config{clock: clock{short: time.Minute, long: 6 * time.Hour, exact: true}}
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
	name string
	skip string // why it does not apply
	run  func(t testing.TB)
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
				synctest.Test(t, func(t *testing.T) { check.run(t) })
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
				check.run(t)
			})
		}
	})
}

func (c check) skipIfDeclared(t testing.TB) {
	if c.skip != "" {
		t.Skip(c.skip)
	}
}

// clock is how time passes in a check: exactly, in a bubble, or for real.
type clock struct {
	short time.Duration // of holds and leases that are to run out
	long  time.Duration // of those that are not
	slack time.Duration // how much later than due something may happen
	exact bool
}

// sleep is the only place where the suites let time pass.
func (c clock) sleep(d time.Duration) { time.Sleep(d) }

// until sleeps until something that lasts d, and began just now, is over: to
// the very instant, in a bubble.
func (c clock) until(d time.Duration) { c.sleep(d + c.slack) }

// justBefore sleeps until something that lasts d, and began just now, is about
// to be over, and returns how long it still lasts.
func (c clock) justBefore(d time.Duration) (left time.Duration) {
	left = d / 2
	if c.exact {
		left = time.Nanosecond
	}
	c.sleep(d - left)
	return left
}

// pause lets some time pass before the n-th repetition of a call, and as much
// as its last error asked for; except in a bubble, where a check says itself
// what the time is.
func (c clock) pause(n int, err error) {
	if c.exact {
		return
	}
	wait := time.Duration(n) * 5 * time.Millisecond
	var later *twophase.RetryAfterError
	if errors.As(err, &later) {
		wait = max(wait, min(later.After, patience))
	}
	c.sleep(wait)
}

// patience is the longest that a call waits because it was asked to.
const patience = 5 * time.Second

// attempts is how often a call is repeated before its transient error is
// taken for a failure.
const attempts = 20

// precision is how far a duration may be off that went through a store.
const precision = 2 * time.Millisecond

// span is the time that a call took: whatever the call did, it did in between.
type span struct{ from, to time.Time }

func spanOf(call func()) span {
	from := time.Now()
	call()
	return span{from: from, to: time.Now()}
}

// elapsed returns how much time passed at least, and at most, between what was
// done in one span and in a later one.
func (s span) elapsed(later span) (least, most time.Duration) {
	return max(0, later.from.Sub(s.to)) - precision, later.to.Sub(s.from) + precision
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
