package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

var (
	assigned = twophase.Decision{State: twophase.StateAssigned, Reservations: []twophase.Reservation{
		{Resources: []string{"packet-1"}, Assigned: true},
		{Resources: []string{"agent-1"}, Assigned: true},
	}}
	releasing = twophase.Decision{State: twophase.StateReleasing, Cause: &twophase.Cause{Message: "no agent left"}}
)

func TestLostAcknowledgementLeavesItOpenAndTheRepeatedCallTells(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	direct := openJournal(t, pool)
	for _, cut := range []struct {
		name      string
		at        int32
		committed bool
	}{
		{"committed and not acknowledged", cutAnswer, true},
		{"never arrived", cutRequest, false},
	} {
		t.Run(cut.name, func(t *testing.T) {
			proxied, proxy := throughProxy(t, pool)
			j := openJournal(t, proxied)
			record := benchRecord("order " + cut.name)

			proxy.cut.Store(cut.at)
			_, _, err := j.Begin(t.Context(), record)
			requireOpen(t, err)
			_, gone := direct.Get(t.Context(), record.ID)
			assert.Equal(t, cut.committed, gone == nil, "there is a record")
			_, created, err := j.Begin(t.Context(), record)
			require.NoError(t, err)
			require.True(t, created)

			proxy.cut.Store(cut.at)
			_, err = j.Decide(t.Context(), record.ID, assigned)
			requireOpen(t, err)
			standing, err := j.Decide(t.Context(), record.ID, releasing)
			require.NoError(t, err)
			if cut.committed {
				require.Equal(t, assigned, standing)
			} else {
				require.Equal(t, releasing, standing)
			}
			require.Equal(t, int32(2), proxy.cuts.Load())
		})
	}
}

func TestDatabaseThatDoesNotAnswerIsWaitedForNoLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	openJournal(t, pool)
	proxied, proxy := throughProxy(t, pool)
	j := openJournal(t, proxied, WithTimeout(2*time.Second))
	record := benchRecord("order-1")
	proxy.cut.Store(loseAnswer)
	start := time.Now()
	_, _, err := j.Begin(t.Context(), record)
	requireOpen(t, err)
	require.GreaterOrEqual(t, time.Since(start), 2*time.Second)
	_, created, err := j.Begin(t.Context(), record)
	require.NoError(t, err)
	require.True(t, created)
}

func TestOneLostConnectionIsEnoughToGiveUpTheOthers(t *testing.T) {
	t.Parallel()
	const conns = 4
	pool := cluster.Pool(t, withConns(conns))
	j := openJournal(t, pool)
	warm(t, pool, conns)
	execute(t, open(t, pool.Config().ConnString()), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	failures := 0
	for n := range conns {
		if _, _, err := j.Begin(t.Context(), benchRecord(fmt.Sprint("order-", n))); err != nil {
			failures++
		}
	}
	require.LessOrEqual(t, failures, 1)
}

// requireOpen checks that an error leaves open whether the write took place.
func requireOpen(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	require.NotErrorIs(t, err, twophase.ErrUnavailable)
	require.NotErrorIs(t, err, twophase.ErrGone)
}

// gate is a participant whose Assign waits until it is opened.
type gate struct {
	reached chan struct{}
	opened  chan struct{}
	once    sync.Once
}

func newGate() *gate { return &gate{reached: make(chan struct{}), opened: make(chan struct{})} }

func (g *gate) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	return twophase.Reservation{Resources: []string{req.Key.Transaction}, TimeLeft: req.Hold}, nil
}

func (g *gate) Assign(ctx context.Context, _ twophase.Key) error {
	g.once.Do(func() { close(g.reached) })
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) Release(context.Context, twophase.Key) error { return nil }

