package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/benchmarks/internal/command"
)

func TestFlagsAreOptional(t *testing.T) {
	t.Parallel()
	s, err := parse(nil, nil)
	require.NoError(t, err)
	assert.Equal(t, settings{
		journals: []string{"memory", "sqlite", "postgres"}, callers: []int{1, 16, 64, 256, 1024},
		duration: 3 * time.Second, finished: 100_000, unfinished: 100_000, ids: randomIDs,
	}, s)
}

func TestFlagsAreTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := parse([]string{
		"-journals", "sqlite, memory", "-callers", "2, 4", "-duration", "1s",
		"-finished", "0", "-unfinished", "5", "-dir", dir, "-markdown", "-ids", "growing",
	}, nil)
	require.NoError(t, err)
	assert.Equal(t, settings{
		journals: []string{"sqlite", "memory"}, callers: []int{2, 4},
		duration: time.Second, unfinished: 5, dir: dir, markdown: true, ids: growingIDs,
	}, s)
}

func TestBadFlagsAreRefusedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for flags, want := range map[string]string{
		"-journals=etcd":            `there is no journal "etcd": known are memory, sqlite, postgres`,
		"-journals=":                `there is no journal ""`,
		"-journals=sqlite,sqlite":   "sqlite is given twice",
		"-callers=0":                `"0" is not a number of callers: give 1 to`,
		"-callers=4,x":              `"x" is not a number of callers`,
		"-callers=9999":             `"9999" is not a number of callers`,
		"-callers=4,4":              "4 is given twice",
		"-duration=0s":              "-duration 0s: it must be above zero",
		"-duration=x":               "invalid value",
		"-finished=-1":              "-finished -1: it must be 0 to 100000000",
		"-unfinished=100000001":     "-unfinished 100000001: it must be 0 to",
		"-dir=/there/is/no/such":    "-dir: stat /there/is/no/such",
		"-dir=" + file:              "it is not a directory",
		"-ids=none":                 `-ids "none": give random or growing`,
		"-colour":                   "flag provided but not defined: -colour",
		"-duration=1s now, please!": `unexpected argument "now,"`,
	} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			var out, errs strings.Builder
			assert.Equal(t, command.Usage, run(strings.Fields(flags), &out, &errs))
			assert.Contains(t, errs.String(), want)
			assert.Equal(t, 1, strings.Count(errs.String(), "\n"), "it is said once: %s", errs.String())
			assert.Empty(t, out.String())
		})
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	assert.Zero(t, run([]string{"-help"}, &out, &errs))
	for _, name := range []string{"journals", "callers", "duration", "finished", "unfinished", "dir", "markdown"} {
		assert.Contains(t, errs.String(), "-"+name)
	}
}
