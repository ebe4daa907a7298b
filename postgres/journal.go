package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// Journal is a [twophase.Journal] on PostgreSQL. Any number of them, in any
// number of processes, may share one database. Make it with [NewJournal].
type Journal struct {
	pool    *pgxpool.Pool
	timeout time.Duration
	sql     statements
	writes  *groupcommit.Group[*write]
}

var _ twophase.Journal = (*Journal)(nil)

// MaxRecordSize is how many bytes of JSON the steps of a transaction, or its
// decision, may have. Whatever keeps the bounds of package twophase fits.
const MaxRecordSize = 40 << 20

// NewJournal returns the journal on the pool's database, after bringing its
// tables up to date (see [Migrate]). The error is [twophase.ErrInvalid] if an
// option cannot be right.
//
// The pool stays the caller's, who closes it after the journal. The journal
// takes one connection for each commit under way (see [WithCommits]) and one for
// each read, for a round trip at a time.
func NewJournal(ctx context.Context, pool *pgxpool.Pool, options ...Option) (*Journal, error) {
	c := newConfig(options)
	if pool == nil {
		c.fail("the pool is nil: give that of pgxpool.New")
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	if err := checkEncoding(ctx, pool); err != nil {
		return nil, err
	}
	schema, err := schemaOf(ctx, pool, c)
	if err != nil {
		return nil, err
	}
	prepare := migrate
	if c.withoutMigration {
		prepare = checkMigrated
	}
	if err := prepare(ctx, pool, schema); err != nil {
		return nil, err
	}
	j := &Journal{pool: pool, timeout: c.timeout, sql: newStatements(schema)}
	j.writes = groupcommit.New(j.commit, groupcommit.Options{Parallel: c.commits})
	return j, nil
}

// Close commits what is under way and refuses what comes later. It leaves the
// pool open.
func (j *Journal) Close() { j.writes.Close() }

// checkEncoding refuses a database in which not every id can be written.
func checkEncoding(ctx context.Context, pool *pgxpool.Pool) error {
	var encoding string
	if err := pool.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return fmt.Errorf("postgres: open the journal: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("postgres: %w: the database's encoding is %s: UTF8 is needed", twophase.ErrInvalid, encoding)
	}
	return nil
}

// Begin implements [twophase.Journal]. The error is [twophase.ErrInvalid], and
// nothing is written, if the record can never be stored.
func (j *Journal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	w := &write{kind: kindBegin, id: record.ID, record: record}
	if err := w.encodeRecord(); err != nil {
		return twophase.Record{}, false, err
	}
	if err := j.write(ctx, w); err != nil {
		return twophase.Record{}, false, err
	}
	if w.done {
		record.Epoch = 1
		return record, true, nil
	}
	return w.standing, w.standing.BegunAs(record), nil
}

// encodeRecord checks and encodes what Begin stores.
func (w *write) encodeRecord() (err error) {
	record := w.record
	switch {
	case record.ID == "" || len(record.ID) > twophase.MaxIDLength:
		return invalid(record.ID, "an id has 1 to %d bytes", twophase.MaxIDLength)
	case !storable(record.ID):
		return invalid(record.ID, "the id %q is not valid UTF-8", record.ID)
	case !storable(record.Owner):
		return invalid(record.ID, "the owner %q is not valid UTF-8", record.Owner)
	case record.State != twophase.StateBegun && record.State != twophase.StateReleasing:
		return invalid(record.ID, "a transaction does not begin as %v", record.State)
	}
	for _, step := range record.Steps {
		if !utf8.ValidString(step.Name) || !utf8.ValidString(step.Participant) {
			return invalid(record.ID, "step %q at %q is not valid UTF-8", step.Name, step.Participant)
		}
	}
	if w.json, err = encodeSteps(record.Steps); err != nil {
		return invalid(record.ID, "steps: %w", err)
	}
	if record.State != twophase.StateBegun {
		if w.decision, err = encodeDecision(record.Decision()); err != nil {
			return invalid(record.ID, "decision: %w", err)
		}
	}
	return w.checkSize()
}

func (w *write) checkSize() error {
	if n := max(len(w.json), len(w.decision)); n > MaxRecordSize {
		return invalid(w.id, "%d bytes of JSON exceed %d", n, MaxRecordSize)
	}
	return nil
}

// Decide implements [twophase.Journal].
func (j *Journal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	w := &write{kind: kindDecide, id: id, state: d.State}
	if !storable(id) {
		return twophase.Decision{}, gone(id)
	}
	if d.State != twophase.StateAssigned && d.State != twophase.StateReleasing {
		return twophase.Decision{}, invalid(id, "%v is no decision", d.State)
	}
	var err error
	if w.json, err = encodeDecision(d); err != nil {
		return twophase.Decision{}, invalid(id, "decision: %w", err)
	}
	if err := w.checkSize(); err != nil {
		return twophase.Decision{}, err
	}
	if err := j.write(ctx, w); err != nil {
		return twophase.Decision{}, err
	}
	if w.done {
		return d, nil
	}
	return w.standing.Decision(), nil
}

// Released implements [twophase.Journal].
func (j *Journal) Released(ctx context.Context, id string, steps []string) error {
	if !storable(id) {
		return gone(id)
	}
	return j.write(ctx, &write{kind: kindRelease, id: id, steps: steps})
}

// Yield implements [twophase.Journal].
func (j *Journal) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	if !storable(id) || !storable(owner) {
		return nil // nobody has it
	}
	return j.write(ctx, &write{
		kind: kindYield, id: id, owner: owner, epoch: epoch, delay: delay, trouble: storableText(trouble),
	})
}

// write has w committed, together with what others ask for at the same time.
func (j *Journal) write(ctx context.Context, w *write) error {
	if err := j.writes.Do(ctx, w); err != nil {
		return told(w.id, err)
	}
	return told(w.id, w.err)
}

// Claim implements [twophase.Journal]. What is claimed and cannot be read is set
// aside, with the reason.
func (j *Journal) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) ([]twophase.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	var claimed []twophase.Record
	var unreadable []*unreadableError
	err := j.transact(ctx, func(batch *pgx.Batch) {
		claimed, unreadable = nil, nil
		batch.Queue(j.sql.claim, limit, owner, microseconds(lease)).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				r, err := scanRow(rows)
				var bad *unreadableError
				switch {
				case errors.As(err, &bad):
					unreadable = append(unreadable, bad)
				case err != nil:
					return err
				default:
					claimed = append(claimed, r.record)
				}
			}
			return rows.Err()
		})
	})
	if err != nil {
		return nil, told("", err)
	}
	for _, bad := range unreadable {
		// If that fails, the lease runs out by itself.
		_ = j.Yield(ctx, bad.id, owner, bad.epoch, setAside, bad.Error())
	}
	return claimed, nil
}

// setAside is how long a record that cannot be read is left alone.
const setAside = 5 * time.Minute

// Renew implements [twophase.Journal].
func (j *Journal) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	known := make([]string, 0, len(ids))
	for _, id := range ids {
		if storable(id) {
			known = append(known, id)
		}
	}
	if len(known) == 0 {
		return nil
	}
	return told("", j.transact(ctx, func(batch *pgx.Batch) {
		batch.Queue(j.sql.renew, known, owner, microseconds(lease))
	}))
}

// storable reports whether PostgreSQL keeps a string as it is.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// maxTrouble is how many bytes of a trouble are kept.
const maxTrouble = 8 << 10

// storableText returns a text for people in a form that can be stored.
func storableText(s string) string {
	s = s[:min(len(s), maxTrouble)]
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
