package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryPatchApplies(t *testing.T) {
	t.Parallel()
	all, err := mutations()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 15)
	root, err := root(t.Context())
	require.NoError(t, err)
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			assert.NotEmpty(t, m.touches())
			assert.True(t, strings.HasSuffix(m.rule, "."), "its first line says in a sentence what it does: %q", m.rule)
			_, err := m.apply(t.Context(), root, t.TempDir())
			assert.NoError(t, err)
		})
	}
}

func TestAPatchThatDoesNotApplyIsAnError(t *testing.T) {
	t.Parallel()
	root, err := root(t.Context())
	require.NoError(t, err)
	m := mutation{name: "of another time", patch: []byte("--- a/machine.go\n+++ b/machine.go\n@@ -1,1 +1,1 @@\n-package etcd\n+package raft\n")}
	_, err = m.apply(t.Context(), root, t.TempDir())
	assert.ErrorContains(t, err, "of another time does not apply")
}

// TestEveryMutationIsCaught takes some minutes, so it is for nightly runs.
func TestEveryMutationIsCaught(t *testing.T) {
	onlyNightly(t)
	survivors, err := run(t.Context(), t.Output(), "", hunt{seeds: defaultSeeds, limit: 3 * time.Minute})
	require.NoError(t, err)
	assert.Zero(t, survivors)
}

// TestWhatBreaksNothingIsNotCaught: or the hunt would catch whatever it is
// given.
func TestWhatBreaksNothingIsNotCaught(t *testing.T) {
	onlyNightly(t)
	root, err := root(t.Context())
	require.NoError(t, err)
	harmless := mutation{name: "harmless", patch: []byte("--- a/worker.go\n+++ b/worker.go\n@@ -1,3 +1,4 @@\n package twophase\n \n+// Harmless.\n import (\n")}
	c, err := hunt{root: root, seeds: 3, limit: 3 * time.Minute}.catch(t.Context(), harmless)
	require.NoError(t, err)
	assert.False(t, c.caught(), "%+v", c)
}

func onlyNightly(t *testing.T) {
	t.Helper()
	if os.Getenv("TWOPHASE_MUTATIONS") == "" {
		t.Skip("set TWOPHASE_MUTATIONS to run it, or go run ./simulation/mutations")
	}
}
