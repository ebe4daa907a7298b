package postgres

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

func TestCommitsAreSynchronousWhateverTheDatabaseSays(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{"off": "on", "local": "local", "remote_apply": "remote_apply"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			pool := cluster.Pool(t)
			j := openJournal(t, pool)
			seen := watchCommits(t, pool, "twophase_transactions")
			setDefault(t, pool, "synchronous_commit", setting)
			for _, call := range calls(t.Context(), j) {
				_ = call()
			}
			require.Equal(t, []string{want}, seen())
			var after string
			require.NoError(t, pool.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&after))
			require.Equal(t, setting, after, "of the session, which is the pool's")
		})
	}
}

func TestCommitsOfParticipantsAreSynchronous(t *testing.T) {
	t.Parallel()
	handler := Handler{
		Reserve: func(context.Context, pgx.Tx, twophase.Request) (twophase.Reservation, error) {
			return twophase.Reservation{Resources: []string{"packet-1"}}, nil
		},
		Release: func(context.Context, pgx.Tx, twophase.Key, twophase.Reservation) error { return nil },
	}
	for name, open := range map[string]func(t *testing.T, db *pgxpool.Pool) twophase.Participant{
		"pool": func(t *testing.T, db *pgxpool.Pool) twophase.Participant {
			p, err := NewPool(t.Context(), db, "store", WithoutBackground())
			require.NoError(t, err)
			t.Cleanup(p.Close)
			require.NoError(t, p.Restock(t.Context(), "dosa", "packet-1", "packet-2"))
			return p
		},
		"fence": func(t *testing.T, db *pgxpool.Pool) twophase.Participant {
			f, err := NewFence(t.Context(), db, "store", handler, WithoutBackground())
			require.NoError(t, err)
			t.Cleanup(f.Close)
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := cluster.Pool(t)
			p := open(t, db)
			seen := watchCommits(t, db, "twophase_reservations")
			setDefault(t, db, "synchronous_commit", "off")
			key := twophase.Key{Transaction: "order-1", Step: "store"}
			_, err := p.Reserve(t.Context(), twophase.Request{Key: key, Payload: []byte(`{"kind":"dosa"}`), Hold: time.Minute})
			require.NoError(t, err)
			require.NoError(t, p.Assign(t.Context(), key))
			require.NoError(t, p.Release(t.Context(), key))
			require.NoError(t, p.Release(t.Context(), twophase.Key{Transaction: "order-2", Step: "store"}))
			require.Equal(t, []string{"on"}, seen())
		})
	}
}

