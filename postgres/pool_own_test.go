package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

func TestRestockAddsAllOrNothing(t *testing.T) {
	t.Parallel()
	p := openPool(t, cluster.Pool(t), "store")
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
	require.NoError(t, p.Restock(t.Context(), dosa))
	for name, test := range map[string]struct {
		kind string
		ids  []string
		want error
	}{
		"an id that is there":       {dosa, []string{"packet-3", "packet-2"}, pool.ErrExists},
		"as another kind":           {"idli", []string{"packet-1"}, pool.ErrExists},
		"an id twice":               {dosa, []string{"packet-3", "packet-3"}, twophase.ErrInvalid},
		"an empty id":               {dosa, []string{""}, twophase.ErrInvalid},
		"a long id":                 {dosa, []string{strings.Repeat("x", 256)}, twophase.ErrInvalid},
		"an id with a 0":            {dosa, []string{"\x00"}, twophase.ErrInvalid},
		"an empty kind":             {"", []string{"packet-3"}, twophase.ErrInvalid},
		"a kind that is not UTF-8":  {"\xff", []string{"packet-3"}, twophase.ErrInvalid},
		"more than one call may do": {dosa, make([]string, MaxItems+1), twophase.ErrInvalid},
	} {
		require.ErrorIs(t, p.Restock(t.Context(), test.kind, test.ids...), test.want, name)
	}
	require.ErrorIs(t, p.RestockWith(t.Context(), dosa, Item{ID: "packet-3", Attributes: func() {}}), twophase.ErrInvalid)
	require.ErrorIs(t, p.RestockWith(t.Context(), dosa, Item{ID: "packet-3", Attributes: "\x00"}), twophase.ErrInvalid)
	requireCounts(t, p, dosa, 2, 0, 0)
	requireCounts(t, p, "idli", 0, 0, 0)
}

func requireCounts(t testing.TB, p *Pool, kind string, free, reserved, assigned int) {
	t.Helper()
	counts, err := p.Count(t.Context(), kind)
	require.NoError(t, err)
	require.Equal(t, pool.Counts{Free: free, Reserved: reserved, Assigned: assigned}, counts)
}

