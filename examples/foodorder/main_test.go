package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever the network does, the answers and the books agree in the evening.
func TestADayAmongFaultsKeepsTheInvariants(t *testing.T) {
	t.Parallel()
	for _, network := range []struct {
		name   string
		faults Faults
	}{
		{"a good one", Faults{Latency: 10 * time.Millisecond}},
		{"one that fails", Faults{Fail: 0.4, Latency: 40 * time.Millisecond}},
		{"one that loses replies", Faults{Lose: 0.4, Latency: 40 * time.Millisecond}},
		{"one that does both", Faults{Fail: 0.4, Lose: 0.4, Latency: 40 * time.Millisecond}},
		{"one that hardly works", Faults{Fail: 0.7, Lose: 0.7, Latency: 40 * time.Millisecond}},
		{"a slow one", Faults{Fail: 0.1, Lose: 0.1, Latency: 2 * time.Second}},
	} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s, seed %d", network.name, seed), func(t *testing.T) {
				t.Parallel()
				faults := network.faults
				faults.Seed = seed
				synctest.Test(t, func(t *testing.T) {
					e := spend(t, t.Context(), faults)
					assert.Empty(t, audit(e))
					for _, answer := range e.final() {
						assert.NotEqual(t, InDoubt, answer.Verdict, "%s", answer.Order.ID)
						assert.NotEqual(t, Trouble, answer.Reason, "%s: %s", answer.Order.ID, answer)
					}
				})
			})
		}
	}
}

func TestFaultsAreMetAndOrdersArePlaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := spend(t, t.Context(), Faults{Fail: 0.4, Lose: 0.3, Latency: 40 * time.Millisecond})
		assert.Greater(t, e.Lost, int64(1000))
		assert.Greater(t, count(e.final(), Placed), 150)
		assert.Empty(t, e.Unfinished)
	})
}

func TestWhoIsInTheMiddleOfItWhenTheDayIsCalledOffIsNotPlaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		e := spend(t, ctx, Faults{Fail: 0.1, Lose: 0.1, Latency: 100 * time.Millisecond})
		assert.Empty(t, audit(e))
		assert.Positive(t, count(e.Told, Placed))
		assert.Positive(t, count(e.Told, InDoubt))
		assert.Zero(t, count(e.final(), InDoubt))
		assert.Len(t, e.final(), 300)
	})
}

func spend(t *testing.T, ctx context.Context, faults Faults) *Evening {
	t.Helper()
	day, err := readDay(Files{})
	require.NoError(t, err)
	city, err := newCity(day, faults, Lifetimes{Hold: 30 * time.Second, Timeout: 15 * time.Second})
	require.NoError(t, err)
	e, err := city.spend(ctx, day.Orders, 16, newProgress(io.Discard, len(day.Orders)))
	require.NoError(t, err)
	return e
}

func count(answers []Answer, verdict Verdict) int {
	n := 0
	for _, a := range answers {
		if a.Verdict == verdict {
			n++
		}
	}
	return n
}

func TestRun(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.csv")
	write(t, empty, "")
	for _, test := range []struct {
		name   string
		args   string
		status int
		stdout string
		stderr string
	}{
		{"a day", "", exitOK, "\nOrder Placed  ", "300 of 300 orders"},
		{"all orders", "-table all", exitOK, "order-1300", ""},
		{"a log", "-v -table none", exitOK, "", "transaction=order-1001 step=agent participant=delivery call=reserve"},
		{"nothing arrives", "-fail 1", exitOK, "a service did not answer 300\n", "orders with something still to release: "},
		{"no reply arrives", "-lose 1", exitOK, "whose releases are not acknowledged after 30s", ""},
		{"help", "-help", exitOK, "usage: foodorder [flags]", ""},
		{"a flag that does not exist", "-reply 1", exitUsage, "", "flag provided but not defined: -reply; see -help\n"},
		{"a flag that is wrong", "-fail 2", exitUsage, "", "-fail 2: it must be a share from 0 to 1\n"},
		{"a file that is wrong", "-menu " + empty, exitUsage, "", "empty.csv:1: it is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var stdout, stderr bytes.Buffer
				status := run(t.Context(), strings.Fields(test.args), &stdout, &stderr)
				assert.Equal(t, test.status, status, "%s", &stderr)
				assert.Contains(t, stdout.String(), test.stdout)
				assert.Contains(t, stderr.String(), test.stderr)
			})
		})
	}
}

func TestAnInterruptedRunEndsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var stdout, stderr bytes.Buffer
		assert.Equal(t, exitInterrupted, run(ctx, nil, &stdout, &stderr))
		assert.Contains(t, stdout.String(), "called off")
		assert.NotContains(t, stdout.String(), "BROKEN")
	})
}

func TestABrokenInvariantIsTheExitStatus(t *testing.T) {
	t.Parallel()
	told := []Answer{{Order: Order{ID: "order-1"}, Verdict: Placed, Agent: "Ravi #1"}}
	var stdout bytes.Buffer
	status, err := conclude(&stdout, &Day{}, &Evening{Told: told, Asked: told}, tableNone)
	require.NoError(t, err)
	assert.Equal(t, exitBroken, status)
	assert.Contains(t, stdout.String(), "BROKEN  I1")
}

func TestAReportThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	closed, out := io.Pipe()
	require.NoError(t, closed.Close())
	_, err := conclude(out, &Day{}, &Evening{}, tableNone)
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}