// watchCommits returns what tells how those transactions commit that write to a
// table from now on.
func watchCommits(t *testing.T, pool *pgxpool.Pool, table string) (seen func() []string) {
	t.Helper()
	execute(t, pool, `CREATE TABLE seen (setting text)`)
	execute(t, pool, `CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$`)
	execute(t, pool, `CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON `+table+`
		FOR EACH STATEMENT EXECUTE FUNCTION see()`)
	return func() (settings []string) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT array_agg(DISTINCT setting) FROM seen`).Scan(&settings))
		return settings
	}
}

func TestRecordThatCanNeverBeStoredIsInvalid(t *testing.T) {
	t.Parallel()
	j := openJournal(t, cluster.Pool(t))
	for name, spoil := range map[string]func(*twophase.Record){
		"no id":                func(r *twophase.Record) { r.ID = "" },
		"long id":              func(r *twophase.Record) { r.ID = strings.Repeat("x", twophase.MaxIDLength+1) },
		"id not UTF-8":         func(r *twophase.Record) { r.ID = "order\xff" },
		"zero in the id":       func(r *twophase.Record) { r.ID = "order\x00" },
		"zero in the owner":    func(r *twophase.Record) { r.Owner = "\x00" },
		"step not UTF-8":       func(r *twophase.Record) { r.Steps[0].Name = "\xff" },
		"begun as assigned":    func(r *twophase.Record) { r.State = twophase.StateAssigned },
		"too large altogether": func(r *twophase.Record) { r.Steps[0].Payload = make([]byte, MaxRecordSize) },
	} {
		record := benchRecord("order-1")
		spoil(&record)
		_, _, err := j.Begin(t.Context(), record)
		require.ErrorIs(t, err, twophase.ErrInvalid, name)
		require.NotErrorIs(t, err, twophase.ErrUnavailable, name)
	}
	require.Empty(t, listed(t, j, twophase.Filter{}))
	_, err := j.Decide(t.Context(), "order-1", twophase.Decision{State: twophase.StateBegun})
	require.ErrorIs(t, err, twophase.ErrInvalid)
}

func TestIDThatCannotBeOnRecordIsGone(t *testing.T) {
	t.Parallel()
	j := openJournal(t, cluster.Pool(t))
	for _, id := range []string{"order\x00", "order\xff"} {
		_, err := j.Get(t.Context(), id)
		require.ErrorIs(t, err, twophase.ErrGone)
		_, err = j.Decide(t.Context(), id, assigned)
		require.ErrorIs(t, err, twophase.ErrGone)
		require.ErrorIs(t, j.Released(t.Context(), id, nil), twophase.ErrGone)
		require.NoError(t, j.Renew(t.Context(), "coordinator-1", time.Minute, []string{id}))
		require.NoError(t, j.Yield(t.Context(), id, "coordinator-1", 1, 0, ""))
	}
}

// What participants send is stored whatever it is: a decision that could not be
// stored would stay in doubt for ever.
func TestWhateverParticipantsSendComesBack(t *testing.T) {
	t.Parallel()
	j := openJournal(t, cluster.Pool(t))
	texts := []string{`{"shelf":3}`, `{ "spaced" : 1 }`, `"<&>\u2028"`, `not JSON`, "\xff\x00", `null`, ""}
	for _, text := range texts {
		record := benchRecord("order of " + strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "0"), "?"))
		record.Steps[0].Payload = json.RawMessage(text)
		_, _, err := j.Begin(t.Context(), record)
		require.NoError(t, err)
		decision := twophase.Decision{State: twophase.StateAssigned, Reservations: []twophase.Reservation{
			{Resources: []string{"packet-1"}, Details: json.RawMessage(text)}, {Resources: []string{"agent-1"}},
		}}
		_, err = j.Decide(t.Context(), record.ID, decision)
		require.NoError(t, err)
		got, err := j.Get(t.Context(), record.ID)
		require.NoError(t, err)
		assert.Equal(t, text, string(got.Steps[0].Payload))
		assert.Equal(t, text, string(got.Steps[0].Reservation.Details))
	}
	record := benchRecord("trouble")
	_, _, err := j.Begin(t.Context(), record)
	require.NoError(t, err)
	trouble := "away \xff\x00" + strings.Repeat("é", maxTrouble)
	require.NoError(t, j.Yield(t.Context(), record.ID, record.Owner, 1, 0, trouble))
	got, err := j.Get(t.Context(), record.ID)
	require.NoError(t, err)
	require.Contains(t, got.Trouble, "away \uFFFD\uFFFDé")
}

func TestRecordThatCannotBeReadDoesNotHoldUpTheClaimsOfOthers(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	j := openJournal(t, pool)
	for _, id := range []string{"order-1", "order-2", "order-3"} {
		record := benchRecord(id)
		record.Lease = 0
		_, _, err := j.Begin(t.Context(), record)
		require.NoError(t, err)
	}
	execute(t, pool, `UPDATE twophase_transactions SET steps = '{' WHERE id = 'order-2'`)
	claimed, err := j.Claim(t.Context(), "coordinator-2", time.Hour, 10)
	require.NoError(t, err)
	require.Len(t, claimed, 2)
	_, err = j.Get(t.Context(), "order-2")
	require.ErrorContains(t, err, "order-2 cannot be read")
	var owner, trouble string
	const sql = `SELECT owner, trouble FROM twophase_transactions WHERE id = 'order-2'`
	require.NoError(t, pool.QueryRow(t.Context(), sql).Scan(&owner, &trouble))
	require.Empty(t, owner)
	require.Contains(t, trouble, "cannot be read")
	claimed, err = j.Claim(t.Context(), "coordinator-2", time.Hour, 10)
	require.NoError(t, err)
	require.Empty(t, claimed, "it is left alone for a while")
}

// Whoever plans for the table as it is reads the index of what is unfinished,
// and no more of it than is overdue.
func TestClaimReadsOnlyWhatIsOverdue(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	j := openJournal(t, pool)
	execute(t, pool, `INSERT INTO twophase_transactions (id, version, steps, state, decision, ends_if_assigned,
			ends_if_releasing, owner, begun_at, deadline, leased_until, finished_at)
		SELECT 'order-' || n, 1, '[]', 2, '{}', true, true, 'coordinator-1', now(), now(), now(), now()
		FROM generate_series(1, 20000) AS n`)
	record := benchRecord("overdue")
	record.Lease = 0
	_, _, err := j.Begin(t.Context(), record)
	require.NoError(t, err)
	rows, err := pool.Query(t.Context(), `EXPLAIN (COSTS OFF) `+j.sql.claim, 10, "coordinator-2", int64(1000))
	require.NoError(t, err)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		plan = append(plan, line)
	}
	require.NoError(t, rows.Err())
	text := strings.Join(plan, "\n")
	require.Contains(t, text, "Index Scan using twophase_transactions_open")
	require.Contains(t, text, "Index Cond: (leased_until <=")
	require.NotContains(t, text, "Seq Scan on twophase_transactions")
}

// A pooler in transaction mode hands the session to somebody else after each
// transaction.
func TestNothingIsLeftBehindInTheSession(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t, withConns(1), inMode(pgx.QueryExecModeExec))
	j := openJournal(t, pool)
	state := func() (lines []string) {
		const sql = `SELECT array_agg(line ORDER BY line) FROM (
			SELECT name || ' = ' || setting AS line FROM pg_settings
			UNION ALL SELECT 'prepared ' || name FROM pg_prepared_statements
			UNION ALL SELECT 'locked ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
			UNION ALL SELECT 'backend ' || pg_backend_pid()) AS lines`
		require.NoError(t, pool.QueryRow(t.Context(), sql).Scan(&lines))
		return lines
	}
	before := state()
	require.NoError(t, Migrate(t.Context(), pool, WithSchema("another")))
	for name, call := range calls(t.Context(), j) {
		if err := call(); err != nil {
			require.ErrorIs(t, err, twophase.ErrGone, name)
		}
	}
	require.Equal(t, before, state())
}
