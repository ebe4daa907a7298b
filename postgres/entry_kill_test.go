//go:build unix

package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/crashtest"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

// Two processes serve the same pool and the same fence while callers have orders run
// on both. The processes and the server are killed at random moments. In the end the
// ledger that the database kept, the journal, and what the callers were told are
// audited for I1 to I6.
//
// It does not run in parallel: it would leave the others no time.
func TestParticipantsMayBeKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("TWOPHASE_CRASH_KILLS"), "8"))
	require.NoError(t, err)
	street := newStreet(t)
	journal := impatient{openJournal(t, cluster.Pool(t))}
	coordinator := street.coordinator(t, journal)

	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 12 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					street.order(t, coordinator)
				}
			}
		})
	}
	things := []func(t *testing.T){street.killOne, street.killOne, street.killAll, street.killServer}
	for n := range kills {
		time.Sleep(200*time.Millisecond + rand.N(300*time.Millisecond))
		if n%len(things) == 0 {
			rand.Shuffle(len(things), func(i, j int) { things[i], things[j] = things[j], things[i] })
		}
		things[n%len(things)](t)
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	callers.Wait()

	books := crashtest.Books{Told: street.told, Records: settled(t, journal, coordinator)}
	time.Sleep(killHold) // so that whatever runs out has
	books.Ledgers = readLedgers(t, street.db)
	for _, violation := range books.Audit(time.Now()) {
		t.Error(violation)
	}
	requireTablesAgree(t, street.db)
	answers := map[crashtest.Answer]int{}
	for _, told := range books.Told {
		answers[told.Answer]++
	}
	t.Logf("%d kills, %d orders: told %v", kills, street.orders.Load(), answers)
	require.Positive(t, answers[crashtest.Placed])
	require.Positive(t, answers[crashtest.NotPlaced])
}

// street is a store and a delivery service, each in two processes, on one server.
type street struct {
	server   *pgtest.Cluster
	db       *pgxpool.Pool
	stock    *Pool // of the store: what was assigned is replaced
	services []*service
	orders   atomic.Int64

	mu   sync.Mutex
	told []crashtest.Told
}

const (
	killHold  = 1500 * time.Millisecond
	shortHold = 450 * time.Millisecond // little longer than the latest call is late
)

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{server: ownCluster(t)}
	s.db = s.server.Pool(t)
	s.stock = openPool(t, s.db, "store", WithoutBackground(), WithTimeout(time.Second))
	require.NoError(t, s.stock.Restock(t.Context(), dosa, numberedIDs("packet", 10)...))
	execute(t, s.db, shelvesTable)
	stock(t, s.db, "delivery", 8)
	keepLedger(t, s.db)
	dir, err := os.MkdirTemp("", "street") // short: a socket's path is bounded
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for i := range 2 {
		s.services = append(s.services, newService(t, s.db.Config().ConnString(), filepath.Join(dir, strconv.Itoa(i))))
	}
	return s
}

// coordinator returns one for which everything happens soon.
func (s *street) coordinator(t *testing.T, journal twophase.Journal) *twophase.Coordinator {
	t.Helper()
	fast := twophase.Retry{First: 10 * time.Millisecond, Max: 100 * time.Millisecond, Attempt: 250 * time.Millisecond}
	c, err := twophase.NewCoordinator(journal,
		twophase.WithParticipant("store", newAnyOf(s.services, "store")),
		twophase.WithParticipant("delivery", newAnyOf(s.services, "delivery")),
		twophase.WithLease(300*time.Millisecond), twophase.WithTimeout(2*time.Second),
		twophase.WithPolicy(twophase.Policy{
			Hold: killHold, ReserveFor: shortHold * 2 / 5, AssignFor: shortHold * 2 / 5, Margin: shortHold / 10,
			ReleaseFor: time.Second,
			Reserve:    fast, Assign: fast, Release: fast,
			Budget: twophase.RetryBudget{Burst: 1000, PerSecond: 1000},
		}))
	require.NoError(t, err)
	return c
}

// killOne kills a process and starts it again; the other one goes on.
func (s *street) killOne(t *testing.T) {
	t.Helper()
	service := s.services[rand.N(len(s.services))]
	service.kill(t)
	beAway()
	service.start(t)
}

func (s *street) killAll(t *testing.T) {
	t.Helper()
	for _, service := range s.services {
		service.kill(t)
	}
	beAway()
	for _, service := range s.services {
		service.start(t)
	}
}

