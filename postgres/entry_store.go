package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
)

// entryStore keeps the reservations of one participant, of whichever type.
type entryStore struct {
	db          *pgxpool.Pool
	timeout     time.Duration
	participant int64
	retention   time.Duration
	names       *strings.Replacer // of tables and the clock, in statements
	sql         entryStatements
}

// openEntryStore brings the tables up to date and finds the participant in them.
func openEntryStore(ctx context.Context, db *pgxpool.Pool, name, kind string, c *entryConfig) (*entryStore, error) {
	if db == nil {
		c.fail("the database is nil: give that of pgxpool.New")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := checkEncoding(ctx, db); err != nil {
		return nil, err
	}
	schema, err := schemaOf(ctx, db, c.config)
	if err != nil {
		return nil, err
	}
	prepare := migrate
	if c.withoutMigration {
		prepare = checkMigrated
	}
	if err := prepare(ctx, db, schema); err != nil {
		return nil, err
	}
	s := &entryStore{
		db: db, timeout: c.timeout, retention: c.retention,
		names: strings.NewReplacer(
			"PARTICIPANTS", qualified(schema, "twophase_participants"),
			"RESERVATIONS", qualified(schema, "twophase_reservations"),
			"RESOURCES", qualified(schema, "twophase_resources"),
			"CLOCK", c.clock,
		),
	}
	s.sql = newEntryStatements(s.names)
	return s, s.register(ctx, name, kind)
}

// register finds the participant by its name, or makes it known.
func (s *entryStore) register(ctx context.Context, name, kind string) error {
	if _, err := s.db.Exec(ctx, s.sql.register, name, kind); err != nil {
		return fmt.Errorf("postgres: open %s: %w", name, err)
	}
	var stored string
	if err := s.db.QueryRow(ctx, s.sql.registered, name).Scan(&s.participant, &stored); err != nil {
		return fmt.Errorf("postgres: open %s: %w", name, err)
	}
	if stored != kind {
		return fmt.Errorf("postgres: %w: %s is a %s already: give the %s a name of its own",
			twophase.ErrInvalid, name, stored, kind)
	}
	return nil
}

// entryPrelude begins the transactions of a pool. As for the journal, a commit
// that is acknowledged is durable, and everything that is set ends with the
// transaction.
//
// Plans are made once and kept: to plan these statements takes longer than to run
// them. So that they are right whatever size the tables have and grow to, there is
// one choice left: from row to row by an index.
const entryPrelude = `SELECT ` + durable + `,
	set_config('plan_cache_mode', 'force_generic_plan', true),
	set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
	set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
	set_config('enable_material', 'off', true), set_config('jit', 'off', true)`

// transact sends statements as one transaction in one round trip. One that was
// undone because another was in its way is sent again; queue is then called again.
func (s *entryStore) transact(ctx context.Context, queue func(batch *pgx.Batch)) error {
	return s.transactAfter(ctx, entryPrelude, queue)
}

// transactAfter is transact with a prelude of its own.
func (s *entryStore) transactAfter(ctx context.Context, prelude string, queue func(batch *pgx.Batch)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, errNoAnswer)
	defer cancel()
	return retryUndone(ctx, func() error {
		_, err := send(ctx, s.db, prelude, queue)
		return err
	})
}

// pause waits a moment, longer the more often it was called, and returns the
// error of a context that ends.
func pause(ctx context.Context, n int) error {
	most := time.Millisecond << min(n, 6)
	timer := time.NewTimer(most/2 + rand.N(most))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// prune forgets up to limit keys that finished before the retention.
func (s *entryStore) prune(ctx context.Context, limit int) (int, error) {
	return inSteps(limit, pruneStep, func(step int) (n int, err error) {
		err = s.transact(ctx, func(batch *pgx.Batch) {
			n = 0
			batch.Queue(s.sql.prune, s.participant, s.retention.Microseconds(), int64(step)).Query(countRows(&n))
		})
		return n, err
	})
}

// inSteps does something up to limit times, by steps, until there is no more to
// do.
func inSteps(limit, most int, do func(step int) (int, error)) (int, error) {
	done := 0
	for done < limit {
		step := min(limit-done, most)
		n, err := do(step)
		done += n
		if err != nil || n < step {
			return done, err
		}
	}
	return done, nil
}

func countRows(n *int) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			*n++
		}
		return rows.Err()
	}
}

// answerOf is the error of a verdict on a key.
func answerOf(key twophase.Key, v twophase.Verdict) error {
	if v.Err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", v.Err, key)
}

// failed is the error of a call whose effect is not known, or did not take place.
func failed(what fmt.Stringer, err error) error {
	if err == nil || twophase.IsFinal(err) || errors.Is(err, twophase.ErrInvalid) {
		return err
	}
	return fmt.Errorf("postgres: %s: %w", what, err)
}

// sweepStep takes back what has run out, up to limit reservations.
func (s *entryStore) sweepStep(ctx context.Context, limit int) (int, error) {
	n := 0
	err := s.transact(ctx, func(batch *pgx.Batch) {
		n = 0
		batch.Queue(s.sql.sweep, s.participant, int64(limit)).Query(countRows(&n))
	})
	return n, err
}
