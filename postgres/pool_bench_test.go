package postgres

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

var million = flag.Bool("million", false, "run the benchmarks of pools on a million resources too")

// BenchmarkPool reserves and assigns by so many callers at once, from a pool of which
// half is taken. What they get is released by others at the same time, so it never
// runs out, and that is not counted. Beside it, in the same run, pgbench does as many
// of the plainest transactions that there are, one UPDATE by the primary key each,
// from as many connections as there are callers.
//
//	go test -run '^$' -bench BenchmarkPool -benchtime 10000x -million .
func BenchmarkPool(b *testing.B) {
	for _, resources := range resourceCounts() {
		for _, kinds := range []int{1, 1000} {
			for _, callers := range []int{1, 16, 64, 256} {
				b.Run(fmt.Sprintf("resources=%d/kinds=%d/callers=%d", resources, kinds, callers), func(b *testing.B) {
					benchmarkPool(b, max(resources, 2*kinds), kinds, callers)
				})
			}
		}
	}
}

func resourceCounts() []int {
	if *million {
		return []int{1000, 1_000_000}
	}
	return []int{1000}
}

func benchmarkPool(b *testing.B, resources, kinds, callers int) {
	db := cluster.Pool(b, withConns(16))
	p := openPool(b, db, "store")
	fillPool(b, p, resources, kinds)
	run := rand.Uint64()
	release, released := releaseBehind(b, p, callers)
	b.ReportAllocs()
	measure(b, callers, "pairs/s", func(ctx context.Context, i int64) error {
		key := orderKey(keyOf(run, i))
		if err := pair(ctx, p, key, kindName(rand.IntN(kinds))); err != nil {
			return err
		}
		release <- key
		return nil
	})
	pairs := float64(b.N) / b.Elapsed().Seconds()
	released()
	plain := pgbench(b, db, resources, callers, b.N)
	b.ReportMetric(plain, "plain/s")
	b.ReportMetric(pairs/plain, "pairs/plain")
}

func kindName(n int) string { return fmt.Sprint("kind-", n) }

// pair reserves one resource and assigns it. A kind may be sold out for a moment, if
// there are two of it.
func pair(ctx context.Context, p *Pool, key twophase.Key, kind string) error {
	for {
		_, err := p.Reserve(ctx, twophase.Request{Key: key, Payload: fmt.Appendf(nil, `{"kind":%q}`, kind), Hold: time.Minute})
		switch {
		case err == nil:
			return p.Assign(ctx, key)
		case !twophase.IsFinal(err):
			return err
		}
	}
}

// releaseBehind releases keys while others go on.
func releaseBehind(b *testing.B, p *Pool, callers int) (release chan<- twophase.Key, wait func()) {
	b.Helper()
	keys := make(chan twophase.Key, callers)
	var done sync.WaitGroup
	for range callers {
		done.Go(func() {
			for key := range keys {
				if err := p.Release(context.Background(), key); err != nil {
					b.Error(err)
				}
			}
		})
	}
	return keys, func() {
		close(keys)
		done.Wait()
	}
}

// fillPool adds resources, every other one of which is assigned to an order of its
// own.
func fillPool(b *testing.B, p *Pool, resources, kinds int) {
	b.Helper()
	_, err := p.db.Exec(b.Context(), `INSERT INTO twophase_resources (participant, id, kind, slot, transaction, step)
		SELECT $1, 'packet-' || n, 'kind-' || n % $3::bigint, floor(random() * 4294967296 - 2147483648)::integer,
			CASE WHEN taken THEN 'old-' || n END, CASE WHEN taken THEN 'store' END
		FROM generate_series(0, $2::bigint - 1) AS n, LATERAL (SELECT n / $3::bigint % 2 = 1 AS taken) AS t`,
		p.participant, resources, kinds)
	require.NoError(b, err)
	_, err = p.db.Exec(b.Context(), `INSERT INTO twophase_reservations
			(participant, transaction, step, state, fingerprint, kind, resources, expires_at)
		SELECT participant, transaction, step, 2, '', kind, ARRAY[id], now() FROM twophase_resources WHERE transaction IS NOT NULL`)
	require.NoError(b, err)
	_, err = p.db.Exec(b.Context(), `VACUUM ANALYZE`)
	require.NoError(b, err)
}

// pgbench returns how many plain updates a second the server does for that many
// clients.
func pgbench(b *testing.B, db *pgxpool.Pool, rows, clients, transactions int) float64 {
	b.Helper()
	_, err := db.Exec(b.Context(), `DROP TABLE IF EXISTS plain`)
	require.NoError(b, err)
	_, err = db.Exec(b.Context(), `CREATE TABLE plain AS SELECT n AS id, 0 AS value FROM generate_series(1, $1::bigint) AS n`, rows)
	require.NoError(b, err)
	_, err = db.Exec(b.Context(), `ALTER TABLE plain ADD PRIMARY KEY (id)`)
	require.NoError(b, err)
	_, err = db.Exec(b.Context(), `VACUUM ANALYZE plain`)
	require.NoError(b, err)
	script := filepath.Join(b.TempDir(), "plain.sql")
	text := fmt.Sprintf("\\set id random(1, %d)\nUPDATE plain SET value = value + 1 WHERE id = :id;\n", rows)
	require.NoError(b, os.WriteFile(script, []byte(text), 0o600))
	output, err := exec.CommandContext(b.Context(), pgbenchPath(b), "--no-vacuum", "--protocol=prepared",
		"--file="+script, "--client="+strconv.Itoa(clients), "--jobs="+strconv.Itoa(min(clients, 2)),
		"--transactions="+strconv.Itoa(max(transactions/clients, 1)), db.Config().ConnString()).CombinedOutput()
	require.NoError(b, err, string(output))
	match := regexp.MustCompile(`tps = ([0-9.]+) \(without initial`).FindSubmatch(output)
	require.NotNil(b, match, string(output))
	rate, err := strconv.ParseFloat(string(match[1]), 64)
	require.NoError(b, err)
	return rate
}

func pgbenchPath(b *testing.B) string {
	b.Helper()
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	require.NoError(b, err)
	if len(found) == 0 {
		b.Skip("pgbench is not installed")
	}
	return slices.Max(found)
}

func keyOf(run uint64, i int64) string {
	return fmt.Sprintf("order-%x-%d", run^uint64(i)*0x9e3779b97f4a7c15, i)
}
