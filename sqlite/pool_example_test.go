package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// A store on its own file: any number of its processes may open it.
func ExampleNewPool() {
	ctx := context.Background()
	path, remove := temporary("store.db")
	defer remove()

	db, err := sqlite.OpenDB(ctx, path)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	store, err := sqlite.NewPool(ctx, db, "store")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.Restock(ctx, "masala dosa", "packet-1", "packet-2"); err != nil {
		log.Fatal(err)
	}

	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(), twophase.WithParticipant("store", store))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(ctx) }()
	result, err := coordinator.Run(ctx, twophase.Transaction{
		ID:    "order-1001",
		Steps: []twophase.Step{{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.ID, "gets", result.Reservation("store").Resource())
	for r, err := range store.List(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.ID, r.State)
	}
	// Output:
	// order-1001 gets packet-1
	// packet-1 assigned
	// packet-2 free
}

// The nearest agent of those with a bike, and never one agent for two orders.
func ExampleFor_nearest() {
	ctx := context.Background()
	path, remove := temporary("delivery.db")
	defer remove()
	db, err := sqlite.OpenDB(ctx, path)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	type Pickup struct{ X, Y float64 }
	delivery, err := sqlite.NewPool(ctx, db, "delivery", sqlite.For(func(p Pickup) sqlite.Query {
		return sqlite.Query{
			Kind:    "Indiranagar",
			Where:   "attributes ->> 'vehicle' = 'bike'",
			OrderBy: "abs((attributes ->> 'x') - ?) + abs((attributes ->> 'y') - ?)",
			Args:    []any{p.X, p.Y},
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = delivery.Close() }()

	type Agent struct {
		Vehicle string  `json:"vehicle"`
		X       float64 `json:"x"`
		Y       float64 `json:"y"`
	}
	if err := delivery.RestockWith(ctx, "Indiranagar",
		sqlite.Item{ID: "agent-7", Attributes: Agent{"bike", 5, 5}},
		sqlite.Item{ID: "agent-8", Attributes: Agent{"bike", 1, 2}},
		sqlite.Item{ID: "agent-9", Attributes: Agent{"on foot", 0, 0}},
	); err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"order-1001", "order-1002", "order-1003"} {
		reservation, err := delivery.Reserve(ctx, twophase.Request{
			Key: twophase.Key{Transaction: id, Step: "delivery"}, Payload: []byte(`{"X":0,"Y":0}`), Hold: time.Minute,
		})
		if errors.Is(err, twophase.ErrRefused) {
			fmt.Println(err)
			continue
		}
		fmt.Println(id, "gets", reservation.Resource(), string(reservation.Details))
	}
	// Output:
	// order-1001 gets agent-8 [{"vehicle":"bike","x":1,"y":2}]
	// order-1002 gets agent-7 [{"vehicle":"bike","x":5,"y":5}]
	// refused: order-1003/delivery wants 1 of "Indiranagar": 0 free
}
