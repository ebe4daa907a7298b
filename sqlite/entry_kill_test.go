//go:build unix

package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// killEnv makes the test binary a service on a file, which is to be killed.
const killEnv = "TWOPHASE_SQLITE_SERVE"

func init() {
	if path := os.Getenv(killEnv); path != "" {
		err := serve(context.Background(), path, os.Stdout)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// holdUntilKilled outlasts the slowest of commits.
const holdUntilKilled = 500 * time.Millisecond

// serve has a pool and a fence called by many, and writes down what was
// acknowledged, until the process is killed.
func serve(ctx context.Context, path string, out io.Writer) error {
	db, err := sqlite.OpenDB(ctx, path)
	if err != nil {
		return err
	}
	store, err := sqlite.NewPool(ctx, db, "store")
	if err != nil {
		return err
	}
	fence, err := sqlite.NewFence(ctx, db, "kitchen", kitchen)
	if err != nil {
		return err
	}
	var writing sync.Mutex
	acknowledge := func(what string, of, id string) {
		writing.Lock()
		defer writing.Unlock()
		_, _ = fmt.Fprintln(out, what, of, id)
	}
	var callers sync.WaitGroup
	for i := range 16 {
		of, p := "pool", twophase.Participant(store)
		if i%2 == 1 {
			of, p = "fence", fence
		}
		callers.Go(func() {
			for n := 0; ; n++ {
				req := wants(fmt.Sprintf("%d-%d-%d", os.Getpid(), i, n), dosa, 1+rand.IntN(2))
				req.Hold = holdUntilKilled
				if _, err := p.Reserve(ctx, req); err != nil {
					continue
				}
				if n%4 == 0 || p.Assign(ctx, req.Key) != nil {
					continue // it runs out, or has
				}
				acknowledge("assigned", of, req.Key.Transaction)
				acknowledge("releasing", of, req.Key.Transaction)
				if n%20 != 1 && p.Release(ctx, req.Key) == nil {
					acknowledge("released", of, req.Key.Transaction)
				}
			}
		})
	}
	callers.Wait()
	return errors.New("nobody killed it")
}

// runAndKill returns what a service acknowledged before it was killed, some time
// after its first calls.
func runAndKill(t *testing.T, path string, after time.Duration) string {
	t.Helper()
	var trouble bytes.Buffer
	service := exec.CommandContext(t.Context(), os.Args[0])
	service.Env = append(os.Environ(), killEnv+"="+path)
	service.Stderr = &trouble
	stdout, err := service.StdoutPipe()
	assert.NoError(t, err)
	if !assert.NoError(t, service.Start()) {
		return ""
	}
	out := bufio.NewReader(stdout)
	first, err := out.ReadString('\n') // it is at work
	assert.NoError(t, err)
	kill := time.AfterFunc(after, func() { _ = service.Process.Kill() })
	defer kill.Stop()
	rest, err := io.ReadAll(out)
	assert.NoError(t, err)
	assert.Error(t, service.Wait())
	assert.Empty(t, trouble.String())
	return first + string(rest)
}

func TestServicesMayBeKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	const packetsInStock = 400
	db := newKitchen(t, packetsInStock)
	var path string
	var number, name any
	require.NoError(t, db.QueryRowContext(t.Context(), `PRAGMA database_list`).Scan(&number, &name, &path))
	store, err := sqlite.NewPool(t.Context(), db, "store")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, store.Restock(t.Context(), dosa, numbered("packet", packetsInStock)...))
	fence := openKitchen(t, db, kitchen)

	var services sync.WaitGroup // two at a time, killed at different moments
	acknowledged := make([]string, 2)
	for i := range acknowledged {
		services.Go(func() {
			for range 4 {
				acknowledged[i] += runAndKill(t, path, rand.N(300*time.Millisecond))
			}
		})
	}
	services.Wait()

	states := map[string]twophase.EntryState{}
	lines := bufio.NewScanner(strings.NewReader(strings.Join(acknowledged, "")))
	for lines.Scan() {
		var what, of, id string
		_, err := fmt.Sscan(lines.Text(), &what, &of, &id)
		require.NoError(t, err)
		state := twophase.EntryAssigned
		switch what {
		case "releasing":
			state = twophase.EntryNone // it may be either
		case "released":
			state = twophase.EntryReleased
		}
		states[of+" "+id] = state
	}
	require.Greater(t, len(states), 8, "calls that were acknowledged")
	for name, state := range states {
		of, id, _ := strings.Cut(name, " ")
		found := stateOf(t, db, map[string]string{"pool": "store", "fence": "kitchen"}[of], id)
		if state == twophase.EntryNone {
			require.Contains(t, []twophase.EntryState{twophase.EntryAssigned, twophase.EntryReleased}, found, name)
			continue
		}
		require.Equal(t, state, found, name)
	}
	requireBooksAgree(t, db, store, fence)
}

// stateOf reads the stored state of a key.
func stateOf(t *testing.T, db *sql.DB, participant, id string) (state twophase.EntryState) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT state FROM twophase_entries AS e
		JOIN twophase_participants AS p ON p.number = e.participant
		WHERE p.name = ? AND transaction_id = ?`, participant, id).Scan(&state))
	return state
}

// requireBooksAgree checks, when all that was not assigned has run out, that
// what the tables say to be held is what the entries hold.
func requireBooksAgree(t *testing.T, db *sql.DB, store *sqlite.Pool, fence *sqlite.Fence) {
	t.Helper()
	time.Sleep(holdUntilKilled + 50*time.Millisecond)
	for _, sweep := range []func(context.Context, int) (int, error){store.Sweep, fence.Sweep} {
		_, err := sweep(t.Context(), 10_000)
		require.NoError(t, err)
	}
	held := func(participant string) (resources, entries int) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT
			coalesce(sum(json_array_length(reservation, '$.resources')), 0), count(*)
			FROM twophase_entries AS e JOIN twophase_participants AS p ON p.number = e.participant
			WHERE p.name = ? AND state IN (1, 2)`, participant).Scan(&resources, &entries))
		return resources, entries
	}
	resources, entries := held("store")
	counts := count(t, store, dosa)
	require.Positive(t, entries)
	require.Zero(t, counts.Reserved)
	require.Equal(t, resources, counts.Assigned)
	var strangers int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM twophase_resources AS r
		LEFT JOIN twophase_entries AS e ON e.number = r.entry
		WHERE r.entry IS NOT NULL AND (e.number IS NULL OR e.state <> 2 OR
			r.id NOT IN (SELECT value FROM json_each(e.reservation, '$.resources')))`).Scan(&strangers))
	require.Zero(t, strangers, "resources that their holder does not know of")

	resources, _ = held("kitchen")
	inKitchen := packets(t, db)
	require.Equal(t, resources, inKitchen["assigned"])
	require.Zero(t, inKitchen["reserved"])
}
