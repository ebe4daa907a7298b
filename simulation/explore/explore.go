package explore

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Report is what an exploration came to.
type Report struct {
	World World
	// States are how many different states were reached, and Ends how many of
	// them were at their end, and were settled and audited.
	States, Ends int
	// Schedules is how many ways lead from the beginning to an end, all of
	// which have been judged by way of the states that they share.
	Schedules *big.Int
	// Plays is how often the world was built to get there, and Moves the
	// length of the longest schedule.
	Plays, Moves int
	Took         time.Duration
	// Books are those of the participants and the journal, of all states that
	// were reached; what differs by which participant is which only is one.
	Books map[string]bool
	// Breach is the first rule that was found broken, and "" if none was.
	Breach string
	// Schedule leads to it: what the scheduler chose, and what came of it.
	Schedule []string
}

// String returns the report in a line, and the schedule that breaks a rule.
func (r Report) String() string {
	text := fmt.Sprintf("%v: %d states, %v schedules of up to %d moves, %d ends, %d plays in %v",
		r.World, r.States, r.Schedules, r.Moves, r.Ends, r.Plays, r.Took.Round(time.Millisecond))
	if r.Breach != "" {
		text += "\nbreach: " + r.Breach + "\n" + strings.Join(r.Schedule, "\n")
	}
	return text
}

// Explore goes through every schedule of a world, or ends with the first that
// breaks a rule. It fails t only if the world does not repeat itself.
func Explore(t *testing.T, w World) Report {
	t.Helper()
	s := &search{t: t, world: w, seen: map[key]int32{}}
	s.report.World = w
	s.report.Books = map[string]bool{}
	start := time.Now()
	s.todo = []*choice{{state: -1}}
	for len(s.todo) > 0 && s.report.Breach == "" {
		next := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		synctest.Test(t, func(t *testing.T) { s.play(t, next) })
		s.report.Plays++
	}
	if s.report.Breach != "" {
		s.shorten()
	}
	s.report.States, s.report.Schedules = len(s.next), s.schedules()
	s.report.Took = time.Since(start)
	return s.report
}

// search is a depth-first search that reaches a state by playing the choices
// that lead to it.
type search struct {
	t      *testing.T
	world  World
	report Report
	seen   map[key]int32
	next   [][]int32 // of each state: those that follow
	todo   []*choice
	found  []string // the moves that break a rule
}

// choice is a move that was not tried yet, after those that lead to it.
type choice struct {
	before *choice
	move   string
	state  int32 // in which it is chosen
}

func (c *choice) moves() (names []string) {
	for ; c.before != nil; c = c.before {
		names = append(names, c.move)
	}
	slices.Reverse(names)
	return names
}

// play repeats the choices that lead to a state, and goes on from there until
// it comes to a state that was seen before, or to an end.
func (s *search) play(t *testing.T, c *choice) {
	p := newPlay(s.world, false).begin()
	defer p.close()
	names := c.moves()
	for _, name := range names {
		m, ok := find(p.moves(), name)
		if !ok {
			t.Fatalf("the world does not repeat itself: there is no %q after\n%s", name, strings.Join(names, "\n"))
		}
		p.make(m)
	}
	for {
		if s.broken(p, c) {
			return
		}
		state, fresh := s.enter(p, c.state)
		if !fresh {
			return
		}
		s.report.Moves = max(s.report.Moves, len(c.moves()))
		moves := p.moves()
		for _, m := range slices.Backward(moves[min(1, len(moves)):]) {
			s.todo = append(s.todo, &choice{before: c, move: m.name, state: state})
		}
		if ends(moves) {
			s.end(p, c, moves, state)
			return
		}
		c = &choice{before: c, move: moves[0].name, state: state}
		p.make(moves[0])
	}
}

// enter files the state that the world is in, after another, and reports
// whether it is new.
func (s *search) enter(p *play, from int32) (state int32, fresh bool) {
	key := p.key()
	state, ok := s.seen[key]
	if !ok {
		state = int32(len(s.next))
		s.seen[key] = state
		s.next = append(s.next, nil)
		s.report.Books[p.canonical(p.books())] = true
	}
	if from >= 0 {
		s.next[from] = append(s.next[from], state)
	}
	return state, !ok
}

// end settles a world at its end. What may still happen is tried later.
func (s *search) end(p *play, c *choice, moves []move, state int32) {
	if len(moves) > 0 {
		s.todo = append(s.todo, &choice{before: c, move: moves[0].name, state: state})
	}
	s.report.Ends++
	p.settle()
	s.broken(p, c)
}

// broken keeps the schedule that breaks a rule.
func (s *search) broken(p *play, c *choice) bool {
	if p.broken == "" {
		return false
	}
	s.report.Breach, s.found = p.broken, c.moves()
	return true
}

// shorten leaves out of the schedule that was found what the breach does not
// need, and keeps its trace.
func (s *search) shorten() {
	moves, trace := s.found, s.replay(s.found)
	for i := len(moves) - 1; i >= 0; i-- {
		fewer := slices.Delete(slices.Clone(moves), i, i+1)
		if found := s.replay(fewer); found != nil {
			moves, trace = fewer, found
			i = min(i, len(moves))
		}
	}
	s.report.Schedule = trace
}

// replay makes the moves that can be made, goes on to the end, and returns the
// trace if the same rule breaks.
func (s *search) replay(names []string) (trace []string) {
	synctest.Test(s.t, func(*testing.T) {
		p := newPlay(s.world, true).begin()
		defer p.close()
		for _, name := range names {
			if m, ok := find(p.moves(), name); ok && p.broken == "" {
				p.make(m)
			}
		}
		for moves := p.moves(); p.broken == "" && !ends(moves); moves = p.moves() {
			p.make(moves[0])
		}
		if p.broken == "" {
			p.settle()
		}
		if rule(p.broken) == rule(s.report.Breach) {
			trace = slices.Clone(p.log)
		}
	})
	return trace
}

// rule returns which rule a breach is of.
func rule(breach string) string {
	name, _, _ := strings.Cut(breach, ":")
	return name
}

// schedules counts the ways from the beginning to an end. A state that leads
// back to itself is counted once on each way.
func (s *search) schedules() *big.Int {
	counts := make([]*big.Int, len(s.next))
	if len(counts) == 0 {
		return new(big.Int)
	}
	under := make([]bool, len(s.next))
	var count func(state int32) *big.Int
	count = func(state int32) *big.Int {
		if counts[state] != nil || under[state] {
			return counts[state]
		}
		under[state] = true
		sum := new(big.Int)
		for _, next := range s.next[state] {
			if n := count(next); n != nil {
				sum.Add(sum, n)
			}
		}
		if len(s.next[state]) == 0 {
			sum.SetInt64(1)
		}
		counts[state] = sum
		return sum
	}
	return count(0)
}
