package sqlite

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// columns are what a row is read from, in the order that row.read expects.
const columns = `number, id, version, state, epoch, attempts, begun, deadline, leased, owner, trouble,
	released, cause, reservations, steps`

// row is one stored transaction.
type row struct {
	number int64
	record twophase.Record
	size   int
}

// read reads the row that a statement is at. A row that cannot be decoded is
// an error, and what was read of it before.
func (r *row) read(s *statement, now int64) error {
	r.number = s.ColumnInt64(0)
	r.record = twophase.Record{
		ID:       s.ColumnText(1),
		Version:  s.ColumnInt(2),
		State:    twophase.State(s.ColumnInt(3)),
		Epoch:    s.ColumnInt64(4),
		Attempts: s.ColumnInt(5),
		Age:      between(s.ColumnInt64(6), now),
		Deadline: between(now, s.ColumnInt64(7)),
		Lease:    between(now, s.ColumnInt64(8)),
		Owner:    s.ColumnText(9),
		Trouble:  s.ColumnText(10),
	}
	err := r.decode(s.ColumnRawText(11), s.ColumnRawText(12), s.ColumnRawText(13), s.ColumnRawText(14))
	if err != nil {
		return fmt.Errorf("twophase/sqlite: %s: its record cannot be read: %w", r.record.ID, err)
	}
	return nil
}

func (r *row) decode(released, cause, reservations, steps []byte) (err error) {
	r.size = len(released) + len(cause) + len(reservations) + len(steps)
	if r.record.Steps, err = decodeSteps(steps); err != nil {
		return err
	}
	if cause != nil {
		if r.record.Cause, err = decodeCause(cause); err != nil {
			return err
		}
	}
	if reservations != nil {
		given, err := decodeReservations(reservations)
		if err != nil {
			return err
		}
		for i := range min(len(given), len(r.record.Steps)) {
			if !r.record.Steps[i].Dropped {
				r.record.Steps[i].Reservation = &given[i]
			}
		}
	}
	return markReleased(r.record.Steps, released)
}

func decodeSteps(encoded []byte) ([]twophase.StepRecord, error) {
	var stored []step
	if err := json.Unmarshal(encoded, &stored); err != nil {
		return nil, fmt.Errorf("steps: %w", err)
	}
	steps := make([]twophase.StepRecord, len(stored))
	for i, s := range stored {
		steps[i] = twophase.StepRecord{
			Name: string(s.Name), Participant: string(s.Participant), Payload: raw(s.Payload),
			Hold: s.Hold, Dropped: s.Dropped,
		}
	}
	return steps, nil
}

func markReleased(steps []twophase.StepRecord, encoded []byte) error {
	if encoded == nil {
		return nil
	}
	var indexes []int
	if err := json.Unmarshal(encoded, &indexes); err != nil {
		return fmt.Errorf("released: %w", err)
	}
	for _, i := range indexes {
		if i < 0 || i >= len(steps) {
			return fmt.Errorf("released: there is no step %d", i)
		}
		steps[i].Released = true
	}
	return nil
}

// between returns the time from one moment to another. The moment that stands
// for all later ones is never.
func between(from, to int64) time.Duration {
	if to == math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(to - from)
}

// finishedAt is the moment to store for a record: zero while something is left
// to do.
func finishedAt(r twophase.Record, now int64) int64 {
	if r.Finished() {
		return now
	}
	return 0
}
