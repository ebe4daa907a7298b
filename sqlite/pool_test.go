package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// listed are the resources that are listed, as text.
func listed(t testing.TB, p *sqlite.Pool, kinds ...string) (all []string) {
	t.Helper()
	for r, err := range p.List(t.Context(), kinds...) {
		require.NoError(t, err)
		text := fmt.Sprintf("%s: %s %v", r.Kind, r.ID, r.State)
		if r.State != pool.Free {
			text += " " + r.Key.Transaction
		}
		all = append(all, text)
	}
	return all
}

func count(t testing.TB, p *sqlite.Pool, kind string) pool.Counts {
	t.Helper()
	c, err := p.Count(t.Context(), kind)
	require.NoError(t, err)
	return c
}

func take(t testing.TB, p twophase.Participant, req twophase.Request) twophase.Reservation {
	t.Helper()
	r, err := p.Reserve(t.Context(), req)
	require.NoError(t, err)
	return r
}

func TestStockIsListedAndCounted(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2", "packet-3"))
	require.NoError(t, p.Restock(t.Context(), "idli", "packet-4"))
	require.Equal(t, []string{"packet-1"}, take(t, p, wants("order-1", dosa, 1)).Resources)
	require.Equal(t, []string{"packet-2"}, take(t, p, wants("order-2", dosa, 1)).Resources)
	require.NoError(t, p.Assign(t.Context(), keyOf("order-2")))

	require.Equal(t, pool.Counts{Free: 1, Reserved: 1, Assigned: 1}, count(t, p, dosa))
	require.Equal(t, pool.Counts{}, count(t, p, "vada"))
	kinds, err := p.Kinds(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"idli", dosa}, kinds)
	all := []string{
		"masala dosa: packet-1 reserved order-1", "masala dosa: packet-2 assigned order-2", "masala dosa: packet-3 free",
	}
	require.Equal(t, all, listed(t, p, dosa))
	require.Equal(t, append([]string{"idli: packet-4 free"}, all...), listed(t, p))
	require.Empty(t, listed(t, p, "vada"))
}

func TestLongListIsReadInPortions(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	require.NoError(t, p.Restock(t.Context(), dosa, numbered("packet", 1234)...))
	require.Len(t, listed(t, p), 1234)
	for _, err := range p.List(t.Context()) {
		require.NoError(t, err)
		break // and the database is not left in use
	}
	require.Equal(t, 1234, count(t, p, dosa).Free)
}

func TestRestockAddsAllOrNone(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1"))
	err := p.Restock(t.Context(), "idli", "packet-2", "packet-1")
	require.ErrorIs(t, err, pool.ErrExists)
	require.ErrorContains(t, err, `"packet-1", as "masala dosa"`)
	require.Equal(t, []string{"masala dosa: packet-1 free"}, listed(t, p))
	require.NoError(t, p.Restock(t.Context(), "idli"))
}

func TestWithdrawTakesAllOrNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, sqlite.WithoutBackground())
		require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2", "packet-3"))
		req := wants("order-1", dosa, 1)
		req.Hold = time.Minute
		take(t, p, req)
		err := p.Withdraw(t.Context(), "packet-2", "packet-1")
		require.ErrorIs(t, err, pool.ErrHeld)
		require.ErrorContains(t, err, `"packet-1" is reserved for order-1/store`)
		require.ErrorIs(t, p.Withdraw(t.Context(), "packet-2", "packet-9"), pool.ErrNotFound)
		require.Equal(t, 2, count(t, p, dosa).Free)

		time.Sleep(time.Minute)
		require.NoError(t, p.Withdraw(t.Context(), "packet-2", "packet-1"), "it has run out")
		require.Equal(t, []string{"masala dosa: packet-3 free"}, listed(t, p))
		require.ErrorIs(t, p.Assign(t.Context(), req.Key), twophase.ErrExpired)
	})
}

func TestStockThatCannotBeRightIsRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	long := strings.Repeat("x", 256)
	for name, err := range map[string]error{
		"an empty kind":           p.Restock(t.Context(), "", "packet-1"),
		"a long kind":             p.Restock(t.Context(), long, "packet-1"),
		"an empty id":             p.Restock(t.Context(), dosa, "packet-1", ""),
		"a long id":               p.Restock(t.Context(), dosa, long),
		"an id twice":             p.Restock(t.Context(), dosa, "packet-1", "packet-1"),
		"attributes not for JSON": p.RestockWith(t.Context(), dosa, sqlite.Item{ID: "packet-1", Attributes: func() {}}),
		"attributes too long":     p.RestockWith(t.Context(), dosa, sqlite.Item{ID: "packet-1", Attributes: strings.Repeat("x", 64<<10)}),
		"Withdraw of an empty id": p.Withdraw(t.Context(), ""),
	} {
		require.ErrorIs(t, err, twophase.ErrInvalid, name)
	}
	require.Empty(t, listed(t, p))
}

func TestRequestThatCannotBeMetIsRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
	forever := wants("order-1", dosa, 1)
	forever.Hold = 1<<63 - 1
	atOnce := wants("order-1", dosa, 1)
	atOnce.Hold = 0
	for name, req := range map[string]twophase.Request{
		"more than are free":    wants("order-1", dosa, 3),
		"no such kind":          wants("order-1", "vada", 1),
		"an empty kind":         wants("order-1", "", 1),
		"a negative count":      wants("order-1", dosa, -1),
		"too many":              wants("order-1", dosa, pool.MaxCount+1),
		"another payload":       request("order-1", []int{1}, time.Minute),
		"a hold of nothing":     atOnce,
		"a hold that is absurd": forever,
	} {
		_, err := p.Reserve(t.Context(), req)
		require.ErrorIs(t, err, twophase.ErrRefused, name)
		_, found, err := p.Lookup(t.Context(), req.Key)
		require.NoError(t, err)
		require.False(t, found, name)
	}
	require.Equal(t, 2, count(t, p, dosa).Free)
	long := twophase.Key{Transaction: strings.Repeat("x", twophase.MaxIDLength+1), Step: "store"}
	require.ErrorIs(t, p.Release(t.Context(), long), twophase.ErrInvalid)
	_, err := p.Reserve(t.Context(), twophase.Request{Key: long})
	require.ErrorIs(t, err, twophase.ErrInvalid)
}

func TestLookupTellsWhatAKeyHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, sqlite.WithoutBackground())
		require.NoError(t, p.Restock(t.Context(), dosa, "packet-1"))
		holding := func() pool.Holding {
			h, found, err := p.Lookup(t.Context(), keyOf("order-1"))
			require.NoError(t, err)
			require.True(t, found)
			return h
		}
		take(t, p, wants("order-1", dosa, 1))
		time.Sleep(20 * time.Minute)
		require.Equal(t, pool.Holding{
			State: twophase.EntryReserved, Kind: dosa, Resources: []string{"packet-1"}, TimeLeft: 40 * time.Minute,
		}, holding())
		time.Sleep(40 * time.Minute)
		require.Equal(t, pool.Holding{State: twophase.EntryExpired}, holding())
		require.NoError(t, p.Release(t.Context(), keyOf("order-1")))
		require.Equal(t, pool.Holding{State: twophase.EntryReleased}, holding())
	})
}

func TestWhatRanOutIsGivenAgainOneByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, sqlite.WithoutBackground())
		require.NoError(t, p.Restock(t.Context(), dosa, numbered("packet", 3)...))
		for i := range 3 {
			req := wants(fmt.Sprint("order-", i), dosa, 1)
			req.Hold = time.Duration(3-i) * time.Minute
			take(t, p, req)
		}
		time.Sleep(2 * time.Minute)
		require.Equal(t, pool.Counts{Free: 2, Reserved: 1}, count(t, p, dosa))
		require.Equal(t, []string{"packet-3"}, take(t, p, wants("order-4", dosa, 1)).Resources, "it ran out first")
		require.Equal(t, []string{"packet-2"}, take(t, p, wants("order-5", dosa, 1)).Resources)
		_, err := p.Reserve(t.Context(), wants("order-6", dosa, 1))
		require.ErrorIs(t, err, twophase.ErrRefused)
		require.NoError(t, p.Assign(t.Context(), keyOf("order-0")))
	})
}

func TestHousekeepingTidiesAndForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newFile(t)
		p := openPool(t, path, sqlite.WithLongestTimeout(time.Second), sqlite.WithRetention(11*time.Minute))
		require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
		require.NoError(t, p.Restock(t.Context(), "idli", "packet-3"))
		for id, kind := range map[string]string{"order-1": dosa, "order-2": dosa, "order-3": "idli"} {
			req := wants(id, kind, 1)
			req.Hold = time.Minute
			take(t, p, req)
		}
		require.NoError(t, p.Assign(t.Context(), keyOf("order-2")))
		require.NoError(t, p.Release(t.Context(), keyOf("tombstone")))

		stored := func() string {
			var states string
			require.NoError(t, openDB(t, path).QueryRowContext(t.Context(),
				`SELECT group_concat(transaction_id || ' ' || state, ', ' ORDER BY transaction_id) FROM twophase_entries`).Scan(&states))
			return states
		}
		time.Sleep(2 * time.Minute)
		require.Equal(t, "order-1 4, order-2 2, order-3 4, tombstone 3", stored(), "what ran out is marked so")
		time.Sleep(8 * time.Minute)
		require.ErrorIs(t, p.Assign(t.Context(), keyOf("tombstone")), twophase.ErrReleased, "within the retention")
		time.Sleep(4 * time.Minute)
		require.Equal(t, "order-2 2", stored(), "what is held is never forgotten")
		require.ErrorIs(t, p.Assign(t.Context(), keyOf("order-1")), twophase.ErrUnknown)
	})
}

func TestSweepAndPruneStopAtTheirLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, sqlite.WithoutBackground())
		require.NoError(t, p.Restock(t.Context(), dosa, numbered("packet", 450)...))
		for i := range 450 {
			req := wants(fmt.Sprint("order-", i), dosa, 1)
			req.Hold = time.Minute
			take(t, p, req)
		}
		time.Sleep(time.Minute)
		for _, want := range []int{410, 40, 0} {
			n, err := p.Sweep(t.Context(), 410)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
		time.Sleep(25 * time.Hour)
		for _, want := range []int{410, 40, 0} {
			n, err := p.Prune(t.Context(), 410)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
	})
}

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	before := openPool(t, path)
	require.NoError(t, before.Restock(t.Context(), dosa, numbered("packet", 3)...))
	given := take(t, before, wants("order-1", dosa, 1))
	take(t, before, wants("order-2", dosa, 1))
	require.NoError(t, before.Assign(t.Context(), keyOf("order-2")))
	require.NoError(t, before.Release(t.Context(), keyOf("order-3")))
	require.NoError(t, before.Close())
	_, err := before.Reserve(t.Context(), wants("order-4", dosa, 1))
	require.ErrorIs(t, err, sqlite.ErrClosed)
	require.False(t, twophase.IsFinal(err))

	after := openPool(t, path)
	again := take(t, after, wants("order-1", dosa, 1))
	require.Equal(t, given.Resources, again.Resources)
	require.Less(t, again.TimeLeft, given.TimeLeft)
	require.NoError(t, after.Assign(t.Context(), keyOf("order-1")))
	require.True(t, take(t, after, wants("order-2", dosa, 1)).Assigned)
	_, err = after.Reserve(t.Context(), wants("order-3", dosa, 1))
	require.ErrorIs(t, err, twophase.ErrReleased)
	require.Equal(t, pool.Counts{Free: 1, Assigned: 2}, count(t, after, dosa))
}

