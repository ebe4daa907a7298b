//go:build unix

package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/crashtest"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

func init() { crashtest.ChildMain(openForChild, openTown) }

func openForChild(ctx context.Context, path string) (twophase.Journal, func() error, error) {
	j, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	return j, j.Close, nil
}

// One process at a time has the file. It is killed, or frozen, and the next one
// carries on.
func TestProcessesMayBeKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	crashtest.Run(t, crashtest.Test{
		Storage: func(t testing.TB) string { return filepath.Join(t.TempDir(), "journal.db") },
		Open:    openForChild,
		Freezes: true,
	})
}
