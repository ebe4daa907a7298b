package postgres

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
)

// How a record is kept in columns. What the library only carries is text of
// JSON, so that a person can read it; what statements ask for has a column.

// columns are what scanRecord reads, of the table or of what stands for it.
const columns = `id, version, steps, state, decision, released, owner, epoch, attempts, trouble,
	begun_at, deadline, leased_until, clock_timestamp()`

// row is what is read of a transaction.
type row struct {
	record   twophase.Record
	begun    time.Time
	released string // as it is stored
	bad      error  // it cannot be read: of the record there is the id
}

// scanRow reads one row of columns.
func scanRow(rows pgx.CollectableRow) (row, error) {
	var r row
	var steps, decision string
	var state int64
	var deadline, leased, now time.Time
	record := &r.record
	err := rows.Scan(&record.ID, &record.Version, &steps, &state, &decision, &r.released, &record.Owner,
		&record.Epoch, &record.Attempts, &record.Trouble, &r.begun, &deadline, &leased, &now)
	if err != nil {
		return row{}, err
	}
	if err := decode(record, twophase.State(state), steps, decision, r.released); err != nil {
		return row{}, &unreadableError{id: record.ID, epoch: record.Epoch, err: err}
	}
	record.Deadline, record.Lease, record.Age = deadline.Sub(now), leased.Sub(now), now.Sub(r.begun)
	return r, nil
}

// unreadableError says that somebody else wrote a row, or changed it.
type unreadableError struct {
	id    string
	epoch int64
	err   error
}

func (e *unreadableError) Error() string {
	return fmt.Sprintf("the record of %s cannot be read: %v", e.id, e.err)
}

func (e *unreadableError) Unwrap() error { return e.err }

// storedStep is a step as Begin was given it.
type storedStep struct {
	Name        string          `json:"name"`
	Participant string          `json:"participant"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	// Bytes is the payload if it does not survive as JSON within JSON.
	Bytes   []byte        `json:"payload_bytes,omitempty"`
	Hold    time.Duration `json:"hold"`
	Dropped bool          `json:"dropped,omitempty"`
}

// storedDecision is a decision, without its state.
type storedDecision struct {
	Reservations []storedReservation `json:"reservations,omitempty"`
	Cause        *twophase.Cause     `json:"cause,omitempty"`
}

type storedReservation struct {
	Resources []string        `json:"resources"`
	TimeLeft  time.Duration   `json:"time_left,omitempty"`
	Assigned  bool            `json:"assigned,omitempty"`
	Details   json.RawMessage `json:"details,omitempty"`
	Bytes     []byte          `json:"details_bytes,omitempty"`
}

func encodeSteps(steps []twophase.StepRecord) (string, error) {
	stored := make([]storedStep, len(steps))
	for i, step := range steps {
		stored[i] = storedStep{
			Name: step.Name, Participant: step.Participant, Hold: step.Hold, Dropped: step.Dropped,
		}
		stored[i].Payload, stored[i].Bytes = split(step.Payload)
	}
	return encode(stored)
}

func encodeDecision(d twophase.Decision) (string, error) {
	stored := storedDecision{Cause: d.Cause}
	for _, r := range d.Reservations {
		reservation := storedReservation{Resources: r.Resources, TimeLeft: r.TimeLeft, Assigned: r.Assigned}
		reservation.Details, reservation.Bytes = split(r.Details)
		stored.Reservations = append(stored.Reservations, reservation)
	}
	return encode(stored)
}

// encodeReleased returns the names of the steps whose Release was acknowledged.
func encodeReleased(steps []twophase.StepRecord) (string, error) {
	var names []string
	for _, step := range steps {
		if step.Released {
			names = append(names, step.Name)
		}
	}
	if names == nil {
		return "", nil
	}
	return encode(names)
}

// encode returns JSON that leaves raw messages as they are.
func encode(value any) (string, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))), nil
}

// split returns raw as what comes back as the same bytes: as JSON if encoding
// does not change it, and as plain bytes if it does.
func split(raw json.RawMessage) (json.RawMessage, []byte) {
	if len(raw) == 0 {
		return nil, nil
	}
	var compact bytes.Buffer
	if !utf8.Valid(raw) || json.Compact(&compact, raw) != nil || !bytes.Equal(compact.Bytes(), raw) {
		return nil, raw
	}
	return raw, nil
}

// joined undoes split.
func joined(raw json.RawMessage, plain []byte) json.RawMessage {
	if len(plain) > 0 {
		return plain
	}
	return raw
}

// decode completes a record from its columns of JSON.
func decode(record *twophase.Record, state twophase.State, steps, decision, released string) error {
	var stored []storedStep
	if err := json.Unmarshal([]byte(steps), &stored); err != nil {
		return fmt.Errorf("steps: %w", err)
	}
	record.State = twophase.StateBegun
	record.Steps = make([]twophase.StepRecord, len(stored))
	for i, step := range stored {
		record.Steps[i] = twophase.StepRecord{
			Name: step.Name, Participant: step.Participant, Payload: joined(step.Payload, step.Bytes),
			Hold: step.Hold, Dropped: step.Dropped,
		}
	}
	if state == twophase.StateBegun {
		return nil
	}
	d, err := decodeDecision(state, decision)
	if err != nil {
		return err
	}
	*record = record.Decided(d)
	return decodeReleased(record, released)
}

func decodeDecision(state twophase.State, decision string) (twophase.Decision, error) {
	var stored storedDecision
	if err := json.Unmarshal([]byte(decision), &stored); err != nil {
		return twophase.Decision{}, fmt.Errorf("decision: %w", err)
	}
	d := twophase.Decision{State: state, Cause: stored.Cause}
	for _, r := range stored.Reservations {
		d.Reservations = append(d.Reservations, twophase.Reservation{
			Resources: r.Resources, TimeLeft: r.TimeLeft, Assigned: r.Assigned, Details: joined(r.Details, r.Bytes),
		})
	}
	return d, nil
}

func decodeReleased(record *twophase.Record, released string) error {
	if released == "" {
		return nil
	}
	var names []string
	if err := json.Unmarshal([]byte(released), &names); err != nil {
		return fmt.Errorf("released: %w", err)
	}
	for i := range record.Steps {
		record.Steps[i].Released = slices.Contains(names, record.Steps[i].Name)
	}
	return nil
}
