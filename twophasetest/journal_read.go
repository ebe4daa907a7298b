package twophasetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Reading, listing and forgetting.

var readChecks = []journalCheck{
	{"Get of an unknown transaction is gone", getUnknown},
	{"List gives everything, oldest first", listAll},
	{"List gives everything, however many there are", listMany},
	{"List gives whole records", listRecords},
	{"List gives one state", listStates},
	{"List gives what is unfinished", listUnfinished},
	{"List gives what is stuck", listStuck},
	{"List gives what meets all of a filter", listCombined},
	{"List of nothing is empty", listNothing},
	{"List ends when its caller breaks off", listBreaks},
	{"List may be interleaved with writes", listWhileWriting},
}

func getUnknown(t testing.TB, l *ledger) {
	l.requireGone(t, "order-1")
	l.begin(t, l.record("order-1"))
	l.requireGone(t, "order-2")
}

func listAll(t testing.TB, l *ledger) {
	ids := []string{"z", "a", "m", "b"}
	for _, id := range ids {
		l.begin(t, l.record(id))
		l.sleep(precision)
	}
	require.Equal(t, ids, l.list(t, twophase.Filter{}))
	l.finish(t, "a")
	l.decide(t, "z", assigning("packet-1", "agent-1"))
	require.Equal(t, ids, l.list(t, twophase.Filter{}))
}

func listMany(t testing.TB, l *ledger) {
	const transactions, callers = 320, 16
	together(callers, func(i int) {
		for n := range transactions / callers {
			_, _, err := l.tryBegin(t, l.record(fmt.Sprintf("order-%d-%d", i, n)))
			assert.NoError(t, err)
		}
	})
	ids := l.list(t, twophase.Filter{})
	requireDistinct(t, ids)
	require.Len(t, ids, transactions)
}

func listRecords(t testing.TB, l *ledger) {
	l.begin(t, l.dropping("order-1"))
	l.decide(t, "order-1", assigning("packet-1", "agent-1"))
	l.begin(t, l.releasing("order-2"))
	records := l.records(t)
	require.Len(t, records, 2)
	for _, record := range records {
		requireRecord(t, l.get(t, record.ID), record)
	}
}

// populate brings transactions into every state, stuck and not, and names them
// by it.
func (l *ledger) populate(t testing.TB) {
	t.Helper()
	for _, id := range []string{"begun", "begun stuck", "assigned", "releasing", "releasing stuck", "released"} {
		l.begin(t, l.record(id))
	}
	l.begin(t, l.dropping("assigned unfinished"))
	l.decide(t, "assigned", assigning("packet-1", "agent-1"))
	l.decide(t, "assigned unfinished", assigning("packet-2", "agent-2"))
	for _, id := range []string{"releasing", "releasing stuck"} {
		l.decide(t, id, releasingFor(refusal()))
	}
	for _, id := range []string{"begun stuck", "releasing stuck", "released"} {
		l.yield(t, id, ours, 1, l.long, "the store is away")
	}
	l.finish(t, "released")
}

func listStates(t testing.TB, l *ledger) {
	l.populate(t)
	for state, ids := range map[twophase.State][]string{
		twophase.StateBegun:     {"begun", "begun stuck"},
		twophase.StateAssigned:  {"assigned", "assigned unfinished"},
		twophase.StateReleasing: {"releasing", "releasing stuck"},
		twophase.StateReleased:  {"released"},
	} {
		require.ElementsMatch(t, ids, l.list(t, twophase.Filter{State: state}), state.String())
	}
}

func listUnfinished(t testing.TB, l *ledger) {
	l.populate(t)
	require.ElementsMatch(t,
		[]string{"begun", "begun stuck", "releasing", "releasing stuck", "assigned unfinished"},
		l.list(t, twophase.Filter{Unfinished: true}))
}

func listStuck(t testing.TB, l *ledger) {
	l.populate(t)
	require.ElementsMatch(t, []string{"begun stuck", "releasing stuck"}, l.list(t, twophase.Filter{Stuck: true}))
}

func listCombined(t testing.TB, l *ledger) {
	l.populate(t)
	require.Equal(t, []string{"releasing stuck"},
		l.list(t, twophase.Filter{State: twophase.StateReleasing, Stuck: true}))
	require.Equal(t, []string{"assigned unfinished"},
		l.list(t, twophase.Filter{State: twophase.StateAssigned, Unfinished: true}))
	require.Empty(t, l.list(t, twophase.Filter{State: twophase.StateReleased, Unfinished: true}))
}

