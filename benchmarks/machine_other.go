//go:build !linux

package main

import (
	"os"
	"runtime"
	"time"
)

func filesystemOf(string) filesystem {
	return filesystem{name: "a filesystem that is not known"}
}

func syncData(f *os.File) error { return f.Sync() }

// bytesWritten is not told by other systems.
func bytesWritten() (int64, error) { return 0, nil }

func processorUsed() time.Duration { return 0 }

func machine() string { return runtime.GOOS }

func load() string { return "unknown" }
