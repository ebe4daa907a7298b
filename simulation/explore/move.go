package explore

import (
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// move is something that the scheduler may let happen next.
type move struct {
	name string
	// progress: the world is not at its end while there is any.
	progress bool
	do       func()
}

// moves returns what can happen next, in an order that depends on the state
// only: what goes on by itself first.
func (p *play) moves() []move {
	moves := p.goOn()
	moves = append(moves, p.repeatMoves()...)
	moves = append(moves, p.lateMoves()...)
	moves = append(moves, p.shopMoves()...)
	return append(moves, p.sideMoves()...)
}

// goOn are the moves by which the world comes to its end.
func (p *play) goOn() (moves []move) {
	for _, c := range p.wire.parked() {
		switch {
		case c.served:
			moves = append(moves, move{"answer " + c.name, true, func() {
				p.note("answer %s", c.name)
				c.tell(p.wire, c.err)
			}})
		case c.what == "claim" && !p.ledger.claimable():
			// It would claim nothing.
		case p.world.Split:
			moves = append(moves, move{c.name, true, func() { _ = c.serveNow(p.wire) }})
		default:
			moves = append(moves, move{c.name, true, func() { c.tell(p.wire, c.serveNow(p.wire)) }})
		}
	}
	if len(moves) == 0 && p.watches() {
		moves = append(moves, move{"time passes", true, func() {
			p.note("time passes")
			p.sleep(pause)
		}})
	}
	return moves
}

// watches reports whether somebody waits for a decision that was made
// elsewhere, and will look again.
func (p *play) watches() bool {
	record, ok := p.ledger.stands()
	if !ok || record.State == twophase.StateBegun {
		return false
	}
	for _, s := range p.sides {
		if s.waiting > 0 && s.answers["get "+transaction] == twophase.StateBegun.String() && !s.crashed {
			return true
		}
	}
	return false
}

// repeatMoves lose the answer of a call. The request is on its way all the same.
func (p *play) repeatMoves() (moves []move) {
	if p.repeats == 0 {
		return nil
	}
	for _, c := range p.wire.parked() {
		if c.changes() {
			moves = append(moves, move{"lose " + c.name, false, func() { p.lose(c) }})
		}
	}
	return moves
}

func (p *play) lose(c *call) {
	p.repeats--
	p.wire.mu.Lock()
	p.wire.lateLocked(c)
	p.wire.mu.Unlock()
	c.tell(p.wire, errLost)
	p.sleep(pause)
}

// lateMoves let in what nobody waits for any more.
func (p *play) lateMoves() (moves []move) {
	for _, c := range p.wire.underWay() {
		moves = append(moves, move{"late " + c.name, false, func() { p.wire.arrive(c) }})
	}
	return moves
}

// shopMoves are what happens at the participants by itself, where it makes a
// difference.
func (p *play) shopMoves() (moves []move) {
	for _, s := range p.shops {
		if p.expiries > 0 && s.holding() {
			moves = append(moves, move{"the time runs out at the " + s.name, false, func() {
				p.expiries--
				s.expire()
			}})
		}
		if p.rivals > 0 && s.available() {
			moves = append(moves, move{"rivals empty the " + s.name, false, func() {
				p.rivals--
				s.rival("rival")
			}})
		}
	}
	return moves
}

// sideMoves are what happens to the coordinators, where it makes a difference.
func (p *play) sideMoves() (moves []move) {
	for _, s := range p.sides {
		if s.crashed || !p.busy(s) {
			continue
		}
		if p.crashes > 0 {
			moves = append(moves, move{"crash " + s.name, false, func() {
				p.crashes--
				p.crash(s)
			}})
		}
		if p.giveUps > 0 && s.giveUp != nil && s.waiting > 0 {
			moves = append(moves, move{"the caller of " + s.name + " gives up", false, func() {
				p.giveUps--
				s.giveUp()
				s.giveUp = nil
			}})
		}
	}
	if p.deadlines > 0 && len(p.wire.parked()) > 0 {
		moves = append(moves, move{"the deadline passes", false, func() {
			p.deadlines--
			p.sleep(timeout + time.Millisecond)
		}})
	}
	return moves
}

// busy reports whether a coordinator has anything under way.
func (p *play) busy(s *side) bool {
	if s.waiting > 0 {
		return true
	}
	for _, c := range p.wire.parked() {
		if c.from == s {
			return true
		}
	}
	return false
}

// make lets a move happen, and looks for what it breaks.
func (p *play) make(m move) {
	if !m.progress { // or it is a call, which is noted with its answer
		p.note("%s", m.name)
	}
	m.do()
	p.settled().check()
}

// ends reports whether nothing is left but what may also never happen.
func ends(moves []move) bool {
	for _, m := range moves {
		if m.progress {
			return false
		}
	}
	return true
}

// find returns the move of that name.
func find(moves []move, name string) (move, bool) {
	for _, m := range moves {
		if m.name == name {
			return m, true
		}
	}
	return move{}, false
}

func isRival(transaction string) bool { return strings.HasPrefix(transaction, "rival") }
