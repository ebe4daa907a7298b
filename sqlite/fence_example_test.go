package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// A store with a table of its own. What is the author's is all of this; what a
// repeated, late or lost message would do to it is the fence's.
type packet struct {
	Food string `json:"food"`
}

const packetTable = `CREATE TABLE IF NOT EXISTS packets (id TEXT PRIMARY KEY, food TEXT, order_id TEXT, sold INTEGER)`

var packetStore = sqlite.Handler{
	Reserve: func(ctx context.Context, tx *sql.Tx, req twophase.Request) (twophase.Reservation, error) {
		wanted, err := twophase.PayloadOf[packet](req)
		if err != nil {
			return twophase.Reservation{}, err
		}
		var id string
		err = tx.QueryRowContext(ctx, `UPDATE packets SET order_id = ? WHERE id =
			(SELECT id FROM packets WHERE food = ? AND order_id IS NULL LIMIT 1) RETURNING id`,
			req.Key.Transaction, wanted.Food).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			err = fmt.Errorf("%w: no %s left", twophase.ErrRefused, wanted.Food)
		}
		return twophase.Reservation{Resources: []string{id}}, err
	},
	Assign: func(ctx context.Context, tx *sql.Tx, _ twophase.Key, r twophase.Reservation) error {
		_, err := tx.ExecContext(ctx, `UPDATE packets SET sold = 1 WHERE id = ?`, r.Resource())
		return err
	},
	Release: func(ctx context.Context, tx *sql.Tx, _ twophase.Key, r twophase.Reservation) error {
		_, err := tx.ExecContext(ctx, `UPDATE packets SET order_id = NULL, sold = NULL WHERE id = ?`, r.Resource())
		return err
	},
}

// A service's own table takes part in transactions.
func ExampleNewFence() {
	ctx := context.Background()
	path, remove := temporary("packets.db")
	defer remove()
	db, err := sqlite.OpenDB(ctx, path)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, packetTable+`; INSERT INTO packets (id, food) VALUES ('packet-1', 'masala dosa')`); err != nil {
		log.Fatal(err)
	}

	store, err := sqlite.NewFence(ctx, db, "store", packetStore)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(), twophase.WithParticipant("store", store))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(ctx) }()

	for _, id := range []string{"order-1001", "order-1002"} {
		result, err := coordinator.Run(ctx, twophase.Transaction{
			ID:    id,
			Steps: []twophase.Step{{Participant: "store", Payload: packet{Food: "masala dosa"}}},
		})
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(id, "gets", result.Reservation("store").Resource())
	}
	// Output:
	// order-1001 gets packet-1
	// twophase: order-1002 not placed: reserve store: reserve order-1002/store: refused: no masala dosa left
}
