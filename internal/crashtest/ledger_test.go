//go:build unix

package crashtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

func openLedger(t testing.TB, path string, first, least int) *Ledger {
	t.Helper()
	ledger, err := OpenLedger(path, "store", first, least)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ledger.Close() })
	return ledger
}

func TestLedgerIsAParticipant(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		ledger := openLedger(t, filepath.Join(t.TempDir(), "ledger"), free, 0)
		return twophasetest.Subject{Participant: ledger, Payload: "order-1", Different: "order-2"}
	}, twophasetest.SingleResource())
}

func TestLedgerOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	key := func(id string) twophase.Key { return twophase.Key{Transaction: id, Step: "store"} }
	reserve := func(l *Ledger, id string) (twophase.Reservation, error) {
		return l.Reserve(t.Context(), twophase.Request{Key: key(id), Hold: time.Minute})
	}
	first := openLedger(t, path, 3, 3)
	given := map[string]string{}
	for _, id := range []string{"reserved", "assigned", "released"} {
		reservation, err := reserve(first, id)
		require.NoError(t, err)
		given[id] = reservation.Resource()
	}
	require.NoError(t, first.Assign(t.Context(), key("assigned")))
	require.NoError(t, first.Release(t.Context(), key("released")))
	tear(t, path, `{"Key":{"transaction":"torn"`)

	second := openLedger(t, path, 3, 3)
	for _, id := range []string{"reserved", "assigned"} {
		reservation, err := reserve(second, id)
		require.NoError(t, err)
		require.Equal(t, given[id], reservation.Resource())
		require.Equal(t, id == "assigned", reservation.Assigned)
	}
	_, err := reserve(second, "released")
	require.ErrorIs(t, err, twophase.ErrReleased)
	require.ElementsMatch(t, []string{given["released"], "store-4"}, second.free, "the released and a new one")

	changes, _, err := readLines[Change](path)
	require.NoError(t, err)
	require.Len(t, changes, 5)
	require.NoError(t, second.Release(t.Context(), key("torn")))
	changes, _, err = readLines[Change](path)
	require.NoError(t, err)
	require.Equal(t, key("torn"), changes[5].Key)
}

// tear leaves a line that its writer was killed over.
func tear(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func writeLines(path string, values ...Told) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, value := range values {
		if err := appendLine(file, value); err != nil {
			return err
		}
	}
	return file.Close()
}
