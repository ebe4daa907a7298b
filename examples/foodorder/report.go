package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The choices of -table.
const (
	tableShort  = "short"
	tableAll    = "all"
	tableFailed = "failed"
	tableNone   = "none"
)

var tables = []string{tableShort, tableAll, tableFailed, tableNone}

// shortTable is about how many orders a short table has.
const shortTable = 15

// report tells what became of a day.
func report(day *Day, e *Evening, breaches []Breach, table string) []byte {
	var out bytes.Buffer
	answers := e.final()
	writeTable(&out, answers, table)
	writeSummary(&out, day, e, answers)
	writeAudit(&out, breaches)
	return out.Bytes()
}

func writeTable(out *bytes.Buffer, answers []Answer, choice string) {
	shown, note := choose(answers, choice)
	if len(shown) == 0 {
		return
	}
	var rows bytes.Buffer
	rows.WriteString("ORDER\tTIME\tAREA\tFOODS\tANSWER\tWITH WHAT, OR WHY NOT\n")
	for _, a := range shown {
		fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\t%s\t%s\n",
			a.Order.ID, a.Order.Time, a.Order.Area, strings.Join(a.Order.Foods, " + "), a.Verdict, a.Details)
	}
	aligned := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = rows.WriteTo(aligned) // a buffer takes it all
	_ = aligned.Flush()
	fmt.Fprintln(out, note)
}

// choose returns the answers that a table shows, and what to say of the rest.
func choose(answers []Answer, choice string) (shown []Answer, note string) {
	switch choice {
	case tableAll:
		return answers, ""
	case tableFailed:
		return slices.DeleteFunc(slices.Clone(answers), func(a Answer) bool { return a.Verdict == Placed }), ""
	case tableNone:
		return nil, ""
	}
	every := len(answers) / shortTable
	if every < 2 {
		return answers, ""
	}
	for i := 0; i < len(answers); i += every {
		shown = append(shown, answers[i])
	}
	return shown, fmt.Sprintf("One order in %d is shown; -table=all shows all, -table=failed those not placed.\n", every)
}

func writeSummary(out *bytes.Buffer, day *Day, e *Evening, answers []Answer) {
	verdicts, reasons, worth := map[Verdict]int{}, map[Reason]int{}, 0
	for _, a := range answers {
		verdicts[a.Verdict]++
		switch a.Verdict {
		case Placed:
			worth += day.price(a.Order)
		case NotPlaced:
			reasons[a.Reason]++
		}
	}
	line := func(what any, n int, format string, args ...any) {
		fmt.Fprintf(out, "%-17s%6d  %s\n", what, n, fmt.Sprintf(format, args...))
	}
	line("Orders", len(answers), "in %v", e.Took.Round(time.Millisecond))
	line(Placed, verdicts[Placed], "for ₹%d", worth)
	line(NotPlaced, verdicts[NotPlaced], "%s", mostFirst(reasons))
	if n := verdicts[InDoubt]; n > 0 {
		line(InDoubt, n, "")
	}
	line("Calls", int(e.Calls), "of which %d or their replies were lost", e.Lost)
	if n := len(e.Unfinished); n > 0 {
		line("Unfinished", n, "whose releases are not acknowledged after %v", patience)
	}
}

// mostFirst lists reasons by how many orders they kept from being placed.
func mostFirst(reasons map[Reason]int) string {
	ordered := slices.SortedFunc(maps.Keys(reasons), func(a, b Reason) int {
		return cmp.Or(cmp.Compare(reasons[b], reasons[a]), cmp.Compare(a, b))
	})
	words := make([]string, len(ordered))
	for i, reason := range ordered {
		words[i] = fmt.Sprintf("%s %d", reason, reasons[reason])
	}
	return strings.Join(words, ", ")
}

// maxBreaches is how many breaches of one invariant are shown.
const maxBreaches = 5

func writeAudit(out *bytes.Buffer, breaches []Breach) {
	fmt.Fprintln(out, "\nAudit of the answers against the books of the store and of delivery")
	for _, invariant := range invariants {
		var shows []string
		for _, b := range breaches {
			if b.Invariant == invariant.name {
				shows = append(shows, b.Shows)
			}
		}
		if len(shows) == 0 {
			fmt.Fprintf(out, "  ok      %s  %s\n", invariant.name, invariant.means)
			continue
		}
		fmt.Fprintf(out, "  BROKEN  %s  %s: %d×\n", invariant.name, invariant.means, len(shows))
		for _, show := range shows[:min(maxBreaches, len(shows))] {
			fmt.Fprintf(out, "              %s\n", show)
		}
	}
}
