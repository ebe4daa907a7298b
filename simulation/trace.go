package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// trace is what happened. Its sum does not depend on the order in which things of
// one instant are noted, and neither does its text.
type trace struct {
	kept  bool // the text, not only the sum
	sum   uint64
	lines []traceLine
}

type traceLine struct {
	at   time.Duration
	text string
}

func (t *trace) add(at time.Duration, what string, n int, outcome string) {
	t.sum += mix(mix(nameHash(what), uint64(n)), mix(uint64(at), nameHash(outcome)))
	if !t.kept {
		return
	}
	if n > 0 {
		what = fmt.Sprintf("%s #%d", what, n+1)
	}
	if outcome != "" {
		what += ": " + outcome
	}
	t.lines = append(t.lines, traceLine{at, what})
}

// String returns the trace, a line for each thing that happened.
func (t *trace) String() string {
	lines := slices.Clone(t.lines)
	slices.SortStableFunc(lines, func(a, b traceLine) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.text, b.text))
	})
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%12.6f  %s\n", line.at.Seconds(), line.text)
	}
	return b.String()
}