// Several instances of a service share a hot kind, and never hold a packet twice.
func TestHotKindIsNeverHeldTwice(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	instances := []*sqlite.Pool{openPool(t, path), openPool(t, path)}
	const packets, callers, rounds = 8, 64, 6
	require.NoError(t, instances[0].Restock(t.Context(), dosa, numbered("packet", packets)...))
	var holders sync.Map
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			p := instances[caller%2]
			for round := range rounds {
				req := wants(fmt.Sprintf("order-%d-%d", caller, round), dosa, 1+caller%2)
				r, err := p.Reserve(t.Context(), req)
				if errors.Is(err, twophase.ErrRefused) {
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				for _, id := range r.Resources {
					other, taken := holders.LoadOrStore(id, req.Key)
					assert.False(t, taken, "%s is given to %v while %v has it", id, req.Key, other)
				}
				assert.NoError(t, p.Assign(t.Context(), req.Key))
				for _, id := range r.Resources {
					holders.Delete(id)
				}
				assert.NoError(t, p.Release(t.Context(), req.Key))
			}
		})
	}
	done.Wait()
	require.Equal(t, pool.Counts{Free: packets}, count(t, instances[1], dosa))
}

func TestPoolsInOneFileAreKeptApart(t *testing.T) {
	t.Parallel()
	db := openDB(t, newFile(t))
	var pools []*sqlite.Pool
	for _, name := range []string{"store", "delivery"} {
		p, err := sqlite.NewPool(t.Context(), db, name)
		require.NoError(t, err)
		defer func() { require.NoError(t, p.Close()) }()
		pools = append(pools, p)
	}
	require.NoError(t, pools[0].Restock(t.Context(), dosa, "x"))
	require.NoError(t, pools[1].Restock(t.Context(), "Indiranagar", "x"))
	take(t, pools[0], wants("order-1", dosa, 1))
	take(t, pools[1], wants("order-1", "Indiranagar", 1))
	require.NoError(t, pools[0].Release(t.Context(), keyOf("order-1")))
	require.Equal(t, pool.Counts{Free: 1}, count(t, pools[0], dosa))
	require.Equal(t, pool.Counts{Reserved: 1}, count(t, pools[1], "Indiranagar"))
	_, err := sqlite.NewFence(t.Context(), db, "store", kitchen)
	require.ErrorIs(t, err, twophase.ErrInvalid)
	require.ErrorContains(t, err, "the file has a pool of that name")
}

func TestPoolWorksOnASingleConnection(t *testing.T) {
	t.Parallel()
	db := openDB(t, newFile(t))
	db.SetMaxOpenConns(1)
	p, err := sqlite.NewPool(t.Context(), db, "store")
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	require.NoError(t, p.Restock(t.Context(), dosa, numbered("packet", 32)...))
	var done sync.WaitGroup
	for i := range 32 {
		done.Go(func() {
			_, err := p.Reserve(t.Context(), wants(fmt.Sprint("order-", i), dosa, 1))
			assert.NoError(t, err)
		})
	}
	done.Wait()
	require.Len(t, listed(t, p), 32)
}

func TestCallerWhoGivesUpIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	p := openPool(t, path)
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1"))
	tx, err := openDB(t, path).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = p.Reserve(ctx, wants("order-1", dosa, 1))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 4*time.Second, "SQLite itself waits for longer")
	require.ErrorIs(t, p.Restock(ctx, dosa, "packet-2"), context.DeadlineExceeded)
	require.NoError(t, tx.Rollback())
	take(t, p, wants("order-1", dosa, 1))
}

// agent asks for a delivery agent nearby.
type agent struct {
	X, Y    float64
	Vehicle string
}

func newDelivery(t testing.TB) *sqlite.Pool {
	t.Helper()
	p := newPool(t, sqlite.WithoutBackground(), sqlite.For(func(a agent) sqlite.Query {
		return sqlite.Query{
			Kind:    "agent",
			Where:   "attributes ->> 'vehicle' = ?",
			OrderBy: "abs((attributes ->> 'x') - ?) + abs((attributes ->> 'y') - ?)",
			Args:    []any{a.Vehicle, a.X, a.Y},
		}
	}))
	at := func(id, vehicle string, x, y float64) sqlite.Item {
		return sqlite.Item{ID: id, Attributes: map[string]any{"vehicle": vehicle, "x": x, "y": y}}
	}
	require.NoError(t, p.RestockWith(t.Context(), "agent",
		at("far", "bike", 9, 9), at("near", "bike", 1, 1), at("on foot", "none", 0, 0), at("middle", "bike", 3, 3)))
	return p
}

