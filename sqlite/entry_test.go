package sqlite_test

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

const dosa = "masala dosa"

func newFile(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "store.db")
}

// openDB opens a file until the test ends.
func openDB(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sqlite.OpenDB(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

// openPool opens the pool in a file until the test ends, as a process of its
// own would.
func openPool(t testing.TB, path string, options ...sqlite.PoolOption) *sqlite.Pool {
	t.Helper()
	p, err := sqlite.NewPool(t.Context(), openDB(t, path), "store", options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// newPool opens a pool in a new file.
func newPool(t testing.TB, options ...sqlite.PoolOption) *sqlite.Pool {
	t.Helper()
	return openPool(t, newFile(t), options...)
}

func numbered(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = prefix + "-" + strconv.Itoa(i+1)
	}
	return ids
}

func keyOf(id string) twophase.Key { return twophase.Key{Transaction: id, Step: "store"} }

// wants is a request for resources of a kind.
func wants(id, kind string, count int) twophase.Request {
	return request(id, pool.Want{Kind: kind, Count: count}, time.Hour)
}

func request(id string, payload any, hold time.Duration) twophase.Request {
	encoded, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	return twophase.Request{Key: keyOf(id), Payload: encoded, Hold: hold}
}
