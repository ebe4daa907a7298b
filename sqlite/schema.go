package sqlite

import (
	"embed"
	"fmt"
	"io/fs"
)

// migrations are applied in the order of their names, each once; the number of
// those applied is the file's user_version. They are never changed once
// released, only added to.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks the file as a journal of twophase ("2pjl").
const applicationID = 0x32706a6c

// identify checks that a file is new, or a journal that this library knows,
// and returns how many migrations it has had. It writes nothing.
func identify(c *conn) (version int64, err error) {
	known, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	version, err = c.statement("PRAGMA user_version").value()
	if err != nil {
		return 0, err
	}
	application, err := c.statement("PRAGMA application_id").value()
	if err != nil {
		return 0, err
	}
	tables, err := c.statement("SELECT count(*) FROM sqlite_schema").value()
	switch {
	case err != nil:
		return 0, err
	case application == 0 && version == 0 && tables == 0:
		return 0, nil
	case application != applicationID:
		return 0, fmt.Errorf("%w: it is another application's database: give the journal a file of its own", ErrForeign)
	case version > int64(len(known)):
		return 0, fmt.Errorf("%w: it has schema version %d and this library knows %d: use the newer library",
			ErrNewer, version, len(known))
	}
	return version, nil
}

// migrate applies the migrations after the first applied ones, all or none.
func migrate(c *conn, applied int64) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || applied == int64(len(names)) {
		return err
	}
	return c.transaction(func() error {
		for _, name := range names[applied:] {
			script, err := migrations.ReadFile(name)
			if err != nil {
				return err
			}
			if err := c.Exec(string(script)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return c.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(names)))
	})
}
