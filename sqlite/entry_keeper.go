package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// keeper does the housekeeping of books in the background.
type keeper struct {
	stop context.CancelFunc // nil if it was never begun
	done sync.WaitGroup
}

const (
	sweepEvery  = time.Second
	pruneEvery  = time.Minute
	keeperLimit = 5000 // entries at a time, in steps
	keeperStep  = 200  // entries of one commit
)

// begin sweeps and prunes until the books are closed. What fails is tried again
// the next time.
func (b *books) begin(sweep func(ctx context.Context, limit int) (int, error)) {
	if b.withoutBackground {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	b.keeper.stop = stop
	b.keeper.done.Go(func() {
		ticker := time.NewTicker(sweepEvery)
		defer ticker.Stop()
		pruned := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			_, err := sweep(ctx, keeperLimit)
			if time.Since(pruned) >= pruneEvery {
				pruned = time.Now()
				_, pruning := b.prune(ctx, keeperLimit)
				err = errors.Join(err, pruning)
			}
			if err != nil && ctx.Err() == nil {
				b.logger.LogAttrs(ctx, slog.LevelWarn, "twophase/sqlite: housekeeping failed and is tried again",
					slog.String("participant", b.name), slog.Any("error", err))
			}
		}
	})
}

func (k *keeper) end() {
	if k.stop != nil {
		k.stop()
		k.done.Wait()
	}
}

const (
	pruneEntries = `DELETE FROM twophase_entries WHERE number IN (SELECT number FROM twophase_entries
		WHERE participant = ?1 AND finished > 0 AND finished < ?2 ORDER BY finished LIMIT ?3)`

	oldestFinished = `SELECT count(*) FROM (SELECT 1 FROM twophase_entries
		WHERE participant = ?1 AND finished > 0 AND finished < ?2 LIMIT 1)`

	// kindsDue steps from kind to kind, whatever is reserved of each.
	kindsDue = `WITH RECURSIVE kinds (kind) AS (
			SELECT min(kind) FROM twophase_entries WHERE participant = ?1 AND state = 1
			UNION ALL
			SELECT (SELECT min(e.kind) FROM twophase_entries AS e
				WHERE e.participant = ?1 AND e.state = 1 AND e.kind > kinds.kind)
			FROM kinds WHERE kinds.kind IS NOT NULL
		)
		SELECT e.kind FROM kinds JOIN twophase_entries AS e ON e.number = (SELECT due.number FROM twophase_entries AS due
			WHERE due.participant = ?1 AND due.kind = kinds.kind AND due.state = 1 AND due.expires <= ?2 LIMIT 1)`
)

// dueKinds returns the kinds of which something has run out. It only reads, so
// that an idle keeper is in nobody's way.
func (b *books) dueKinds(ctx context.Context) (kinds []string, err error) {
	rows, err := b.db.QueryContext(ctx, kindsDue, b.number, b.clock().UnixNano())
	if err != nil {
		return nil, describeDB(b.name, err)
	}
	err = scanAll(rows, func(rows *sql.Rows) error {
		var kind string
		kinds = append(kinds, "")
		err := rows.Scan(&kind)
		kinds[len(kinds)-1] = kind
		return err
	})
	return kinds, err
}

// prune forgets up to limit entries that finished longer ago than the
// retention, some at a time, and returns how many.
func (b *books) prune(ctx context.Context, limit int) (pruned int, err error) {
	before := b.clock().Add(-b.retention).UnixNano()
	for pruned < limit {
		var some int
		if err := b.db.QueryRowContext(ctx, oldestFinished, b.number, before).Scan(&some); err != nil {
			return pruned, describeDB(b.name, err)
		}
		if some == 0 {
			return pruned, nil
		}
		step := min(keeperStep, limit-pruned)
		n, err := answer(ctx, b, func(ctx context.Context, s *session) (int64, error) {
			return s.exec(ctx, pruneEntries, b.number, before, step)
		})
		pruned += int(n)
		if err != nil {
			return pruned, err
		}
	}
	return pruned, nil
}
