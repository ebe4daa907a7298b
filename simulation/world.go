package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// world is coordinators, participants and a journal in one bubble, with all that
// goes wrong between them. Its lock guards all that it holds.
type world struct {
	seed     uint64
	plan     *plan
	settings settings
	began    time.Time
	work     sync.WaitGroup // callers, and processes that end

	mu         sync.Mutex
	journal    *journal
	services   []*service
	sides      []*side
	orders     map[string]*order
	counts     map[string]int // how often each message was sent
	healed     bool           // nothing goes wrong any more
	closing    bool           // nothing starts any more
	quiet      time.Duration  // when the last thing that is under way arrives
	struck     []string       // the faults that have struck, in order
	trace      trace
	violations []string
	coverage   *Coverage
}

// newWorld builds what a seed says.
func newWorld(seed uint64, s settings) (*world, error) {
	w := &world{
		seed: seed, plan: newPlan(seed), settings: s, began: time.Now(), orders: map[string]*order{},
		counts: map[string]int{}, coverage: newCoverage(), trace: trace{kept: s.traced},
	}
	w.journal = newJournal(w)
	for _, p := range w.plan.services {
		service, err := newService(w, p)
		if err != nil {
			return nil, fmt.Errorf("simulation: seed %d: %w", seed, err)
		}
		w.services = append(w.services, service)
	}
	for i := range w.plan.sides {
		w.sides = append(w.sides, &side{world: w, name: string(rune('a' + i))})
	}
	for _, p := range w.plan.orders {
		if w.strikes(p.id) {
			w.orders[p.id] = &order{plan: p}
		}
	}
	return w, nil
}

// now is the time since the world began.
func (w *world) now() time.Duration { return time.Since(w.began) }

// after does something later.
func (w *world) after(d time.Duration, do func()) {
	time.AfterFunc(d, do)
}

// arrives says that something is under way for so long.
func (w *world) arrives(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = max(w.quiet, w.now()+d)
}

// strikes reports whether a fault of that name is to strike, or an order to be
// given, and keeps that it has.
func (w *world) strikes(name string) bool {
	if w.settings.without[name] {
		return false
	}
	w.struck = append(w.struck, name)
	return true
}

func (w *world) note(what string, n int, outcome string) { w.trace.add(w.now(), what, n, outcome) }

func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.violations = append(w.violations, text)
	w.note("VIOLATION: "+text, 0, "")
}

func (w *world) outagesOf(name string) (of []outage) {
	for _, o := range w.plan.outages {
		if o.of == name && w.strikes(fmt.Sprintf("%s is away from %v to %v", name, o.from, o.to)) {
			of = append(of, o)
		}
	}
	return of
}

// run lets the world go through its plan: all is asked, and much goes wrong; then
// nothing goes wrong any more, and all must come to rest.
func (w *world) run() {
	for i, s := range w.sides {
		w.after(time.Duration(i+1)*time.Millisecond+time.Duration(i), s.start)
	}
	w.planStrokes()
	w.planCallers()
	time.Sleep(w.plan.healAt)
	w.heal()
	w.work.Wait()
	w.settle()
	if w.plan.forgets {
		time.Sleep(w.plan.retention + 2*w.plan.lease)
	}
	w.askAgain()
	w.reconcile()
	w.close()
	w.outlast()
	if len(w.violations) == 0 { // books that are broken may be past reading
		w.audit()
	}
}

func (w *world) planStrokes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.plan.strokes {
		side := w.sides[s.side]
		if !w.strikes(fmt.Sprintf("stroke %d: %s %s after %v, for %v", i+1, side.name, s.kind, s.at, s.lasts)) {
			continue
		}
		w.after(s.at, func() {
			p := side.running()
			switch {
			case p == nil:
			case s.kind == kills:
				p.kill(s.lasts)
			case s.kind == freezes:
				p.freeze(s.lasts)
			case s.kind == closes:
				p.close(s.lasts)
			}
		})
	}
}