func TestWithdrawTakesOnlyWhatIsFree(t *testing.T) {
	t.Parallel()
	p := openPool(t, cluster.Pool(t), "store", WithoutBackground())
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1"))
	_, err := reserveOne(t.Context(), p, "order-1", dosa, 50*time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-2"))
	err = p.Withdraw(t.Context(), "packet-2", "packet-3")
	require.ErrorIs(t, err, pool.ErrNotFound)
	require.ErrorContains(t, err, "packet-3")
	require.Eventually(t, func() bool { // held until it runs out, then free with nobody's help
		err = p.Withdraw(t.Context(), "packet-2", "packet-1")
		return err == nil || !errors.Is(err, pool.ErrHeld)
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, err)
	requireCounts(t, p, dosa, 0, 0, 0)
	require.ErrorIs(t, p.Assign(t.Context(), orderKey("order-1")), twophase.ErrExpired)
}

func TestListCountAndLookupTellWhoHasWhat(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	p, other := openPool(t, db, "store", WithoutBackground()), openPool(t, db, "another store")
	require.NoError(t, other.Restock(t.Context(), "vada", "packet-1"), "ids are unique in one pool")
	require.NoError(t, p.Restock(t.Context(), "idli", "packet-i"))
	require.NoError(t, p.Restock(t.Context(), dosa, numberedIDs("packet", resourcePage+1)...))
	var given []string
	for _, order := range []string{"reserved", "assigned", "run out"} {
		hold := time.Hour
		if order == "run out" {
			hold = time.Microsecond
		}
		r, err := reserveOne(t.Context(), p, order, dosa, hold)
		require.NoError(t, err)
		given = append(given, r.Resource())
	}
	require.NoError(t, p.Assign(t.Context(), orderKey("assigned")))
	kinds, err := p.Kinds(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"idli", dosa}, kinds)
	requireCounts(t, p, dosa, resourcePage-1, 1, 1)

	listed := map[string]pool.Resource{}
	var order []string
	for r, err := range p.List(t.Context()) {
		require.NoError(t, err)
		listed[r.ID] = r
		order = append(order, r.Kind+" "+r.ID)
	}
	require.Len(t, order, resourcePage+2)
	require.True(t, slices.IsSorted(order))
	require.Equal(t, orderKey("reserved"), listed[given[0]].Key)
	require.Equal(t, pool.Reserved, listed[given[0]].State)
	require.InDelta(t, time.Hour, listed[given[0]].TimeLeft, float64(time.Minute))
	require.Equal(t, pool.Resource{ID: given[1], Kind: dosa, State: pool.Assigned, Key: orderKey("assigned")}, listed[given[1]])
	require.Equal(t, pool.Resource{ID: given[2], Kind: dosa}, listed[given[2]], "it has run out")
	for _, err := range p.List(t.Context(), dosa) {
		require.NoError(t, err)
		break
	}

	holding, ok, err := p.Lookup(t.Context(), orderKey("assigned"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, pool.Holding{State: twophase.EntryAssigned, Kind: dosa, Resources: given[1:2]}, holding)
	holding, ok, err = p.Lookup(t.Context(), orderKey("run out"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, pool.Holding{State: twophase.EntryExpired}, holding)
	_, ok, err = p.Lookup(t.Context(), orderKey("nobody"))
	require.NoError(t, err)
	require.False(t, ok)
	n, err := p.Sweep(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

type ride struct {
	Vehicle string
	From    int
	Count   int
}

func nearest(r ride) Query {
	return Query{
		Kind: "agents", Count: r.Count,
		Where:   `attributes ->> 'vehicle' = $1::text -- a comment`,
		OrderBy: `abs((attributes ->> 'at')::int - $2::int) -- another`,
		Args:    []any{r.Vehicle, r.From},
	}
}

func TestQueryFiltersAndOrdersWithoutGivingAnythingTwice(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]pgx.QueryExecMode{
		"with prepared statements": pgx.QueryExecModeCacheStatement, "by the simple protocol": pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openPool(t, cluster.Pool(t, inMode(mode), withConns(16)), "delivery", For(nearest), WithoutBackground())
			type at struct {
				Vehicle string `json:"vehicle"`
				At      int    `json:"at"`
			}
			var items []Item
			for n := range 20 {
				items = append(items, Item{ID: fmt.Sprint("bike-", n), Attributes: at{"bike", n}})
			}
			items = append(items, Item{ID: "car-1", Attributes: at{"car", 5}}, Item{ID: "nothing known"})
			require.NoError(t, p.RestockWith(t.Context(), "agents", items...))

			r, err := reserveRide(t.Context(), p, "order-1", ride{"bike", 5, 3}, time.Millisecond)
			require.NoError(t, err)
			require.Equal(t, "bike-5", r.Resources[0])
			require.ElementsMatch(t, []string{"bike-5", "bike-4", "bike-6"}, r.Resources)
			details, err := twophase.DetailsOf[[]at](r)
			require.NoError(t, err)
			for i, id := range r.Resources {
				require.Equal(t, id, fmt.Sprint("bike-", details[i].At))
			}
			// Those have run out, and are the nearest again.
			require.Eventually(t, func() bool {
				holding, _, err := p.Lookup(t.Context(), orderKey("order-1"))
				return err == nil && holding.State == twophase.EntryExpired
			}, 10*time.Second, time.Millisecond)
			r, err = reserveRide(t.Context(), p, "order-2", ride{"bike", 5, 1}, time.Hour)
			require.NoError(t, err)
			require.Equal(t, "bike-5", r.Resource())
			_, err = reserveRide(t.Context(), p, "order-3", ride{"car", 0, 2}, time.Hour)
			require.ErrorIs(t, err, twophase.ErrRefused)

			var mu sync.Mutex
			var all []string
			var callers sync.WaitGroup
			for i := range 24 {
				callers.Go(func() {
					r, err := reserveRide(t.Context(), p, fmt.Sprint("all-", i), ride{"bike", i, 1}, time.Hour)
					if err != nil {
						assert.ErrorIs(t, err, twophase.ErrRefused)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, r.Resources...)
				})
			}
			callers.Wait()
			slices.Sort(all)
			require.Len(t, slices.Compact(all), 19, "every other bike is given once, and no car")
		})
	}
}

func reserveRide(ctx context.Context, p *Pool, order string, r ride, hold time.Duration) (twophase.Reservation, error) {
	payload, err := json.Marshal(r)
	if err != nil {
		return twophase.Reservation{}, err
	}
	return p.Reserve(ctx, twophase.Request{Key: orderKey(order), Payload: payload, Hold: hold})
}

func TestRequestThatMakesNoSenseIsRefusedUnlessTheKeyIsKnown(t *testing.T) {
	t.Parallel()
	p := openPool(t, cluster.Pool(t), "store")
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1"))
	for name, req := range map[string]twophase.Request{
		"no JSON":         {Key: orderKey("order-1"), Payload: []byte("{"), Hold: time.Hour},
		"no kind":         {Key: orderKey("order-1"), Payload: []byte("{}"), Hold: time.Hour},
		"too many":        {Key: orderKey("order-1"), Payload: []byte(`{"kind":"x","count":1001}`), Hold: time.Hour},
		"less than one":   {Key: orderKey("order-1"), Payload: []byte(`{"kind":"x","count":-1}`), Hold: time.Hour},
		"unknown kind":    {Key: orderKey("order-1"), Payload: []byte(`{"kind":"x"}`), Hold: time.Hour},
		"no hold":         {Key: orderKey("order-1"), Payload: []byte(`{"kind":"masala dosa"}`)},
		"a key with a 0":  {Key: orderKey("order\x00"), Payload: []byte(`{"kind":"masala dosa"}`), Hold: time.Hour},
		"a key of no end": {Key: orderKey(strings.Repeat("x", 256)), Payload: []byte(`{"kind":"masala dosa"}`), Hold: time.Hour},
	} {
		_, err := p.Reserve(t.Context(), req)
		require.ErrorIs(t, err, twophase.ErrRefused, name)
		require.ErrorIs(t, p.Assign(t.Context(), req.Key), twophase.ErrUnknown, name)
	}
	require.NoError(t, p.Release(t.Context(), orderKey("order\x00")))
	_, err := reserveOne(t.Context(), p, "order-2", dosa, time.Hour)
	require.NoError(t, err)
	_, err = p.Reserve(t.Context(), twophase.Request{Key: orderKey("order-2"), Payload: []byte("{")})
	require.ErrorIs(t, err, twophase.ErrMismatch)
}

// As long as there is one free, or about to be given back, nobody is refused.
func TestHotKindIsNeverHeldTwiceAndNobodyIsRefusedWrongly(t *testing.T) {
	t.Parallel()
	const callers, rounds = 64, 15
	url := cluster.Pool(t).Config().ConnString()
	var instances []*Pool
	for range 3 {
		instances = append(instances, openPool(t, open(t, url), "store", WithCommits(2)))
	}
	require.NoError(t, instances[0].Restock(t.Context(), dosa, numberedIDs("packet", callers)...))
	var holders sync.Map
	var refused atomic.Int64
	var done sync.WaitGroup
	for i := range callers {
		done.Go(func() {
			for round := range rounds {
				p, order := instances[(i+round)%3], fmt.Sprintf("order-%d-%d", i, round)
				r, err := reserveOne(t.Context(), p, order, dosa, time.Hour)
				if errors.Is(err, twophase.ErrRefused) {
					refused.Add(1)
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				other, taken := holders.LoadOrStore(r.Resource(), order)
				assert.False(t, taken, "%s is given to %s and %s", r.Resource(), order, other)
				if round%2 == 0 {
					assert.NoError(t, p.Assign(t.Context(), orderKey(order)))
				}
				holders.Delete(r.Resource())
				assert.NoError(t, instances[round%3].Release(t.Context(), orderKey(order)))
			}
		})
	}
	done.Wait()
	require.Zero(t, refused.Load(), "there are as many packets as callers")
	requireCounts(t, instances[0], dosa, callers, 0, 0)
	requireBooksAgree(t, instances[0])
}

// requireBooksAgree checks that resources and reservations tell the same story.
func requireBooksAgree(t testing.TB, p *Pool) {
	t.Helper()
	var wrong int
	require.NoError(t, p.db.QueryRow(t.Context(), `WITH held AS (
			SELECT id, transaction, step FROM twophase_resources WHERE transaction IS NOT NULL
		), kept AS (
			SELECT unnest(resources) AS id, transaction, step FROM twophase_reservations WHERE state IN (1, 2)
		)
		SELECT (SELECT count(*) FROM (TABLE held EXCEPT TABLE kept) AS a) + (SELECT count(*) FROM (TABLE kept EXCEPT TABLE held) AS b)`).
		Scan(&wrong))
	require.Zero(t, wrong)
}

func TestOrdersOfSeveralDishesInOppositeOrdersDoNotDeadlock(t *testing.T) {
	t.Parallel()
	url := cluster.Pool(t).Config().ConnString()
	one, other := openPool(t, open(t, url), "store"), openPool(t, open(t, url), "store")
	dishes := []string{"dosa", "idli", "vada", "pongal"}
	for _, dish := range dishes {
		require.NoError(t, one.Restock(t.Context(), dish, numberedIDs(dish, 6)...))
	}
	var done sync.WaitGroup
	for i := range 16 {
		done.Go(func() {
			mine, p := slices.Clone(dishes), one
			if i%2 == 1 {
				slices.Reverse(mine)
				p = other
			}
			for round := range 10 {
				// Keys are shared, so that batches meet on them, and so are dishes.
				for n, dish := range mine {
					key := twophase.Key{Transaction: fmt.Sprintf("order-%d-%d", i/2, round), Step: dish}
					_, err := p.Reserve(t.Context(), twophase.Request{
						Key: key, Payload: fmt.Appendf(nil, `{"kind":%q,"count":2}`, dish), Hold: time.Hour,
					})
					assert.True(t, err == nil || twophase.IsFinal(err), "%v", err)
					if n%2 == i%2 {
						err := p.Assign(t.Context(), key)
						assert.True(t, err == nil || twophase.IsFinal(err), "%v", err)
					}
				}
				for _, dish := range mine {
					assert.NoError(t, p.Release(t.Context(), twophase.Key{Transaction: fmt.Sprintf("order-%d-%d", i/2, round), Step: dish}))
				}
			}
		})
	}
	done.Wait()
	for _, dish := range dishes {
		requireCounts(t, one, dish, 6, 0, 0)
	}
	var deadlocks int
	require.NoError(t, one.db.QueryRow(t.Context(),
		`SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks))
	require.Zero(t, deadlocks)
}

// A deadlock that others provoke is resolved without the caller seeing it.
func TestDeadlockIsResolvedInside(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	p := openPool(t, db, "store", WithoutBackground())
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1"))
	_, err := reserveOne(t.Context(), p, "order-1", dosa, time.Hour)
	require.NoError(t, err)
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), `SELECT set_config('deadlock_timeout', '1min', true)`) // not the one to be undone
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT FROM twophase_resources FOR UPDATE`)
	require.NoError(t, err)
	answer := make(chan error, 1)
	go func() { answer <- p.Release(context.WithoutCancel(t.Context()), orderKey("order-1")) }()
	requireWaiter(t, p)
	_, err = tx.Exec(t.Context(), `SELECT FROM twophase_reservations FOR UPDATE`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-answer)
	var deadlocks int
	require.Eventually(t, func() bool {
		err := db.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks)
		return err == nil && deadlocks > 0
	}, 10*time.Second, 20*time.Millisecond, "the test is to provoke one")
	requireCounts(t, p, dosa, 1, 0, 0)
}

// Whatever the server acknowledged before it crashed is there afterwards, and calls
// go on when it is back.
func TestPoolAndFenceSurviveTheServersCrashes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	server := ownCluster(t)
	url, err := server.CreateDatabase(t.Context())
	require.NoError(t, err)
	db := pgtest.Open(t, url, withConns(16))
	execute(t, db, shelvesTable)
	stock(t, db, "shop", 32) // its handler may not see what is given back while it looks
	p := openPool(t, db, "store")
	require.NoError(t, p.Restock(t.Context(), dosa, numberedIDs("packet", 8)...))
	for name, participant := range map[string]twophase.Participant{
		"pool": p, "fence": openFence(t, db, "shop", shelves("shop")),
	} {
		crashUnderTraffic(t, server, name, participant)
	}
	requireCounts(t, p, dosa, 8, 0, 0)
	requireBooksAgree(t, p)
	require.Equal(t, "free", shelfState(t, db))
}

func crashUnderTraffic(t *testing.T, server *pgtest.Cluster, name string, p twophase.Participant) {
	t.Helper()
	stop := make(chan struct{})
	var holders sync.Map
	var finished atomic.Int64
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				key := orderKey(fmt.Sprintf("%s-%d-%d", name, i, round))
				var r twophase.Reservation
				req := twophase.Request{Key: key, Payload: []byte(`{"kind":"masala dosa"}`), Hold: time.Hour}
				assert.NoError(t, insist(func() (err error) { r, err = p.Reserve(context.Background(), req); return err }), key)
				assert.NoError(t, insist(func() error { return p.Assign(context.Background(), key) }), key)
				_, taken := holders.LoadOrStore(r.Resource(), key)
				assert.False(t, taken, "%s is held twice", r.Resource())
				again, err := twophase.Reservation{}, error(nil)
				assert.NoError(t, insist(func() error { again, err = p.Reserve(context.Background(), req); return err }), key)
				assert.Equal(t, r.Resources, again.Resources, "what was acknowledged")
				assert.True(t, again.Assigned)
				holders.Delete(r.Resource())
				assert.NoError(t, insist(func() error { return p.Release(context.Background(), key) }), key)
				finished.Add(1)
			}
		})
	}
	for range 2 {
		before := finished.Load()
		assert.Eventually(t, func() bool { return finished.Load() > before+20 }, 30*time.Second, time.Millisecond)
		assert.NoError(t, server.Restart(t.Context(), pgtest.Immediate))
	}
	before := finished.Load()
	assert.Eventually(t, func() bool { return finished.Load() > before+20 }, 30*time.Second, time.Millisecond)
	close(stop)
	done.Wait()
}

