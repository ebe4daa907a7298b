package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// report tells whoever runs the command what was found: as text, or in JSON.
// Errors of writing are told by end.
type report struct {
	printer
	out     *sticky
	results map[verdict][]string // the names
	total   int
}

// printer is how a report looks.
type printer interface {
	begin(v *verifier)
	result(r result)
	end(s summary)
}

// summary is the end of a report.
type summary struct {
	results  map[verdict][]string
	total    int
	problems []error // with the books, at the end
	ended    error   // why not all was checked
	status   int
}

func newReport(w io.Writer, s *settings) *report {
	out := &sticky{w: w}
	r := &report{out: out, results: map[verdict][]string{}}
	if s.json {
		r.printer = &jsonPrinter{json.NewEncoder(out)}
	} else {
		r.printer = &textPrinter{out: out, all: s.verbose, gap: true}
	}
	return r
}

// add tells a result.
func (r *report) add(result result) {
	r.total++
	r.results[result.verdict] = append(r.results[result.verdict], result.Name)
	r.result(result)
}

// end tells the summary, and returns the exit status.
func (r *report) end(problems []error, ended error) (int, error) {
	s := summary{results: r.results, total: r.total, problems: problems, ended: ended, status: exitKept}
	switch {
	case len(r.results[brokenBy]) > 0:
		s.status = exitBroken
	case ended != nil:
		s.status = exitUsage
	case len(problems) > 0:
		s.status = exitBroken
	case len(r.results[notChecked]) > 0:
		s.status = exitUsage
	}
	r.printer.end(s)
	if r.out.err != nil {
		return exitUsage, fmt.Errorf("the report cannot be written: %w", r.out.err)
	}
	return s.status, nil
}

// sticky is a writer that keeps its first error, and then writes no more.
type sticky struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (s *sticky) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

// textPrinter is a report for people.
type textPrinter struct {
	out io.Writer
	all bool // calls that led to a failure, not only the last
	gap bool // the last line is empty
}

// lastCalls is how many of the calls that led to a failure are shown.
const lastCalls = 8

func (p *textPrinter) begin(v *verifier) {
	for _, t := range v.settings.targets {
		p.line("service  %s", t)
	}
	for _, s := range v.stocks {
		p.line("kind     %q, %d free", s.kind, len(s.first))
	}
	p.line("promises %d", len(v.checks))
	p.line("")
}

func (p *textPrinter) result(r result) {
	switch r.verdict {
	case kept:
		p.line("ok       %s", r.Name)
	case skipped:
		p.line("skipped  %s: %s", r.Name, r.reason)
	case notChecked:
		p.line("?        %s: %s", r.Name, r.reason)
	case brokenBy:
		p.failure(r)
	}
}

func (p *textPrinter) failure(r result) {
	p.space()
	p.line("BROKEN   %s", r.Name)
	p.block("demanded", r.Demand)
	p.block("found", strings.Join(counted(r.found), "\n"))
	shown := r.calls
	if !p.all && len(shown) > lastCalls {
		shown = shown[len(shown)-lastCalls:]
	}
	for i, e := range shown {
		label := ""
		switch {
		case i > 0:
		case len(shown) < len(r.calls):
			label = fmt.Sprintf("… %d calls before (-v shows them), and then\n", len(r.calls)-len(shown))
		}
		if i == 0 {
			p.block("calls", label+e.Sent+"\n  "+e.Answered)
			continue
		}
		p.block("", e.Sent+"\n  "+e.Answered)
	}
	p.block("why", "otherwise "+r.Why)
	if r.doubtful {
		p.block("but", "calls took long meanwhile, which alone may be why: run it again with a longer -hold")
	}
	p.line("")
}

// counted returns texts without those that come again, but with their number.
func counted(texts []string) (once []string) {
	times := map[string]int{}
	for _, text := range texts {
		if times[text]++; times[text] == 1 {
			once = append(once, text)
		}
	}
	for i, text := range once {
		if n := times[text]; n > 1 {
			once[i] = fmt.Sprintf("%s (%d times)", text, n)
		}
	}
	return once
}

