package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// unreadableDelay is how long a record that cannot be read is left alone.
const unreadableDelay = 5 * time.Minute

// Claim implements [twophase.Journal]. A record that cannot be read is set
// aside with the reason, and never stops the others.
func (j *Journal) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) ([]twophase.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	return write(ctx, j, func(w *writer) (claimed []twophase.Record, err error) {
		rows, unreadable, err := w.overdue(limit)
		if err != nil || len(rows)+len(unreadable) == 0 {
			return nil, err
		}
		err = w.savepoint(func() error {
			claimed, err = w.claim(rows, owner, lease)
			if err != nil {
				return err
			}
			return w.setAside(unreadable)
		})
		return claimed, err
	})
}

// overdue returns what may be claimed, and why some of it cannot be read.
func (w *writer) overdue(limit int) (rows []row, unreadable map[int64]error, err error) {
	s := w.statement("SELECT " + columns + ` FROM transactions INDEXED BY unfinished
		WHERE finished IS NULL AND leased <= ? ORDER BY leased, number LIMIT ?`).
		integer(w.now).integer(int64(limit))
	err = s.each(func() bool {
		var r row
		if err := r.read(s, w.now); err != nil {
			if unreadable == nil {
				unreadable = map[int64]error{}
			}
			unreadable[r.number] = err
			return true
		}
		rows = append(rows, r)
		return true
	})
	return rows, unreadable, err
}

func (w *writer) claim(rows []row, owner string, lease time.Duration) ([]twophase.Record, error) {
	claimed := make([]twophase.Record, 0, len(rows))
	for _, r := range rows {
		err := w.statement("UPDATE transactions SET owner = ?, epoch = epoch + 1, leased = ? WHERE number = ?").
			text(owner).integer(after(w.now, lease)).integer(r.number).exec()
		if err != nil {
			return nil, err
		}
		r.record.Owner, r.record.Lease = owner, lease
		r.record.Epoch++
		claimed = append(claimed, r.record)
	}
	return claimed, nil
}

func (w *writer) setAside(unreadable map[int64]error) error {
	for number, reason := range unreadable {
		err := w.statement("UPDATE transactions SET leased = ?, attempts = attempts + 1, trouble = ? WHERE number = ?").
			integer(after(w.now, unreadableDelay)).text(clip(reason.Error())).integer(number).exec()
		if err != nil {
			return err
		}
	}
	return nil
}

// Renew implements [twophase.Journal].
func (j *Journal) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	ids = slices.Clone(ids)
	_, err := write(ctx, j, func(w *writer) (struct{}, error) {
		return struct{}{}, w.savepoint(func() error {
			for _, id := range ids {
				err := w.statement("UPDATE transactions SET leased = ? WHERE id = ? AND owner = ? AND finished IS NULL").
					integer(after(w.now, lease)).text(id).text(owner).exec()
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	return err
}

// Yield implements [twophase.Journal].
func (j *Journal) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	trouble = clip(trouble)
	_, err := write(ctx, j, func(w *writer) (struct{}, error) {
		return struct{}{}, w.statement(`UPDATE transactions
			SET owner = '', attempts = attempts + 1, trouble = ?, leased = ?
			WHERE id = ? AND owner = ? AND epoch = ? AND finished IS NULL`).
			text(trouble).integer(after(w.now, delay)).text(id).text(owner).integer(epoch).exec()
	})
	return err
}