// insist repeats a call as a coordinator does.
func insist(call func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := call()
		if err == nil || twophase.IsFinal(err) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestClosedPoolTakesNothingAndKeepsTheDatabaseOpen(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t, func(c *pgxpool.Config) { c.MaxConns = 2 })
	p := openPool(t, db, "store")
	p.Close()
	_, err := reserveOne(t.Context(), p, "order-1", dosa, time.Hour)
	require.Error(t, err)
	require.False(t, twophase.IsFinal(err))
	require.NoError(t, db.Ping(t.Context()))
}

func TestLateMessagesOfWhatWasConsumedAreAnsweredAsBefore(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	p := openPool(t, db, "store", WithoutBackground())
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
	given, err := reserveOne(t.Context(), p, "order-1", dosa, time.Hour)
	require.NoError(t, err)
	require.ErrorIs(t, p.Consume(t.Context(), orderKey("order-1")), pool.ErrNotAssigned, "it is reserved")
	require.NoError(t, p.Assign(t.Context(), orderKey("order-1")))
	err = p.Consume(t.Context(), orderKey("order-1"), orderKey("order-2"))
	require.ErrorIs(t, err, pool.ErrNotAssigned)
	require.ErrorContains(t, err, "order-2/store")
	requireCounts(t, p, dosa, 1, 0, 1)
	for range 2 { // it may be repeated
		require.NoError(t, p.Consume(t.Context(), orderKey("order-1"), orderKey("order-1")))
		requireCounts(t, p, dosa, 1, 0, 0)
	}

	require.NoError(t, p.Assign(t.Context(), orderKey("order-1")))
	again, err := reserveOne(t.Context(), p, "order-1", dosa, time.Hour)
	require.NoError(t, err)
	require.True(t, again.Assigned)
	require.Equal(t, given.Resources, again.Resources)
	holding, _, err := p.Lookup(t.Context(), orderKey("order-1"))
	require.NoError(t, err)
	require.Equal(t, pool.Holding{State: twophase.EntryAssigned, Kind: dosa, Resources: given.Resources}, holding)

	require.NoError(t, p.Restock(t.Context(), dosa, given.Resource()), "it may come back")
	for _, order := range []string{"order-2", "order-3"} {
		_, err := reserveOne(t.Context(), p, order, dosa, time.Hour)
		require.NoError(t, err)
		require.NoError(t, p.Assign(t.Context(), orderKey(order)))
	}
	require.NoError(t, p.Consume(t.Context(), orderKey("order-1")))
	require.NoError(t, p.Release(t.Context(), orderKey("order-1")))
	requireCounts(t, p, dosa, 0, 0, 2)
	require.ErrorIs(t, p.Assign(t.Context(), orderKey("order-1")), twophase.ErrReleased)
	require.ErrorIs(t, p.Consume(t.Context(), orderKey("order-1")), pool.ErrNotAssigned, "it was released")
}

