package history_test

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/history"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

const (
	scarce = 12
	plenty = 200
)

// newPool is a pool in memory with a scarce stock of one kind.
func newPool(t testing.TB) *pool.Pool {
	t.Helper()
	p, err := pool.New()
	require.NoError(t, err)
	ids := make([]string, scarce)
	for i := range ids {
		ids[i] = "packet-" + strconv.Itoa(i)
	}
	require.NoError(t, p.Restock("dosa", ids...))
	return p
}

func newRecorder(stock int) *history.Recorder {
	r := history.New()
	r.Stock(stock, func(payload json.RawMessage) int {
		var want pool.Want
		if json.Unmarshal(payload, &want) != nil {
			return 0
		}
		return max(1, want.Count)
	})
	return r
}

var load = history.Load{
	Seed: 1, Callers: 8, Transactions: 2000, Hold: 8 * time.Millisecond, Cut: 0.05,
	Payload: func(random *rand.Rand) any { return pool.Want{Kind: "dosa", Count: random.IntN(3)} },
}

func TestPoolInMemoryIsLinearizable(t *testing.T) {
	t.Parallel()
	recorder := newRecorder(scarce)
	load.Run(t, recorder.Record(newPool(t)))
	require.Greater(t, recorder.Len(), 8000)
	recorder.Check(t)
}

func TestLostMessagesAreNoViolation(t *testing.T) {
	t.Parallel()
	recorder := newRecorder(scarce)
	lossy := twophasetest.NewFaultyParticipant(newPool(t), twophasetest.Seeded(1, twophasetest.Rates{
		LoseRequest: 0.05, LoseReply: 0.1,
	}))
	load.Run(t, recorder.Record(lossy))
	recorder.Check(t)
}

var _ twophase.Participant = (*history.Switch)(nil)
