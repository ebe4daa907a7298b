package sqlite_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// openStores opens a pool with so many free resources twice, as two processes
// would.
func openStores(t testing.TB, free int, options ...sqlite.PoolOption) twophasetest.Subject {
	path := newFile(t)
	p := openPool(t, path, options...)
	require.NoError(t, p.Restock(t.Context(), dosa, numbered("packet", free)...))
	return twophasetest.Subject{
		Participant: p,
		Others:      []twophase.Participant{openPool(t, path, sqlite.WithoutBackground())},
		Payload:     pool.Want{Kind: dosa},
		Different:   pool.Want{Kind: dosa, Count: 2},
		Several:     func(n int) any { return pool.Want{Kind: dosa, Count: n} },
	}
}

func TestPoolKeepsTheContract(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		return openStores(t, free)
	}, twophasetest.RealTime(2*time.Second))
}

// Nothing tidies here, so that hours pass quickly.
func TestPoolKeepsTheContractToTheVeryInstant(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		return openStores(t, free, sqlite.WithoutBackground())
	})
}
