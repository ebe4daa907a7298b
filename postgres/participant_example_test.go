package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/postgres"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

// Agent is what an order asks a delivery service for.
type Agent struct {
	Area string `json:"area"`
	At   int    `json:"at"`
}

// A delivery service: the nearest agent who is free, of those in an area.
func ExampleNewPool() {
	ctx := context.Background()
	cluster, err := pgtest.Start(ctx) // yours is there already
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = cluster.Stop() }()
	db, err := pgxpool.New(ctx, cluster.URL("postgres"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	delivery, err := postgres.NewPool(ctx, db, "delivery", postgres.For(func(a Agent) postgres.Query {
		return postgres.Query{Kind: a.Area, OrderBy: `abs((attributes ->> 'at')::int - $1::int)`, Args: []any{a.At}}
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer delivery.Close()
	err = delivery.RestockWith(ctx, "Indiranagar",
		postgres.Item{ID: "asha", Attributes: map[string]int{"at": 12}},
		postgres.Item{ID: "ravi", Attributes: map[string]int{"at": 80}},
	)
	if err != nil {
		log.Fatal(err)
	}
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("delivery", delivery))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(ctx) }()
	for _, order := range []string{"order-1001", "order-1002", "order-1003"} {
		result, err := coordinator.Run(ctx, twophase.Transaction{ID: order, Steps: []twophase.Step{
			{Participant: "delivery", Payload: Agent{Area: "Indiranagar", At: 20}},
		}})
		fmt.Println(result.Reservation("delivery").Resource(), err)
	}
	// Output:
	// asha <nil>
	// ravi <nil>
	//  twophase: order-1003 not placed: reserve delivery: refused: order-1003/delivery wants 1 of "Indiranagar": there are not so many free
}

// store is what the author of a store with a table of its own writes.
var store = postgres.Handler{
	Reserve: func(ctx context.Context, tx pgx.Tx, req twophase.Request) (r twophase.Reservation, err error) {
		food, err := twophase.PayloadOf[string](req)
		if err != nil {
			return r, err
		}
		var packet string
		err = tx.QueryRow(ctx, `UPDATE packets SET state = 'reserved' WHERE id =
			(SELECT id FROM packets WHERE food = $1 AND state = 'on the shelf' LIMIT 1 FOR UPDATE SKIP LOCKED)
			RETURNING id`, food).Scan(&packet)
		if errors.Is(err, pgx.ErrNoRows) {
			return r, fmt.Errorf("%w: no %s left", twophase.ErrRefused, food)
		}
		return twophase.Reservation{Resources: []string{packet}}, err
	},
	Assign: func(ctx context.Context, tx pgx.Tx, _ twophase.Key, r twophase.Reservation) error {
		_, err := tx.Exec(ctx, `UPDATE packets SET state = 'sold' WHERE id = $1`, r.Resource())
		return err
	},
	Release: func(ctx context.Context, tx pgx.Tx, _ twophase.Key, r twophase.Reservation) error {
		_, err := tx.Exec(ctx, `UPDATE packets SET state = 'on the shelf' WHERE id = $1`, r.Resource())
		return err
	},
}

// A store with a table of its own. What is sent twice or too late, and what runs out,
// is the fence's affair.
func ExampleNewFence() {
	ctx := context.Background()
	cluster, err := pgtest.Start(ctx) // yours is there already
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = cluster.Stop() }()
	db, err := pgxpool.New(ctx, cluster.URL("postgres"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(ctx, `CREATE TABLE packets AS SELECT 'packet-1' AS id, 'dosa' AS food, 'on the shelf' AS state`); err != nil {
		log.Fatal(err)
	}

	fence, err := postgres.NewFence(ctx, db, "store", store)
	if err != nil {
		log.Fatal(err)
	}
	defer fence.Close()
	order := twophase.Request{
		Key: twophase.Key{Transaction: "order-1001", Step: "store"}, Payload: []byte(`"dosa"`), Hold: time.Minute,
	}
	for range 2 { // the reply was lost
		r, err := fence.Reserve(ctx, order)
		fmt.Println(r.Resource(), err)
	}
	fmt.Println(fence.Assign(ctx, order.Key))
	fmt.Println(fence.Release(ctx, order.Key))
	_, err = fence.Reserve(ctx, order) // it comes late
	fmt.Println(err)
	// Output:
	// packet-1 <nil>
	// packet-1 <nil>
	// <nil>
	// <nil>
	// released: order-1001/store
}
