package sqlite

import (
	"context"
	"database/sql"

	"github.com/seed-bcc3c603/twophase"
)

// Pool is a [twophase.Participant] that owns granular resources, grouped by
// kind, in tables of its own. It does what [github.com/seed-bcc3c603/twophase/pool.Pool]
// does, on the disk. It is safe for concurrent use, by any number of processes
// that open it under the same name. Make it with [NewPool] and end it with
// [Pool.Close].
//
//	db, err := sqlite.OpenDB(ctx, "store.db")
//	…
//	store, err := sqlite.NewPool(ctx, db, "store")
//	…
//	err = store.Restock(ctx, "masala dosa", "packet-1", "packet-2")
//
// # What is guaranteed
//
//   - A resource is held by one key at most. Who wants several gets all or none.
//   - What was answered is on the disk, and is answered again, as
//     [twophase.Participant] demands, for as long as [WithRetention] says.
//   - A reservation that is not assigned ends at the instant that it was
//     promised to, by the machine's clock as it is once the file is locked. What
//     has run out is free for whoever takes next; housekeeping only tidies.
//   - Free resources are given in the order in which they became so, or as the
//     [Query] says.
//
// # What it costs
//
// Without a filter or an order, a call takes the same time however many
// resources there are and however many are taken. Concurrent calls in one
// process share a commit; processes take turns. What is assigned stays on the
// books until it is released, or until the service says that it has done its
// work: see [Pool.Consume].
type Pool struct {
	books *books
	want  func(twophase.Request) (Query, error)
}

var _ twophase.Participant = (*Pool)(nil)

// NewPool opens the pool of that name in a database of [OpenDB], and creates it
// if there is none.
func NewPool(ctx context.Context, db *sql.DB, name string, options ...PoolOption) (*Pool, error) {
	c := newPoolConfig(options)
	b, err := openBooks(ctx, db, name, rolePool, c.participantConfig, poolStatements...)
	if err != nil {
		return nil, err
	}
	p := &Pool{books: b, want: c.want}
	b.begin(p.Sweep)
	return p, nil
}

// Close answers what is under way, refuses everything else with [ErrClosed],
// and ends the housekeeping. The database stays open.
func (p *Pool) Close() error { return p.books.close() }

// Reserve implements [twophase.Participant]: it holds what the payload wants.
// The reservation's details are the attributes of what it holds, if there are
// any: a JSON array in the order of the resources.
func (p *Pool) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if err := checkKey(req.Key); err != nil {
		return twophase.Reservation{}, err
	}
	fingerprint := twophase.FingerprintOf(req.Payload)
	query, refusal := p.wanted(ctx, req)
	return answer(ctx, p.books, func(ctx context.Context, s *session) (twophase.Reservation, error) {
		e, err := s.load(ctx, req.Key)
		if err != nil {
			return twophase.Reservation{}, err
		}
		verdict := e.Reserve(fingerprint, req.Hold, s.now)
		if verdict.Take {
			// Only here does it matter whether the payload makes sense: a key that
			// has an entry is answered from it.
			if refusal != nil {
				return twophase.Reservation{}, refusal
			}
			err = s.take(ctx, e, verdict, query)
		} else {
			err = s.settle(ctx, e, verdict)
		}
		if err != nil {
			return twophase.Reservation{}, err
		}
		return e.reservation(s.now), nil
	})
}

// Assign implements [twophase.Participant].
func (p *Pool) Assign(ctx context.Context, key twophase.Key) error {
	return p.change(ctx, key, func(s *session, e *entry) twophase.Verdict { return e.Assign(s.now) })
}

// Release implements [twophase.Participant].
func (p *Pool) Release(ctx context.Context, key twophase.Key) error {
	return p.change(ctx, key, func(_ *session, e *entry) twophase.Verdict { return e.Release() })
}

func (p *Pool) change(ctx context.Context, key twophase.Key, judge func(*session, *entry) twophase.Verdict) error {
	if err := checkKey(key); err != nil {
		return err
	}
	_, err := answer(ctx, p.books, func(ctx context.Context, s *session) (struct{}, error) {
		e, err := s.load(ctx, key)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, s.settle(ctx, e, judge(s, e))
	})
	return err
}

// Sweep marks what has run out as free, up to so many reservations, and returns
// how many. Nothing depends on it; it is done in the background, unless
// [WithoutBackground] is given.
func (p *Pool) Sweep(ctx context.Context, limit int) (swept int, err error) {
	kinds, err := p.books.dueKinds(ctx)
	for _, kind := range kinds {
		for swept < limit && err == nil {
			var n int
			step := min(keeperStep, limit-swept)
			n, err = answer(ctx, p.books, func(ctx context.Context, s *session) (int, error) {
				freed, err := s.takeBack(ctx, kind, step)
				return freed.entries, err
			})
			swept += n
			if n == 0 {
				break
			}
		}
	}
	return swept, err
}

// Prune forgets up to limit keys that were released, have expired or were
// consumed longer ago than the retention, and returns how many. It is done in the background, unless
// [WithoutBackground] is given.
func (p *Pool) Prune(ctx context.Context, limit int) (pruned int, err error) {
	return p.books.prune(ctx, limit)
}
