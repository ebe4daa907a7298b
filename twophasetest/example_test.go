package twophasetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

func TestKitchen(t *testing.T) {
	twophasetest.TestParticipant(t, openKitchen, twophasetest.SingleResource())
}

// A program that checks one promise of a participant, and says what is wrong.
func ExampleParticipantChecks() {
	for _, check := range twophasetest.ParticipantChecks(twophasetest.RealTime(200 * time.Millisecond)) {
		if check.Name != "Assign of a new key is unknown" {
			continue
		}
		err := check.Run(context.Background(), twophasetest.Subject{
			Participant: obliging{NewKitchen(check.Free)},
			Payload:     Order{Food: "masala dosa"},
			Different:   Order{Food: "masala dosa", Chutney: true},
			Several:     func(int) any { return nil },
		})
		fmt.Println(err)
		fmt.Println("otherwise", check.Why)
	}
	// Output:
	// assign is to be answered "unknown", and is answered with a success
	// otherwise an order is placed with no packet behind it: the books of a participant that was restored from a backup, say.
}

// obliging is a kitchen that agrees to whatever is to be assigned.
type obliging struct{ *Kitchen }

func (obliging) Assign(context.Context, twophase.Key) error { return nil }

func ExampleTestJournal() {
	_ = func(t *testing.T) { // func TestMyJournal(t *testing.T)
		twophasetest.TestJournal(t, func(testing.TB) twophase.Journal {
			return twophase.NewMemoryJournal()
		})
	}
}

// A journal in a database is opened again between the steps of some checks, and
// by several coordinators at once.
func ExampleReopened() {
	_ = func(t *testing.T, open func() twophase.Journal, kill func(twophase.Journal)) {
		twophasetest.TestJournal(t, func(testing.TB) twophase.Journal { return open() },
			twophasetest.RealTime(2*time.Second),
			twophasetest.Reopened(func(_ testing.TB, journal twophase.Journal) twophase.Journal {
				kill(journal)
				return open()
			}),
			twophasetest.Shared(func(testing.TB, twophase.Journal) twophase.Journal { return open() }),
		)
	}
}

func ExampleRealTime() {
	_ = func(t *testing.T) { // func TestJournalOnADatabase(t *testing.T)
		twophasetest.TestJournal(t, func(testing.TB) twophase.Journal {
			return twophase.NewMemoryJournal()
		}, twophasetest.RealTime(2*time.Second))
	}
}

// order runs a transaction that asks for a packet.
func order(journal twophase.Journal, kitchen twophase.Participant) (twophase.Result, error) {
	ctx := context.Background()
	coordinator, err := twophase.NewCoordinator(journal, twophase.WithParticipant("kitchen", kitchen))
	if err != nil {
		return twophase.Result{}, err
	}
	defer func() { _ = coordinator.Close(ctx) }()
	return coordinator.Run(ctx, twophase.Transaction{
		ID:    "order-1001",
		Steps: []twophase.Step{{Participant: "kitchen", Payload: Order{Food: "masala dosa"}}},
	})
}

// The kitchen assigns the packet, and its answer is lost. The call is repeated,
// and the order is placed.
func ExampleNewFaultyParticipant() {
	kitchen := twophasetest.NewFaultyParticipant(NewKitchen(1), twophasetest.Script(
		twophasetest.Rule{
			On:    twophasetest.Delivery{Call: twophase.CallAssign, Attempt: 1},
			Fault: twophasetest.Fault{LoseReply: true},
		},
	))
	defer kitchen.Stop()

	result, err := order(twophase.NewMemoryJournal(), kitchen)
	fmt.Println(result.Reservation("kitchen").Resource(), err)
	// Output: packet-1 <nil>
}

// The journal writes the decision, and its answer is lost. The coordinator asks
// again until it knows.
func ExampleNewFaultyJournal() {
	journal := twophasetest.NewFaultyJournal(twophase.NewMemoryJournal(), func(d twophasetest.Delivery) twophasetest.Fault {
		return twophasetest.Fault{LoseReply: d.Call == twophasetest.CallDecide && d.Attempt < 3}
	})
	defer journal.Stop()

	result, err := order(journal, NewKitchen(1))
	fmt.Println(result.Reservation("kitchen").Resource(), err)
	// Output: packet-1 <nil>
}

// A participant that answers with an error of the test's choice.
func ExampleScript() {
	full := errors.New("the store is full of customers")
	plan := twophasetest.Script(
		twophasetest.Rule{
			On:    twophasetest.Delivery{Call: twophase.CallReserve, Key: twophase.Key{Step: "store"}},
			Fault: twophasetest.Fault{LoseRequest: true, Err: &twophase.RetryAfterError{After: time.Second, Err: full}},
		},
	)
	store := twophasetest.NewFaultyParticipant(NewKitchen(1), plan)
	_, err := store.Reserve(context.Background(), twophase.Request{
		Key: twophase.Key{Transaction: "order-1001", Step: "store"},
	})
	fmt.Println(err)
	// Output: the store is full of customers (retry after 1s)
}

// A seed is a run: the same calls meet the same faults.
func ExampleSeeded() {
	plan := twophasetest.Seeded(1001, twophasetest.Rates{LoseReply: 0.5})
	for attempt := range 5 {
		fault := plan(twophasetest.Delivery{
			Call:    twophase.CallAssign,
			Key:     twophase.Key{Transaction: "order-1001", Step: "store"},
			Attempt: attempt + 1,
		})
		fmt.Println(fault.LoseReply)
	}
	// Output:
	// true
	// true
	// false
	// false
	// false
}
