package postgres

import (
	"context"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-bcc3c603/twophase"
)

// Reading, listing and forgetting.

// Get implements [twophase.Journal].
func (j *Journal) Get(ctx context.Context, id string) (twophase.Record, error) {
	if !storable(id) {
		return twophase.Record{}, gone(id)
	}
	var found []row
	err := j.transact(ctx, func(batch *pgx.Batch) {
		found = nil
		batch.Queue(j.sql.read, []string{id}).Query(func(rows pgx.Rows) error {
			return each(rows, func(r row) { found = append(found, r) })
		})
	})
	if err != nil {
		return twophase.Record{}, told(id, err)
	}
	if len(found) == 0 {
		return twophase.Record{}, gone(id)
	}
	return found[0].record, nil
}

// List implements [twophase.Journal]. It reads page by page, and holds no
// connection while its caller is at work. What is unfinished or stuck is found
// without looking at what is finished.
func (j *Journal) List(ctx context.Context, filter twophase.Filter) iter.Seq2[twophase.Record, error] {
	return func(yield func(twophase.Record, error) bool) {
		var last row
		for {
			page, err := j.page(ctx, filter, last)
			if err != nil {
				yield(twophase.Record{}, told("", err))
				return
			}
			for _, r := range page {
				if !yield(r.record, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			last = page[len(page)-1]
		}
	}
}

// pageSize is how many records List reads at a time.
const pageSize = 100

// page returns the records that follow last.
func (j *Journal) page(ctx context.Context, filter twophase.Filter, last row) ([]row, error) {
	var page []row
	err := j.transact(ctx, func(batch *pgx.Batch) {
		page = nil
		sql, args := j.sql.list, []any{last.begun, last.record.ID, int64(filter.State), int64(pageSize)}
		if filter.Unfinished || filter.Stuck || filter.State == twophase.StateBegun {
			sql, args = j.sql.listOpen, append(args, filter.Stuck)
		}
		batch.Queue(sql, args...).Query(func(rows pgx.Rows) error {
			return each(rows, func(r row) { page = append(page, r) })
		})
	})
	return page, err
}

// Prune implements [twophase.Journal]. It goes in small steps, each a
// transaction of its own, and leaves to others what they are at.
func (j *Journal) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	pruned := 0
	for pruned < limit {
		step, n := min(limit-pruned, pruneStep), 0
		err := j.transact(ctx, func(batch *pgx.Batch) {
			batch.Queue(j.sql.prune, age.Microseconds(), int64(step)).Exec(func(tag pgconn.CommandTag) error {
				n = int(tag.RowsAffected())
				return nil
			})
		})
		if err != nil {
			return pruned, told("", err)
		}
		pruned += n
		if n < step {
			break
		}
	}
	return pruned, nil
}

// pruneStep is how many rows a transaction of Prune removes.
const pruneStep = 500