func TestQueryFiltersAndOrders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newDelivery(t)
		nearest := func(id string, hold time.Duration) twophase.Request {
			return request(id, agent{Vehicle: "bike"}, hold)
		}
		r := take(t, p, nearest("order-1", time.Minute))
		require.Equal(t, []string{"near"}, r.Resources)
		details, err := twophase.DetailsOf[[]agent](r)
		require.NoError(t, err)
		require.Equal(t, []agent{{X: 1, Y: 1, Vehicle: "bike"}}, details)
		require.JSONEq(t, string(r.Details), string(take(t, p, nearest("order-1", time.Minute)).Details))
		require.Equal(t, []string{"middle"}, take(t, p, nearest("order-2", time.Hour)).Resources)

		time.Sleep(time.Minute)
		require.Equal(t, []string{"near"}, take(t, p, nearest("order-3", time.Hour)).Resources, "it has run out")
		require.Equal(t, []string{"far"}, take(t, p, nearest("order-4", time.Hour)).Resources)
		_, err = p.Reserve(t.Context(), nearest("order-5", time.Hour))
		require.ErrorIs(t, err, twophase.ErrRefused)
	})
}

func TestAttributesMayChange(t *testing.T) {
	t.Parallel()
	p := newDelivery(t)
	require.NoError(t, p.SetAttributes(t.Context(), sqlite.Item{ID: "far", Attributes: agent{Vehicle: "bike"}}))
	err := p.SetAttributes(t.Context(), sqlite.Item{ID: "near"}, sqlite.Item{ID: "nobody"})
	require.ErrorIs(t, err, pool.ErrNotFound)
	require.Equal(t, []string{"near"}, take(t, p, request("order-1", agent{Vehicle: "bike"}, time.Hour)).Resources,
		"none was changed, and X is not x")
	require.NoError(t, p.SetAttributes(t.Context(), sqlite.Item{ID: "far", Attributes: map[string]any{"vehicle": "bike", "x": 0, "y": 0}}))
	require.Equal(t, []string{"far"}, take(t, p, request("order-2", agent{Vehicle: "bike"}, time.Hour)).Resources)
}

func TestArgumentsOfAQueryAreData(t *testing.T) {
	t.Parallel()
	p := newDelivery(t)
	_, err := p.Reserve(t.Context(), request("order-1", agent{Vehicle: "' OR 1=1 --"}, time.Hour))
	require.ErrorIs(t, err, twophase.ErrRefused)
	require.Equal(t, 4, count(t, p, "agent").Free)
}

