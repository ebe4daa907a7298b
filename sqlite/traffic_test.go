package sqlite

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// place begins and decides so many orders, by some callers at once.
func place(t testing.TB, j *Journal, prefix string, n int) {
	t.Helper()
	const callers = 64
	var next atomic.Int64
	var done sync.WaitGroup
	for range callers {
		done.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				id := fmt.Sprintf("%s-%d", prefix, i)
				_, created, err := j.Begin(t.Context(), order(id))
				assert.NoError(t, err)
				assert.True(t, created)
				_, err = j.Decide(t.Context(), id, given())
				assert.NoError(t, err)
			}
		})
	}
	done.Wait()
}

func TestPruningGoesOnUnderTraffic(t *testing.T) {
	t.Parallel()
	const old, fresh = 1200, 800
	j := open(t, newPath(t))
	place(t, j, "old", old)
	begin(t, j, order("undecided"))
	const gap = 4 * time.Second
	time.Sleep(gap)
	start := time.Now()
	prune := func() int {
		n, err := j.Prune(t.Context(), time.Since(start)+gap/2, 500)
		require.NoError(t, err)
		return n
	}
	var done sync.WaitGroup
	var placed atomic.Bool
	done.Go(func() {
		place(t, j, "new", fresh)
		placed.Store(true)
	})
	pruned := 0
	for !placed.Load() {
		pruned += prune()
	}
	done.Wait()
	for n := prune(); n > 0; n = prune() {
		pruned += n
	}
	require.Equal(t, old, pruned)
	left := list(t, j, twophase.Filter{})
	require.Len(t, left, fresh+1)
	require.Equal(t, "undecided", left[0].ID)
}

// A transaction that is stuck for ever keeps no younger one from being pruned.
func TestPruneGoesPastWhatIsUnfinished(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	begin(t, j, order("stuck"))
	place(t, j, "order", 250)
	time.Sleep(time.Millisecond)
	for _, test := range []struct{ limit, want int }{{1, 1}, {1000, 249}} {
		n, err := j.Prune(t.Context(), 0, test.limit)
		require.NoError(t, err)
		require.Equal(t, test.want, n)
	}
	require.Equal(t, []string{"stuck"}, idsOf(list(t, j, twophase.Filter{})))
}

func TestListGoesPageByPageInOrder(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	var all, unfinished []string
	for _, err := range crowd(t, j, 3*pageRows/2, func(int, *twophase.Record) {}) {
		require.NoError(t, err)
	}
	for i, record := range list(t, j, twophase.Filter{}) {
		all = append(all, record.ID)
		if i%3 == 0 {
			decide(t, j, record.ID, given())
		} else {
			unfinished = append(unfinished, record.ID)
		}
	}
	require.Len(t, all, 3*pageRows/2)
	require.Equal(t, all, idsOf(list(t, j, twophase.Filter{})))
	require.Equal(t, unfinished, idsOf(list(t, j, twophase.Filter{Unfinished: true})))
	require.Equal(t, unfinished, idsOf(list(t, j, twophase.Filter{State: twophase.StateBegun})))
	require.Len(t, list(t, j, twophase.Filter{State: twophase.StateAssigned}), len(all)-len(unfinished))
	require.Empty(t, list(t, j, twophase.Filter{State: twophase.StateReleased}))
}

func TestPageOfLargeRecordsIsShort(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	for i := range 12 {
		record := order(fmt.Sprintf("order-%d", i))
		record.Steps[0].Payload = slices.Concat([]byte(`"`), make([]byte, 1<<20), []byte(`"`))
		begin(t, j, record)
	}
	require.Len(t, list(t, j, twophase.Filter{}), 12)
	require.NoError(t, j.read(t.Context(), func(c *conn) error {
		page, _, more, err := c.page(0, 0, j.clock.now())
		require.True(t, more)
		require.Less(t, len(page), 6)
		return err
	}))
}

// A list that is under way, however slowly, must not let the write-ahead log
// grow with the traffic.
func TestWriteAheadLogStaysShortWhileAListIsUnderWay(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	require.NoError(t, j.writer.Exec("PRAGMA wal_autocheckpoint = 50"))
	place(t, j, "before", pageRows+10)
	listed := 0
	for _, err := range j.List(t.Context(), twophase.Filter{}) {
		require.NoError(t, err)
		if listed++; listed == 1 {
			place(t, j, "during", 1500)
		}
	}
	require.GreaterOrEqual(t, listed, pageRows+10)
	log, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	file, err := os.Stat(path)
	require.NoError(t, err)
	assert.Less(t, log.Size(), int64(1<<20))
	assert.Greater(t, file.Size(), log.Size())
}

// What Claim, List of the unfinished and Decide read must not grow with what is
// finished.
func TestUnfinishedIsFoundByAnIndex(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	place(t, j, "order", 100)
	begin(t, j, order("open"))
	for _, test := range []struct{ query, want string }{
		{"SELECT number FROM transactions INDEXED BY unfinished WHERE finished IS NULL AND leased <= 1 ORDER BY leased, number LIMIT 5", "INDEX unfinished"},
		{"SELECT number FROM transactions INDEXED BY unfinished WHERE finished IS NULL", "INDEX unfinished"},
		{"UPDATE transactions SET state = 2 WHERE id = 'x' AND state = 1", "sqlite_autoindex_transactions_1"},
		{"SELECT number, begun, finished FROM transactions ORDER BY number", "SCAN transactions"},
	} {
		var plan []string
		require.NoError(t, j.read(t.Context(), func(c *conn) error {
			s := c.statement("EXPLAIN QUERY PLAN " + test.query)
			return s.each(func() bool {
				plan = append(plan, s.ColumnText(3))
				return true
			})
		}))
		require.Len(t, plan, 1, "no sorting: %v", plan)
		require.Contains(t, plan[0], test.want)
	}
}

func TestRecordsThatCannotBeReadStopNobodyElse(t *testing.T) {
	t.Parallel()
	for _, ids := range [][]string{{"order-1", "torn", "order-2"}, {"torn", "order-1"}, {"torn", "order-1", "torn too"}} {
		t.Run(strings.Join(ids, ", "), func(t *testing.T) {
			t.Parallel()
			j := open(t, newPath(t))
			var torn, whole []string
			for _, id := range ids {
				record := order(id)
				record.Lease = 0
				begin(t, j, record)
				if strings.HasPrefix(id, "torn") {
					torn = append(torn, id)
				} else {
					whole = append(whole, id)
				}
			}
			require.NoError(t, j.writer.Exec("UPDATE transactions SET steps = '[{' WHERE id LIKE 'torn%'"))
			claimed, err := j.Claim(t.Context(), "rival", time.Minute, 10)
			require.NoError(t, err)
			require.Equal(t, whole, idsOf(claimed))
			_, err = j.Get(t.Context(), "torn")
			require.ErrorContains(t, err, "torn")
			require.NotErrorIs(t, err, twophase.ErrGone)
			for _, filter := range []twophase.Filter{{}, {Unfinished: true}} {
				var last error
				for _, err := range j.List(t.Context(), filter) {
					last = err
				}
				require.ErrorContains(t, last, "torn", "a list says that it is not whole")
			}

			require.NoError(t, j.writer.Exec("UPDATE transactions SET steps = '[]' WHERE id LIKE 'torn%'"))
			for _, id := range torn {
				record, err := j.Get(t.Context(), id)
				require.NoError(t, err)
				assert.Equal(t, 1, record.Attempts)
				assert.Contains(t, record.Trouble, "steps")
				assert.Positive(t, record.Lease, "it is left alone for a while")
			}
		})
	}
}
