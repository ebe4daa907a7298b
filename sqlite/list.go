package sqlite

import (
	"context"
	"iter"
	"slices"

	"github.com/seed-bcc3c603/twophase"
)

// A page is what List reads at a time: so many rows, or as many as exceed so
// many bytes. No read lasts longer, so the write-ahead log stays short.
const (
	pageRows  = 500
	pageBytes = 4 << 20
)

// List implements [twophase.Journal]. What is unfinished is found by an index,
// however many transactions are on record.
func (j *Journal) List(ctx context.Context, filter twophase.Filter) iter.Seq2[twophase.Record, error] {
	return func(yield func(twophase.Record, error) bool) {
		pages := j.all(ctx, filter)
		if filter.Unfinished || filter.Stuck || filter.State == twophase.StateBegun || filter.State == twophase.StateReleasing {
			pages = j.unfinished(ctx)
		}
		for page, err := range pages {
			if err != nil {
				yield(twophase.Record{}, err)
				return
			}
			for _, r := range page {
				if filter.Match(r.record) && !yield(r.record, nil) {
					return
				}
			}
		}
	}
}

// all gives the rows of a state in pages, oldest first.
func (j *Journal) all(ctx context.Context, filter twophase.Filter) iter.Seq2[[]row, error] {
	return func(yield func([]row, error) bool) {
		last := int64(0)
		for more := true; more; {
			var page []row
			err := j.read(ctx, func(c *conn) (err error) {
				page, last, more, err = c.page(last, filter.State, j.clock.now())
				return err
			})
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// page reads the rows of a state that come after a number. It looks at so many
// rows at most, and returns the last number that it has looked at.
func (c *conn) page(
	number int64, state twophase.State, now int64,
) (page []row, last int64, more bool, err error) {
	s := c.statement("SELECT " + columns + " FROM transactions WHERE number > ? ORDER BY number LIMIT ?").
		integer(number).integer(pageRows)
	size, seen := 0, 0
	var unreadable error
	err = s.each(func() bool {
		seen++
		number = s.ColumnInt64(0)
		if state != 0 && state != twophase.State(s.ColumnInt(3)) {
			return true
		}
		var r row
		if unreadable = r.read(s, now); unreadable != nil {
			return false
		}
		page, size = append(page, r), size+r.size
		more = size >= pageBytes
		return !more
	})
	if err == nil {
		err = unreadable
	}
	return page, number, more || seen == pageRows, err
}

// unfinished gives the rows of which something is left to do, oldest first.
func (j *Journal) unfinished(ctx context.Context) iter.Seq2[[]row, error] {
	return func(yield func([]row, error) bool) {
		var numbers []int64
		err := j.read(ctx, func(c *conn) error {
			s := c.statement("SELECT number FROM transactions INDEXED BY unfinished WHERE finished IS NULL")
			return s.each(func() bool {
				numbers = append(numbers, s.ColumnInt64(0))
				return true
			})
		})
		if err != nil {
			yield(nil, err)
			return
		}
		slices.Sort(numbers)
		for chunk := range slices.Chunk(numbers, 50) {
			var page []row
			err := j.read(ctx, func(c *conn) (err error) {
				page, err = c.numbered(chunk, j.clock.now())
				return err
			})
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// numbered reads those rows that are still there.
func (c *conn) numbered(numbers []int64, now int64) (page []row, err error) {
	for _, number := range numbers {
		s := c.statement("SELECT " + columns + " FROM transactions WHERE number = ?").integer(number)
		var r row
		var unreadable error
		found := false
		err := s.each(func() bool {
			found = true
			unreadable = r.read(s, now)
			return false
		})
		switch {
		case err != nil:
			return nil, err
		case unreadable != nil:
			return nil, unreadable
		case found:
			page = append(page, r)
		}
	}
	return page, nil
}
