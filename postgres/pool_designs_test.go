package postgres

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// designs are ways to take one of many equal resources. Each statement takes up to $1
// of them and returns their ids; $2 is random.
var designs = []struct {
	name    string
	batched bool
	take    string
}{
	{"ordered", false, `WITH free AS MATERIALIZED (
			SELECT id FROM claims WHERE state = 0 ORDER BY id LIMIT $1::bigint FOR UPDATE SKIP LOCKED
		) UPDATE claims SET state = $2::bigint * 0 + 1 WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id`},
	{"any", false, `WITH free AS MATERIALIZED (
			SELECT id FROM claims WHERE state = 0 LIMIT $1::bigint FOR UPDATE SKIP LOCKED
		) UPDATE claims SET state = $2::bigint * 0 + 1 WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id`},
	{"64 buckets", false, `WITH free AS MATERIALIZED (
			SELECT id FROM claims WHERE state = 0 AND bucket = $2::bigint & 63 ORDER BY id LIMIT $1::bigint FOR UPDATE SKIP LOCKED
		) UPDATE claims SET state = 1 WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id`},
	{"delete and insert", false, `WITH free AS MATERIALIZED (
			SELECT id FROM claims WHERE state = 0 AND slot >= $2::bigint LIMIT $1::bigint FOR UPDATE SKIP LOCKED
		), gone AS (
			DELETE FROM claims WHERE id = ANY (ARRAY(SELECT id FROM free))
		) INSERT INTO claimed SELECT id FROM free RETURNING id`},
	{"random start", false, randomStart},
	{"ordered, batched", true, `WITH free AS MATERIALIZED (
			SELECT id FROM claims WHERE state = 0 ORDER BY id LIMIT $1::bigint FOR UPDATE SKIP LOCKED
		) UPDATE claims SET state = $2::bigint * 0 + 1 WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id`},
	{"random start, batched", true, randomStart},
}

const randomStart = `WITH above AS MATERIALIZED (
		SELECT id FROM claims WHERE state = 0 AND slot >= $2::bigint ORDER BY slot LIMIT $1::bigint FOR UPDATE SKIP LOCKED
	), below AS MATERIALIZED (
		SELECT id FROM claims WHERE state = 0 AND slot < $2::bigint ORDER BY slot
		LIMIT $1::bigint - (SELECT count(*) FROM above) FOR UPDATE SKIP LOCKED
	), free AS (SELECT id FROM above UNION ALL SELECT id FROM below)
	UPDATE claims SET state = 1 WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id`

// BenchmarkClaimDesigns is why a pool takes as it does: 64 callers take all they can of
// one kind. A design that scans past what others have locked, or past what was taken
// before, falls behind in the second half.
//
//	go test -run '^$' -bench BenchmarkClaimDesigns -benchtime 20000x .
func BenchmarkClaimDesigns(b *testing.B) {
	const callers = 64
	for _, design := range designs {
		b.Run(design.name, func(b *testing.B) {
			conns := int32(callers)
			if design.batched {
				conns = 2
			}
			db := cluster.Pool(b, withConns(conns))
			fillClaims(b, db, 2*b.N+1000)
			warm(b, db, int(conns))
			claim := claimAlone(db, design.take)
			if design.batched {
				var group *groupcommit.Group[*claimed]
				group, claim = claimTogether(db, design.take)
				defer group.Close()
			}
			var halfway atomic.Int64
			start := time.Now()
			b.ReportAllocs()
			measure(b, callers, "claims/s", func(ctx context.Context, i int64) error {
				if i == int64(b.N/2) {
					halfway.Store(int64(time.Since(start)))
				}
				return claim(ctx)
			})
			second := b.Elapsed() - time.Duration(halfway.Load())
			b.ReportMetric(float64(b.N-b.N/2)/second.Seconds(), "claims/s-second-half")
		})
	}
}

var errNothingFree = errors.New("nothing is free")

func fillClaims(b *testing.B, db *pgxpool.Pool, n int) {
	b.Helper()
	for _, sql := range []string{
		`CREATE TABLE claims (id bigint PRIMARY KEY, slot bigint, bucket bigint, state bigint)`,
		`CREATE TABLE claimed (id bigint PRIMARY KEY)`,
		`CREATE INDEX ON claims (id) WHERE state = 0`,
		`CREATE INDEX ON claims (slot) WHERE state = 0`,
		`CREATE INDEX ON claims (bucket, id) WHERE state = 0`,
	} {
		_, err := db.Exec(b.Context(), sql)
		require.NoError(b, err)
	}
	_, err := db.Exec(b.Context(), `INSERT INTO claims
		SELECT n, floor(random() * 4294967296 - 2147483648), n % 64, 0 FROM generate_series(1, $1::bigint) AS n`, n)
	require.NoError(b, err)
	_, err = db.Exec(b.Context(), `VACUUM ANALYZE claims`)
	require.NoError(b, err)
}

// claimAlone claims in a transaction of its own. A bucket may be empty.
func claimAlone(db *pgxpool.Pool, sql string) func(context.Context) error {
	return func(ctx context.Context) error {
		for range 100 {
			rows, err := db.Query(ctx, sql, 1, randomSlot())
			ids, err := collect[int64](rows, err)
			if err != nil || len(ids) == 1 {
				return err
			}
		}
		return errNothingFree
	}
}

type claimed struct{ err error }

// claimTogether has one transaction under way at a time, with all who ask meanwhile.
func claimTogether(db *pgxpool.Pool, sql string) (*groupcommit.Group[*claimed], func(context.Context) error) {
	group := groupcommit.New(func(ctx context.Context, batch []*claimed) error {
		rows, err := db.Query(ctx, sql, len(batch), rand.Int64N(math.MaxUint32)+math.MinInt32)
		ids, err := collect[int64](rows, err)
		for i, c := range batch {
			if c.err = err; err == nil && i >= len(ids) {
				c.err = errNothingFree
			}
		}
		return nil
	}, groupcommit.Options{MaxBatch: maxBatch})
	return group, func(ctx context.Context) error {
		var c claimed
		return errors.Join(group.Do(ctx, &c), c.err)
	}
}

// BenchmarkSoldOut is what a refusal costs when everything was taken just now and
// nobody has tidied up.
func BenchmarkSoldOut(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(map[int]string{1: "callers=1", 64: "callers=64"}[callers], func(b *testing.B) {
			db := cluster.Pool(b, withConns(16))
			p := openPool(b, db, "store")
			const packets = 20_000
			require.NoError(b, p.Restock(b.Context(), dosa, numberedIDs("packet", packets)...))
			sellOut(b, p, packets)
			run := rand.Uint64()
			b.ReportAllocs()
			measure(b, callers, "refusals/s", func(ctx context.Context, i int64) error {
				if _, err := reserveOne(ctx, p, keyOf(run, i), dosa, time.Minute); err == nil {
					return errors.New("it is sold out")
				}
				return nil
			})
		})
	}
}

func sellOut(b *testing.B, p *Pool, packets int) {
	b.Helper()
	var done sync.WaitGroup
	for i := range 64 {
		done.Go(func() {
			for n := i; n < packets; n += 64 {
				if _, err := reserveOne(b.Context(), p, keyOf(0, int64(n)), dosa, time.Hour); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
}
