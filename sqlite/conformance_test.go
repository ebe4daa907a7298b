package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/sqlite"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// It counts on time, so the other tests wait until it is over.
func TestJournalKeepsTheContract(t *testing.T) {
	twophasetest.TestJournal(t, func(t testing.TB) twophase.Journal {
		return openAt(t, filepath.Join(t.TempDir(), "journal.db"))
	}, twophasetest.RealTime(2*time.Second), twophasetest.Reopened(func(t testing.TB, j twophase.Journal) twophase.Journal {
		ended := j.(pathed)
		require.NoError(t, ended.Close())
		return openAt(t, ended.path)
	}))
}

// pathed is a journal that knows where it is.
type pathed struct {
	*sqlite.Journal
	path string
}

func openAt(t testing.TB, path string) pathed {
	t.Helper()
	j, err := sqlite.Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, j.Close()) })
	return pathed{j, path}
}
