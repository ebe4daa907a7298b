package main

import "fmt"

// goal is a ratio that the library wants to keep.
type goal struct {
	journal  string
	what     string
	measured float64
	wanted   float64
	atLeast  bool // or else at most
}

func (g goal) reached() bool {
	if g.atLeast {
		return g.measured >= g.wanted
	}
	return g.measured <= g.wanted
}

func (g goal) bound() string {
	if g.atLeast {
		return "≥ " + figure(g.wanted)
	}
	return "≤ " + figure(g.wanted)
}

// figure writes a ratio, or a number if it is a large one.
func figure(x float64) string {
	if x >= 10 {
		return count(x)
	}
	return fmt.Sprintf("%.2f", x)
}

// tolerance is how much more than its two commits a transaction alone may
// take, for the calls on participants and the noise between two series.
const tolerance = 1.1

// judge compares a cell with the goals that are set for it.
func (b *bench) judge(kind string, callers int, subjects []*subject) {
	if len(subjects) < 3 {
		return
	}
	// What a journal is measured by: a raw file first, then its own.
	journal, own := &subjects[0].series, &subjects[2].series
	if callers == 1 {
		b.goals = append(b.goals, goal{
			journal: kind, what: "p50 of one caller alone ÷ two bare commits",
			measured: ratio(percentile(journal.took, 0.5), percentile(own.took, 0.5)), wanted: tolerance,
		})
	}
	if callers != b.usual() {
		return
	}
	g := goal{
		journal: kind, what: fmt.Sprintf("rate of %d callers ÷ %s", callers, subjects[2].name),
		measured: journal.perSecond() / own.perSecond(), atLeast: true,
	}
	switch kind {
	case "sqlite":
		g.wanted = 0.8
	case "postgres":
		g.wanted = 2
	}
	b.goals = append(b.goals, g)
}

func ratio[T ~int64](a, b T) float64 { return float64(a) / float64(b) }

// report prints how the figures compare with the goals.
func (b *bench) report() {
	if len(b.goals) == 0 {
		return
	}
	t := &table{title: "Goals, and what was measured", columns: []string{"journal", "what", ">measured", ">wanted", "reached"}}
	for _, g := range b.goals {
		verdict := "yes"
		if !g.reached() {
			verdict = "NO"
		}
		t.add(g.journal, g.what, figure(g.measured), g.bound(), verdict)
	}
	t.write(b.out, b.markdown)
}
