package main

import (
	"fmt"
	"os"
)

// place is a directory of our own on the disk to measure.
type place struct {
	dir        string
	filesystem filesystem
}

// filesystem is what a directory is on.
type filesystem struct {
	name string
	// volatile says that it is in memory: a sync costs nothing there, and
	// keeps nothing.
	volatile bool
}

// newPlace makes a directory in dir. Without one it takes the system's for
// temporary files, or if those are in memory the one for those that outlast a
// restart.
func newPlace(dir string) (*place, error) {
	if dir == "" {
		dir = os.TempDir()
		if kept := "/var/tmp"; filesystemOf(dir).volatile && !filesystemOf(kept).volatile {
			dir = kept
		}
	}
	made, err := os.MkdirTemp(dir, "twophase-benchmarks-")
	if err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	p := &place{dir: made, filesystem: filesystemOf(made)}
	// PostgreSQL may have to run as somebody else, who has to get in.
	if err := os.Chmod(made, 0o755); err != nil {
		_ = p.remove()
		return nil, fmt.Errorf("-dir: %w", err)
	}
	return p, nil
}

func (p *place) remove() error { return os.RemoveAll(p.dir) }

// String returns where it is, and whether it is worth measuring there.
func (p *place) String() string {
	if p.filesystem.volatile {
		return fmt.Sprintf("%s on %s, IN MEMORY: nothing is durable, so the figures mean little; give -dir", p.dir, p.filesystem.name)
	}
	return fmt.Sprintf("%s on %s", p.dir, p.filesystem.name)
}
