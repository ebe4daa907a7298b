package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// eachCell calls do for every call on every entry that can exist.
func eachCell(do func(c call, state twophase.EntryState, over bool, o origin)) {
	for c := range callKinds {
		for state := twophase.EntryReserved; state <= twophase.EntryExpired; state++ {
			for _, over := range []bool{false, true} {
				for o := range origins {
					do(c, state, over, o)
				}
			}
		}
	}
}

// What the rules leave out is what no verdict touches.
func TestVerdictsOnEntriesThatExistChangeTheirStateOnly(t *testing.T) {
	t.Parallel()
	eachCell(func(c call, state twophase.EntryState, over bool, o origin) {
		e, fingerprint, now := representative(state, over, o)
		v := c.judge(e, fingerprint, now)
		next := e
		next.State = v.Entry.State
		require.Equal(t, next, v.Entry)
		require.False(t, v.Take)
	})
}

// What is stored by the rules is what Entry says of the entry that was loaded, in
// every cell of the contract's table.
func TestStoredVerdictsAreThoseOfEntry(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	p := openPool(t, db, "store", WithoutBackground())
	eachCell(func(c call, state twophase.EntryState, over bool, o origin) {
		name := fmt.Sprintf("call %d on %v, over %v, origin %d", c, state, over, o)
		e, fingerprint, _ := representative(state, over, o)
		stored := []byte{}
		if o != originBlank {
			stored = e.Fingerprint[:]
		}
		expires := time.Hour
		if over {
			expires = -time.Millisecond
		}
		key := orderKey(name)
		require.NoError(t, p.Restock(t.Context(), dosa, name))
		_, err := db.Exec(t.Context(), `INSERT INTO twophase_reservations
			(participant, transaction, step, state, fingerprint, kind, resources, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8 * interval '1 microsecond')`,
			p.participant, key.Transaction, key.Step, int64(state), stored, dosa, []string{name}, expires.Microseconds())
		require.NoError(t, err)
		if e.Holds() {
			_, err := db.Exec(t.Context(), `UPDATE twophase_resources SET transaction = $1, step = $2 WHERE id = $3`,
				key.Transaction, key.Step, name)
			require.NoError(t, err)
		}
		a := &asked{call: c, key: key, fingerprint: fingerprint}
		require.NoError(t, p.ask(t.Context(), a), name)
		require.True(t, a.found, name)
		require.Equal(t, c.judge(e, fingerprint, time.Unix(1_000_000, 0)).Err, a.verdict.Err, name)

		var next int64
		var finished, held bool
		require.NoError(t, db.QueryRow(t.Context(), `SELECT e.state, e.finished_at IS NOT NULL, r.transaction IS NOT NULL
			FROM twophase_reservations AS e, twophase_resources AS r
			WHERE e.transaction = $1 AND r.id = $2`, key.Transaction, name).Scan(&next, &finished, &held))
		assert.Equal(t, a.verdict.Entry.State, twophase.EntryState(next), name)
		assert.Equal(t, e.Holds() && !a.verdict.Free, held, name)
		if a.verdict.Entry != a.entry.Entry {
			assert.Equal(t, !a.verdict.Entry.Holds(), finished, name)
		}
	})
}

// While an Assign waits for the lock, the reservation's time runs out: the clock is
// read after the lock is held.
func TestAssignThatWaitedForTheLockIsJudgedByTheClockAfterwards(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	execute(t, db, shelvesTable)
	stock(t, db, "shop", 1)
	p := openPool(t, db, "store", WithoutBackground())
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1"))
	f := openFence(t, db, "shop", shelves("shop"), WithoutBackground())
	for name, participant := range map[string]twophase.Participant{"pool": p, "fence": f} {
		const hold = 3 * time.Second
		began := time.Now()
		_, err := reserveOne(t.Context(), participant, "order-1", dosa, hold)
		require.NoError(t, err)
		reserved := time.Now()
		answer := make(chan error, 1)
		require.NoError(t, pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `SELECT FROM twophase_reservations WHERE transaction = 'order-1' FOR UPDATE`)
			require.NoError(t, err)
			go func() { answer <- participant.Assign(context.WithoutCancel(t.Context()), orderKey("order-1")) }()
			requireWaiter(t, p)
			require.Less(t, time.Since(began), hold, "the machine is too slow for this test")
			time.Sleep(hold - time.Since(reserved) + 10*time.Millisecond)
			return nil
		}))
		require.ErrorIs(t, <-answer, twophase.ErrExpired, name)
		require.NoError(t, participant.Release(t.Context(), orderKey("order-1")))
	}
}

