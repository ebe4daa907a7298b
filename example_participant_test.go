package twophase_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Tables is a participant that gives away the tables of a restaurant. It locks,
// loads the entry of the key, asks it, and stores what it says: what the
// contract rules is in Entry.
type Tables struct {
	mu      sync.Mutex
	free    []string
	entries map[twophase.Key]*tableEntry
}

type tableEntry struct {
	twophase.Entry
	table string
}

// Party is the payload of a step.
type Party struct {
	People int `json:"people"`
}

// Seat is what a reservation tells besides the table.
type Seat struct {
	Floor string `json:"floor"`
}

// Reserve sets a table aside.
func (t *Tables) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	party, err := twophase.PayloadOf[Party](req)
	if err != nil {
		return twophase.Reservation{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	e := t.entry(req.Key)
	verdict := e.Reserve(twophase.FingerprintOf(req.Payload), req.Hold, now)
	if verdict.Take {
		t.expire(now)
		if party.People > 4 || len(t.free) == 0 {
			return twophase.Reservation{}, fmt.Errorf("%w: no table for %d", twophase.ErrRefused, party.People)
		}
		e.table, t.free = t.free[0], t.free[1:]
	}
	if err := t.store(req.Key, e, verdict); err != nil {
		return twophase.Reservation{}, err
	}
	details, err := json.Marshal(Seat{Floor: "terrace"})
	return twophase.Reservation{
		Resources: []string{e.table},
		TimeLeft:  e.TimeLeft(now),
		Assigned:  e.State == twophase.EntryAssigned,
		Details:   details,
	}, err
}

// Assign gives it for good.
func (t *Tables) Assign(_ context.Context, key twophase.Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(key)
	return t.store(key, e, e.Assign(time.Now()))
}

// Release takes it back.
func (t *Tables) Release(_ context.Context, key twophase.Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(key)
	return t.store(key, e, e.Release())
}

func (t *Tables) entry(key twophase.Key) *tableEntry {
	if e, ok := t.entries[key]; ok {
		return e
	}
	return &tableEntry{}
}

func (t *Tables) store(key twophase.Key, e *tableEntry, verdict twophase.Verdict) error {
	if verdict.Free {
		t.free = append(t.free, e.table)
	}
	e.Entry = verdict.Entry
	if e.State != twophase.EntryNone {
		t.entries[key] = e
	}
	return verdict.Err
}

// expire takes back what has run out.
func (t *Tables) expire(now time.Time) {
	for key, e := range t.entries {
		_ = t.store(key, e, e.Expire(now))
	}
}

// A participant of one's own: three methods, and the contract's table is Entry.
// twophasetest.TestParticipant tells whether it got everything right.
func ExampleParticipant() {
	tables := &Tables{free: []string{"table-4"}, entries: map[twophase.Key]*tableEntry{}}
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(), twophase.WithParticipant("tables", tables))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(context.Background()) }()

	for _, people := range []int{6, 2, 2} {
		id := fmt.Sprintf("dinner-%d-%d", people, len(tables.free))
		result, err := coordinator.Run(context.Background(), twophase.Transaction{
			ID: id, Steps: []twophase.Step{{Participant: "tables", Payload: Party{People: people}}},
		})
		if err != nil {
			fmt.Println(err)
			continue
		}
		seat, err := twophase.DetailsOf[Seat](result.Reservation("tables"))
		fmt.Println(result.Reservation("tables").Resource(), "on the", seat.Floor, err)
	}
	// Output:
	// twophase: dinner-6-1 not placed: reserve tables: refused: no table for 6
	// table-4 on the terrace <nil>
	// twophase: dinner-2-0 not placed: reserve tables: refused: no table for 2
}