func TestQueryThatIsWrongIsRefusedAndHurtsNobody(t *testing.T) {
	t.Parallel()
	p := newPool(t, sqlite.For(func(q sqlite.Query) sqlite.Query { return q }))
	items := make([]sqlite.Item, 40)
	for i := range items {
		items[i] = sqlite.Item{ID: fmt.Sprint("packet-", i), Attributes: json.RawMessage(`{"n":` + fmt.Sprint(i) + `}`)}
	}
	require.NoError(t, p.RestockWith(t.Context(), dosa, items...))
	wrong := []sqlite.Query{
		{Kind: dosa, Where: "no such thing"},
		{Kind: dosa, OrderBy: "nothing"},
		{Kind: dosa, Where: "attributes ->> 'n' = ?"},
		{Kind: dosa, Where: "true", Args: []any{1}},
		{Kind: dosa, Where: "json_extract(id, '$.x')"},
	}
	var done sync.WaitGroup
	for i := range 40 {
		done.Go(func() {
			if i%4 == 0 {
				_, err := p.Reserve(t.Context(), request(fmt.Sprint("wrong-", i), wrong[i/4%len(wrong)], time.Hour))
				assert.ErrorIs(t, err, twophase.ErrRefused, wrong[i/4%len(wrong)])
				return
			}
			_, err := p.Reserve(t.Context(), request(fmt.Sprint("order-", i), sqlite.Query{Kind: dosa, OrderBy: "attributes ->> 'n' DESC"}, time.Hour))
			assert.NoError(t, err)
		})
	}
	done.Wait()
	require.Equal(t, pool.Counts{Free: 10, Reserved: 30}, count(t, p, dosa))
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	db := openDB(t, newFile(t))
	for text, options := range map[string][]sqlite.PoolOption{
		"WithRetention(1h0m0s): a late message of a transaction of 1h0m0s could reserve anew: give at least 1h10m0s": {sqlite.WithRetention(time.Hour)},
		"give at least 48h10m0s": {sqlite.WithLongestTimeout(48 * time.Hour)},
		"WithLongestTimeout(0s)": {sqlite.WithLongestTimeout(0)},
		"WithLogger(nil)":        {sqlite.WithLogger(nil)},
		"For is given nil":       {sqlite.For[int](nil)},
		"option 2 is nil":        {sqlite.WithoutBackground(), nil},
	} {
		_, err := sqlite.NewPool(t.Context(), db, "store", options...)
		require.ErrorIs(t, err, twophase.ErrInvalid)
		require.ErrorContains(t, err, text)
	}
	for _, name := range []string{"", strings.Repeat("x", 256)} {
		_, err := sqlite.NewPool(t.Context(), db, name)
		require.ErrorIs(t, err, twophase.ErrInvalid)
	}
	_, err := sqlite.NewPool(t.Context(), nil, "store")
	require.ErrorIs(t, err, twophase.ErrInvalid)
}

func TestDatabaseThatForgetsIsRefused(t *testing.T) {
	t.Parallel()
	memory, err := sql.Open("sqlite3", ":memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, memory.Close()) }()
	_, err = sqlite.NewPool(t.Context(), memory, "store")
	require.ErrorIs(t, err, twophase.ErrInvalid)

	careless, err := sql.Open("sqlite3", "file:"+newFile(t)+"?_pragma=synchronous(off)")
	require.NoError(t, err)
	defer func() { require.NoError(t, careless.Close()) }()
	_, err = sqlite.NewPool(t.Context(), careless, "store")
	require.ErrorIs(t, err, twophase.ErrInvalid)
	require.ErrorContains(t, err, "synchronous")

	_, err = sqlite.OpenDB(t.Context(), "")
	require.ErrorIs(t, err, twophase.ErrInvalid)
}

func TestJournalsFileIsRefused(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	j, err := sqlite.Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, j.Close())
	_, err = sqlite.NewPool(t.Context(), openDB(t, path), "store")
	require.ErrorIs(t, err, twophase.ErrInvalid)
	require.ErrorContains(t, err, "journal's file")
}

func TestNewerTablesAreRefused(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	openPool(t, path)
	db := openDB(t, path)
	_, err := db.ExecContext(t.Context(), `UPDATE twophase_schema SET version = 99`)
	require.NoError(t, err)
	_, err = sqlite.NewPool(t.Context(), db, "store")
	require.ErrorIs(t, err, sqlite.ErrNewer)
}

func TestManyMayOpenANewFileAtOnce(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			p := openPool(t, path)
			assert.NoError(t, p.Restock(t.Context(), dosa, fmt.Sprint("packet-", i)))
		})
	}
	done.Wait()
	require.Equal(t, 8, count(t, openPool(t, path), dosa).Free)
}

// In a reservation, which is JSON, it would become another.
func TestIDThatIsNotUTF8IsRefused(t *testing.T) {
	t.Parallel()
	p := openPool(t, newFile(t))
	require.ErrorIs(t, p.Restock(t.Context(), dosa, "caf\xe9"), twophase.ErrInvalid)
}
