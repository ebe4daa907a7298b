// Package store is the Store service: it owns packets of food. It never counts how
// many of a food there are; it gives away this packet or that one.
//
// Its books are a [postgres.Pool]: the tables, and everything that keeps the
// contract, are the library's.
package store

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/stock"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/postgres"
)

// Packet is what an order asks the store for.
type Packet struct {
	Food string `json:"food"`
	// Count is how many, all or none; 0 is 1.
	Count int `json:"count,omitempty"`
}

// Name is the store's, as a participant.
const Name = "store"

//go:embed schema.sql
var schema string

// Store is the service. Make it with [Open].
type Store struct {
	*postgres.Pool
	db *pgxpool.Pool
}

// Open returns the store whose books are in db.
func Open(ctx context.Context, db *pgxpool.Pool, log *slog.Logger) (*Store, error) {
	packets, err := postgres.NewPool(ctx, db, Name, postgres.WithLogger(log),
		postgres.For(func(p Packet) postgres.Query { return postgres.Query{Kind: p.Food, Count: p.Count} }))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := stock.MakeTables(ctx, db, schema); err != nil {
		packets.Close()
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Store{Pool: packets, db: db}, nil
}

// Menu returns the foods that the store sells, whether there are any or not.
func (s *Store) Menu(ctx context.Context) ([]string, error) {
	rows, err := s.db.Query(ctx, `SELECT food FROM menu ORDER BY food`)
	if err != nil {
		return nil, fmt.Errorf("store: menu: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Sell puts foods on the menu, and packets of each that is new there.
func (s *Store) Sell(ctx context.Context, packets int, foods ...string) error {
	rows, err := s.db.Query(ctx,
		`INSERT INTO menu SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING food`, foods)
	if err != nil {
		return fmt.Errorf("store: menu: %w", err)
	}
	added, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("store: menu: %w", err)
	}
	for _, food := range added {
		if err := s.Add(ctx, food, packets); err != nil {
			return err
		}
	}
	return nil
}

// Add bakes packets of a food.
func (s *Store) Add(ctx context.Context, food string, packets int) error {
	rows, err := s.db.Query(ctx, `SELECT nextval('packet_numbers') FROM generate_series(1, $1)`, packets)
	if err != nil {
		return fmt.Errorf("store: number packets: %w", err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("store: number packets: %w", err)
	}
	ids := make([]string, len(numbers))
	for i, number := range numbers {
		ids[i] = fmt.Sprintf("%s-%d", strings.ReplaceAll(strings.ToLower(food), " ", "-"), number)
	}
	return s.Restock(ctx, food, ids...)
}

// TakeAway removes the packets of a food that are free, and returns how many it
// was. Some may be taken meanwhile: those stay.
func (s *Store) TakeAway(ctx context.Context, food string) (int, error) {
	var free []string
	for r, err := range s.List(ctx, food) {
		if err != nil {
			return 0, err
		}
		if r.State == pool.Free {
			free = append(free, r.ID)
		}
	}
	if len(free) == 0 {
		return 0, nil
	}
	err := s.Withdraw(ctx, free...)
	if !errors.Is(err, pool.ErrHeld) && !errors.Is(err, pool.ErrNotFound) {
		return len(free), err
	}
	gone := 0
	for _, id := range free {
		err := s.Withdraw(ctx, id)
		switch {
		case err == nil:
			gone++
		case !errors.Is(err, pool.ErrHeld) && !errors.Is(err, pool.ErrNotFound):
			return gone, err
		}
	}
	return gone, nil
}

// Stock returns what there is of each food.
func (s *Store) Stock(ctx context.Context) ([]api.Kind, error) {
	foods, err := s.Menu(ctx)
	if err != nil {
		return nil, err
	}
	return stock.Read(ctx, s.db, foods)
}

// Foods are those of the demonstration.
func Foods() []string {
	return []string{"masala dosa", "idli vada", "khara bath", "akki roti", "bisi bele bath", "Mysore pak"}
}
