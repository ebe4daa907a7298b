package main

import (
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// statementsRun has SQLite tell what every connection to a file runs.
type statementsRun struct {
	mu  sync.Mutex
	sql []string
}

var traced = sync.OnceValue(func() *statementsRun {
	r := &statementsRun{}
	sqlite3.AutoExtension(func(c *sqlite3.Conn) error {
		return c.Trace(sqlite3.TRACE_STMT, func(_ sqlite3.TraceEvent, _, sql any) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sql = append(r.sql, plain(sql.(string)))
			return nil
		})
	})
	return r
})

// plain returns SQL without the way in which it is laid out.
func plain(sql string) string {
	return strings.TrimSuffix(strings.Join(strings.Fields(sql), " "), ";")
}

func TestBaselineRunsTheStatementsOfTheJournal(t *testing.T) {
	run := traced()
	s := newSQLite(t.TempDir(), randomIDs)
	j, err := s.open(t.Context(), "journal")
	require.NoError(t, err)
	require.NoError(t, leave(t.Context(), j, "order-1", true))
	require.NoError(t, j.close())
	run.mu.Lock()
	defer run.mu.Unlock()
	for _, sql := range []string{bareInsert, bareUpdate, "BEGIN IMMEDIATE", "COMMIT"} {
		assert.Contains(t, run.sql, plain(sql), "the journal runs other statements: change those of the baseline")
	}
	// SQLite does not tell what is run without being prepared.
	writer, err := os.ReadFile("../sqlite/writer.go")
	require.NoError(t, err)
	settings := regexp.MustCompile(`"PRAGMA [^"]*"`).FindAllString(string(writer), -1)
	for i, setting := range settings {
		settings[i] = strings.Trim(setting, `"`)
	}
	assert.Equal(t, bareSettings, settings, "the journal has other settings: change those of the baseline")
}

func TestBaselineCommitsAsManyAtATimeAsTheJournal(t *testing.T) {
	for name, test := range map[string]struct {
		batch   float64
		pairs   []int
		commits int64
	}{
		"each write by itself":                  {1, []int{1, 1, 1}, 6},
		"one insert and one update":             {2, []int{0, 1, 1}, 3},
		"half of a batch inserts, half updates": {40, []int{0, 20, 20}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSQLite(t.TempDir(), randomIDs)
			b, err := s.bare(t.Context(), func() float64 { return test.batch })
			require.NoError(t, err)
			before := sqliteCommits.Load()
			for _, want := range test.pairs {
				pairs, _, err := b.work(t.Context())
				require.NoError(t, err)
				assert.Equal(t, want, pairs)
			}
			assert.Equal(t, test.commits, sqliteCommits.Load()-before)
			require.NoError(t, b.close())
		})
	}
}