// block prints lines behind a label.
func (p *textPrinter) block(label, text string) {
	for line := range strings.Lines(text) {
		p.line("%s", strings.TrimRight(fmt.Sprintf("  %-9s %s", label, strings.TrimRight(line, "\n")), " "))
		label = ""
	}
}

func (p *textPrinter) end(s summary) {
	p.space()
	p.line("%s: %s", numberOf(s.total, "promise"), s.counts())
	for _, name := range s.results[brokenBy] {
		p.line("  broken   %s", name)
	}
	for _, problem := range s.problems {
		p.line("  lost     %v", problem)
	}
	switch {
	case s.ended == nil && len(s.problems) == 0:
		p.line("All resources are free again.")
	case s.ended != nil && len(s.problems) == 0:
		p.line("The checks did not come to an end: %v. What was held is given back.", s.ended)
	case s.ended != nil:
		p.line("The checks did not come to an end: %v", s.ended)
	}
	if len(s.results[brokenBy]) > 0 {
		p.line("The contract is %sparticipants.md, and what is on the wire %shttp.md", docs, docs)
	}
}

// docs is where the documentation is.
const docs = "https://github.com/seed-bcc3c603/twophase/blob/main/docs/"

// counts says how many promises have each verdict.
func (s summary) counts() string {
	var counts []string
	for _, v := range []verdict{kept, brokenBy, skipped, notChecked} {
		if n := len(s.results[v]); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v))
		}
	}
	return strings.Join(counts, ", ")
}

func (p *textPrinter) line(format string, args ...any) {
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
	p.gap = format == ""
}

// space leaves a line empty, if the last is not.
func (p *textPrinter) space() {
	if !p.gap {
		p.line("")
	}
}

// numberOf returns "1 promise", "2 promises".
func numberOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// jsonPrinter is a report for programs: an object for each result, and one at
// the end that has a status.
type jsonPrinter struct{ encoder *json.Encoder }

type jsonResult struct {
	Promise string     `json:"promise"`
	Verdict verdict    `json:"verdict"`
	Reason  string     `json:"reason,omitempty"`
	Demand  string     `json:"demand"`
	Why     string     `json:"why"`
	Found   []string   `json:"found,omitempty"`
	Calls   []exchange `json:"calls,omitempty"`
	TookMS  int64      `json:"took_ms"`
	// Doubtful says that calls took so long that this alone may be why.
	Doubtful bool `json:"doubtful,omitempty"`
}

type jsonSummary struct {
	Status     int      `json:"status"`
	Promises   int      `json:"promises"`
	Kept       int      `json:"kept"`
	Broken     []string `json:"broken"`
	Skipped    []string `json:"skipped"`
	NotChecked []string `json:"not_checked"`
	Problems   []string `json:"problems"`
	Error      string   `json:"error,omitempty"`
}

func (p *jsonPrinter) begin(*verifier) {}

func (p *jsonPrinter) result(r result) {
	_ = p.encoder.Encode(jsonResult{
		Promise: r.Name, Verdict: r.verdict, Reason: r.reason, Demand: r.Demand, Why: r.Why,
		Found: r.found, Calls: r.calls, TookMS: r.took.Milliseconds(), Doubtful: r.doubtful,
	})
}

func (p *jsonPrinter) end(s summary) {
	orNone := func(names []string) []string { return append([]string{}, names...) }
	out := jsonSummary{
		Status: s.status, Promises: s.total, Kept: len(s.results[kept]), Broken: orNone(s.results[brokenBy]),
		Skipped: orNone(s.results[skipped]), NotChecked: orNone(s.results[notChecked]), Problems: []string{},
	}
	for _, problem := range s.problems {
		out.Problems = append(out.Problems, problem.Error())
	}
	if s.ended != nil {
		out.Error = s.ended.Error()
	}
	_ = p.encoder.Encode(out)
}

// list prints the promises.
func list(w io.Writer, s *settings) error {
	out := &sticky{w: w}
	p := &textPrinter{out: out, gap: true}
	if s.hold == 0 {
		return errors.New("-hold must be above zero")
	}
	for check := range slices.Values(s.checks()) {
		p.line("%s", check.Name)
		p.block("demanded", check.Demand)
		p.block("why", "otherwise "+check.Why)
		p.line("")
	}
	return out.err
}
