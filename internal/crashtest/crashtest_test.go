//go:build unix

package crashtest

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase"
)

func init() { ChildMain(openForgetful) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openForgetful opens a journal that is lost with its process.
func openForgetful(context.Context, string) (twophase.Journal, func() error, error) {
	return twophase.NewMemoryJournal(), func() error { return nil }, nil
}

// A journal in memory is no journal for a process that may be killed. If this
// is not seen, nothing is.
func TestJournalThatForgetsIsCaught(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	test := Test{
		Storage: func(testing.TB) string { return "none" },
		Open:    openForgetful,
	}
	report, violations := test.round(t, rand.New(rand.NewPCG(1, 1)), 3)
	t.Log(report)
	found := map[string]int{}
	for _, err := range violations {
		var v *Violation
		require.ErrorAs(t, err, &v)
		found[v.Invariant]++
	}
	require.Positive(t, found["I1"], "told placed, and forgotten: %v", found)
	require.Positive(t, found["I2"], "told not placed, and forgotten: %v", found)
	require.Positive(t, found["I5"], "assigned, and forgotten: %v", found)
}

func TestWhoIsLeftWithoutAnAnswerAsksAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, writeLines(toldPath(dir, "coordinator-0.1"),
		Told{ID: "answered", Answer: Asked}, Told{ID: "in doubt", Answer: Asked}, Told{ID: "waiting", Answer: Asked},
		Told{ID: "answered", Answer: InDoubt}, Told{ID: "answered", Answer: Placed},
		Told{ID: "in doubt", Answer: InDoubt}, Told{ID: "waiting", Answer: Asked}, Told{ID: "orphan", Answer: Asked},
		Told{ID: "not begun", Answer: Asked}, Told{ID: "not begun", Answer: NotBegun},
	))
	left, err := unanswered(dir, "coordinator-0.1")
	require.NoError(t, err)
	require.Equal(t, []string{"in doubt", "waiting"}, left)
	left, err = unanswered(dir, "coordinator-0.2")
	require.NoError(t, err)
	require.Empty(t, left)
}
