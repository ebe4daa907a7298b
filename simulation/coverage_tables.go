package simulation

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// The rows of the protocol's table of faults.
const (
	refusesFault       = "a participant refuses (nothing free)"
	downInReserveFault = "a participant is down or slow in Reserve"
	downInAssignFault  = "a participant is down or slow in Assign"
	runsOutFault       = "a reservation runs out between two Assigns"
	replyFault         = "a reply is lost"
	lateFault          = "a late Reserve or Assign after Release"
	diesBeforeBegin    = "the coordinator dies before Begin is durable"
	diesAfterBegin     = "it dies after that"
	diesAfterDecision  = "it dies after the decision, before the reply"
	twoDriveFault      = "two coordinators drive one transaction"
	journalAwayFault   = "the journal is away"
	awayForEverFault   = "a participant is away for so long that a transaction is stuck"
	forgotFault        = "a participant forgot an acknowledged reservation (restored from a backup)"
	gaveAwayFault      = "a participant gave away what it had assigned"
	callerAwayFault    = "the caller goes away"
	notKeptFault       = "a step is tried and not kept"
)

var faultRows = []string{
	refusesFault, downInReserveFault, downInAssignFault, runsOutFault, replyFault, lateFault, diesBeforeBegin,
	diesAfterBegin, diesAfterDecision, twoDriveFault, journalAwayFault, awayForEverFault, forgotFault, gaveAwayFault,
	callerAwayFault, notKeptFault,
}

// table is a table of events and states, with what was counted.
type table struct {
	title  string
	states []string
	rows   []tableRow
	count  func(event, state int) int
}

// tableRow is an event. Its cells have a sign for each state: x is to be reached, r
// is, too, but takes many worlds, - cannot be, and . may be, where a message waits
// while the state goes on.
type tableRow struct{ event, cells string }

func (c *Coverage) tables() []table {
	return []table{
		{
			title: "a participant's key",
			states: []string{
				"none", "none, nothing free", "reserved", "reserved, run out", "assigned", "assigned, run out", "released", "expired",
			},
			rows: []tableRow{
				{"Reserve", "xxxxxxxx"},
				{"Reserve, another payload", "--xrxxxr"},
				{"Assign", "x-xxxxxx"},
				{"Release", "x-xxxxxx"},
				{"its time runs out", "---x-x--"},
			},
			count: func(event, state int) int { return c.contract[event][state] },
		},
		{
			title:  "a record in the journal",
			states: []string{"none", "begun", "assigned", "releasing", "released"},
			rows: []tableRow{
				{"begin", "xxxxx"},
				{"begin as releasing", "xxxxx"},
				{"decide assigned", "-xx.r"},
				{"decide releasing", "-xxxx"},
				{"released", "--xxx"},
				{"claim", "-xrx-"},
				{"claim, past its deadline", "-xrx-"},
				{"renew", "xxxxx"},
				{"yield", "--rxx"},
				{"get", "xxxxx"},
				{"prune", "--x.x"},
			},
			count: func(event, state int) int { return c.records[event][state] },
		},
		{
			title:  "a transaction at a coordinator",
			states: []string{"reserving", "assigning", "deciding", "watching", "settling", "settled"},
			rows: []tableRow{
				{"reserved", "x.xx.."},
				{"Reserve fails", "x.xx.x"},
				{"begun", "x....."},
				{"another's record stands", "x.xx.."},
				{"not begun, or not known", "x.xx.."},
				{"assigned", ".xx..."},
				{"Assign fails", ".xx..."},
				{"assigned stands", "x.xx.x"},
				{"releasing stands", "x.xxxx"},
				{"released", "--r.x."},
				{"Release fails", "--r.x."},
				{"time runs out", "xxx..."},
				{"a caller leaves", "xxxx.."},
				{"claimed", "x.x..."},
				{"claimed by another", "xxxxxx"},
				{"killed", "xxxxxx"},
				{"frozen", "xxxxxx"},
			},
			count: func(event, state int) int { return c.coordinator[event][state] },
		},
	}
}

// manyWorlds is how many it takes to reach every cell.
const manyWorlds = 5000

// Missing names the cells, and the rows of the table of faults, that were to be
// reached and were not.
func (c *Coverage) Missing() (missing []string) {
	never := func(n int) bool { return n == 0 }
	missing = c.cells('x', never)
	if c.worlds >= manyWorlds {
		missing = append(missing, c.cells('r', never)...)
	}
	for _, row := range faultRows {
		if c.faults[row] == 0 {
			missing = append(missing, row)
		}
	}
	return missing
}

// Impossible names the cells that were reached and cannot be.
func (c *Coverage) Impossible() []string { return c.cells('-', func(n int) bool { return n > 0 }) }

// cells names those that have a sign and a count.
func (c *Coverage) cells(sign byte, counted func(int) bool) (names []string) {
	for _, t := range c.tables() {
		for event, row := range t.rows {
			for state := range t.states {
				if row.cells[state] == sign && counted(t.count(event, state)) {
					names = append(names, fmt.Sprintf("%s: %s, %s", t.title, row.event, t.states[state]))
				}
			}
		}
	}
	return names
}

// String returns the tables with all that was counted.
func (c *Coverage) String() string {
	var b bytes.Buffer
	for _, t := range c.tables() {
		t.print(&b)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range faultRows {
		_, _ = fmt.Fprintf(w, "%s\t%d\n", row, c.faults[row])
	}
	_ = w.Flush()
	return b.String()
}

func (t table) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	lines := []string{t.title + "\t" + strings.Join(t.states, "\t") + "\t"}
	for event, row := range t.rows {
		line := row.event + "\t"
		for state := range t.states {
			text := strconv.Itoa(t.count(event, state))
			if text == "0" && strings.IndexByte("-.", row.cells[state]) >= 0 {
				text = "-"
			}
			line += text + "\t"
		}
		lines = append(lines, line)
	}
	_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n\n")
	_ = w.Flush()
}
