package sqlite

import (
	"context"
	"slices"
	"time"
)

// pruneStep is how many transactions are deleted in one operation, so that
// traffic gets its turn.
const pruneStep = 100

// Prune implements [twophase.Journal]. The room that it gives free is used
// again; the file does not shrink. If it ends early, the count says how many
// are gone all the same.
func (j *Journal) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	before := after(j.clock.now(), -age)
	var numbers []int64
	err := j.read(ctx, func(c *conn) (err error) {
		numbers, err = c.prunable(before, limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	pruned := 0
	for step := range slices.Chunk(numbers, pruneStep) {
		n, err := write(ctx, j, func(w *writer) (n int, err error) {
			err = w.savepoint(func() error {
				n, err = w.prune(step, before)
				return err
			})
			return n, err
		})
		pruned += n
		if err != nil {
			return pruned, err
		}
	}
	return pruned, nil
}

// prunable returns the first transactions that finished before a moment. None
// finished before it began, so what began later need not be looked at, and no
// index is needed.
func (c *conn) prunable(before int64, limit int) (numbers []int64, err error) {
	s := c.statement("SELECT number, begun, finished FROM transactions ORDER BY number")
	err = s.each(func() bool {
		if finished := s.ColumnInt64(2); finished != 0 && finished < before {
			numbers = append(numbers, s.ColumnInt64(0))
		}
		return len(numbers) < limit && s.ColumnInt64(1) < before
	})
	return numbers, err
}

func (w *writer) prune(numbers []int64, before int64) (pruned int, err error) {
	for _, number := range numbers {
		err := w.statement("DELETE FROM transactions WHERE number = ? AND finished < ?").
			integer(number).integer(before).exec()
		if err != nil {
			return 0, err
		}
		pruned += int(w.Changes())
	}
	return pruned, nil
}
