package twophasetest

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// failures runs checks in bubbles, and returns the names of those that fail.
func failures(t *testing.T, checks []check) (failed []string) {
	t.Helper()
	for _, check := range checks {
		if check.skip != "" {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			a := newAttempt(t, exactClock())
			a.run(check)
			if a.Failed() {
				failed = append(failed, check.name)
				t.Logf("%s: %s", check.name, strings.Join(a.texts, "\n"))
			}
		})
	}
	return failed
}

// requireCaught checks that those checks fail, by name.
func requireCaught(t *testing.T, checks []check, by []string) {
	t.Helper()
	require.NotEmpty(t, by)
	require.Subset(t, failures(t, checks), by)
}

func TestNamesOfChecksAreUnique(t *testing.T) {
	t.Parallel()
	for _, checks := range [][]check{participantSuite(newConfig(nil), nil), journalSuite(newConfig(nil), nil)} {
		names := map[string]bool{}
		for _, check := range checks {
			require.False(t, names[check.name], check.name)
			names[check.name] = true
		}
	}
}