// heal ends all that goes wrong, and starts what is down.
func (w *world) heal() {
	w.mu.Lock()
	w.healed = true
	w.journal.outages = nil
	for _, s := range w.services {
		s.outages, s.down = nil, false
	}
	w.note("HEALED", 0, "")
	w.mu.Unlock()
	for _, s := range w.sides {
		s.start()
		time.Sleep(time.Millisecond + 1)
	}
}

// longestSettling is how long recovery may take when nothing goes wrong: it tries
// again after five minutes at most.
const longestSettling = 20 * time.Minute

// slowestWrite is how long it takes until a coordinator asks again for a write to
// which it heard no answer.
const slowestWrite = 15 * time.Second

// settle waits until nothing is left to do.
func (w *world) settle() {
	w.mu.Lock()
	late := w.quiet - w.now()
	w.mu.Unlock()
	time.Sleep(max(0, late) + slowestWrite)
	until := w.now() + longestSettling
	for w.now() < until {
		w.mu.Lock()
		left := w.unfinished()
		w.mu.Unlock()
		if len(left) == 0 {
			return
		}
		time.Sleep(5*time.Second + 1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.unfinished() {
		r := w.journal.record(id)
		w.violate("stuck: %s is %s after %v: %s", id, stateOf(r), longestSettling, r.Trouble)
	}
}

func (w *world) unfinished() (ids []string) {
	for record, err := range w.journal.inner.List(context.Background(), twophase.Filter{Unfinished: true}) {
		if err != nil {
			w.violate("the journal: %v", err)
			return nil
		}
		ids = append(ids, record.ID)
	}
	return ids
}

// close ends the coordinators. Nothing is under way, so none of them has to wait.
func (w *world) close() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	for _, s := range w.sides {
		p := s.running()
		if p == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := p.coordinator.Close(ctx); err != nil {
			w.mu.Lock()
			w.violate("stuck: %s does not close: %v", p.name, err)
			w.mu.Unlock()
		}
		cancel()
	}
	w.work.Wait()
}

// outlast waits for whatever arrives late, and for all that runs out.
func (w *world) outlast() {
	w.mu.Lock()
	wait := slowest
	for _, s := range w.services {
		now := s.now()
		for _, p := range s.ledger.promises {
			if p.state == twophase.EntryReserved {
				wait = max(wait, 3*p.expires.Sub(now))
			}
		}
	}
	w.mu.Unlock()
	time.Sleep(wait + time.Minute)
}

// reconcile compares the books with the journal the way that the library does: it
// finds nothing, until a participant gives away what it had assigned.
func (w *world) reconcile() {
	p := w.sides[0].running()
	if !w.plan.reconcile || w.plan.forgets || p == nil {
		return
	}
	w.coverage.paused = true // who asks about what is over is no coordinator of it
	w.exposes(p)
	w.mu.Lock()
	w.betray()
	w.mu.Unlock()
	w.exposes(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, o := range w.orders {
		if o.betrayed && !o.exposed {
			w.violate("I1: a participant forgot %s, and it is not found out", id)
		}
	}
}

// exposes lets a coordinator look for contradictions.
func (w *world) exposes(p *process) {
	for err := range p.coordinator.Reconcile(context.Background(), 24*time.Hour) {
		found, ok := errors.AsType[*twophase.Contradiction](err)
		w.mu.Lock()
		if !ok || !w.forgot(found.Transaction) {
			w.violate("I1: %v", err)
		} else if o := w.orders[found.Transaction]; o.betrayed {
			w.coverage.reach(gaveAwayFault)
			o.exposed = true
		}
		w.mu.Unlock()
	}
}

// betray lets a participant forget what it had assigned to some order.
func (w *world) betray() {
	for _, id := range slices.Sorted(maps.Keys(w.orders)) {
		o := w.orders[id]
		if o.placed == nil || w.forgot(id) {
			continue
		}
		for _, step := range o.placed.Steps {
			if s := w.service(step.Participant); s.store != nil {
				key := twophase.Key{Transaction: id, Step: step.Name}
				s.store.forget(key)
				s.ledger.forget(key)
				o.betrayed = true
				return
			}
		}
	}
}
