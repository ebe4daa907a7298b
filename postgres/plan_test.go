package postgres

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The plan of a lone Decide is kept from when the table has one row or none.
func TestLoneDecideGoesByThePrimaryKeyWhateverTheSize(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	j := openJournal(t, db)
	for rows := range 3 {
		execute(t, db, `ANALYZE twophase_transactions`)
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), preludeAlone)
		require.NoError(t, err)
		answer, err := tx.Query(t.Context(), "EXPLAIN (COSTS OFF) "+j.sql.decideOne, "order-1", int64(2), "{}")
		lines, err := collect[string](answer, err)
		require.NoError(t, err)
		assert.Contains(t, lines[1], "twophase_transactions_pkey", "%d rows: %q", rows, lines)
		require.NoError(t, tx.Rollback(t.Context()))
		_, _, err = j.Begin(t.Context(), benchRecord(keyOf(1, int64(rows))))
		require.NoError(t, err)
	}
}
