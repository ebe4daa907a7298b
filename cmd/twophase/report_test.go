package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/shelf"
	"github.com/seed-bcc3c603/twophase/pool"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the reports in testdata; review the difference")

// requireGolden compares a report with the one in testdata, but for what
// differs in each run.
func requireGolden(t *testing.T, name, report string) {
	t.Helper()
	for pattern, constant := range map[string]string{
		`127\.0\.0\.1:\d+`:                  "127.0.0.1:PORT",
		`(verify|stock)-[a-z2-7]{8}-`:       "$1-RUN-",
		`(time_left_ms\\?":|time_left:)\w+`: "${1}LEFT",
		`"took_ms":\d+`:                     `"took_ms":TOOK`,
	} {
		report = regexp.MustCompile(pattern).ReplaceAllString(report, constant)
	}
	path := filepath.Join("testdata", name+".txt")
	if *rewrite {
		require.NoError(t, os.WriteFile(path, []byte(report), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test -rewrite writes it")
	assert.Equal(t, string(want), report)
}

// forgetsTombstones is a shelf that breaks one promise.
func forgetsTombstones(free int) *shelf.Shelf {
	s := shelf.New(free, "verify")
	shelf.NoTombstone(s)
	return s
}

// losesOrders is a shelf to which nothing comes back that an order has held.
func losesOrders(free int) *shelf.Shelf {
	s := shelf.New(free, "verify")
	freeAll := s.Free
	s.Free = func(e *shelf.Held) {
		if !e.IsOrder() {
			freeAll(e)
		}
	}
	return s
}

// someChecks are kept, broken and skipped.
const someChecks = "^(Release of a (new|released) key .*|several resources are taken together)$"

func TestReportForPeople(t *testing.T) {
	t.Parallel()
	status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify", "-run", someChecks, "-single",
		"-different", `{"kind":"{{kind}}","count":2}`, serveHTTP(t, forgetsTombstones(3)))
	assert.Equal(t, exitBroken, status)
	requireGolden(t, "report", stdout)
}

func TestReportForPeopleOverGRPC(t *testing.T) {
	t.Parallel()
	status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify", "-run", "^(Release of a new key .*|Assign of a new key .*)$",
		serveGRPC(t, forgetsTombstones(3)))
	assert.Equal(t, exitBroken, status)
	requireGolden(t, "report_grpc", stdout)
}

func TestReportForPrograms(t *testing.T) {
	t.Parallel()
	status, stdout, _ := twophaseCommand(t, "verify", "-json", "-kind", "verify", "-run", someChecks,
		serveHTTP(t, forgetsTombstones(3)))
	assert.Equal(t, exitBroken, status)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 4)
	for _, line := range lines {
		assert.True(t, json.Valid([]byte(line)), line)
	}
	var summary jsonSummary
	require.NoError(t, json.Unmarshal([]byte(lines[3]), &summary))
	assert.Equal(t, jsonSummary{
		Status: exitBroken, Promises: 3, Kept: 2, Broken: []string{"Release of a new key leaves a tombstone"},
		Skipped: []string{}, NotChecked: []string{}, Problems: []string{},
	}, summary)
	requireGolden(t, "report_json", stdout)
}

func TestReportSaysWhatHasNotComeBack(t *testing.T) {
	t.Parallel()
	status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify",
		"-run", "^Release of a (released|reserved|assigned) key .*$", serveHTTP(t, losesOrders(3)))
	assert.Equal(t, exitBroken, status)
	requireGolden(t, "report_leak", stdout)
}

func TestPromiseThatCannotBeCheckedForWantOfResourcesIsSaidSo(t *testing.T) {
	t.Parallel()
	status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify",
		"-run", "^Release of a (released|reserved|assigned) key .*$", serveHTTP(t, losesOrders(1)))
	assert.Equal(t, exitBroken, status)
	assert.Contains(t, stdout, "?        Release of a released key is ok again: it needs 1 resource that is free, and of 1 only 0 have come back\n")
	assert.Contains(t, stdout, "2 promises: 1 broken, 1 not checked\n")
}

func TestResourceThatIsGivenTwiceIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	s := shelf.New(3, "verify")
	s.Pick = func(*shelf.Held, pool.Want, time.Time) []string { return []string{"packet-1"} }
	status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify", serveHTTP(t, s))
	assert.Equal(t, exitBroken, status)
	requireGolden(t, "report_twice", stdout)
}

func TestPromisesAreListed(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := twophaseCommand(t, "verify", "-list", "-run", "^a tombstone is kept$")
	assert.Equal(t, exitKept, status)
	assert.Empty(t, stderr)
	requireGolden(t, "list", stdout)
}

// fullDisk is a writer that fails.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestReportThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	var stderr strings.Builder
	status := run(context.Background(), []string{
		"verify", "-kind", "verify", "-run", "^a tombstone is kept$", "-hold", "50ms", serveHTTP(t, newPool(t, 3, "verify")),
	}, fullDisk{}, &stderr)
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr.String(), "no space left on device")
}

// sluggish is a service that takes its time for the first so many Assigns.
type sluggish struct {
	twophase.Participant
	left *atomic.Int64
}

func (s sluggish) Assign(ctx context.Context, key twophase.Key) error {
	if s.left.Add(-1) >= 0 {
		time.Sleep(3 * shortHold)
	}
	return s.Participant.Assign(ctx, key)
}

func TestVerdictsThatAreInDoubtAreSaidToBe(t *testing.T) {
	t.Parallel()
	const check = "Assign just before the expiry is in time"
	for name, test := range map[string]struct {
		slow   int64 // calls, longer than half of the longest hold
		status int
		says   string
	}{
		"a service that was busy for a while keeps its promise": {1, exitKept, "1 promise: 1 kept"},
		"a service that stays slow":                             {1000, exitBroken, "  but       calls took long meanwhile, which alone may be why: run it again with a longer -hold\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sluggish{newPool(t, 24, "a"), &atomic.Int64{}}
			p.left.Store(test.slow)
			status, stdout, stderr := twophaseCommand(t,
				"verify", "-hold", shortHold.String(), "-kind", "a", "-run", "^"+check+"$", serveHTTP(t, p))
			assert.Equal(t, test.status, status, stdout)
			assert.Empty(t, stderr)
			assert.Contains(t, stdout, test.says)
		})
	}
}
