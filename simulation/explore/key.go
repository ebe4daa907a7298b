package explore

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// key tells a state from others.
type key [sha256.Size]byte

// key returns that of the state that the world is in.
func (p *play) key() key {
	lines := p.lines()
	if p.world.Unmerged {
		for _, s := range p.sides {
			lines = append(lines, strings.Join(s.history, ", "))
		}
	}
	return sha256.Sum256([]byte(p.canonical(lines)))
}

// canonical returns what a state and the one with the two participants
// exchanged have in common: coordinators treat them alike.
func (p *play) canonical(lines []string) string {
	if p.world.Unmerged || p.world.Function { // which prefers the store
		return joined(lines)
	}
	exchanged := make([]string, len(lines))
	for i, line := range lines {
		exchanged[i] = sortSteps(exchange.Replace(line))
		lines[i] = sortSteps(line)
	}
	return min(joined(lines), joined(exchanged))
}

var exchange = strings.NewReplacer("store", "delivery", "delivery", "store")

func joined(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// sortSteps puts a list in braces into the order of the alphabet.
func sortSteps(line string) string {
	before, rest, ok := strings.Cut(line, "{")
	if !ok {
		return line
	}
	list, after, _ := strings.Cut(rest, "}")
	steps := strings.Fields(list)
	slices.Sort(steps)
	return before + "{" + strings.Join(steps, " ") + "}" + after
}

// lines returns all that the future depends on.
func (p *play) lines() []string {
	lines := p.books()
	parked := p.wire.parked()
	p.wire.mu.Lock()
	for _, s := range p.sides {
		lines = s.state(lines, parked)
	}
	for _, c := range p.wire.late {
		lines = append(lines, "late "+c.from.name+" "+c.what)
	}
	p.wire.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.told {
		lines = append(lines, fmt.Sprintf("%s was told %s", v.side.name, v))
	}
	return append(lines, fmt.Sprint(p.crashes, p.repeats, p.expiries, p.rivals, p.giveUps, p.deadlines))
}

// books returns those of the participants, and the journal.
func (p *play) books() (lines []string) {
	for _, s := range p.shops {
		lines = append(lines, s.books())
	}
	return append(lines, p.ledger.books(p.sides))
}