func listNothing(t testing.TB, l *ledger) {
	require.Empty(t, l.list(t, twophase.Filter{}))
	l.begin(t, l.record("order-1"))
	require.Empty(t, l.list(t, twophase.Filter{State: twophase.StateReleased}))
}

func listBreaks(t testing.TB, l *ledger) {
	for _, id := range []string{"order-1", "order-2", "order-3"} {
		l.begin(t, l.record(id))
		l.sleep(precision)
	}
	calls := 0
	l.journal.List(t.Context(), twophase.Filter{})(func(twophase.Record, error) bool {
		calls++
		return false
	})
	require.Equal(t, 1, calls, "calls of a loop body that broke off at the first")
	require.Len(t, l.list(t, twophase.Filter{}), 3)
	l.finish(t, "order-1")
}

func listWhileWriting(t testing.TB, l *ledger) {
	for _, id := range []string{"order-1", "order-2", "order-3"} {
		l.begin(t, l.record(id))
	}
	listed := 0
	for record, err := range l.journal.List(t.Context(), twophase.Filter{Unfinished: true}) {
		require.NoError(t, err)
		listed++
		l.finish(t, record.ID)
	}
	require.Equal(t, 3, listed)
	require.Empty(t, l.list(t, twophase.Filter{Unfinished: true}))
}

var pruneChecks = []journalCheck{
	{"Prune forgets what finished longer ago", pruneOld},
	{"Prune counts from the end of a transaction, not from its beginning", pruneFromEnd},
	{"Prune forgets at most so many, and says how many", pruneLimit},
	{"Prune never forgets what is unfinished", pruneUnfinished},
	{"what was pruned is gone, and its id may begin anew", prunedIsGone},
}

func pruneOld(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.begin(t, l.record("order-2"))
	l.decide(t, "order-1", assigning("packet-1", "agent-1"))
	l.finish(t, "order-2")
	l.sleep(l.short)
	require.Zero(t, l.prune(t, 2*l.short, 10))
	l.until(l.short + precision)
	require.Equal(t, 2, l.prune(t, 2*l.short, 10))
	require.Empty(t, l.list(t, twophase.Filter{}))
}

func pruneFromEnd(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.begin(t, l.record("order-2"))
	l.begin(t, l.dropping("order-3"))
	l.decide(t, "order-2", releasingFor(refusal()))
	l.decide(t, "order-3", assigning("packet-3", "agent-3"))
	l.until(l.short)
	l.decide(t, "order-1", assigning("packet-1", "agent-1"))
	l.released(t, "order-2", "store", "delivery")
	l.released(t, "order-3", "store")
	require.Zero(t, l.prune(t, l.short/2, 10))
	l.until(l.short/2 + precision)
	require.Equal(t, 3, l.prune(t, l.short/2, 10))
}

func pruneLimit(t testing.TB, l *ledger) {
	for _, key := range numbered("order", 5) {
		l.begin(t, l.record(key.Transaction))
		l.finish(t, key.Transaction)
	}
	l.until(precision)
	require.Zero(t, l.prune(t, 0, 0))
	require.Equal(t, 3, l.prune(t, 0, 3))
	require.Len(t, l.list(t, twophase.Filter{}), 2)
	require.Equal(t, 2, l.prune(t, 0, 3))
	require.Zero(t, l.prune(t, 0, 3))
}

func pruneUnfinished(t testing.TB, l *ledger) {
	l.populate(t)
	l.released(t, "releasing", "store")
	l.sleep(l.short)
	require.Equal(t, 2, l.prune(t, l.short/2, 100), "assigned and released")
	require.ElementsMatch(t,
		[]string{"begun", "begun stuck", "releasing", "releasing stuck", "assigned unfinished"},
		l.list(t, twophase.Filter{}))
}

func prunedIsGone(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.decide(t, "order-1", assigning("packet-1", "agent-1"))
	l.until(precision)
	require.Equal(t, 1, l.prune(t, time.Nanosecond, 1))
	l.requireGone(t, "order-1")
	record := l.record("order-1")
	record.Owner, record.Steps = rivals, record.Steps[:1]
	standing := l.begin(t, record)
	record.Epoch = 1
	requireRecord(t, record, standing)
}
