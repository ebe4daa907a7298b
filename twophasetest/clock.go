package twophasetest

import (
	"errors"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// clock is how time passes in a check: exactly, in a bubble, or for real.
type clock struct {
	short time.Duration // of holds and leases that are to run out
	long  time.Duration // of those that are not
	slack time.Duration // how much later than due something may happen
	exact bool
	again int        // how often short may be doubled
	watch *stopwatch // of one run of a check
}

func exactClock() clock {
	return clock{short: time.Minute, long: 6 * time.Hour, exact: true, watch: &stopwatch{}}
}

func realClock(short time.Duration) clock {
	return clock{short: short, long: time.Hour, slack: short / 4, again: 2, watch: &stopwatch{}}
}

// longer returns a clock by which calls may take twice as long, or false if it
// has been doubled often enough, or what is not to run out might do so.
func (c clock) longer() (clock, bool) {
	c.short, c.slack, c.again = 2*c.short, 2*c.slack, c.again-1
	return c, c.again >= 0 && c.long >= longInShorts*c.short
}

// longInShorts is how often what is to run out does so, with a margin, while the
// longest check runs.
const longInShorts = 12

// restarted returns the clock of another run.
func (c clock) restarted() clock {
	c.watch = &stopwatch{}
	return c
}

// doubtful reports whether what fails now may do so only because calls took
// longer than the clock allows. In a bubble they take no time.
func (c clock) doubtful() bool { return !c.exact && c.watch.awake() > c.slack }

// sleep is where the checks let time pass.
func (c clock) sleep(d time.Duration) {
	c.watch.sleeps(d)
	time.Sleep(d)
}

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
	time.Sleep(wait)
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

// stopwatch tells how long a check has been at work: how long it has run, but
// for what it slept because it wanted to.
type stopwatch struct {
	mu    sync.Mutex
	began time.Time
	slept time.Duration // so far, and what is left of it
	until time.Time     // when whoever sleeps longest wants to be awake
}

func (w *stopwatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = time.Now()
}

// sleeps notes that somebody sleeps from now on, others maybe, too.
func (w *stopwatch) sleeps(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.until.Before(now) {
		w.until = now
	}
	if end := now.Add(d); end.After(w.until) {
		w.slept += end.Sub(w.until)
		w.until = end
	}
}

// awake returns how long the check has been at work; zero before it started.
func (w *stopwatch) awake() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.began.IsZero() {
		return 0
	}
	return time.Since(w.began) - w.slept + max(0, time.Until(w.until))
}
