package twophase_test

import (
	"fmt"
	"testing"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// The participant of the example keeps the contract.
func TestTables(t *testing.T) {
	t.Parallel()
	twophasetest.TestParticipant(t, func(_ testing.TB, free int) twophasetest.Subject {
		tables := &Tables{entries: map[twophase.Key]*tableEntry{}}
		for i := range free {
			tables.free = append(tables.free, fmt.Sprintf("table-%d", i))
		}
		return twophasetest.Subject{Participant: tables, Payload: Party{People: 2}, Different: Party{People: 3}}
	}, twophasetest.SingleResource())
}

// So do those of the fake world: what other tests say about the coordinator
// depends on it.
func TestStock(t *testing.T) {
	t.Parallel()
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		s := &stock{world: newWorld(t), name: "store", entries: map[twophase.Key]*stockEntry{}}
		for i := range free {
			s.free = append(s.free, fmt.Sprintf("packet-%d", i))
		}
		// Called without a coordinator, it has nothing to watch.
		s.world.report = &violations{}
		return twophasetest.Subject{
			Participant: s, Payload: 1, Different: map[string]int{"packets": 1}, Several: func(n int) any { return n },
		}
	})
}

func TestMemoryJournalKeepsTheContract(t *testing.T) {
	t.Parallel()
	twophasetest.TestJournal(t, func(testing.TB) twophase.Journal { return twophase.NewMemoryJournal() })
}
