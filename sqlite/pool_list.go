package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

const (
	listResources = `SELECT r.number, r.id, r.entry, e.state, e.expires, e.transaction_id, e.step
		FROM twophase_resources AS r LEFT JOIN twophase_entries AS e ON e.number = r.entry
		WHERE r.participant = ?1 AND r.kind = ?2 AND r.number > ?3 ORDER BY r.number LIMIT ?4`

	// countResources counts by the rule of twophase.Entry.Expire.
	countResources = `SELECT count(*), count(CASE WHEN e.state = 1 AND e.expires > ?3 THEN 1 END), count(CASE WHEN e.state = 2 THEN 1 END)
		FROM twophase_resources AS r LEFT JOIN twophase_entries AS e ON e.number = r.entry
		WHERE r.participant = ?1 AND r.kind = ?2`

	nextKind = `SELECT kind FROM twophase_resources WHERE participant = ?1 AND kind > ?2 ORDER BY kind LIMIT 1`

	// listStep is how many resources are read at a time.
	listStep = 500
)

// List returns the resources of the kinds that are named, or of all kinds, by
// name, if none is; within a kind in the order in which they came. It reads some
// at a time, so what changes meanwhile may be listed as it was or as it is. The
// first error is the last.
func (p *Pool) List(ctx context.Context, kinds ...string) iter.Seq2[pool.Resource, error] {
	return func(yield func(pool.Resource, error) bool) {
		kinds, err := p.named(ctx, kinds)
		if err != nil {
			yield(pool.Resource{}, err)
			return
		}
		for _, kind := range kinds {
			for after, more := int64(-1), true; more; {
				var some []pool.Resource
				some, after, err = p.list(ctx, kind, after)
				if err != nil {
					yield(pool.Resource{}, err)
					return
				}
				for _, r := range some {
					if !yield(r, nil) {
						return
					}
				}
				more = len(some) == listStep
			}
		}
	}
}

func (p *Pool) named(ctx context.Context, kinds []string) ([]string, error) {
	if len(kinds) > 0 {
		return kinds, nil
	}
	return p.Kinds(ctx)
}

// list returns the next resources of a kind, and where they end.
func (p *Pool) list(ctx context.Context, kind string, after int64) (some []pool.Resource, last int64, err error) {
	rows, err := p.books.query(ctx, listResources, p.books.number, kind, after, listStep)
	if err != nil {
		return nil, after, err
	}
	now := p.books.clock()
	err = scanAll(rows, func(rows *sql.Rows) error {
		r := pool.Resource{Kind: kind}
		var holder, state, expires sql.NullInt64
		var transaction, step sql.NullString
		if err := rows.Scan(&last, &r.ID, &holder, &state, &expires, &transaction, &step); err != nil {
			return err
		}
		if e := currently(state, expires, now); holder.Valid && e.Holds() {
			r.State = pool.Reserved
			if e.State == twophase.EntryAssigned {
				r.State = pool.Assigned
			}
			r.Key = twophase.Key{Transaction: transaction.String, Step: step.String}
			r.TimeLeft = e.TimeLeft(now)
		}
		some = append(some, r)
		return nil
	})
	if err != nil {
		err = describeDB(p.books.name, err)
	}
	return some, last, err
}

// currently is what an entry is at a moment.
func currently(state, expires sql.NullInt64, now time.Time) twophase.Entry {
	e := twophase.Entry{State: twophase.EntryState(state.Int64), Expires: time.Unix(0, expires.Int64)}
	return e.Expire(now).Entry
}

// Count returns how many resources of a kind are in each state. It looks at all
// of them.
func (p *Pool) Count(ctx context.Context, kind string) (pool.Counts, error) {
	if p.books.isClosed() {
		return pool.Counts{}, p.books.closedError()
	}
	var all int
	var c pool.Counts
	row := p.books.db.QueryRowContext(ctx, countResources, p.books.number, kind, p.books.clock().UnixNano())
	if err := row.Scan(&all, &c.Reserved, &c.Assigned); err != nil {
		return pool.Counts{}, describeDB(p.books.name, err)
	}
	c.Free = all - c.Reserved - c.Assigned
	return c, nil
}

// Kinds returns the names of the kinds that have resources, in order.
func (p *Pool) Kinds(ctx context.Context) (kinds []string, err error) {
	if p.books.isClosed() {
		return nil, p.books.closedError()
	}
	for kind := ""; ; kinds = append(kinds, kind) {
		err := p.books.db.QueryRowContext(ctx, nextKind, p.books.number, kind).Scan(&kind)
		if errors.Is(err, sql.ErrNoRows) {
			return kinds, nil
		}
		if err != nil {
			return nil, describeDB(p.books.name, err)
		}
	}
}

// Lookup returns what the pool has under a key, and whether it has anything:
// with it the pool's books can be compared with the coordinator's.
func (p *Pool) Lookup(ctx context.Context, key twophase.Key) (pool.Holding, bool, error) {
	e, found, err := p.books.lookup(ctx, key)
	if err != nil || !found {
		return pool.Holding{}, false, err
	}
	now := p.books.clock()
	e.Entry = e.Expire(now).Entry
	holding := pool.Holding{State: e.State, TimeLeft: e.TimeLeft(now)}
	if e.Holds() {
		holding.Kind, holding.Resources = e.kind, e.content.Resources
	}
	return holding, true, nil
}

// lookup reads what is stored under a key.
func (b *books) lookup(ctx context.Context, key twophase.Key) (e *entry, found bool, err error) {
	if b.isClosed() {
		return nil, false, b.closedError()
	}
	e = &entry{key: key}
	err = e.read(b.db.QueryRowContext(ctx, loadEntry, b.number, key.Transaction, key.Step))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, describeDB(b.name, err)
	}
	return e, true, nil
}

// query runs a query outside of any session.
func (b *books) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if b.isClosed() {
		return nil, b.closedError()
	}
	rows, err := b.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, describeDB(b.name, err)
	}
	return rows, nil
}

func (b *books) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *books) closedError() error { return fmt.Errorf("twophase/sqlite: %s: %w", b.name, ErrClosed) }
