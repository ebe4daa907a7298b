package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
)

// Writing: what many callers ask for is one transaction and one round trip.

// write is what one caller asks for, and the answer to it.
type write struct {
	kind kind
	id   string

	// What is asked for; which of it depends on the kind.
	record   twophase.Record // of begin
	json     string          // of begin its steps; of decide the decision
	decision string          // of begin, if it failed before it began
	state    twophase.State  // of decide
	steps    []string        // of release
	owner    string          // of yield, like those that follow
	epoch    int64
	delay    time.Duration
	trouble  string

	// The answer.
	done     bool            // it was written, or there was nothing to write
	standing twophase.Record // of begin and decide that came too late
	err      error
}

type kind uint8

const (
	kindBegin kind = iota
	kindDecide
	kindRelease
	kindYield
)

// commit writes a batch. Each caller's answer is in its write.
func (j *Journal) commit(ctx context.Context, batch []*write) error {
	for _, part := range divide(batch) {
		j.commitPart(ctx, part)
	}
	return nil
}

// partSize is how many bytes of JSON go into one transaction, unless a single
// write has more.
const partSize = 4 << 20

// divide returns the transactions of a batch. In each, the ids are in order and
// none occurs twice: one statement writes a row only once.
func divide(batch []*write) [][]*write {
	sorted := slices.Clone(batch)
	slices.SortStableFunc(sorted, func(a, b *write) int { return cmp.Compare(a.id, b.id) })
	var parts [][]*write
	var sizes []int
	n := 0
	for i, w := range sorted {
		if i > 0 && w.id == sorted[i-1].id {
			n++
		} else {
			n = 0
		}
		size := len(w.json) + len(w.decision)
		for n < len(parts) && sizes[n]+size > partSize {
			n++
		}
		if n == len(parts) {
			parts, sizes = append(parts, nil), append(sizes, 0)
		}
		parts[n] = append(parts[n], w)
		sizes[n] += size
	}
	return parts
}

// commitPart writes one transaction, and then answers those who came too late.
// If the database refuses the data it is halved, until the record is alone that
// is to blame.
func (j *Journal) commitPart(ctx context.Context, part []*write) {
	err := j.send(ctx, part)
	if isCode(err, badData...) {
		if half := len(part) / 2; half > 0 {
			j.commitPart(ctx, part[:half])
			j.commitPart(ctx, part[half:])
			return
		}
		err = fmt.Errorf("%w: %w", twophase.ErrInvalid, err)
	}
	if err != nil {
		for _, w := range part {
			w.err = err
		}
		return
	}
	var late, again []*write
	for _, w := range part {
		switch {
		case w.done || w.err != nil:
		case w.kind == kindRelease:
			again = append(again, w) // somebody acknowledged another step meanwhile
		default:
			late = append(late, w)
		}
	}
	again = append(again, j.readStanding(ctx, late)...)
	if len(again) > 0 {
		j.commitPart(ctx, again)
	}
}

// send writes one transaction and marks what was done.
func (j *Journal) send(ctx context.Context, part []*write) error {
	var of [kindYield + 1][]*write
	for _, w := range part {
		of[w.kind] = append(of[w.kind], w)
	}
	releases, err := j.workOut(ctx, of[kindRelease])
	if err != nil {
		return err
	}
	if len(of[kindBegin])+len(of[kindDecide])+len(of[kindYield])+len(releases) == 0 {
		return nil
	}
	start := prelude
	if len(part) == 1 && len(of[kindBegin])+len(of[kindDecide]) == 1 {
		start = preludeAlone
	}
	var written map[string]bool
	err = j.transactAfter(ctx, start, func(batch *pgx.Batch) {
		written = make(map[string]bool, len(part))
		j.queueBegins(batch, of[kindBegin], written)
		j.queueDecisions(batch, of[kindDecide], written)
		j.queueReleases(batch, releases, written)
		j.queueYields(batch, of[kindYield], written)
	})
	if err != nil {
		return err
	}
	for _, w := range part {
		w.done = w.done || written[w.id] || w.kind == kindYield
	}
	return nil
}

// readStanding answers those who came too late with what stands, and returns
// those who have to try again: what they found has been pruned since.
func (j *Journal) readStanding(ctx context.Context, late []*write) (again []*write) {
	if len(late) == 0 {
		return nil
	}
	rows, err := j.rows(ctx, late)
	for _, w := range late {
		r, ok := rows[w.id]
		switch {
		case err != nil:
			w.err = err
		case ok && r.bad != nil:
			w.err = r.bad
		case ok:
			w.standing = r.record
		case w.kind == kindDecide:
			w.err = twophase.ErrGone
		default:
			again = append(again, w)
		}
	}
	return again
}

// rows reads the rows that writes are about.
func (j *Journal) rows(ctx context.Context, writes []*write) (map[string]row, error) {
	ids := make([]string, len(writes))
	for i, w := range writes {
		ids[i] = w.id
	}
	var rows map[string]row
	err := j.transact(ctx, func(batch *pgx.Batch) {
		rows = make(map[string]row, len(ids))
		batch.Queue(j.sql.read, ids).Query(func(answer pgx.Rows) error {
			for answer.Next() {
				r, err := scanRow(answer)
				var bad *unreadableError
				if errors.As(err, &bad) {
					r.record.ID, r.bad = bad.id, bad
				} else if err != nil {
					return err
				}
				rows[r.record.ID] = r
			}
			return answer.Err()
		})
	})
	return rows, err
}

