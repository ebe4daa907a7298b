package explore

import (
	"fmt"
	"strings"

	"github.com/seed-bcc3c603/twophase"
)

// World is what is explored, and its bound: how often each fault may happen, at
// any moment. Coordinator A runs the transaction.
type World struct {
	// Second is what coordinator B does.
	Second Second
	// Function lets A run a function that goes on without the store if that
	// refuses.
	Function bool
	// Empty: the store has nothing to give, so it ends in releases.
	Empty bool
	// FirstRecovers lets A, too, claim what is unfinished, once.
	FirstRecovers bool

	// Crashes are of a coordinator. What it had sent may arrive later or never.
	Crashes int
	// Repeats are calls whose answer is lost: the coordinator calls again, and
	// the first request may arrive later or never. One at most: after the second
	// it waits for longer than the scheduler does.
	Repeats int
	// Expiries are of all that one participant has reserved by then.
	Expiries int
	// Rivals take what is free at one participant, for good.
	Rivals int
	// GiveUps are of a caller who does not wait any longer.
	GiveUps int
	// Deadlines are of the transaction, on both coordinators.
	Deadlines int

	// Split makes each answer a step of its own.
	Split bool
	// Unmerged tells states apart by the order in which a coordinator got its
	// answers, and by which participant is which: for tests of the search.
	Unmerged bool

	// Journal and Participant replace what coordinators call: by something
	// that breaks its contract, say. Nil replaces nothing.
	Journal     func(twophase.Journal) twophase.Journal
	Participant func(twophase.Participant) twophase.Participant
}

// Second is what the second coordinator does.
type Second uint8

// What the second coordinator may do.
const (
	// Idles: there is but one.
	Idles Second = iota
	// Recovers: it claims the transaction at any moment, as if the lease of
	// the first had run out, and drives it at the same time.
	Recovers
	// RunsTheSame: a caller asks it for the same transaction.
	RunsTheSame
	// RunsAnother: a caller misuses the id for other steps there.
	RunsAnother
)

var seconds = [...]string{"idles", "recovers", "runs the same", "runs another under the same id"}

// String returns what it does.
func (s Second) String() string {
	if int(s) < len(seconds) {
		return seconds[s]
	}
	return fmt.Sprintf("%d", s)
}

// String returns the world's bound in words.
func (w World) String() string {
	var b strings.Builder
	b.WriteString("A runs ")
	if w.Function {
		b.WriteString("a function ")
	}
	if w.FirstRecovers {
		b.WriteString("and recovers, ")
	}
	fmt.Fprintf(&b, "B %v", w.Second)
	if w.Empty {
		b.WriteString(", the store is empty")
	}
	for _, fault := range []struct {
		name string
		n    int
	}{
		{"crash", w.Crashes}, {"repeat", w.Repeats}, {"expiry", w.Expiries},
		{"rival", w.Rivals}, {"give-up", w.GiveUps}, {"deadline", w.Deadlines},
	} {
		if fault.n > 0 {
			fmt.Fprintf(&b, ", %d %s", fault.n, fault.name)
		}
	}
	if w.Split {
		b.WriteString(", answers apart")
	}
	if w.Unmerged {
		b.WriteString(", unmerged")
	}
	return b.String()
}
