package postgres

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// List returns the resources of the kinds that are named, or of all kinds, by name,
// if none is; within a kind by their ids. It reads page by page, each as it is at that
// moment, and holds no connection while its caller is at work.
func (p *Pool) List(ctx context.Context, kinds ...string) iter.Seq2[pool.Resource, error] {
	return func(yield func(pool.Resource, error) bool) {
		if len(kinds) == 0 {
			all, err := p.Kinds(ctx)
			if err != nil {
				yield(pool.Resource{}, err)
				return
			}
			kinds = all
		}
		for _, kind := range kinds {
			if !p.listKind(ctx, kind, yield) {
				return
			}
		}
	}
}

// listKind lists one kind, and reports whether its caller wants more.
func (p *Pool) listKind(ctx context.Context, kind string, yield func(pool.Resource, error) bool) bool {
	last := ""
	for {
		page, err := p.page(ctx, kind, last)
		if err != nil {
			yield(pool.Resource{}, fmt.Errorf("postgres: list %q in %s: %w", kind, p.name, err))
			return false
		}
		for _, r := range page {
			if !yield(r, nil) {
				return false
			}
		}
		if len(page) < resourcePage {
			return true
		}
		last = page[len(page)-1].ID
	}
}

// resourcePage is how many resources List reads at a time.
const resourcePage = 500

// page returns the resources of a kind that follow last.
func (p *Pool) page(ctx context.Context, kind, last string) ([]pool.Resource, error) {
	rows, err := p.db.Query(ctx, p.stock.list, p.participant, kind, last, int64(resourcePage))
	if err != nil {
		return nil, err
	}
	var page []pool.Resource
	r := pool.Resource{Kind: kind}
	var key twophase.Key
	var state int64
	var expires, now time.Time
	_, err = pgx.ForEachRow(rows, []any{&r.ID, &key.Transaction, &key.Step, &state, &expires, &now}, func() error {
		e := twophase.Entry{State: twophase.EntryState(state), Expires: expires}.Expire(now).Entry
		listed := r
		if e.Holds() {
			listed.Key, listed.TimeLeft, listed.State = key, e.TimeLeft(now), stateOf(e)
		}
		page = append(page, listed)
		return nil
	})
	return page, err
}

// stateOf is that of what an entry holds.
func stateOf(e twophase.Entry) pool.State {
	if e.State == twophase.EntryAssigned {
		return pool.Assigned
	}
	return pool.Reserved
}

// stockStatements are those about the resources of a pool.
type stockStatements struct {
	restock, lock, withdraw, holders, whyNot string
	lockAssigned, consume, finish            string
	count, kinds, lookup, list               string
}

func newStockStatements(names *strings.Replacer) stockStatements {
	return stockStatements{
		lockAssigned: names.Replace(lockAssigned), consume: names.Replace(consume), finish: names.Replace(finish),
		restock: names.Replace(restock), lock: names.Replace(lockFree), withdraw: names.Replace(withdraw),
		holders: names.Replace(holders), whyNot: names.Replace(whyNot), count: names.Replace(countKind),
		kinds: names.Replace(listKinds), lookup: names.Replace(lookup), list: names.Replace(listResources),
	}
}

const restock = `INSERT INTO RESOURCES (participant, id, kind, slot, freed, attributes)
SELECT $1::bigint, added.id, $2::text, floor(random() * 4294967296 - 2147483648)::integer, pg_current_xact_id(), added.attributes::jsonb
FROM unnest($3::text[], $4::text[]) AS added (id, attributes)
ORDER BY added.id
ON CONFLICT DO NOTHING
RETURNING id`

// lockFree locks resources and tells for each whether it is free.
const lockFree = `SELECT transaction IS NULL FROM RESOURCES
WHERE participant = $1::bigint AND id = ANY ($2::text[]) ORDER BY id FOR UPDATE`

const withdraw = `DELETE FROM RESOURCES WHERE participant = $1::bigint AND id = ANY ($2::text[])`

// holders are the keys that hold resources.
const holders = `SELECT DISTINCT transaction, step FROM RESOURCES
WHERE participant = $1::bigint AND id = ANY ($2::text[]) AND transaction IS NOT NULL ORDER BY transaction, step`

// whyNot returns an id that is missing, or else one that is held.
const whyNot = `SELECT asked.id, coalesce(r.transaction, ''), coalesce(r.step, '')
FROM unnest($2::text[]) AS asked (id) LEFT JOIN RESOURCES AS r ON r.participant = $1::bigint AND r.id = asked.id
WHERE r.id IS NULL OR r.transaction IS NOT NULL
ORDER BY r.id IS NOT NULL, asked.id LIMIT 1`

// countKind counts as free what has run out.
const countKind = `SELECT count(*) FILTER (WHERE e.state IS NULL), count(*) FILTER (WHERE e.state = 1), count(*) FILTER (WHERE e.state = 2)
FROM RESOURCES AS r LEFT JOIN RESERVATIONS AS e
	ON e.participant = r.participant AND e.transaction = r.transaction AND e.step = r.step
	AND (e.state = 2 OR e.state = 1 AND e.expires_at > (SELECT CLOCK))
WHERE r.participant * 1 = $1::bigint AND r.kind || '' = $2::text`

// listKinds goes from kind to kind by the index.
const listKinds = `WITH RECURSIVE kinds AS (
	(SELECT kind || '' AS kind FROM RESOURCES WHERE participant * 1 = $1::bigint ORDER BY kind || '' LIMIT 1)
	UNION ALL
	SELECT (SELECT r.kind || '' FROM RESOURCES AS r
		WHERE r.participant * 1 = $1::bigint AND r.kind || '' > kinds.kind ORDER BY r.kind || '' LIMIT 1)
	FROM kinds WHERE kinds.kind IS NOT NULL
)
SELECT kind FROM kinds WHERE kind IS NOT NULL`

const lookup = `SELECT state, expires_at, CLOCK, kind, resources FROM RESERVATIONS
WHERE participant = $1::bigint AND transaction = $2::text AND step = $3::text`

const listResources = `SELECT r.id, coalesce(r.transaction, ''), coalesce(r.step, ''), coalesce(e.state, 0),
	coalesce(e.expires_at, 'epoch'), CLOCK
FROM RESOURCES AS r LEFT JOIN RESERVATIONS AS e
	ON e.participant = r.participant AND e.transaction = r.transaction AND e.step = r.step
WHERE r.participant * 1 = $1::bigint AND r.kind || '' = $2::text AND r.id || '' > $3::text
ORDER BY r.id || '' LIMIT $4::bigint`
