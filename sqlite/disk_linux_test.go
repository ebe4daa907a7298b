package sqlite

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

func TestFullDiskIsToldAndNothingAcknowledgedIsLost(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.Mkdir(disk, 0o700))
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a small disk to fill needs the right to mount one: %v", err)
	}
	defer func() { assert.NoError(t, syscall.Unmount(disk, 0)) }()
	ballast := filepath.Join(disk, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))

	path := filepath.Join(disk, "journal.db")
	j, err := Open(t.Context(), path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, j.Close()) }()
	acknowledged := fill(t, j)

	err = os.WriteFile(filepath.Join(disk, "rest"), make([]byte, 2<<20), 0o600)
	require.ErrorIs(t, err, syscall.ENOSPC)
	undecided := decideUntilFull(t, j, acknowledged)

	require.NoError(t, os.Remove(ballast))
	decide(t, j, undecided, given())
	begin(t, j, order("the next one"))
	require.NoError(t, j.Close())
	j, err = Open(t.Context(), path)
	require.NoError(t, err)
	require.Subset(t, idsOf(list(t, j, twophase.Filter{})), acknowledged)
	require.Equal(t, twophase.StateAssigned, stateOf(t, j, acknowledged[0]))
	require.Equal(t, twophase.StateAssigned, stateOf(t, j, undecided))
}

// decideUntilFull decides orders until there is no room for a decision, and
// returns the first that is undecided.
func decideUntilFull(t *testing.T, j *Journal, ids []string) string {
	t.Helper()
	for _, id := range ids {
		if _, err := j.Decide(t.Context(), id, given()); err != nil {
			require.ErrorIs(t, err, ErrDiskFull)
			require.Equal(t, twophase.StateBegun, stateOf(t, j, id))
			return id
		}
	}
	require.Fail(t, "the disk is never full")
	return ""
}

// fill begins orders until the disk is full, and returns those that were
// acknowledged.
func fill(t *testing.T, j *Journal) (acknowledged []string) {
	t.Helper()
	for i := range 10000 {
		record := order(fmt.Sprintf("order-%d", i))
		record.Steps[0].Payload = json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)
		_, _, err := j.Begin(t.Context(), record)
		if err != nil {
			require.ErrorIs(t, err, ErrDiskFull)
			require.ErrorContains(t, err, j.path)
			require.ErrorContains(t, err, "make room")
			return acknowledged
		}
		acknowledged = append(acknowledged, record.ID)
	}
	require.Fail(t, "the disk is never full")
	return nil
}
