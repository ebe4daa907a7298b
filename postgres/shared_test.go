package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Several instances on one database, each with connections of its own.

const instances = 4

func openInstances(t *testing.T) []*Journal {
	t.Helper()
	url := cluster.Pool(t).Config().ConnString()
	all := make([]*Journal, instances)
	for i := range all {
		all[i] = openJournal(t, open(t, url))
	}
	return all
}

// together has every instance do something at once.
func together(all []*Journal, do func(i int, j *Journal)) {
	var done sync.WaitGroup
	for i, j := range all {
		done.Go(func() { do(i, j) })
	}
	done.Wait()
}

func TestInstancesThatBeginAndDecideTheSameInOppositeOrdersAgree(t *testing.T) {
	t.Parallel()
	all := openInstances(t)
	const transactions = 60
	created := make([]atomic.Int64, transactions)
	told := make([][instances]twophase.Decision, transactions)
	together(all, func(i int, j *Journal) {
		var done sync.WaitGroup
		for n := range transactions {
			if i%2 == 1 {
				n = transactions - 1 - n
			}
			done.Go(func() {
				record := benchRecord(fmt.Sprint("order-", n))
				record.Owner = fmt.Sprint("coordinator-", i)
				_, mine, err := j.Begin(t.Context(), record)
				assert.NoError(t, err)
				if mine {
					created[n].Add(1)
				}
				decision := assigned
				if i%2 == 1 {
					decision = releasing
				}
				told[n][i], err = j.Decide(t.Context(), record.ID, decision)
				assert.NoError(t, err)
			})
		}
		done.Wait()
	})
	for n := range transactions {
		assert.Equal(t, int64(1), created[n].Load(), "how many have created order-%d", n)
		for i := range told[n] {
			assert.Equal(t, told[n][0].State, told[n][i].State, "order-%d as told to instance %d", n, i)
		}
	}
}

func TestInstancesClaimEachTransactionOnce(t *testing.T) {
	t.Parallel()
	all := openInstances(t)
	const transactions = 200
	for n := range transactions {
		record := benchRecord(fmt.Sprint("order-", n))
		record.Lease = 0
		_, _, err := all[0].Begin(t.Context(), record)
		require.NoError(t, err)
	}
	var claims sync.Map
	var total atomic.Int64
	together(all, func(i int, j *Journal) {
		for total.Load() < transactions {
			claimed, err := j.Claim(t.Context(), fmt.Sprint("coordinator-", i), time.Hour, 7)
			if !assert.NoError(t, err) {
				return
			}
			for _, record := range claimed {
				_, twice := claims.LoadOrStore(record.ID, i)
				assert.False(t, twice, "%s is claimed twice", record.ID)
				assert.Equal(t, int64(2), record.Epoch)
				total.Add(1)
			}
		}
	})
	require.Equal(t, int64(transactions), total.Load())
}

