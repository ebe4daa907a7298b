package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Item is a resource to be added, with what its owner wants to say of it.
type Item struct {
	ID string
	// Attributes are stored as the JSON that [json.Marshal] writes. They come
	// back in a reservation's details, and may be filtered by: see [Query].
	Attributes any
}

// MaxItems is how many resources one call may add or withdraw.
const MaxItems = 100_000

// Restock adds free resources of a kind, or none of them if it returns an error.
// Ids are unique in the whole pool: [pool.ErrExists] says that one is not.
func (p *Pool) Restock(ctx context.Context, kind string, ids ...string) error {
	items := make([]Item, len(ids))
	for i, id := range ids {
		items[i].ID = id
	}
	return p.RestockWith(ctx, kind, items...)
}

// RestockWith is [Pool.Restock] of resources with attributes.
func (p *Pool) RestockWith(ctx context.Context, kind string, items ...Item) error {
	if err := p.restock(ctx, kind, items); err != nil {
		return fmt.Errorf("postgres: Restock of %q in %s: %w", kind, p.name, err)
	}
	return nil
}

func (p *Pool) restock(ctx context.Context, kind string, items []Item) error {
	if err := checkName("kind", kind); err != nil {
		return err
	}
	ids, attributes := make([]string, len(items)), make([]*string, len(items))
	for i, item := range items {
		var err error
		ids[i] = item.ID
		if attributes[i], err = encodeAttributes(item.Attributes); err != nil {
			return fmt.Errorf("%w: attributes of %q: %w", twophase.ErrInvalid, item.ID, err)
		}
	}
	if err := checkIDs(ids); err != nil {
		return err
	}
	return p.stockTransaction(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, p.stock.restock, p.participant, kind, ids, attributes)
		added, err := collect[string](rows, err)
		if err != nil || len(added) == len(ids) {
			return err
		}
		slices.Sort(added)
		for _, id := range ids {
			if _, ok := slices.BinarySearch(added, id); !ok {
				return fmt.Errorf("%w: %q", pool.ErrExists, id)
			}
		}
		return nil
	})
}

func encodeAttributes(attributes any) (*string, error) {
	if attributes == nil {
		return nil, nil
	}
	encoded, err := json.Marshal(attributes)
	if err != nil {
		return nil, err
	}
	if len(encoded) > twophase.MaxPayloadSize {
		return nil, fmt.Errorf("%d bytes of JSON exceed %d", len(encoded), twophase.MaxPayloadSize)
	}
	if strings.Contains(string(encoded), `\u0000`) {
		return nil, errors.New("PostgreSQL keeps no character 0 in JSON")
	}
	text := string(encoded)
	return &text, nil
}

// Withdraw takes free resources out of the pool, or none of them if it returns an
// error: [pool.ErrNotFound] or [pool.ErrHeld].
func (p *Pool) Withdraw(ctx context.Context, ids ...string) error {
	if err := p.withdraw(ctx, ids); err != nil {
		return fmt.Errorf("postgres: Withdraw from %s: %w", p.name, err)
	}
	return nil
}

func (p *Pool) withdraw(ctx context.Context, ids []string) error {
	if err := checkIDs(ids); err != nil {
		return err
	}
	if err := p.expireHolders(ctx, ids); err != nil {
		return err
	}
	return p.stockTransaction(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, p.stock.lock, p.participant, ids)
		states, err := collect[bool](rows, err)
		switch {
		case err != nil:
			return err
		case len(states) < len(ids):
			return p.whyNot(ctx, tx, ids, pool.ErrNotFound)
		case slices.Contains(states, false):
			return p.whyNot(ctx, tx, ids, pool.ErrHeld)
		}
		_, err = tx.Exec(ctx, p.stock.withdraw, p.participant, ids)
		return err
	})
}