func TestConsumedKeyIsPrunedAfterItsRetention(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	clock, set := shiftedClock(t, db)
	p := openPool(t, db, "store", WithoutBackground(), clock)
	require.NoError(t, p.Restock(t.Context(), dosa, "packet-1", "packet-2"))
	for _, order := range []string{"consumed", "assigned"} {
		_, err := reserveOne(t.Context(), p, order, dosa, time.Hour)
		require.NoError(t, err)
		require.NoError(t, p.Assign(t.Context(), orderKey(order)))
	}
	require.NoError(t, p.Consume(t.Context(), orderKey("consumed")))
	for forgotten, shift := range []time.Duration{23 * time.Hour, 25 * time.Hour} {
		set(shift)
		n, err := p.Prune(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, forgotten, n)
	}
	require.ErrorIs(t, p.Assign(t.Context(), orderKey("consumed")), twophase.ErrUnknown)
	require.NoError(t, p.Assign(t.Context(), orderKey("assigned")))
}

func TestClosedPoolTakesNotEvenMany(t *testing.T) {
	t.Parallel()
	p := openPool(t, cluster.Pool(t), "store", WithoutBackground())
	require.NoError(t, p.Restock(t.Context(), dosa, numberedIDs(dosa, 20)...))
	p.Close()
	_, err := p.Reserve(t.Context(), twophase.Request{
		Key: orderKey("order-1"), Payload: fmt.Appendf(nil, `{"kind":%q,"count":17}`, dosa), Hold: time.Hour,
	})
	require.Error(t, err)
	require.False(t, twophase.IsFinal(err))
}