func (j *Journal) queueBegins(batch *pgx.Batch, begins []*write, written map[string]bool) {
	n := len(begins)
	switch n {
	case 0:
		return
	case 1:
		w := begins[0]
		batch.Queue(j.sql.beginOne, w.id, int64(w.record.Version), w.json, int64(w.record.State), w.decision,
			endsWith(w.record, twophase.StateAssigned), endsWith(w.record, twophase.StateReleasing), w.record.Owner,
			w.record.Deadline.Microseconds(), microseconds(w.record.Lease), w.record.Finished()).Query(markInto(written))
		return
	}
	ids, steps, decisions, owners := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	versions, states := make([]int64, n), make([]int64, n)
	deadlines, leases := make([]int64, n), make([]int64, n)
	assigned, releasing, finished := make([]bool, n), make([]bool, n), make([]bool, n)
	for i, w := range begins {
		ids[i], steps[i], decisions[i], owners[i] = w.id, w.json, w.decision, w.record.Owner
		versions[i], states[i] = int64(w.record.Version), int64(w.record.State)
		deadlines[i], leases[i] = w.record.Deadline.Microseconds(), microseconds(w.record.Lease)
		assigned[i] = endsWith(w.record, twophase.StateAssigned)
		releasing[i] = endsWith(w.record, twophase.StateReleasing)
		finished[i] = w.record.Finished()
	}
	batch.Queue(j.sql.begin, ids, versions, steps, states, decisions, assigned, releasing,
		owners, deadlines, leases, finished).Query(markInto(written))
}

// endsWith reports whether a decision leaves nothing to do.
func endsWith(record twophase.Record, state twophase.State) bool {
	record.State = twophase.StateBegun
	return record.Decided(twophase.Decision{State: state}).Finished()
}

func (j *Journal) queueDecisions(batch *pgx.Batch, decisions []*write, written map[string]bool) {
	n := len(decisions)
	switch n {
	case 0:
		return
	case 1:
		w := decisions[0]
		batch.Queue(j.sql.decideOne, w.id, int64(w.state), w.json).Query(markInto(written))
		return
	}
	ids, states, texts := make([]string, n), make([]int64, n), make([]string, n)
	for i, w := range decisions {
		ids[i], states[i], texts[i] = w.id, int64(w.state), w.json
	}
	batch.Queue(j.sql.decide, ids, states, texts).Query(markInto(written))
}

// released is what a row becomes when steps are acknowledged.
type released struct {
	id       string
	state    twophase.State
	finished bool
	names    string
	read     string // the names that were there
}

// workOut reads the rows whose releases are acknowledged and returns what
// becomes of those that change.
func (j *Journal) workOut(ctx context.Context, releases []*write) ([]released, error) {
	if len(releases) == 0 {
		return nil, nil
	}
	rows, err := j.rows(ctx, releases)
	if err != nil {
		return nil, err
	}
	changes := make([]released, 0, len(releases))
	for _, w := range releases {
		r, ok := rows[w.id]
		if !ok {
			w.err = twophase.ErrGone
			continue
		}
		if r.bad != nil {
			w.err = r.bad
			continue
		}
		next := r.record.WithReleased(w.steps)
		names, err := encodeReleased(next.Steps)
		if err != nil {
			w.err = err
			continue
		}
		if next.State == r.record.State && names == r.released {
			w.done = true
			continue
		}
		changes = append(changes, released{w.id, next.State, next.Finished(), names, r.released})
	}
	return changes, nil
}

func (j *Journal) queueReleases(batch *pgx.Batch, changes []released, written map[string]bool) {
	n := len(changes)
	if n == 0 {
		return
	}
	ids, names, read := make([]string, n), make([]string, n), make([]string, n)
	states, finished := make([]int64, n), make([]bool, n)
	for i, c := range changes {
		ids[i], states[i], names[i], finished[i], read[i] = c.id, int64(c.state), c.names, c.finished, c.read
	}
	batch.Queue(j.sql.release, ids, states, names, finished, read).Query(markInto(written))
}

func (j *Journal) queueYields(batch *pgx.Batch, yields []*write, written map[string]bool) {
	n := len(yields)
	if n == 0 {
		return
	}
	ids, owners, troubles := make([]string, n), make([]string, n), make([]string, n)
	epochs, delays := make([]int64, n), make([]int64, n)
	for i, w := range yields {
		ids[i], owners[i], epochs[i], delays[i], troubles[i] = w.id, w.owner, w.epoch, microseconds(w.delay), w.trouble
	}
	batch.Queue(j.sql.yield, ids, owners, epochs, delays, troubles).Query(markInto(written))
}

// markInto collects the ids that a statement returns.
func markInto(written map[string]bool) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var id string
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			written[id] = true
			return nil
		})
		return err
	}
}

// microseconds is the precision of the database's clock. A lease is rounded up:
// it never ends early.
func microseconds(d time.Duration) int64 {
	if d > 0 && d%time.Microsecond > 0 {
		return d.Microseconds() + 1
	}
	return d.Microseconds()
}