func TestDatabaseThatCrashesHoldsUpWhatIsUnderWayAndRefusesWhatIsNew(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	own, err := pgtest.Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, own.Stop()) })
	j := openJournal(t, own.Pool(t))
	store := newGate()
	coordinator, err := twophase.NewCoordinator(j, twophase.WithParticipant("store", store), twophase.WithTimeout(time.Minute))
	require.NoError(t, err)
	run := func(ctx context.Context, id string) error {
		_, err := coordinator.Run(ctx, twophase.Transaction{ID: id, Steps: []twophase.Step{{Participant: "store"}}})
		return err
	}

	underWay := make(chan error, 1)
	go func() { underWay <- run(ctx, "under way") }()
	<-store.reached
	require.NoError(t, own.StopImmediate())
	close(store.opened)
	// The first may still find a connection that looks alive, and is in doubt.
	requireSoon(t, func(n int) bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return errors.Is(run(ctx, fmt.Sprint("refused-", n)), twophase.ErrUnavailable)
	}, "what is new is refused")
	select {
	case err := <-underWay:
		t.Fatalf("what is under way does not wait: %v", err)
	default:
	}

	require.NoError(t, own.StartAgain(ctx))
	require.NoError(t, <-underWay)
	require.NoError(t, run(ctx, "new"))
	record, err := j.Get(ctx, "under way")
	require.NoError(t, err)
	require.Equal(t, twophase.StateAssigned, record.State)
	require.NoError(t, coordinator.Close(ctx))
}

// requireSoon asks again, in this goroutine, until what is to be so is so.
func requireSoon(t *testing.T, so func(n int) bool, what string) {
	t.Helper()
	for n, end := 0, time.Now().Add(30*time.Second); time.Now().Before(end); n++ {
		if so(n) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal(what)
}

func TestUnreachableDatabaseIsUnavailable(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	j := openJournal(t, pool)
	pool.Close()
	for name, call := range calls(t.Context(), j) {
		assert.ErrorIs(t, call(), twophase.ErrUnavailable, name)
	}
}

func TestClosedJournalIsUnavailable(t *testing.T) {
	t.Parallel()
	j := openJournal(t, cluster.Pool(t))
	j.Close()
	_, _, err := j.Begin(t.Context(), benchRecord("order-1"))
	require.ErrorIs(t, err, twophase.ErrUnavailable)
	require.ErrorContains(t, err, "order-1")
}

// calls are all of a journal's.
func calls(ctx context.Context, j *Journal) map[string]func() error {
	return map[string]func() error{
		"Begin":    func() error { _, _, err := j.Begin(ctx, benchRecord("order-1")); return err },
		"Decide":   func() error { _, err := j.Decide(ctx, "order-1", assigned); return err },
		"Released": func() error { return j.Released(ctx, "order-1", []string{"store"}) },
		"Yield":    func() error { return j.Yield(ctx, "order-1", "coordinator-1", 1, 0, "") },
		"Renew":    func() error { return j.Renew(ctx, "coordinator-1", time.Minute, []string{"order-1"}) },
		"Claim":    func() error { _, err := j.Claim(ctx, "coordinator-1", time.Minute, 1); return err },
		"Get":      func() error { _, err := j.Get(ctx, "order-1"); return err },
		"Prune":    func() error { _, err := j.Prune(ctx, time.Hour, 1); return err },
		"List": func() error {
			for _, err := range j.List(ctx, twophase.Filter{}) {
				return err
			}
			return nil
		},
	}
}

func TestTableThatIsGoneIsUnavailable(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	j := openJournal(t, pool)
	execute(t, pool, `DROP TABLE twophase_transactions`)
	for name, call := range calls(t.Context(), j) {
		assert.ErrorIs(t, call(), twophase.ErrUnavailable, name)
	}
}

func TestReadOnlyServerIsUnavailableUntilItIsThePrimary(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	j := openJournal(t, pool)
	begin := func() error { _, _, err := j.Begin(t.Context(), benchRecord("order-1")); return err }
	setDefault(t, pool, "default_transaction_read_only", "on")
	requireSoon(t, func(int) bool { return errors.Is(begin(), twophase.ErrUnavailable) }, "it is read-only")
	direct, err := pgxpool.New(t.Context(), pool.Config().ConnString()+"&default_transaction_read_only=off")
	require.NoError(t, err)
	t.Cleanup(direct.Close)
	setDefault(t, direct, "default_transaction_read_only", "off")
	requireSoon(t, func(int) bool { return begin() == nil }, "it is the primary again")
}

func TestRecordMayBeAsLargeAsIsAllowed(t *testing.T) {
	t.Parallel()
	j := openJournal(t, cluster.Pool(t))
	record := benchRecord("order-1")
	record.Steps[0].Payload = json.RawMessage(`""`)
	empty, err := encodeSteps(record.Steps)
	require.NoError(t, err)
	for _, more := range []int{1, 0} {
		text := strings.Repeat("a", MaxRecordSize-len(empty)+more)
		record.Steps[0].Payload = json.RawMessage(`"` + text + `"`)
		_, _, err = j.Begin(t.Context(), record)
		if more > 0 {
			require.ErrorIs(t, err, twophase.ErrInvalid)
		} else {
			require.NoError(t, err)
		}
	}
}

func TestRecordThatCannotBeReadFailsAlone(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	j := openJournal(t, db)
	for _, id := range []string{"bad", "good"} {
		_, _, err := j.Begin(t.Context(), benchRecord(id))
		require.NoError(t, err)
		_, err = j.Decide(t.Context(), id, releasing)
		require.NoError(t, err)
	}
	execute(t, db, `UPDATE twophase_transactions SET steps = 'not json' WHERE id = 'bad'`)
	steps := []string{benchRecord("good").Steps[0].Name}
	writes := []*write{{kind: kindRelease, id: "bad", steps: steps}, {kind: kindRelease, id: "good", steps: steps}}
	require.NoError(t, j.commit(t.Context(), writes))
	assert.Error(t, writes[0].err)
	assert.NoError(t, writes[1].err)
}

func TestBadRecordFailsAlone(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	j := openJournal(t, pool)
	execute(t, pool, `ALTER TABLE twophase_transactions ADD CHECK (id NOT LIKE 'bad%')`)
	const callers = 32
	batch := make([]*write, callers)
	for i := range batch {
		id := "order-" + string(rune('A'+i))
		if i%11 == 3 {
			id = "bad-" + id
		}
		batch[i] = &write{kind: kindBegin, id: id, record: benchRecord(id)}
		require.NoError(t, batch[i].encodeRecord())
	}
	require.NoError(t, j.commit(t.Context(), batch))
	for i, w := range batch {
		if i%11 == 3 {
			assert.ErrorIs(t, told(w.id, w.err), twophase.ErrInvalid, w.id)
			continue
		}
		assert.NoError(t, w.err, w.id)
		_, err := j.Get(t.Context(), w.id)
		assert.NoError(t, err, w.id)
	}
}

func TestErrorAtTheVeryCommitIsNoSuccess(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			pool := cluster.Pool(t, inMode(mode))
			j := openJournal(t, pool)
			execute(t, pool, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE EXCEPTION 'not at the commit either'; END $$`)
			execute(t, pool, `CREATE CONSTRAINT TRIGGER late AFTER INSERT ON twophase_transactions
				DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
			_, _, err := j.Begin(t.Context(), benchRecord("order-1"))
			require.ErrorIs(t, err, twophase.ErrInvalid)
			require.ErrorContains(t, err, "not at the commit either")
			_, err = j.Get(t.Context(), "order-1")
			require.ErrorIs(t, err, twophase.ErrGone)
		})
	}
}

