package twophasetest

import (
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

func openMemoryJournal(testing.TB) twophase.Journal { return twophase.NewMemoryJournal() }

// sameInstance is another instance of a journal that is safe to share.
func sameInstance(_ testing.TB, journal twophase.Journal) twophase.Journal { return journal }

func TestMemoryJournal(t *testing.T) {
	TestJournal(t, openMemoryJournal, Shared(sameInstance))
}

func TestNotebookPasses(t *testing.T) {
	TestJournal(t, openNotebook, Shared(sameInstance), Reopened(reopenNotebook))
}

func TestMemoryJournalInRealTime(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	TestJournal(t, openMemoryJournal, RealTime(200*time.Millisecond))
}
