package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// An order is placed, the process ends, and the next one still knows.
func ExampleOpen() {
	ctx := context.Background()
	path, remove := temporary("orders.db")
	defer remove()

	store, errStore := pool.New()
	delivery, errDelivery := pool.New()
	if err := errors.Join(errStore, errDelivery); err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(
		store.Restock("masala dosa", "packet-1"),
		delivery.Restock("Indiranagar", "agent-7"),
	); err != nil {
		log.Fatal(err)
	}

	order := twophase.Transaction{
		ID: "order-1001",
		Steps: []twophase.Step{
			{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}},
			{Participant: "delivery", Payload: pool.Want{Kind: "Indiranagar"}},
		},
	}
	for range 2 { // the same again, by a process that starts anew
		journal, err := sqlite.Open(ctx, path)
		if err != nil {
			log.Fatal(err)
		}
		coordinator, err := twophase.NewCoordinator(journal,
			twophase.WithParticipant("store", store),
			twophase.WithParticipant("delivery", delivery),
		)
		if err != nil {
			log.Fatal(err)
		}
		result, err := coordinator.Run(ctx, order)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.ID, "gets", result.Reservation("store").Resource(), "by", result.Reservation("delivery").Resource())
		if err := errors.Join(coordinator.Close(ctx), journal.Close()); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// order-1001 gets packet-1 by agent-7
	// order-1001 gets packet-1 by agent-7
}

// temporary returns a path for a file, and what removes it.
func temporary(name string) (path string, remove func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	return filepath.Join(dir, name), func() { _ = os.RemoveAll(dir) }
}