func TestPruneUnderTrafficForgetsOnlyWhatIsOver(t *testing.T) {
	t.Parallel()
	all := openInstances(t)
	const transactions = 300
	var pruned, finished atomic.Int64
	stop := make(chan struct{})
	var pruning sync.WaitGroup
	for _, j := range all[:2] {
		pruning.Go(func() {
			for {
				n, err := j.Prune(t.Context(), 0, 20)
				if !assert.NoError(t, err) {
					return
				}
				pruned.Add(int64(n))
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	together(all[2:], func(i int, j *Journal) {
		for n := range transactions {
			record := benchRecord(fmt.Sprintf("order-%d-%d", i, n))
			_, created, err := j.Begin(t.Context(), record)
			assert.NoError(t, err)
			assert.True(t, created)
			if n%3 == 0 {
				continue // stays undecided
			}
			standing, err := j.Decide(t.Context(), record.ID, assigned)
			assert.NoError(t, err)
			assert.Equal(t, assigned, standing)
			finished.Add(1)
		}
	})
	close(stop)
	pruning.Wait()
	for {
		n, err := all[0].Prune(t.Context(), 0, 1000)
		require.NoError(t, err)
		if pruned.Add(int64(n)); n == 0 {
			break
		}
	}
	require.Equal(t, finished.Load(), pruned.Load())
	require.Len(t, listed(t, all[0], twophase.Filter{}), 2*transactions/3)
	require.Len(t, listed(t, all[0], twophase.Filter{Unfinished: true}), 2*transactions/3)
}

func TestAcknowledgedReleasesOfSeveralInstancesAreAllKept(t *testing.T) {
	t.Parallel()
	all := openInstances(t)
	record := benchRecord("order-1")
	record.Steps = nil
	for n := range 8 * instances {
		name := fmt.Sprint("store-", n)
		record.Steps = append(record.Steps, twophase.StepRecord{Name: name, Participant: "store"})
	}
	_, _, err := all[0].Begin(t.Context(), record)
	require.NoError(t, err)
	_, err = all[0].Decide(t.Context(), record.ID, releasing)
	require.NoError(t, err)
	together(all, func(i int, j *Journal) {
		for n := i; n < len(record.Steps); n += instances {
			assert.NoError(t, j.Released(t.Context(), record.ID, []string{record.Steps[n].Name}))
		}
	})
	got, err := all[1].Get(t.Context(), record.ID)
	require.NoError(t, err)
	require.Equal(t, twophase.StateReleased, got.State)
	n, err := all[2].Prune(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestOneBatchMayHaveAnIDSeveralTimes(t *testing.T) {
	t.Parallel()
	j := openJournal(t, cluster.Pool(t))
	mine, theirs := benchRecord("order-1"), benchRecord("order-1")
	theirs.Owner = "coordinator-2"
	batch := []*write{
		{kind: kindBegin, id: "order-1", record: mine},
		{kind: kindBegin, id: "order-1", record: theirs},
		{kind: kindDecide, id: "order-1", state: twophase.StateAssigned, json: "{}"},
		{kind: kindDecide, id: "order-1", state: twophase.StateReleasing, json: "{}"},
		{kind: kindRelease, id: "order-1", steps: []string{"store"}},
		{kind: kindRelease, id: "order-0", steps: []string{"store"}},
	}
	for _, w := range batch[:2] {
		require.NoError(t, w.encodeRecord())
	}
	require.NoError(t, j.commit(t.Context(), batch))
	for _, w := range batch[:5] {
		require.NoError(t, w.err)
	}
	require.True(t, batch[0].done)
	require.False(t, batch[1].done)
	require.Equal(t, "coordinator-1", batch[1].standing.Owner)
	require.True(t, batch[2].done)
	require.Equal(t, twophase.StateAssigned, batch[3].standing.State)
	require.ErrorIs(t, batch[5].err, twophase.ErrGone)
}

func TestOneBatchMayHaveAnyTwoWrites(t *testing.T) {
	t.Parallel()
	j := openJournal(t, cluster.Pool(t))
	begun := func(id string, state twophase.State) {
		record := benchRecord(id)
		record.State = state
		_, created, err := j.Begin(t.Context(), record)
		require.NoError(t, err)
		require.True(t, created)
	}
	recordOf := func(id string) twophase.Record {
		record, err := j.Get(t.Context(), id)
		require.NoError(t, err)
		return record
	}
	kinds := []struct {
		prepare func(id string) *write
		check   func(id string)
	}{
		{func(id string) *write {
			w := &write{kind: kindBegin, id: id, record: benchRecord(id)}
			require.NoError(t, w.encodeRecord())
			return w
		}, func(id string) { require.Equal(t, twophase.StateBegun, recordOf(id).State) }},
		{func(id string) *write {
			begun(id, twophase.StateBegun)
			return &write{kind: kindDecide, id: id, state: twophase.StateAssigned, json: "{}"}
		}, func(id string) { require.Equal(t, twophase.StateAssigned, recordOf(id).State) }},
		{func(id string) *write {
			begun(id, twophase.StateReleasing)
			return &write{kind: kindRelease, id: id, steps: []string{benchRecord(id).Steps[0].Name}}
		}, func(id string) { require.True(t, recordOf(id).Steps[0].Released) }},
		{func(id string) *write {
			begun(id, twophase.StateBegun)
			return &write{kind: kindYield, id: id, owner: benchRecord(id).Owner, epoch: 1, trouble: "down"}
		}, func(id string) { require.Equal(t, "down", recordOf(id).Trouble) }},
	}
	for a, first := range kinds {
		for b, second := range kinds {
			one, other := fmt.Sprintf("one-%d-%d", a, b), fmt.Sprintf("other-%d-%d", a, b)
			batch := []*write{first.prepare(one), second.prepare(other)}
			require.NoError(t, j.commit(t.Context(), batch))
			require.NoError(t, batch[0].err)
			require.NoError(t, batch[1].err)
			first.check(one)
			second.check(other)
		}
	}
}

func TestBatchIsDividedByIDAndBySize(t *testing.T) {
	t.Parallel()
	large := string(make([]byte, partSize*2/3))
	parts := divide([]*write{
		{id: "c", json: large}, {id: "a", epoch: 1}, {id: "b", json: large}, {id: "a", epoch: 2}, {id: "d"},
	})
	var got [][]string
	for _, part := range parts {
		var ids []string
		for _, w := range part {
			ids = append(ids, fmt.Sprint(w.id, w.epoch))
		}
		got = append(got, ids)
	}
	require.Equal(t, [][]string{{"a1", "b0", "d0"}, {"a2", "c0"}}, got)
}
