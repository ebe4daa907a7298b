//go:build unix

// Package crashtest kills real processes to find out whether a journal, and the
// coordinators on it, keep the protocol's invariants.
//
// A test starts a process for the participants and one or several with a
// coordinator each, all of them the test binary itself. The coordinators run
// transactions for many callers at once until they are killed by SIGKILL, or
// frozen for longer than their lease, and write down what each caller was told.
// In the end one more coordinator recovers what is left, and [Books.Audit]
// compares what was told with the journal and with the participants' ledgers.
//
//	func init() { crashtest.ChildMain(open) }
//
//	func TestKilled(t *testing.T) {
//		crashtest.Run(t, crashtest.Test{Storage: newDatabase, Open: open, Coordinators: 2, Freezes: true})
//	}
//
// TWOPHASE_CRASH_KILLS says how often to kill; TWOPHASE_CRASH_SEED repeats the
// choices of an earlier run, though not what the processes make of them.
package crashtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Open opens the journal on a storage, in the test or in one of its children.
type Open func(ctx context.Context, storage string) (journal twophase.Journal, end func() error, err error)

// Test is what is killed, and how.
type Test struct {
	// Storage returns the address of a new, empty storage for a journal. It
	// lasts until the end of the test that it is given.
	Storage func(t testing.TB) string
	// Open is that of [ChildMain] in the same binary.
	Open Open
	// Coordinators is how many processes with a coordinator there are at once.
	Coordinators int
	// Freezes lets coordinators be stopped for longer than their lease, and
	// then go on as if nothing had happened.
	Freezes bool
	// Services, if not nil, are called instead of ledgers.
	Services *Services
	// Outage, if not nil, takes the storage away until back is called.
	Outage func(t testing.TB) (back func())
}

// Services are participants under test: "store" and "delivery". The payload of a
// step is the transaction's id, in JSON, and each step is audited by the first
// of its resources.
type Services struct {
	// Storage is like that of [Test], for the participants.
	Storage func(t testing.TB) string
	// Ledgers returns what became of each key of each participant, in the order
	// in which it did.
	Ledgers func(t testing.TB, storage string) map[string][]Change
}

// OpenServices opens the participants on a storage, in a child.
type OpenServices func(ctx context.Context, storage string) (map[string]twophase.Participant, error)

const (
	fewKills   = 8
	roundKills = 25 // before the books are audited, and new ones begun
)

// Run kills until it has killed enough, and fails the test for each invariant
// that does not hold.
func Run(t *testing.T, test Test) {
	t.Helper()
	seed := fromEnv(t, "TWOPHASE_CRASH_SEED", rand.Uint64N(1_000_000))
	kills := int(fromEnv(t, "TWOPHASE_CRASH_KILLS", fewKills))
	t.Logf("TWOPHASE_CRASH_SEED=%d TWOPHASE_CRASH_KILLS=%d", seed, kills)
	began, total := time.Now(), Report{}
	for n := uint64(0); kills > 0 && !t.Failed(); n++ {
		t.Run(fmt.Sprintf("round-%d", n), func(t *testing.T) {
			report, violations := test.round(t, rand.New(rand.NewPCG(seed, n)), min(kills, roundKills))
			for _, violation := range violations {
				t.Error(violation)
			}
			total.add(report)
			t.Log(report)
		})
		kills -= roundKills
	}
	t.Logf("in all, in %v: %v", time.Since(began).Round(time.Second), total)
	require.Positive(t, total[Placed], "transactions told placed")
	require.Positive(t, total[NotPlaced], "transactions told not placed")
}

func fromEnv(t testing.TB, name string, or uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return or
	}
	value, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return value
}