// expireHolders takes back those that have run out.
func (p *Pool) expireHolders(ctx context.Context, ids []string) error {
	rows, err := p.db.Query(ctx, p.stock.holders, p.participant, ids)
	if err != nil {
		return err
	}
	var key twophase.Key
	var batch []*asked
	_, err = pgx.ForEachRow(rows, []any{&key.Transaction, &key.Step}, func() error {
		batch = append(batch, &asked{call: callExpire, key: key})
		return nil
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	return p.askAll(ctx, batch)
}

// whyNot names one of the ids that are missing, or held.
func (p *Pool) whyNot(ctx context.Context, tx pgx.Tx, ids []string, why error) error {
	var id string
	var key twophase.Key
	err := tx.QueryRow(ctx, p.stock.whyNot, p.participant, ids).Scan(&id, &key.Transaction, &key.Step)
	switch {
	case err != nil:
		return err
	case errors.Is(why, pool.ErrHeld):
		return fmt.Errorf("%w: %q by %s", why, id, key)
	}
	return fmt.Errorf("%w: %q", why, id)
}

// stockTransaction runs a transaction that is synchronous and, like all others, is
// repeated if others were in its way.
func (p *Pool) stockTransaction(ctx context.Context, do func(ctx context.Context, tx pgx.Tx) error) error {
	return retryUndone(ctx, func() error {
		return pgx.BeginTxFunc(ctx, p.db, durably, func(tx pgx.Tx) error { return do(ctx, tx) })
	})
}

// durably is a transaction whose commit is durable once acknowledged, and in which
// whoever has locked a row sees it as it is.
var durably = pgx.TxOptions{BeginQuery: `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT ` + durable}

// Count returns how many resources of a kind are in each state. It counts them one
// by one.
func (p *Pool) Count(ctx context.Context, kind string) (pool.Counts, error) {
	var counts pool.Counts
	err := p.db.QueryRow(ctx, p.stock.count, p.participant, kind).Scan(&counts.Free, &counts.Reserved, &counts.Assigned)
	if err != nil {
		return pool.Counts{}, fmt.Errorf("postgres: count %q in %s: %w", kind, p.name, err)
	}
	return counts, nil
}

// Kinds returns the names of the kinds that have resources, in order.
func (p *Pool) Kinds(ctx context.Context) ([]string, error) {
	rows, err := p.db.Query(ctx, p.stock.kinds, p.participant)
	kinds, err := collect[string](rows, err)
	if err != nil {
		return nil, fmt.Errorf("postgres: kinds of %s: %w", p.name, err)
	}
	return kinds, nil
}

// Lookup returns what the pool has under a key, and whether it has anything: with it
// the pool's books can be compared with the coordinator's.
func (p *Pool) Lookup(ctx context.Context, key twophase.Key) (pool.Holding, bool, error) {
	if !storableKey(key) {
		return pool.Holding{}, false, nil
	}
	var holding pool.Holding
	var state int64
	var expires, now time.Time
	err := p.db.QueryRow(ctx, p.stock.lookup, p.participant, key.Transaction, key.Step).
		Scan(&state, &expires, &now, &holding.Kind, &holding.Resources)
	if errors.Is(err, pgx.ErrNoRows) {
		return pool.Holding{}, false, nil
	}
	if err != nil {
		return pool.Holding{}, false, fmt.Errorf("postgres: look up %s in %s: %w", key, p.name, err)
	}
	e := twophase.Entry{State: twophase.EntryState(state), Expires: expires}.Expire(now).Entry
	holding.State, holding.TimeLeft = e.State, e.TimeLeft(now)
	if !e.Holds() {
		holding.Kind, holding.Resources = "", nil
	}
	return holding, true, nil
}

// checkIDs refuses ids that cannot be right, whatever is in the pool.
func checkIDs(ids []string) error {
	if len(ids) > MaxItems {
		return fmt.Errorf("%w: %d resources in one call: %d are possible", twophase.ErrInvalid, len(ids), MaxItems)
	}
	seen := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		if err := checkName("id", id); err != nil {
			return err
		}
		if _, twice := seen[id]; twice {
			return fmt.Errorf("%w: %q is given twice", twophase.ErrInvalid, id)
		}
		seen[id] = struct{}{}
	}
	return nil
}

// collect reads a column.
func collect[T any](rows pgx.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}
