package history

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// span is a time since the recorder began.
type span struct{ from, to time.Duration }

// hold is how long a key held what it was given.
type hold struct {
	key       twophase.Key
	resources []string
	need      int
	certain   span // empty if there was no such time
	possible  span // of which nothing is missing
}

// holdOf reads from the calls on a key when it held something.
func holdOf(key twophase.Key, calls []*call, need func(json.RawMessage) int) hold {
	h := hold{key: key, certain: span{from: forever, to: forever}, possible: span{from: forever, to: forever}}
	early, late := time.Duration(0), forever // of the expiry
	var assigned, perhapsAssigned bool
	for _, c := range calls {
		switch {
		case c.call == twophase.CallRelease:
			h.certain.to = min(h.certain.to, c.from)
			if c.succeeded() {
				h.possible.to = min(h.possible.to, c.to)
			}
		case c.answer.known && c.answer.err != nil:
		case c.call == twophase.CallAssign:
			assigned = assigned || c.succeeded()
			perhapsAssigned = true
		default:
			if need != nil {
				h.need = max(h.need, need(c.payload))
			}
			h.possible.from = min(h.possible.from, c.from)
			if !c.answer.known {
				continue
			}
			r := c.answer.reservation
			h.resources = r.Resources
			h.certain.from = min(h.certain.from, c.to)
			if r.Assigned {
				assigned, perhapsAssigned = true, true
				continue
			}
			early = max(early, later(c.from, r.TimeLeft)-slack)
			late = min(late, later(c.to, r.TimeLeft)+slack)
		}
	}
	if !assigned {
		h.certain.to = min(h.certain.to, early)
	}
	if !perhapsAssigned {
		h.possible.to = min(h.possible.to, late)
	}
	return h
}

// heldTwice returns which resources two keys certainly held at once.
func heldTwice(holds []hold) (violations []string) {
	byResource := map[string][]hold{}
	for _, h := range holds {
		if h.certain.from >= h.certain.to {
			continue
		}
		for _, id := range h.resources {
			byResource[id] = append(byResource[id], h)
		}
	}
	for id, holds := range byResource {
		slices.SortFunc(holds, func(a, b hold) int { return int(a.certain.from - b.certain.from) })
		for i, last := 1, holds[0]; i < len(holds); i++ {
			if h := holds[i]; h.certain.from < last.certain.to {
				violations = append(violations, fmt.Sprintf("%s is held by %s from %v to %v, and by %s from %v to %v", id,
					last.key, last.certain.from, last.certain.to, h.key, h.certain.from, h.certain.to))
			}
			if holds[i].certain.to > last.certain.to {
				last = holds[i]
			}
		}
	}
	slices.Sort(violations)
	return violations
}

// refusedWrongly returns who was refused though enough was free all the time,
// and who was given another number than it needs.
func (r *Recorder) refusedWrongly(holds []hold, calls []*call) (violations []string) {
	for _, c := range calls {
		if c.call != twophase.CallReserve || !c.answer.known {
			continue
		}
		need := r.need(c.payload)
		switch {
		case c.answer.err == nil && len(c.answer.reservation.Resources) != need:
			violations = append(violations, fmt.Sprintf("%s asks for %d and is given %v", c.key, need, c.answer.reservation.Resources))
		case c.answer.err == twophase.ErrRefused: //nolint:errorlint // it is a sentinel
			free := r.stock
			for _, h := range holds {
				if h.key != c.key && h.possible.from <= c.to && h.possible.to >= c.from {
					free -= h.need
				}
			}
			if free >= need {
				violations = append(violations, fmt.Sprintf("%s is refused between %v and %v, though %d of %d are free all the time",
					c.key, c.from, c.to, free, r.stock))
			}
		}
	}
	return violations
}
