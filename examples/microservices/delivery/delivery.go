// Package delivery is the Delivery service: it owns the trips of agents, each of
// whom rides in one area.
//
// It has a table of its own, and a [postgres.Fence] makes a participant of it: what
// is here is only what reserving, assigning and releasing mean in that table.
package delivery

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/stock"
	"github.com/seed-bcc3c603/twophase/postgres"
)

// Agent is what an order asks delivery for.
type Agent struct {
	Area string `json:"area"`
}

// Name is delivery's, as a participant.
const Name = "delivery"

//go:embed schema.sql
var schema string

// Delivery is the service. Make it with [Open].
type Delivery struct {
	*postgres.Fence
	db *pgxpool.Pool
}

// Open returns the delivery service whose books are in db.
func Open(ctx context.Context, db *pgxpool.Pool, log *slog.Logger) (*Delivery, error) {
	if err := stock.MakeTables(ctx, db, schema); err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	fence, err := postgres.NewFence(ctx, db, Name, agents, postgres.WithLogger(log))
	if err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	return &Delivery{Fence: fence, db: db}, nil
}

// agents says what happens in the table of that name.
var agents = postgres.Handler{Reserve: reserve, Assign: assign, Release: release}

// reserve sets aside the agent who has been waiting for longest.
func reserve(ctx context.Context, tx pgx.Tx, req twophase.Request) (twophase.Reservation, error) {
	wanted, err := twophase.PayloadOf[Agent](req)
	if err != nil {
		return twophase.Reservation{}, err
	}
	var agent string
	err = tx.QueryRow(ctx, `UPDATE agents
		SET "transaction" = $2, step = $3, reserved_until = clock_timestamp() + make_interval(secs => $4)
		WHERE id = (SELECT id FROM agents WHERE area = $1 AND "transaction" IS NULL
			ORDER BY waiting_since LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id`,
		wanted.Area, req.Key.Transaction, req.Key.Step, req.Hold.Seconds()).Scan(&agent)
	if errors.Is(err, pgx.ErrNoRows) {
		return twophase.Reservation{}, fmt.Errorf("%w: no agent free in %.100q", twophase.ErrRefused, wanted.Area)
	}
	return twophase.Reservation{Resources: []string{agent}}, err
}

// assign gives the agent to the order for good.
func assign(ctx context.Context, tx pgx.Tx, key twophase.Key, held twophase.Reservation) error {
	return change(ctx, tx, key, held, `UPDATE agents SET assigned = true, reserved_until = NULL
		WHERE id = $1 AND "transaction" = $2 AND step = $3`)
}

// release lets the agent wait again, behind all others.
func release(ctx context.Context, tx pgx.Tx, key twophase.Key, held twophase.Reservation) error {
	return change(ctx, tx, key, held, `UPDATE agents SET "transaction" = NULL, step = NULL, assigned = false,
		reserved_until = NULL, waiting_since = clock_timestamp()
		WHERE id = $1 AND "transaction" = $2 AND step = $3`)
}

// change updates the agent that is held under key. That there is none is a fault in
// the books, which somebody must hear of.
func change(ctx context.Context, tx pgx.Tx, key twophase.Key, held twophase.Reservation, update string) error {
	done, err := tx.Exec(ctx, update, held.Resource(), key.Transaction, key.Step)
	if err == nil && done.RowsAffected() != 1 {
		err = fmt.Errorf("delivery: %s holds %q, which is not its", key, held.Resource())
	}
	return err
}

// Map returns where there are agents, or have been.
func (d *Delivery) Map(ctx context.Context) ([]string, error) {
	rows, err := d.db.Query(ctx, `SELECT area FROM areas ORDER BY area`)
	if err != nil {
		return nil, fmt.Errorf("delivery: areas: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Serve puts areas on the map, and agents into each that is new there.
func (d *Delivery) Serve(ctx context.Context, agents int, areas ...string) error {
	rows, err := d.db.Query(ctx,
		`INSERT INTO areas SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING area`, areas)
	if err != nil {
		return fmt.Errorf("delivery: areas: %w", err)
	}
	added, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("delivery: areas: %w", err)
	}
	for _, area := range added {
		if err := d.Add(ctx, area, agents); err != nil {
			return err
		}
	}
	return nil
}

// names are those of the agents; numbers tell apart who has the same, and the trips
// of one from another.
const names = `'{asha,vijay,lokesh,umesh,mahesh,abdul,kavya,ravi,deepa,suresh}'::text[]`

// Add lets agents of an area come to work.
func (d *Delivery) Add(ctx context.Context, area string, count int) error {
	_, err := d.db.Exec(ctx, `INSERT INTO agents (id, area)
		SELECT (`+names+`)[1 + n % 10] || '-' || n, $1
		FROM (SELECT nextval('agent_numbers') AS n FROM generate_series(1, $2)) AS numbers`, area, count)
	if err != nil {
		return fmt.Errorf("delivery: add agents: %w", err)
	}
	return nil
}

// TakeAway sends home the agents of an area who are free, and returns how many it
// was.
func (d *Delivery) TakeAway(ctx context.Context, area string) (int, error) {
	done, err := d.db.Exec(ctx, `DELETE FROM agents WHERE area = $1 AND "transaction" IS NULL`, area)
	if err != nil {
		return 0, fmt.Errorf("delivery: send agents home: %w", err)
	}
	return int(done.RowsAffected()), nil
}

// Stock returns what there is in each area.
func (d *Delivery) Stock(ctx context.Context) ([]api.Kind, error) {
	areas, err := d.Map(ctx)
	if err != nil {
		return nil, err
	}
	return stock.Read(ctx, d.db, areas)
}

// Areas are those of the demonstration.
func Areas() []string { return []string{"Indiranagar", "Koramangala", "Jayanagar", "Malleshwaram"} }
