// Package stock is what the store and delivery have in common: a database with a
// view named stock, of what there is and who has it, and the HTTP that shows it.
package stock

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
)

// MakeTables runs a service's schema, one instance of it at a time. It must be
// one that may be run again.
func MakeTables(ctx context.Context, db *pgxpool.Pool, schema string) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('microservices'))`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, schema)
		return err
	})
	if err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	return nil
}

// Read returns what there is of each of the kinds, in their order. Of a kind that
// there is much of, those are listed that are reserved, then free, then assigned.
func Read(ctx context.Context, db *pgxpool.Pool, kinds []string) ([]api.Kind, error) {
	stock := make([]api.Kind, len(kinds))
	index := make(map[string]*api.Kind, len(kinds))
	for i, kind := range kinds {
		stock[i] = api.Kind{Kind: kind, Resources: []api.Resource{}}
		index[kind] = &stock[i]
	}
	if err := count(ctx, db, index); err != nil {
		return nil, fmt.Errorf("count the stock: %w", err)
	}
	if err := list(ctx, db, index); err != nil {
		return nil, fmt.Errorf("list the stock: %w", err)
	}
	for _, kind := range index {
		kind.More = max(0, kind.Free+kind.Reserved+kind.Assigned-len(kind.Resources))
	}
	return stock, nil
}

func count(ctx context.Context, db *pgxpool.Pool, kinds map[string]*api.Kind) error {
	rows, err := db.Query(ctx, `SELECT kind, count(*) FILTER (WHERE state = 'free'),
		count(*) FILTER (WHERE state = 'reserved'), count(*) FILTER (WHERE state = 'assigned')
		FROM stock GROUP BY kind`)
	if err != nil {
		return err
	}
	var found api.Kind
	_, err = pgx.ForEachRow(rows, []any{&found.Kind, &found.Free, &found.Reserved, &found.Assigned}, func() error {
		if kind, known := kinds[found.Kind]; known {
			kind.Free, kind.Reserved, kind.Assigned = found.Free, found.Reserved, found.Assigned
		}
		return nil
	})
	return err
}

func list(ctx context.Context, db *pgxpool.Pool, kinds map[string]*api.Kind) error {
	rows, err := db.Query(ctx, `SELECT kind, id, state, transaction, time_left FROM (
		SELECT kind, id, state, transaction,
			coalesce(greatest(0, extract(epoch FROM until - clock_timestamp()) * 1000), 0)::bigint AS time_left,
			row_number() OVER (PARTITION BY kind
				ORDER BY state = 'assigned', state = 'free', length(id), id) AS place
		FROM stock) AS ranked
		WHERE place <= $1 ORDER BY kind, length(id), id`, api.MaxListed)
	if err != nil {
		return err
	}
	var name string
	var found api.Resource
	_, err = pgx.ForEachRow(rows, []any{&name, &found.ID, &found.State, &found.Order, &found.TimeLeft}, func() error {
		if kind, known := kinds[name]; known {
			kind.Resources = append(kind.Resources, found)
		}
		return nil
	})
	return err
}
