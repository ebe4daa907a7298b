package twophasetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// What was acknowledged is there when the journal is opened again. Leases are
// left out: a journal that only one process can open may end those that it
// finds, for their owner is gone.

// durableChecks are about a journal that is opened again once, by
// ledger.reopen.
var durableChecks = []journalCheck{
	{"what was begun outlives its instance, byte for byte", reopenedBegun},
	{"what failed before it began outlives its instance", reopenedReleasing},
	{"deadlines and ages go on while nobody has the journal open", reopenedTimes},
	{"owners and epochs outlive their instance", reopenedEpochs},
	{"trouble and attempts outlive their instance", reopenedTrouble},
	{"what is unfinished, and nothing else, may be claimed from the next instance", reopenedClaims},
	{"the order of List outlives its instance", reopenedOrder},
	{"what many have written at once outlives their instance", reopenedMany},
}

// reopenedChecks are those of which each holds, call by call, whichever
// instance answers.
func reopenedChecks() []journalCheck {
	checks := slices.Concat(decideChecks, releasedChecks, pruneChecks)
	for i := range checks {
		checks[i].name += ", opened again before each call"
	}
	return checks
}

// reopening returns the ledger of a check that opens the journal again.
func reopening(t testing.TB, c config, journal twophase.Journal) *ledger {
	l := &ledger{clock: c.clock, journal: journal}
	l.reopen = func() { l.journal = c.reopen(t, l.journal) }
	return l
}

// alwaysReopening returns the ledger of a check that opens the journal again
// before each call.
func alwaysReopening(t testing.TB, c config, journal twophase.Journal) *ledger {
	return &ledger{clock: c.clock, journal: eachCall(func() twophase.Journal {
		journal = c.reopen(t, journal)
		return journal
	})}
}

func reopenedBegun(t testing.TB, l *ledger) {
	record := l.dropping("order-1")
	record.Steps[1].Payload = json.RawMessage(texts["spaced"])
	l.begin(t, record)
	l.reopen()
	want := record
	want.Epoch = 1
	requireRecord(t, want, l.get(t, "order-1"))
	_, created := l.find(t, record)
	require.True(t, created, "a repeated Begin by the same owner")
	record.Owner = rivals
	standing, created := l.find(t, record)
	require.False(t, created, "created by another owner")
	requireRecord(t, want, standing)
}

func reopenedReleasing(t testing.TB, l *ledger) {
	want := l.begin(t, l.releasing("order-1"))
	l.reopen()
	got := l.get(t, "order-1")
	requireRecord(t, want, got)
	require.ErrorIs(t, got.Cause, twophase.ErrRefused)
}

func reopenedTimes(t testing.TB, l *ledger) {
	record := l.record("order-1")
	var got twophase.Record
	begun := spanOf(func() { l.begin(t, record) })
	l.sleep(l.short)
	l.reopen()
	read := spanOf(func() { got = l.get(t, "order-1") })
	requireLeft(t, record.Deadline, got.Deadline, begun, read, "Deadline")
	least, most := begun.elapsed(read)
	require.GreaterOrEqual(t, got.Age, least, "Age")
	require.LessOrEqual(t, got.Age, most, "Age")
}

func reopenedEpochs(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", 0))
	l.until(0)
	want := l.requireClaimed(t, rivals, l.short, "order-1")[0]
	l.reopen()
	l.yield(t, "order-1", ours, 1, 0, "late")
	requireRecord(t, want, l.get(t, "order-1"))
	l.until(l.short)
	require.Equal(t, int64(3), l.requireClaimed(t, ours, l.long, "order-1")[0].Epoch)
}

func reopenedTrouble(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	for epoch := int64(1); epoch < 3; epoch++ {
		l.yield(t, "order-1", ours, epoch, 0, fmt.Sprintf("the store is away: %d", epoch))
		want := l.get(t, "order-1")
		l.reopen()
		requireRecord(t, want, l.get(t, "order-1"))
		require.Equal(t, []string{"order-1"}, l.list(t, twophase.Filter{Stuck: true}))
		l.until(0)
		l.requireClaimed(t, ours, 0, "order-1")
	}
}

func reopenedClaims(t testing.TB, l *ledger) {
	for _, id := range []string{"begun", "releasing", "released", "assigned"} {
		l.begin(t, l.leased(id, l.short))
	}
	dropping := l.dropping("cleaning")
	dropping.Lease = l.short
	l.begin(t, dropping)
	l.decide(t, "releasing", releasingFor(refusal()))
	l.released(t, "releasing", "store")
	l.finish(t, "released")
	for _, id := range []string{"assigned", "cleaning"} {
		l.decide(t, id, assigning("packet-1", "agent-1"))
	}
	l.reopen()
	l.until(l.short)
	claimed := l.requireClaimed(t, rivals, l.long, "begun", "cleaning", "releasing")
	require.Equal(t, twophase.StateBegun, claimed[0].State)
	require.Equal(t, twophase.StateAssigned, claimed[1].State)
	require.Equal(t, twophase.StateReleasing, claimed[2].State)
	require.True(t, stepOf(t, claimed[2], "store").Released)
	require.False(t, stepOf(t, claimed[2], "delivery").Released)
}

func reopenedOrder(t testing.TB, l *ledger) {
	ids := []string{"z", "a", "m", "b"}
	for _, id := range ids {
		l.begin(t, l.record(id))
		l.sleep(precision)
	}
	l.finish(t, "a")
	l.reopen()
	require.Equal(t, ids, l.list(t, twophase.Filter{}))
	l.begin(t, l.record("0"))
	require.Equal(t, append(ids, "0"), l.list(t, twophase.Filter{}))
}

func reopenedMany(t testing.TB, l *ledger) {
	const transactions = 48
	told := make([]twophase.Decision, transactions)
	together(transactions, func(i int) {
		id := fmt.Sprintf("order-%d", i)
		_, _, err := l.tryBegin(t, l.record(id))
		assert.NoError(t, err)
		decision := assigning("packet-"+id, "agent-"+id)
		if i%2 == 0 {
			decision = releasingFor(&twophase.Cause{Message: "cause of " + id})
		}
		told[i], err = l.tryDecide(t, id, decision)
		assert.NoError(t, err)
	})
	l.reopen()
	for i, decision := range told {
		requireDecision(t, decision, l.get(t, fmt.Sprintf("order-%d", i)).Decision())
	}
}
