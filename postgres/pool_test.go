package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

const dosa = "masala dosa"

func TestPoolKeepsTheContract(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]pgx.QueryExecMode{
		"with prepared statements":    pgx.QueryExecModeCacheStatement,
		"without prepared statements": pgx.QueryExecModeExec,
		"by the simple protocol":      pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbs := threeDatabases(t, mode)
			var pools atomic.Int64
			twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
				name := fmt.Sprint("store-", pools.Add(1))
				instances := make([]*Pool, len(dbs))
				for i, db := range dbs {
					instances[i] = openPool(t, db, name)
				}
				require.NoError(t, instances[0].Restock(t.Context(), dosa, numberedIDs("packet", free)...))
				return twophasetest.Subject{
					Participant: instances[0],
					Others:      []twophase.Participant{instances[1], instances[2]},
					Payload:     pool.Want{Kind: dosa},
					Different:   pool.Want{Kind: "idli"},
					Several:     func(n int) any { return pool.Want{Kind: dosa, Count: n} },
				}
			}, twophasetest.RealTime(3*time.Second))
		})
	}
}

// threeDatabases returns pools of connections for as many instances of a service.
func threeDatabases(t testing.TB, mode pgx.QueryExecMode) []*pgxpool.Pool {
	t.Helper()
	first := cluster.Pool(t, inMode(mode), withConns(12))
	dbs := []*pgxpool.Pool{first}
	for range 2 {
		dbs = append(dbs, pgtest.Open(t, first.Config().ConnString(), inMode(mode), withConns(12)))
	}
	return dbs
}

// quietly says nothing of what fails while a server is away.
var quietly = WithLogger(slog.New(slog.DiscardHandler))

// openPool opens a pool that is closed with the test.
func openPool(t testing.TB, db *pgxpool.Pool, name string, options ...PoolOption) *Pool {
	t.Helper()
	p, err := NewPool(t.Context(), db, name, append([]PoolOption{quietly}, options...)...)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func numberedIDs(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%d", prefix, i+1)
	}
	return ids
}

// reserveOne asks for one resource of a kind.
func reserveOne(ctx context.Context, p twophase.Participant, order, kind string, hold time.Duration) (twophase.Reservation, error) {
	return p.Reserve(ctx, twophase.Request{Key: orderKey(order), Payload: []byte(fmt.Sprintf(`{"kind":%q}`, kind)), Hold: hold})
}

func orderKey(order string) twophase.Key { return twophase.Key{Transaction: order, Step: "store"} }