// requireWaiter waits until somebody waits for a lock in the database.
func requireWaiter(t testing.TB, p *Pool) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting bool
		err := p.db.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		return err == nil && waiting
	}, 10*time.Second, time.Millisecond)
}

func TestRetentionThatIsTooShortIsRefused(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	for name, test := range map[string]struct {
		options []ParticipantOption
		right   bool
	}{
		"defaults":             {nil, true},
		"no room for messages": {[]ParticipantOption{WithRetention(time.Hour)}, false},
		"just enough":          {[]ParticipantOption{WithRetention(time.Hour + slowestMessage)}, true},
		"long timeouts":        {[]ParticipantOption{WithLongestTimeout(24 * time.Hour)}, false},
		"both are long":        {[]ParticipantOption{WithLongestTimeout(24 * time.Hour), WithRetention(48 * time.Hour)}, true},
		"no timeout":           {[]ParticipantOption{WithLongestTimeout(0)}, false},
	} {
		var poolOptions []PoolOption
		var fenceOptions []FenceOption
		for _, option := range test.options {
			poolOptions, fenceOptions = append(poolOptions, option), append(fenceOptions, option)
		}
		p, err := NewPool(t.Context(), db, "store", poolOptions...)
		f, fenceErr := NewFence(t.Context(), db, "shop", shelves("shop"), fenceOptions...)
		if test.right {
			require.NoError(t, err, name)
			require.NoError(t, fenceErr, name)
			p.Close()
			f.Close()
			continue
		}
		require.ErrorIs(t, err, twophase.ErrInvalid, name)
		require.ErrorIs(t, fenceErr, twophase.ErrInvalid, name)
		require.ErrorContains(t, err, "With", name)
	}
}

func TestParticipantsThatCannotBeRightAreRefused(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	openPool(t, db, "store")
	openFence(t, db, "shop", shelves("shop"))
	for name, open := range map[string]func() error{
		"a fence of a pool's name": func() error { _, err := NewFence(t.Context(), db, "store", shelves("shop")); return err },
		"a pool of a fence's name": func() error { _, err := NewPool(t.Context(), db, "shop"); return err },
		"no name":                  func() error { _, err := NewPool(t.Context(), db, ""); return err },
		"a long name":              func() error { _, err := NewPool(t.Context(), db, strings.Repeat("x", 256)); return err },
		"no database":              func() error { _, err := NewPool(t.Context(), nil, "store"); return err },
		"no handler":               func() error { _, err := NewFence(t.Context(), db, "other", Handler{}); return err },
		"an option that is nil":    func() error { _, err := NewPool(t.Context(), db, "store", nil); return err },
		"WithLogger nil":           func() error { _, err := NewPool(t.Context(), db, "store", WithLogger(nil)); return err },
		"For nil":                  func() error { _, err := NewPool(t.Context(), db, "store", For[string](nil)); return err },
		"no schema":                func() error { _, err := NewPool(t.Context(), db, "store", WithSchema("")); return err },
	} {
		require.ErrorIs(t, open(), twophase.ErrInvalid, name)
	}
}

func TestPruneForgetsWhatFinishedBeforeTheRetentionInSmallSteps(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	p := openPool(t, db, "store", WithoutBackground())
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
	_, err := reserveOne(t.Context(), p, "held", dosa, time.Hour)
	require.NoError(t, err)
	require.NoError(t, p.Release(t.Context(), orderKey("recent")))
	execute(t, db, `INSERT INTO twophase_reservations (participant, transaction, step, state, fingerprint, expires_at, finished_at)
		SELECT 1, 'old-' || n, 'store', 3 + n % 2, '', now(), now() - interval '24 hours 1 second' FROM generate_series(1, 1200) AS n`)
	n, err := p.Prune(t.Context(), 1100)
	require.NoError(t, err)
	require.Equal(t, 1100, n)
	n, err = p.Prune(t.Context(), 1100)
	require.NoError(t, err)
	require.Equal(t, 100, n)
	require.NoError(t, p.Assign(t.Context(), orderKey("held")))
	_, err = reserveOne(t.Context(), p, "recent", dosa, time.Hour)
	require.ErrorIs(t, err, twophase.ErrReleased)
	_, err = reserveOne(t.Context(), p, "old-1", dosa, time.Hour)
	require.NoError(t, err, "what is forgotten is new")
}

