//go:build unix

package crashtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Books are what is known of a run when everything has settled.
type Books struct {
	Told    []Told
	Records []twophase.Record   // of the journal
	Ledgers map[string][]Change // by participant
}

// readBooks reads what callers were told, and the ledgers.
func readBooks(dir string) (Books, error) {
	books := Books{Ledgers: map[string][]Change{}}
	files, err := filepath.Glob(toldPath(dir, "*"))
	if err != nil {
		return books, err
	}
	for _, file := range files {
		told, _, err := readLines[Told](file)
		if err != nil {
			return books, err
		}
		books.Told = append(books.Told, told...)
	}
	for name := range stocks {
		changes, _, err := readLines[Change](ledgerPath(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the participants are others
		}
		if err != nil {
			return books, err
		}
		books.Ledgers[name] = changes
	}
	return books, nil
}

// Violation is an invariant of the protocol that does not hold.
type Violation struct {
	Invariant string // I1 to I6, or "unfinished"
	ID        string // of the transaction
	What      string
	Trace     string // all that the books have of the transaction
}

// Error returns all of it.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s: %s: %s\n%s", v.Invariant, v.ID, v.What, v.Trace)
}

// Audit returns the violations that the books show at a time when every
// transaction is finished, and every hold over:
//
//   - I1: what was told placed, or may be, is assigned, and as it was told;
//   - I2: nobody was told both placed and not placed, nor what the journal does
//     not say, nor that there is no record after an outcome;
//   - I3: no resource was ever held by two;
//   - I4: what is not placed, or was not kept, holds nothing, and nothing was
//     held again after it was released;
//   - I5: what is assigned is so in the journal;
//   - I6: nothing was assigned, prolonged or held when its time had run out.
func (b Books) Audit(now time.Time) []error {
	a := &auditor{Books: b, now: now, records: map[string]twophase.Record{}, last: map[place]Change{}}
	for _, record := range b.Records {
		a.records[record.ID] = record
	}
	for participant, changes := range b.Ledgers {
		a.history(participant, changes)
	}
	a.told()
	for _, record := range b.Records {
		a.record(record)
	}
	a.assigned()
	return a.violations
}

type auditor struct {
	Books
	now        time.Time
	records    map[string]twophase.Record
	last       map[place]Change // how each key has ended
	violations []error
}

// place is a key at a participant.
type place struct {
	participant string
	twophase.Key
}

func (a *auditor) violated(invariant, id, format string, args ...any) {
	a.violations = append(a.violations, &Violation{
		Invariant: invariant, ID: id, What: fmt.Sprintf(format, args...), Trace: a.trace(id),
	})
}

// history goes through a ledger from its beginning.
func (a *auditor) history(participant string, changes []Change) {
	holders := map[string]twophase.Key{}
	for _, c := range changes {
		at := place{participant, c.Key}
		before := a.last[at]
		a.last[at] = c
		if holders[before.Resource] == c.Key {
			delete(holders, before.Resource)
		}
		if c.Resource != "" {
			if other, taken := holders[c.Resource]; taken {
				a.violated("I3", c.Key.Transaction, "%s is held by %s, too:\n%s", c.Resource, other, a.trace(other.Transaction))
			}
			holders[c.Resource] = c.Key
		}
		a.step(before, c)
	}
}

// step looks at one change of a key.
func (a *auditor) step(before, c Change) {
	was, is := twophase.EntryState(before.State), twophase.EntryState(c.State)
	switch {
	case was == twophase.EntryReleased && c.Resource != "":
		a.violated("I4", c.Key.Transaction, "%s holds %s again after it was released", c.Key, c.Resource)
	case was == twophase.EntryReserved && is == twophase.EntryAssigned && !c.At.Before(before.Expires):
		a.violated("I6", c.Key.Transaction, "%s was assigned when it had expired", c.Key)
	case was == twophase.EntryReserved && is == twophase.EntryReserved && c.Expires.After(before.Expires):
		a.violated("I6", c.Key.Transaction, "%s was prolonged", c.Key)
	}
}

// told compares what callers were told with each other and with the journal.
func (a *auditor) told() {
	first := map[string]Told{} // the first outcome of each
	inOrder := slices.SortedStableFunc(slices.Values(a.Told), func(x, y Told) int { return x.At.Compare(y.At) })
	for _, t := range inOrder {
		outcome := t.Answer == Placed || t.Answer == NotPlaced
		before, known := first[t.ID]
		switch {
		case outcome && !known:
			first[t.ID] = t
			a.outcome(t)
		case outcome && before.Answer != t.Answer:
			a.violated("I2", t.ID, "told %s and %s", before.Answer, t.Answer)
		case t.Answer == Placed:
			a.given(t)
		case t.Answer == Gone && known:
			a.violated("I2", t.ID, "told %s, and then that there is no record", before.Answer)
		}
	}
}

