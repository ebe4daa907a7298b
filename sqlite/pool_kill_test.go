//go:build unix

package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"hash/fnv"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/crashtest"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// Whole orders: a coordinator on a journal in one process, a store and a
// delivery on pools in another, each killed at any moment.
func TestProcessesOfWholeOrdersMayBeKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	crashtest.Run(t, crashtest.Test{
		Storage:  func(t testing.TB) string { return filepath.Join(t.TempDir(), "journal.db") },
		Open:     openForChild,
		Freezes:  true,
		Services: &crashtest.Services{Storage: newServices, Ledgers: historyOf},
	})
}

var services = []string{"store", "delivery"}

const (
	ample  = 20_000
	scarce = 40
)

// ordered is what an order asks each of the services for.
func ordered(id string) sqlite.Query {
	hash := fnv.New32()
	_, _ = hash.Write([]byte(id))
	q := sqlite.Query{Kind: "ample", Count: 1 + int(hash.Sum32()/8%2)}
	if hash.Sum32()/16%8 == 0 {
		q.Kind = "scarce" // and soon there are none
	}
	return q
}

// openService opens the pool of a service in its folder.
func openService(ctx context.Context, folder, name string) (*sqlite.Pool, *sql.DB, error) {
	watched, last := sqlite.Watched()
	db, err := driver.Open(filepath.Join(folder, name+".db"), func(c *sqlite3.Conn) error {
		tell := func(ctx sqlite3.Context, _ ...sqlite3.Value) { ctx.ResultInt64(last().UnixNano()) }
		return errors.Join(sqlite.PrepareConn(c), c.CreateFunction("judged", 0, sqlite3.INNOCUOUS, tell))
	})
	if err != nil {
		return nil, nil, err
	}
	p, err := sqlite.NewPool(ctx, db, name, sqlite.For(ordered), watched)
	return p, db, err
}

func openTown(ctx context.Context, folder string) (map[string]twophase.Participant, error) {
	participants := map[string]twophase.Participant{}
	for _, name := range services {
		p, _, err := openService(ctx, folder, name)
		if err != nil {
			return nil, err
		}
		participants[name] = p
	}
	return participants, nil
}

// inService opens a service for as long as do takes.
func inService(t testing.TB, folder, name string, do func(*sqlite.Pool, *sql.DB)) {
	t.Helper()
	p, db, err := openService(t.Context(), folder, name)
	require.NoError(t, err)
	do(p, db)
	require.NoError(t, p.Close())
	require.NoError(t, db.Close())
}

// keepHistory has the database itself write down, in the same transaction, what
// becomes of each key, and when that was judged.
const keepHistory = `
	CREATE TABLE history (at INTEGER, transaction_id TEXT, step TEXT, state INTEGER, expires INTEGER, reservation TEXT);
	CREATE TRIGGER added AFTER INSERT ON twophase_entries BEGIN
		INSERT INTO history SELECT judged(), new.transaction_id, new.step, new.state, new.expires, new.reservation;
	END;
	CREATE TRIGGER changed AFTER UPDATE ON twophase_entries BEGIN
		INSERT INTO history SELECT judged(), new.transaction_id, new.step, new.state, new.expires, new.reservation;
	END`

func newServices(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range services {
		inService(t, folder, name, func(p *sqlite.Pool, db *sql.DB) {
			require.NoError(t, p.Restock(t.Context(), "ample", numbered(name, ample)...))
			require.NoError(t, p.Restock(t.Context(), "scarce", numbered("scarce-"+name, scarce)...))
			_, err := db.ExecContext(t.Context(), keepHistory)
			require.NoError(t, err)
		})
	}
	return folder
}

// change is a row of the history.
type change struct {
	crashtest.Change
	resources []string
}

func historyOf(t testing.TB, folder string) map[string][]crashtest.Change {
	t.Helper()
	ledgers := map[string][]crashtest.Change{}
	for _, name := range services {
		inService(t, folder, name, func(p *sqlite.Pool, db *sql.DB) {
			changes := readHistory(t, db)
			requireHeldByOne(t, changes)
			requireBooksAsInHistory(t, p, changes)
			for _, c := range changes {
				ledgers[name] = append(ledgers[name], c.Change)
			}
		})
	}
	return ledgers
}

func readHistory(t testing.TB, db *sql.DB) (changes []change) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT at, transaction_id, step, state, expires, reservation FROM history ORDER BY rowid`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c change
		var at, expires int64
		var reservation string
		require.NoError(t, rows.Scan(&at, &c.Key.Transaction, &c.Key.Step, &c.State, &expires, &reservation))
		c.At, c.Expires = time.Unix(0, at), time.Unix(0, expires)
		if reservation != "" {
			var held struct{ Resources []string }
			require.NoError(t, json.Unmarshal([]byte(reservation), &held))
			c.resources, c.Resource = held.Resources, held.Resources[0]
		}
		changes = append(changes, c)
	}
	require.NoError(t, rows.Err())
	return changes
}

// requireHeldByOne checks I3 of all resources; the audit looks at the first of
// each step.
func requireHeldByOne(t testing.TB, changes []change) {
	t.Helper()
	holders, held := map[string]twophase.Key{}, map[twophase.Key][]string{}
	for _, c := range changes {
		for _, id := range held[c.Key] {
			delete(holders, id)
		}
		held[c.Key] = c.resources
		for _, id := range c.resources {
			assert.NotContains(t, holders, id, "I3: %s is given to %s, too", id, c.Key)
			holders[id] = c.Key
		}
	}
}

// requireBooksAsInHistory checks that what the pool tells is how the history
// ends.
func requireBooksAsInHistory(t testing.TB, p *sqlite.Pool, changes []change) {
	t.Helper()
	last, holders := map[twophase.Key]change{}, map[string]twophase.Key{}
	for _, c := range changes {
		last[c.Key] = c
	}
	for key, c := range last {
		holding, found, err := p.Lookup(t.Context(), key)
		require.NoError(t, err)
		require.True(t, found, key)
		if twophase.EntryState(c.State) == twophase.EntryReserved { // and nobody has swept it
			c.State, c.resources = crashtest.State(twophase.EntryExpired), nil
		}
		require.Equal(t, pool.Holding{
			State: twophase.EntryState(c.State), Kind: holding.Kind, Resources: c.resources,
		}, holding, key)
		for _, id := range c.resources {
			holders[id] = key
		}
	}
	for r, err := range p.List(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, holders[r.ID], r.Key, "%s is %v", r.ID, r.State)
	}
	require.NotEmpty(t, holders, "%d changes", len(changes))
}