// Plans are kept, so they have to be right from the beginning to whatever size.
func TestStatementsGoFromRowToRowByAnIndexWhateverTheSize(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	p := openPool(t, db, "store", WithoutBackground())
	none := []string{}
	statements := map[string][]any{
		p.sql.judge:      {p.participant, none, none, []int64{}, [][]byte{}},
		p.sql.expireKind: {p.participant, dosa, int64(1), time.Now()},
		p.sql.assign:     {p.participant, none, none},
		p.sql.sweep:      {p.participant, int64(1)},
		p.sql.tombstone:  {p.participant, none, none},
		p.sql.prune:      {p.participant, int64(1), int64(1)},
		p.taking.full: {
			p.participant, none, none, [][]byte{}, none, []int64{}, []int64{}, none, []time.Time{}, int64(1),
		},
		p.taking.fresh: {
			p.participant, none, none, [][]byte{}, none, []int64{}, []int64{}, none, []time.Time{}, int64(1),
		},
		p.taking.quick: {p.participant, none, none, [][]byte{}, []int64{}, none, []int64{}, []int64{}, int64(1)},
		p.taking.probe: {p.participant, none, none, none, none, []time.Time{}},
		p.taking.of(Query{OrderBy: "attributes ->> 'baked'"}, true): {
			p.participant, none, none, [][]byte{}, none, []int64{}, []int64{}, none, []time.Time{}, int64(1),
		},
	}
	alone := map[string][]any{
		p.taking.one:    {p.participant, dosa, int64(1), "order-1", "store", []byte{}, int64(1)},
		p.sql.assignOne: {p.participant, "order-1", "store"},
	}
	asksWhatWasFreed := map[string]bool{p.taking.fresh: true, p.taking.probe: true}
	for _, rows := range []int{0, 1, 1000, 20_000} {
		_, err := db.Exec(t.Context(), `INSERT INTO twophase_resources (participant, id, kind, slot, freed)
			SELECT $1, 'packet-' || n, 'kind-' || n % 3, hashtext(n::text), pg_current_xact_id()
			FROM generate_series(1, $2::bigint) AS n ON CONFLICT DO NOTHING`,
			p.participant, rows)
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), `INSERT INTO twophase_reservations (participant, transaction, step, state, fingerprint, expires_at)
			SELECT $1, 'order-' || n, 'store', 1 + n % 4, '', now() FROM generate_series(1, $2::bigint) AS n ON CONFLICT DO NOTHING`,
			p.participant, rows)
		require.NoError(t, err)
		if rows != 1000 {
			execute(t, db, `ANALYZE`)
		}
		plans := map[string]string{}
		for sql, args := range statements {
			plans[sql] = explain(t, p, entryPrelude, sql, args)
		}
		for sql, args := range alone {
			plans[sql] = explain(t, p, preludeAlone, sql, args)
		}
		for sql, text := range plans {
			require.NotContains(t, text, "Seq Scan on twophase", "%d rows: %s", rows, sql)
			require.NotContains(t, text, "twophase_resources_listed", "%d rows: %s", rows, sql)
			require.NotContains(t, text, "hashed SubPlan", "%d rows: %s", rows, sql)
			require.Equal(t, asksWhatWasFreed[sql], strings.Contains(text, "twophase_resources_freed"), "%d rows: %s\n%s", rows, sql, text)
			for line := range strings.Lines(text) {
				if wholePrimaryKey.MatchString(line) {
					condition := text[strings.Index(text, line)+len(line):]
					require.Regexp(t, `^\s+Index Cond: .*(\bid = |transaction = )`, condition, "%d rows: %s", rows, sql)
				}
			}
		}
	}
}

var wholePrimaryKey = regexp.MustCompile(`Index (Only )?Scan using twophase_(resources|reservations)_pkey`)

// explain returns the plan that is kept.
func explain(t testing.TB, p *Pool, prelude, sql string, args []any) string {
	t.Helper()
	var plan string
	require.NoError(t, pgx.BeginFunc(t.Context(), p.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), prelude); err != nil {
			return err
		}
		rows, err := tx.Query(t.Context(), "EXPLAIN (COSTS OFF) "+sql, args...)
		lines, err := collect[string](rows, err)
		plan = strings.Join(lines, "\n")
		return err
	}))
	return plan
}
