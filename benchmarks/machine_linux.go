package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The filesystems that statfs(2) knows by a number, as far as they are likely
// here.
var filesystems = map[int64]filesystem{
	0xef53:     {name: "ext4"},
	0x58465342: {name: "xfs"},
	0x9123683e: {name: "btrfs"},
	0x2fc12fc1: {name: "zfs"},
	0xf2f52010: {name: "f2fs"},
	0x794c7630: {name: "overlayfs"},
	0x6969:     {name: "nfs"},
	0x01021994: {name: "tmpfs", volatile: true},
	0x858458f6: {name: "ramfs", volatile: true},
}

func filesystemOf(dir string) filesystem {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return filesystem{name: "a filesystem that is not known"}
	}
	number := int64(s.Type) & 0xffffffff //nolint:unconvert // on other architectures it is another type
	if known, ok := filesystems[number]; ok {
		return known
	}
	return filesystem{name: fmt.Sprintf("filesystem %#x", number)}
}

// syncData makes a file's data durable, and of its metadata what it takes to
// read them.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// bytesWritten is how much this process has made the disk write so far.
func bytesWritten() (int64, error) {
	return numberIn("/proc/self/io", "write_bytes:")
}

// processorUsed is how long processors have worked for this process so far.
func processorUsed() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// numberIn returns the number after a name at the beginning of a line.
func numberIn(path, name string) (int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	text, ok := after(content, name)
	if !ok {
		return 0, fmt.Errorf("%s: there is no %s", path, name)
	}
	return strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
}

// after returns what follows a name at the beginning of a line.
func after(content []byte, name string) (string, bool) {
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// machine says what the figures were measured on, and what else it was doing.
func machine() string {
	processor := "an unknown processor"
	if content, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if model, ok := after(content, "model name"); ok {
			processor = strings.TrimSpace(strings.TrimPrefix(model, ":"))
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	memory, err := numberIn("/proc/meminfo", "MemTotal:")
	if err != nil {
		memory = 0
	}
	return fmt.Sprintf("%s, %.0f GB memory, Linux %s", processor, float64(memory)/(1<<20), bytes.TrimSpace(kernel))
}

// load is how many processes have wanted to run over the last minute.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(content))[0]
}
