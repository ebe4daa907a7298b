package postgres_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/postgres"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

// Two coordinators share a database: what one has placed, the other knows.
func ExampleNewJournal() {
	ctx := context.Background()
	cluster, err := pgtest.Start(ctx) // yours is there already
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cluster.Stop() }()
	connections, err := pgxpool.New(ctx, cluster.URL("postgres"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer connections.Close()

	store, err := pool.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Restock("masala dosa", "packet-1"); err != nil {
		fmt.Println(err)
		return
	}
	order := twophase.Transaction{ID: "order-1001", Steps: []twophase.Step{
		{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}},
	}}
	for _, process := range []string{"first", "second"} {
		result, err := place(ctx, connections, store, order)
		fmt.Println(process, result.Reservation("store").Resource(), err)
	}
	// Output:
	// first packet-1 <nil>
	// second packet-1 <nil>
}

// place is what each process does.
func place(
	ctx context.Context, connections *pgxpool.Pool, store twophase.Participant, order twophase.Transaction,
) (twophase.Result, error) {
	journal, err := postgres.NewJournal(ctx, connections)
	if err != nil {
		return twophase.Result{}, err
	}
	defer journal.Close()
	coordinator, err := twophase.NewCoordinator(journal, twophase.WithParticipant("store", store))
	if err != nil {
		return twophase.Result{}, err
	}
	defer func() { _ = coordinator.Close(ctx) }()
	return coordinator.Run(ctx, order)
}
