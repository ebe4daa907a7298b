package pool_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

func TestPoolKeepsTheContract(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		p := newPool(t)
		require.NoError(t, p.Restock(dosa, numbered("packet", free)...))
		return twophasetest.Subject{
			Participant: p,
			Payload:     pool.Want{Kind: dosa},
			Different:   pool.Want{Kind: dosa, Count: 2},
			Several:     func(n int) any { return pool.Want{Kind: dosa, Count: n} },
		}
	})
}