// killServer kills the database, or only its main process.
func (s *street) killServer(t *testing.T) {
	t.Helper()
	mode := pgtest.Immediate
	if rand.N(2) == 0 {
		mode = pgtest.Mode(syscall.SIGKILL)
	}
	require.NoError(t, s.server.ShutDown(mode))
	beAway()
	// What is left of a server that was killed has to notice first.
	require.Eventually(t, func() bool { return s.server.StartAgain(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
}

func beAway() { time.Sleep(rand.N(200 * time.Millisecond)) }

// order runs an order until its outcome is known, and writes down what was told.
func (s *street) order(t *testing.T, c *twophase.Coordinator) {
	n := s.orders.Add(1)
	tx := orderOf(int(n))
	s.tell(crashtest.Told{ID: tx.ID, Answer: crashtest.Asked})
	for range 100 {
		patience := 5 * time.Second
		if rand.N(4) == 0 { // and then gives up
			patience = rand.N(300 * time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		result, err := c.Run(ctx, tx)
		cancel()
		told := toldOf(tx.ID, result, err)
		s.tell(told)
		if told.Answer == crashtest.Placed {
			s.replace(t, int(n), len(tx.Steps)-1)
		}
		if told.Answer == crashtest.Placed || told.Answer == crashtest.NotPlaced {
			return
		}
		time.Sleep(rand.N(50 * time.Millisecond))
	}
	assert.Fail(t, "the outcome is never known", tx.ID)
}

// orderOf is one or two dishes and a delivery; every other order comes by them in the
// opposite order, and some hold them for a short time only.
func orderOf(n int) twophase.Transaction {
	food := twophase.Step{Participant: "store", Payload: pool.Want{Kind: dosa}}
	if n%5 == 0 {
		food.Hold = shortHold
	}
	tx := twophase.Transaction{ID: fmt.Sprint("order-", n), Steps: []twophase.Step{
		food, {Participant: "delivery", Payload: pool.Want{Kind: dosa}},
	}}
	if n%3 == 0 {
		tx.Steps = append(tx.Steps, food)
	}
	if n%2 == 0 {
		slices.Reverse(tx.Steps)
	}
	return tx
}

// replace has new packets and a new agent for those that an order has got, if the
// server is there.
func (s *street) replace(t *testing.T, n, packets int) {
	for i := range packets {
		_ = s.stock.Restock(t.Context(), dosa, fmt.Sprintf("new-%d-%d", n, i))
	}
	_, _ = s.db.Exec(t.Context(), `INSERT INTO shelves (shop, packet) VALUES ('delivery', $1)`, fmt.Sprint("new-", n))
}

func (s *street) tell(told crashtest.Told) {
	s.mu.Lock()
	defer s.mu.Unlock()
	told.At = time.Now()
	s.told = append(s.told, told)
}

func toldOf(id string, result twophase.Result, err error) crashtest.Told {
	told := crashtest.Told{ID: id}
	switch {
	case err == nil:
		told.Answer, told.Given = crashtest.Placed, map[string]string{}
		for _, step := range result.Steps {
			told.Given[step.Name] = step.Reservation.Resource()
		}
		return told
	case errors.Is(err, twophase.ErrNotPlaced):
		told.Answer = crashtest.NotPlaced
	case errors.Is(err, twophase.ErrInDoubt):
		told.Answer = crashtest.InDoubt
	case errors.Is(err, twophase.ErrGone):
		told.Answer = crashtest.Gone
	default:
		told.Answer = crashtest.NotBegun
	}
	told.Err = err.Error()
	return told
}

// impatient is a journal on which recovery soon tries again.
type impatient struct{ twophase.Journal }

func (i impatient) Yield(ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string) error {
	return i.Journal.Yield(ctx, id, owner, epoch, min(delay, 100*time.Millisecond), trouble)
}

// settled has what is left recovered, and returns the journal.
func settled(t *testing.T, journal twophase.Journal, c *twophase.Coordinator) (records []twophase.Record) {
	t.Helper()
	list := func(filter twophase.Filter) (records []twophase.Record) {
		for record, err := range journal.List(t.Context(), filter) {
			require.NoError(t, err)
			records = append(records, record)
		}
		return records
	}
	require.Eventually(t, func() bool {
		_, err := c.Recover(t.Context())
		return err == nil && len(list(twophase.Filter{Unfinished: true})) == 0
	}, time.Minute, 100*time.Millisecond, "orders are left unfinished")
	require.NoError(t, c.Close(t.Context()))
	return list(twophase.Filter{})
}