func TestCancelledCallerDoesNotFailItsBatch(t *testing.T) {
	t.Parallel()
	pool := cluster.Pool(t)
	j := openJournal(t, pool, WithCommits(1))
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE twophase_transactions`)
	require.NoError(t, err)

	// The first commit waits for the lock, and the others for it.
	const callers = 16
	ctx, cancel := context.WithCancel(t.Context())
	errs := make([]error, callers)
	var done sync.WaitGroup
	for i := range callers {
		own := t.Context()
		if i%2 == 0 {
			own = ctx
		}
		done.Go(func() { _, _, errs[i] = j.Begin(own, benchRecord("order-"+string(rune('A'+i)))) })
	}
	requireSoon(t, func(int) bool { return waiting(t, pool) > 0 }, "a commit waits for the lock")
	cancel()
	require.NoError(t, tx.Rollback(t.Context()))
	done.Wait()
	for i, err := range errs {
		id := "order-" + string(rune('A'+i))
		_, gone := j.Get(t.Context(), id)
		switch {
		case i%2 == 1:
			assert.NoError(t, err, id)
			assert.NoError(t, gone, id)
		case errors.Is(err, twophase.ErrUnavailable):
			assert.ErrorIs(t, gone, twophase.ErrGone, id)
		case err != nil:
			assert.ErrorIs(t, err, context.Canceled, id)
		}
	}
}

// waiting returns how many sessions of the database wait for a lock.
func waiting(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	const sql = `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`
	require.NoError(t, pool.QueryRow(t.Context(), sql).Scan(&n))
	return n
}

func execute(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// setDefault changes a setting of the database, for connections made from now
// on.
func setDefault(t *testing.T, pool *pgxpool.Pool, setting, value string) {
	t.Helper()
	execute(t, pool, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET `+setting+` = `+value+`', current_database()); END $$`)
	pool.Reset()
}
