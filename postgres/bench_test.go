package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

var callers = []int{1, 64, 256}

// BenchmarkJournal writes the two records of a placed transaction, by so many
// callers at once.
func BenchmarkJournal(b *testing.B) {
	for _, n := range callers {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			j := openJournal(b, cluster.Pool(b, withConns(8)))
			run := rand.Uint64()
			b.ReportAllocs()
			measure(b, n, "pairs/s", func(ctx context.Context, i int64) error { return place(ctx, j, run, i) })
		})
	}
}

// BenchmarkSingleInserts is what BenchmarkJournal is measured by: the same row
// inserted and committed, from as many connections as there are callers. A
// journal that writes each record by itself has half as many pairs a second.
func BenchmarkSingleInserts(b *testing.B) {
	for _, n := range callers {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			pool := cluster.Pool(b, withConns(int32(n)))
			openJournal(b, pool)
			warm(b, pool, n)
			run := rand.Uint64()
			b.ReportAllocs()
			measure(b, n, "commits/s", func(ctx context.Context, i int64) error { return insert(ctx, pool, run, i) })
		})
	}
}

// BenchmarkJournalWithHistory shows what finished transactions cost those that
// come after them.
func BenchmarkJournalWithHistory(b *testing.B) {
	for _, finished := range []int{0, 1_000_000} {
		pool := cluster.Pool(b, withConns(8))
		j := openJournal(b, pool)
		fill(b, pool, finished)
		b.Run(fmt.Sprintf("finished=%d", finished), func(b *testing.B) {
			run := rand.Uint64()
			b.ReportAllocs()
			measure(b, 64, "pairs/s", func(ctx context.Context, i int64) error { return place(ctx, j, run, i) })
			reportSize(b, pool)
		})
	}
}

// fill writes the records of placed transactions.
func fill(b testing.TB, pool *pgxpool.Pool, n int) {
	b.Helper()
	steps, err := encodeSteps(benchRecord("").Steps)
	require.NoError(b, err)
	decision, err := encodeDecision(assigned)
	require.NoError(b, err)
	_, err = pool.Exec(b.Context(), `INSERT INTO twophase_transactions (id, version, steps, state, decision,
			ends_if_assigned, ends_if_releasing, owner, begun_at, deadline, leased_until, finished_at)
		SELECT 'order-' || md5(n::text), 1, $2, 2, $3, true, false, 'coordinator-1', t, t, t, t
		FROM generate_series(1, $1::bigint) AS n, LATERAL (SELECT now() - interval '1 hour' + n * interval '1 microsecond') AS at (t)`,
		n, steps, decision)
	require.NoError(b, err)
	for _, sql := range []string{`VACUUM ANALYSE twophase_transactions`, `CHECKPOINT`} { // what a day would have done
		_, err = pool.Exec(b.Context(), sql)
		require.NoError(b, err)
	}
}

// reportSize reports how much a transaction takes, with its indexes.
func reportSize(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	var size float64
	const sql = `SELECT pg_total_relation_size('twophase_transactions')::float8 / greatest(count(*), 1) FROM twophase_transactions`
	require.NoError(b, pool.QueryRow(b.Context(), sql).Scan(&size))
	b.ReportMetric(size, "bytes/transaction")
}

// measure shares b.N calls among so many callers.
func measure(b *testing.B, callers int, unit string, do func(ctx context.Context, i int64) error) {
	b.Helper()
	ctx := b.Context()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var done sync.WaitGroup
	start := time.Now()
	b.ResetTimer()
	for range callers {
		done.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := do(ctx, i); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	done.Wait()
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), unit)
}

func benchRecord(id string) twophase.Record {
	return twophase.Record{
		Version: twophase.RecordVersion, ID: id, State: twophase.StateBegun, Owner: "coordinator-1",
		Deadline: time.Minute, Lease: 15 * time.Second,
		Steps: []twophase.StepRecord{
			{Name: "store", Participant: "store", Payload: json.RawMessage(`{"food":"masala dosa"}`), Hold: time.Minute},
			{Name: "delivery", Participant: "delivery", Payload: json.RawMessage(`{"area":"Indiranagar"}`), Hold: time.Minute},
		},
	}
}

func place(ctx context.Context, j twophase.Journal, run uint64, i int64) error {
	id := fmt.Sprintf("order-%x-%d", run^uint64(i)*0x9e3779b97f4a7c15, i)
	if _, _, err := j.Begin(ctx, benchRecord(id)); err != nil {
		return err
	}
	_, err := j.Decide(ctx, id, twophase.Decision{State: twophase.StateAssigned, Reservations: []twophase.Reservation{
		{Resources: []string{"packet-1"}, Assigned: true}, {Resources: []string{"agent-1"}, Assigned: true},
	}})
	return err
}

func insert(ctx context.Context, pool *pgxpool.Pool, run uint64, i int64) error {
	id := fmt.Sprintf("order-%x-%d", run^uint64(i)*0x9e3779b97f4a7c15, i)
	steps, err := encodeSteps(benchRecord(id).Steps)
	if err != nil {
		return err
	}
	const sql = `INSERT INTO twophase_transactions (id, version, steps, state, ends_if_assigned, ends_if_releasing,
		owner, begun_at, deadline, leased_until) VALUES ($1, 1, $2, 1, true, false, 'coordinator-1',
		now(), now() + interval '1 minute', now() + interval '15 seconds')`
	_, err = pool.Exec(ctx, sql, id, steps)
	return err
}

// warm opens all connections of a pool.
func warm(b testing.TB, pool *pgxpool.Pool, n int) {
	b.Helper()
	conns := make([]*pgxpool.Conn, n)
	for i := range conns {
		conn, err := pool.Acquire(b.Context())
		require.NoError(b, err)
		_, err = conn.Exec(b.Context(), "SELECT 1", pgx.QueryExecModeCacheStatement)
		require.NoError(b, err)
		conns[i] = conn
	}
	for _, conn := range conns {
		conn.Release()
	}
}