// outcome compares what was told of a transaction with the journal.
func (a *auditor) outcome(t Told) {
	record, ok := a.records[t.ID]
	switch {
	case t.Answer == Placed && !ok:
		a.violated("I1", t.ID, "told placed, and there is no record")
	case t.Answer == Placed && record.State != twophase.StateAssigned:
		a.violated("I1", t.ID, "told placed, and the journal says %v", record.State)
	case t.Answer == Placed:
		a.given(t)
	case !ok:
		a.violated("I2", t.ID, "told not placed, and there is no record")
	case record.State != twophase.StateReleasing && record.State != twophase.StateReleased:
		a.violated("I2", t.ID, "told not placed, and the journal says %v", record.State)
	}
}

// given compares what a caller was given with the journal.
func (a *auditor) given(t Told) {
	for _, step := range a.records[t.ID].Steps {
		if resource := reserved(step); resource != t.Given[step.Name] {
			a.violated("I1", t.ID, "step %s was told %q, and the journal says %q", step.Name, t.Given[step.Name], resource)
		}
	}
}

func reserved(step twophase.StepRecord) string {
	if step.Reservation == nil || step.Dropped {
		return ""
	}
	return step.Reservation.Resource()
}

// record compares a record with the ledgers.
func (a *auditor) record(record twophase.Record) {
	if !record.Finished() {
		a.violated("unfinished", record.ID, "%v, after %d attempts: %s", record.State, record.Attempts, record.Trouble)
		return
	}
	for _, step := range record.Steps {
		at := place{step.Participant, twophase.Key{Transaction: record.ID, Step: step.Name}}
		switch c := a.last[at]; {
		case record.State != twophase.StateAssigned || step.Dropped:
			if a.holds(c) {
				a.violated("I4", record.ID, "step %s is not kept, and holds %s", step.Name, c.Resource)
			}
		case c.State != State(twophase.EntryAssigned) || c.Resource != reserved(step):
			a.violated("I1", record.ID, "step %s was given %q, and is %v with %q at %s",
				step.Name, reserved(step), twophase.EntryState(c.State), c.Resource, step.Participant)
		}
	}
}

func (a *auditor) holds(c Change) bool {
	return c.Resource != "" && (c.State == State(twophase.EntryAssigned) || a.now.Before(c.Expires))
}

// assigned looks for what is held in the end without a record that leads to it.
func (a *auditor) assigned() {
	for at, c := range a.last {
		record, ok := a.records[at.Transaction]
		kept := slices.ContainsFunc(record.Steps, func(s twophase.StepRecord) bool {
			return s.Name == at.Step && s.Participant == at.participant
		})
		switch {
		case c.State == State(twophase.EntryReserved) && a.holds(c):
			a.violated("I6", at.Transaction, "%s is reserved until %v", at.Key, c.Expires)
		case c.State == State(twophase.EntryAssigned) && (!ok || !kept):
			a.violated("I5", at.Transaction, "%s is assigned to %s, and no record leads to it", c.Resource, at.Key)
		}
	}
}

// trace returns all that the books have of a transaction, in the order of time.
func (a *auditor) trace(id string) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	add := func(at time.Time, format string, args ...any) {
		lines = append(lines, line{at, fmt.Sprintf(format, args...)})
	}
	for _, t := range a.Told {
		if t.ID == id {
			add(t.At, "%s was told %s %v %s", t.Child, t.Answer, t.Given, t.Err)
		}
	}
	for participant, changes := range a.Ledgers {
		for _, c := range changes {
			if c.Key.Transaction == id {
				add(c.At, "%s: %s %v %s, expires %s", participant, c.Key.Step,
					twophase.EntryState(c.State), c.Resource, c.Expires.Format(clock))
			}
		}
	}
	slices.SortStableFunc(lines, func(x, y line) int { return x.at.Compare(y.at) })
	var text strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&text, "\t%s %s\n", l.at.Format(clock), l.text)
	}
	record, err := json.Marshal(a.records[id])
	fmt.Fprintf(&text, "\tjournal: %s %v", record, err)
	return text.String()
}

const clock = "15:04:05.000000"
