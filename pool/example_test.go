package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// A food order needs a packet and an agent, or neither.
func ExamplePool() {
	ctx := context.Background()
	store, delivery := newExamplePool(), newExamplePool()
	if err := errors.Join(
		store.Restock("masala dosa", "packet-1", "packet-2"),
		delivery.Restock("Indiranagar", "agent-7"),
	); err != nil {
		log.Fatal(err)
	}
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("store", store),
		twophase.WithParticipant("delivery", delivery),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(ctx) }()

	for _, id := range []string{"order-1001", "order-1002"} {
		result, err := coordinator.Run(ctx, twophase.Transaction{
			ID: id,
			Steps: []twophase.Step{
				{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}},
				{Participant: "delivery", Payload: pool.Want{Kind: "Indiranagar"}},
			},
		})
		if errors.Is(err, twophase.ErrNotPlaced) {
			fmt.Println(err)
			continue
		}
		fmt.Println(id, "gets", result.Reservation("store").Resource(), "by", result.Reservation("delivery").Resource())
	}
	fmt.Println("packets:", store.Count("masala dosa").Free, "free")
	// Output:
	// order-1001 gets packet-1 by agent-7
	// twophase: order-1002 not placed: reserve delivery: refused: order-1002/delivery wants 1 of "Indiranagar": 0 free
	// packets: 1 free
}

// A payload of the store's own: what it does not know of, such as the extra
// chutney, is nothing to the pool.
func ExampleFor() {
	type Packet struct {
		Food    string `json:"food"`
		Chutney bool   `json:"chutney"`
	}
	store := newExamplePool(pool.For(func(p Packet) pool.Want { return pool.Want{Kind: p.Food} }))
	if err := store.Restock("masala dosa", "packet-1"); err != nil {
		log.Fatal(err)
	}
	reservation, err := store.Reserve(context.Background(), twophase.Request{
		Key:     twophase.Key{Transaction: "order-1001", Step: "store"},
		Payload: []byte(`{"food":"masala dosa","chutney":true}`),
		Hold:    time.Minute,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(reservation.Resource(), "for", reservation.TimeLeft.Round(time.Second))
	// Output: packet-1 for 1m0s
}

func ExamplePool_Restock() {
	store := newExamplePool()
	fmt.Println(store.Restock("masala dosa", "packet-1", "packet-2"))
	fmt.Println(store.Restock("idli", "packet-3", "packet-2"))
	for _, r := range store.List() {
		fmt.Println(r.ID, r.Kind, r.State)
	}
	// Output:
	// <nil>
	// pool: Restock of "idli": already in the pool: "packet-2", as "masala dosa"
	// packet-1 masala dosa free
	// packet-2 masala dosa free
}

func newExamplePool(options ...pool.Option) *pool.Pool {
	p, err := pool.New(options...)
	if err != nil {
		log.Fatal(err)
	}
	return p
}
