package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// What may be wrong with a file. The error that wraps one of these names the
// file or the participant, and says what to do.
var (
	// ErrLocked says that a journal on the file is open already, in this
	// process or in another.
	ErrLocked = errors.New("locked")
	// ErrNewer says that the file was written by a newer version of the
	// library.
	ErrNewer = errors.New("newer than this library")
	// ErrForeign says that the file is a database, and no journal.
	ErrForeign = errors.New("not a journal")
	// ErrDamaged says that the file is no database, or that parts of it are
	// missing or overwritten.
	ErrDamaged = errors.New("damaged")
	// ErrDiskFull says that there is no room for what was to be written.
	ErrDiskFull = errors.New("disk full")
	// ErrMoved says that the open file was deleted or replaced.
	ErrMoved = errors.New("moved")
	// ErrClosed says that the journal, the pool or the fence was closed.
	ErrClosed = errors.New("closed")
)

// describe says which file an error is about, and what to do.
func describe(path string, err error) error {
	switch {
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB):
		err = fmt.Errorf("%w: keep a copy and restore a backup, or rescue what is left with .recover of the sqlite3 shell: %w",
			ErrDamaged, err)
	case errors.Is(err, sqlite3.FULL), errors.Is(err, sqlite3.IOERR) && noRoom(filepath.Dir(path)):
		err = fmt.Errorf("%w: make room for the file and its -wal, then go on: %w", ErrDiskFull, err)
	case errors.Is(err, sqlite3.BUSY):
		err = fmt.Errorf("somebody else writes to it, which only this journal should: %w", err)
	}
	return fmt.Errorf("twophase/sqlite: %s: %w", path, err)
}

// noRoom reports whether there is no room in a folder for as little as a commit
// takes. The driver does not say why a write failed.
func noRoom(folder string) bool {
	probe, err := os.CreateTemp(folder, ".room-*")
	if err != nil {
		return errors.Is(err, syscall.ENOSPC)
	}
	_, err = probe.Write(make([]byte, 64<<10))
	if err == nil {
		err = probe.Sync()
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return errors.Is(err, syscall.ENOSPC)
}

// ofSQLite reports whether an error is SQLite's, and not about one record.
func ofSQLite(err error) bool {
	var code sqlite3.ErrorCode
	return errors.As(err, &code)
}

// notWritten marks an error that came before anything of a batch was
// committed.
func notWritten(err error) error { return fmt.Errorf("%w: %w", groupcommit.ErrNotWritten, err) }

// unavailable marks an error as certain: nothing was written.
func unavailable(err error) error { return fmt.Errorf("%w: %w", twophase.ErrUnavailable, err) }

func gone(id string) error { return fmt.Errorf("twophase/sqlite: %s: %w", id, twophase.ErrGone) }

func invalid(id, format string, args ...any) error {
	return fmt.Errorf("twophase/sqlite: %s: %w: %s", id, twophase.ErrInvalid, fmt.Sprintf(format, args...))
}
