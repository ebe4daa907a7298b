package postgres

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// The contract's table is known to [twophase.Entry] alone. A verdict on an entry
// that exists changes its state and nothing else of it, and depends on its state,
// on whether its time is over, and on whether it was made by the same payload:
// so the rows of the table are finite. They are asked for once, and sent along as
// an array, for statements that judge an entry as soon as they have locked it.

// call is what is asked of an entry that exists.
type call int

const (
	callReserve call = iota
	callAssign
	callRelease
	callExpire
	callKinds
)

// origin is how the fingerprint of an entry compares with that of a call.
type origin int

const (
	originBlank origin = iota // the entry has none, or the call
	originSame
	originOther
	origins
)

// judge returns Entry's verdict on a call.
func (c call) judge(e twophase.Entry, fingerprint twophase.Fingerprint, now time.Time) twophase.Verdict {
	switch c {
	case callReserve:
		return e.Reserve(fingerprint, 0, now)
	case callAssign:
		return e.Assign(now)
	case callRelease:
		return e.Release()
	default:
		return e.Expire(now)
	}
}

const states = int(twophase.EntryExpired) + 1

// unchanged is the rule for an entry that stays as it is; others are the next
// state, and freeing is added if it gives back what it holds.
const (
	unchanged = -1
	freeing   = 100
)

// ruleIndex is the SQL that finds the rule for a locked entry; the array counts
// from 1. Its counterpart in Go is the order of the loops in rules.
var ruleIndex = fmt.Sprintf(`1 + ((call * %d + state) * 2 + (expires_at <= now)::int) * %d + origin`, states, origins)

// originOf is the SQL of origin.
const originOf = `CASE WHEN entry.fingerprint = '' OR asked.fingerprint = '' THEN 0
		WHEN entry.fingerprint = asked.fingerprint THEN 1 ELSE 2 END`

// rules is the SQL of the array of all rules.
var rules = func() string {
	var all []string
	for c := range callKinds {
		for state := range states {
			for _, over := range []bool{false, true} {
				for o := range origins {
					all = append(all, fmt.Sprint(ruleOf(c, twophase.EntryState(state), over, o)))
				}
			}
		}
	}
	return "ARRAY[" + strings.Join(all, ",") + "]"
}()

// ruleOf asks Entry about a representative of a cell of the table.
func ruleOf(c call, state twophase.EntryState, over bool, o origin) int {
	if state == twophase.EntryNone {
		return unchanged // there is none among those that are locked
	}
	e, fingerprint, now := representative(state, over, o)
	v := c.judge(e, fingerprint, now)
	if v.Entry == e {
		return unchanged
	}
	rule := int(v.Entry.State)
	if v.Free {
		rule += freeing
	}
	return rule
}

// representative returns an entry of a cell of the table, what a call on it
// brings, and the time.
func representative(
	state twophase.EntryState, over bool, o origin,
) (twophase.Entry, twophase.Fingerprint, time.Time) {
	now := time.Unix(1_000_000, 0)
	e := twophase.Entry{State: state, Expires: now.Add(time.Second)}
	if over {
		e.Expires = now
	}
	fingerprint := twophase.FingerprintOf([]byte("payload"))
	switch o {
	case originSame:
		e.Fingerprint = fingerprint
	case originOther:
		e.Fingerprint = twophase.FingerprintOf([]byte("another"))
	}
	return e, fingerprint, now
}
