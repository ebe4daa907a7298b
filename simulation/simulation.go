// Package simulation runs the real coordinators, participants and journal in a
// world that breaks everything all the time, and checks at every step, and in the
// end, that the invariants of the protocol hold. No time passes: a world of some
// minutes takes some milliseconds.
//
//	go test ./simulation                       # some seconds of it
//	go test ./simulation -for 1h -timeout 2h   # also as TWOPHASE_SIM_FOR=1h
//	go test ./simulation -seeds 100000 -timeout 2h
//	go test ./simulation -run TestSimulation -seed 4711 -v   # one, with its trace
//
// A world is two or three coordinators on one journal ([twophase.MemoryJournal]),
// two to four participants ([twophase.Entry] on a disk and a clock of their own, or
// package pool), and up to 140 orders with their callers, all in one bubble of
// [testing/synctest].
//
// # What goes wrong
//
//   - Messages and replies are lost, late, slow, repeated later, out of order.
//   - Coordinators are killed, frozen past their lease and thawed, or closed, as
//     they send, as they hear, or at any other time; the next one starts later.
//   - Participants restart and lose what was not durable, panic, fail, are away;
//     their clocks are off, run fast or slow, and jump; they forget a reservation,
//     as a restored backup does; reservations run out just as an Assign arrives.
//   - The journal's answers are lost after the commit; it is away.
//   - Callers give up, ask again elsewhere, race, and use an id for other steps.
//
// Then all of that ends, and everything has to come to rest.
//
// # What is checked
//
// I1 to I7 of the protocol: at every answer of a participant against a ledger that
// knows nothing of the library's own rules, at every write to the journal, at every
// message that is sent, and at every word to a caller; in the end all books are
// compared with one another. "stuck" is what does not come to rest, or keeps a
// caller for longer than he wants to wait; "lease" is a journal that breaks its
// contract about claims.
//
// # One seed, one run
//
// Every draw depends on the seed and on the name of what it is for alone (the second
// attempt of coordinator a to assign order-7/store, say), never on the order in which
// goroutines run; and no two messages take the same time, so no two arrive in one
// instant. What the library draws by itself, its jitter, is kept from mattering: the
// wire asks for longer pauses than it would choose. So a run can be repeated, to the
// nanosecond, and even with fewer faults: [Shrink] leaves out what a failure does not
// need.
//
// It leaves three things to other tests, because they depend on which of two wake-ups
// of one instant comes first: retry budgets that are spent, a limit on how much is
// recovered at a time, and upkeep that takes longer than a third of a lease.
package simulation

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/seed-bcc3c603/twophase"
)

// Option changes how a world is run.
type Option func(*settings)

type settings struct {
	traced  bool
	without map[string]bool
	journal func(twophase.Journal) twophase.Journal
}

// WithTrace keeps the trace: see [Report].
func WithTrace() Option { return func(s *settings) { s.traced = true } }

// Without leaves out faults, orders and callers of those names, as
// [Report.Struck] has them.
func Without(names ...string) Option {
	return func(s *settings) {
		for _, name := range names {
			s.without[name] = true
		}
	}
}

// WithJournal puts something between the world and its journal in memory.
func WithJournal(wrap func(twophase.Journal) twophase.Journal) Option {
	return func(s *settings) { s.journal = wrap }
}

// Report is what a run came to.
type Report struct {
	Seed         uint64
	Transactions int
	Violations   []string // empty if all is well
	Struck       []string // the orders, callers and faults of this run
	Sum          uint64   // of the trace: the same for the same run
	Trace        string   // if it was kept
	Coverage     *Coverage
}

// Run runs the world of a seed, in a bubble of its own.
func Run(t *testing.T, seed uint64, options ...Option) *Report {
	t.Helper()
	s := settings{without: map[string]bool{}, journal: func(j twophase.Journal) twophase.Journal { return j }}
	for _, option := range options {
		option(&s)
	}
	defer func() {
		if cause := recover(); cause != nil {
			panic(fmt.Sprintf("simulation: seed %d: %v", seed, cause))
		}
	}()
	var report *Report
	synctest.Test(t, func(t *testing.T) {
		w, err := newWorld(seed, s)
		if err != nil {
			t.Fatal(err)
		}
		w.run()
		report = w.report()
	})
	return report
}

func (w *world) report() *Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &Report{
		Seed: w.seed, Transactions: len(w.orders), Violations: w.violations, Struck: w.struck,
		Sum: w.trace.sum, Coverage: w.coverage,
	}
	if w.settings.traced {
		r.Trace = w.trace.String()
	}
	return r
}
