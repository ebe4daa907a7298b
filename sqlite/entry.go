package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// entry is what is stored under a key. What becomes of it is ruled by
// [twophase.Entry] alone.
type entry struct {
	twophase.Entry
	number  int64 // 0: it is not stored yet
	key     twophase.Key
	kind    string // of what it holds
	content content
	done    bool // assigned, and what it held was consumed
}

// content is the answer to Reserve, as far as it is stored.
type content struct {
	Resources []string        `json:"resources"`
	Details   json.RawMessage `json:"details,omitempty"`
}

// reservation is the answer to Reserve at a moment.
func (e *entry) reservation(now time.Time) twophase.Reservation {
	return twophase.Reservation{
		Resources: e.content.Resources,
		TimeLeft:  e.TimeLeft(now),
		Assigned:  e.State == twophase.EntryAssigned,
		Details:   e.content.Details,
	}
}

// entryStatements are prepared when the books are opened.
var entryStatements = []string{loadEntry, addEntry, changeEntry, dueEntries}

const (
	entryColumns = `e.number, e.transaction_id, e.step, e.state, e.expires, e.kind, e.fingerprint, e.reservation, e.finished`

	loadEntry = `SELECT ` + entryColumns + ` FROM twophase_entries AS e
		WHERE participant = ?1 AND transaction_id = ?2 AND step = ?3`

	addEntry = `INSERT INTO twophase_entries
		(participant, transaction_id, step, state, expires, finished, kind, fingerprint, reservation)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)`

	changeEntry = `UPDATE twophase_entries SET state = ?2, expires = ?3, finished = ?4, kind = ?5, reservation = ?6
		WHERE number = ?1`

	// dueEntries is in the order of their expiry, from after an entry on.
	dueEntries = `SELECT ` + entryColumns + ` FROM twophase_entries AS e
		WHERE participant = ?1 AND kind = ?2 AND state = 1 AND expires <= ?3
		AND (expires, number) > (?4, ?5) ORDER BY expires, number LIMIT ?6`
)

// load returns what is stored under a key, or else an entry to be stored.
func (s *session) load(ctx context.Context, key twophase.Key) (*entry, error) {
	e := &entry{key: key}
	row, err := s.row(ctx, loadEntry, s.number, key.Transaction, key.Step)
	if err != nil {
		return nil, err
	}
	err = e.read(row)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return e, err
}

// read reads an entry from a row of entryColumns.
func (e *entry) read(row interface{ Scan(...any) error }) error {
	var expires, finished int64
	var fingerprint []byte
	var reservation string
	err := row.Scan(&e.number, &e.key.Transaction, &e.key.Step, &e.State, &expires, &e.kind, &fingerprint, &reservation, &finished)
	if err != nil {
		return err
	}
	e.Expires = time.Unix(0, expires)
	e.done = finished > 0 && e.Holds()
	copy(e.Fingerprint[:], fingerprint)
	if reservation == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(reservation), &e.content); err != nil {
		return fmt.Errorf("%w: the reservation of %s: %w", ErrDamaged, e.key, err)
	}
	return nil
}

// store makes a verdict on e the state of things.
func (s *session) store(ctx context.Context, e *entry, v twophase.Verdict) error {
	if v.Entry == e.Entry {
		return nil
	}
	e.Entry = v.Entry
	var finished int64
	var reservation []byte
	var err error
	if e.Holds() {
		if reservation, err = json.Marshal(e.content); err != nil {
			return err
		}
	} else {
		finished = s.now.UnixNano()
		e.kind = ""
	}
	if e.number != 0 {
		_, err = s.exec(ctx, changeEntry, e.number, int64(e.State), stored(e.Expires), finished, e.kind, string(reservation))
		return err
	}
	fingerprint := e.Fingerprint[:]
	if e.Fingerprint == (twophase.Fingerprint{}) {
		fingerprint = []byte{}
	}
	result, err := s.run(ctx, addEntry, s.number, e.key.Transaction, e.key.Step, int64(e.State),
		stored(e.Expires), finished, e.kind, fingerprint, string(reservation))
	if err != nil {
		return err
	}
	e.number, err = result.LastInsertId()
	return err
}

// stored is a moment as it is stored; none is 0.
func stored(moment time.Time) int64 {
	if moment.IsZero() {
		return 0
	}
	return moment.UnixNano()
}

// position is that of an entry among those that run out.
type position struct{ expires, number int64 }

// first is before the position of any entry.
var first = position{expires: math.MinInt64}

// due returns the entries of a kind that have run out, the next ones after a
// position in their order.
func (s *session) due(ctx context.Context, kind string, after position, limit int) (due []*entry, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		e := &entry{}
		due = append(due, e)
		return e.read(rows)
	}, dueEntries, s.number, kind, s.now.UnixNano(), after.expires, after.number, limit)
	return due, err
}

// turnedAway is the answer to a call that a verdict is against.
func turnedAway(key twophase.Key, v twophase.Verdict) error {
	if v.Err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", v.Err, key)
}

// checkKey refuses a key that no coordinator sends.
func checkKey(key twophase.Key) error {
	if len(key.Transaction) > twophase.MaxIDLength || len(key.Step) > twophase.MaxIDLength {
		return fmt.Errorf("%w: a key of %d and %d bytes: %d are the most",
			twophase.ErrInvalid, len(key.Transaction), len(key.Step), twophase.MaxIDLength)
	}
	return nil
}

// checkHold says what is wrong with a hold, and "" if nothing is.
func checkHold(hold time.Duration) string {
	switch {
	case hold <= 0:
		return fmt.Sprintf("a hold of %v would be over at once", hold)
	case hold > longestHold:
		return fmt.Sprintf("a hold of %v is longer than %v", hold, longestHold)
	}
	return ""
}
