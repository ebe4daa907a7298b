package twophasetest

import (
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

func openMemoryJournal(testing.TB) twophase.Journal { return twophase.NewMemoryJournal() }

func TestMemoryJournal(t *testing.T) {
	TestJournal(t, openMemoryJournal)
}

func TestNotebookPasses(t *testing.T) {
	TestJournal(t, openNotebook)
}

func TestMemoryJournalInRealTime(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	TestJournal(t, openMemoryJournal, RealTime(200*time.Millisecond))
}
