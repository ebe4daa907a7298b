package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Consume takes what is assigned to keys out of the pool for good, because it has done
// its work: the packet is eaten. It is all of them, or none if it returns an error:
// [pool.ErrNotAssigned]. Repeated, it is ok and does nothing.
//
// Call it for transactions that were placed. Late messages of the key are answered as
// before, until it is pruned: then the retention has passed since Consume (see
// [WithRetention]). Assign is ok, Reserve gets the same reservation, and a Release
// gives nothing back. The ids are free to be added again, by [Pool.Restock]: the agent
// is back.
func (p *Pool) Consume(ctx context.Context, keys ...twophase.Key) error {
	if err := p.consume(ctx, keys); err != nil {
		return fmt.Errorf("postgres: Consume from %s: %w", p.name, err)
	}
	return nil
}

func (p *Pool) consume(ctx context.Context, keys []twophase.Key) error {
	if len(keys) > MaxItems {
		return fmt.Errorf("%w: %d keys in one call: %d are possible", twophase.ErrInvalid, len(keys), MaxItems)
	}
	keys = slices.Clone(keys)
	slices.SortFunc(keys, compareKeys)
	keys = slices.Compact(keys)
	transactions, steps := make([]string, len(keys)), make([]string, len(keys))
	for i, key := range keys {
		if !storableKey(key) {
			return fmt.Errorf("%w: %s", pool.ErrNotAssigned, key)
		}
		transactions[i], steps[i] = key.Transaction, key.Step
	}
	return p.stockTransaction(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, p.stock.lockAssigned, p.participant, transactions, steps)
		if err != nil {
			return err
		}
		assigned := make(map[twophase.Key]bool, len(keys))
		var key twophase.Key
		_, err = pgx.ForEachRow(rows, []any{&key.Transaction, &key.Step}, func() error {
			assigned[key] = true
			return nil
		})
		if i := slices.IndexFunc(keys, func(key twophase.Key) bool { return !assigned[key] }); err == nil && i >= 0 {
			err = fmt.Errorf("%w: %s", pool.ErrNotAssigned, keys[i])
		}
		if err != nil {
			return err
		}
		_, gone := tx.Exec(ctx, p.stock.consume, p.participant, transactions, steps)
		_, err = tx.Exec(ctx, p.stock.finish, p.participant, transactions, steps)
		return cmp.Or(gone, err)
	})
}

// lockAssigned locks the entries of keys, in their order, that are assigned.
const lockAssigned = `SELECT entry.transaction, entry.step
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (transaction, step, n), LATERAL (
	SELECT * FROM RESERVATIONS AS e
	WHERE e.participant = $1::bigint AND e.transaction = asked.transaction AND e.step = asked.step
	FOR UPDATE
) AS entry
WHERE entry.state = 2`

// consume removes what keys still hold: what has come back since is others'.
const consume = `DELETE FROM RESOURCES AS r
USING unnest($2::text[], $3::text[]) AS asked (transaction, step)
JOIN RESERVATIONS AS e ON e.participant = $1::bigint AND e.transaction = asked.transaction AND e.step = asked.step
CROSS JOIN LATERAL unnest(e.resources) AS held (id)
WHERE r.participant = $1::bigint AND r.id = held.id AND r.transaction = asked.transaction AND r.step = asked.step`

// finish has keys pruned when their time has come. They stay assigned.
const finish = `UPDATE RESERVATIONS AS e SET finished_at = CLOCK
FROM unnest($2::text[], $3::text[]) AS asked (transaction, step)
WHERE e.participant = $1::bigint AND e.transaction = asked.transaction AND e.step = asked.step AND e.finished_at IS NULL`
