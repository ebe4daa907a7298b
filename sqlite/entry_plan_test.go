package sqlite

import (
	"database/sql"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoCallLooksAtMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	db, err := OpenDB(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	p, err := NewPool(t.Context(), db, "store")
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()

	for statement, index := range map[string]string{
		loadEntry:      "sqlite_autoindex_twophase_entries_1 (participant=? AND transaction_id=? AND step=?)",
		changeEntry:    "INTEGER PRIMARY KEY (rowid=?)",
		dueEntries:     "twophase_entries_due (participant=? AND kind=? AND expires",
		firstFree:      "twophase_resources_free (participant=? AND kind=?)",
		takeResource:   "INTEGER PRIMARY KEY (rowid=?)",
		freeResource:   "sqlite_autoindex_twophase_resources_1 (participant=? AND id=?)",
		pruneEntries:   "twophase_entries_finished (participant=? AND finished",
		oldestFinished: "twophase_entries_finished (participant=? AND finished",
		kindsDue:       "twophase_entries_due (participant=? AND kind=? AND expires<?)",
		listResources:  "twophase_resources_kind (participant=? AND kind=? AND rowid>?)",
		countResources: "twophase_resources_kind (participant=? AND kind=?)",
		nextKind:       "(participant=? AND kind>?)",
	} {
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, make([]any, parameters(statement))...)
		require.NoError(t, err)
		var plan strings.Builder
		require.NoError(t, scanAll(rows, func(rows *sql.Rows) error {
			var id, parent, unused int
			var detail string
			err := rows.Scan(&id, &parent, &unused, &detail)
			plan.WriteString(detail + "\n")
			return err
		}))
		require.Contains(t, plan.String(), index, statement)
		require.NotContains(t, plan.String(), "TEMP B-TREE", statement)
		require.NotContains(t, plan.String(), "SCAN twophase", statement)
	}
}

// parameters counts those of a statement, which are numbered.
func parameters(statement string) int {
	n := 0
	for strings.Contains(statement, "?"+strconv.Itoa(n+1)) {
		n++
	}
	return n
}
