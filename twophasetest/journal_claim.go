package twophasetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Leases: claimed, renewed and yielded.

var claimChecks = []journalCheck{
	{"Claim waits for the lease to run out", claimWaits},
	{"Claim gives the whole record, with the next epoch and a new lease", claimGivesRecord},
	{"Claim gives a transaction again only after the new lease", claimAgain},
	{"Claim is open to the owner itself", claimOwn},
	{"Claim gives at most so many, those longest overdue first", claimInOrder},
	{"Claim gives what is not finished and nothing else", claimUnfinished},
	{"Claim of nothing gives nothing", claimNothing},
}

func claimWaits(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", l.short))
	l.begin(t, l.record("order-2"))
	require.Empty(t, l.claim(t, rivals, l.long, 10))
	left := l.justBefore(l.short)
	require.Empty(t, l.claim(t, rivals, l.long, 10), "just before the lease runs out")
	l.until(left)
	l.requireClaimed(t, rivals, l.long, "order-1")
}

func claimGivesRecord(t testing.TB, l *ledger) {
	record := l.leased("order-1", l.short)
	begun := spanOf(func() { l.begin(t, record) })
	l.until(l.short)
	var claimed, stored twophase.Record
	at := spanOf(func() { claimed = l.requireClaimed(t, rivals, l.long, "order-1")[0] })
	read := spanOf(func() { stored = l.get(t, "order-1") })
	record.Owner, record.Epoch = rivals, 2
	requireRecord(t, record, claimed)
	requireRecord(t, record, stored)
	requireLeft(t, l.long, claimed.Lease, at, at, "Lease of what was claimed")
	requireLeft(t, l.long, stored.Lease, at, read, "Lease of what was claimed")
	requireLeft(t, record.Deadline, claimed.Deadline, begun, at, "Deadline of what was claimed")
}

func claimAgain(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", 0))
	l.until(0)
	for epoch := int64(2); epoch < 5; epoch++ {
		record := l.requireClaimed(t, rivals, l.short, "order-1")[0]
		require.Equal(t, epoch, record.Epoch)
		require.Empty(t, l.claim(t, ours, l.short, 10))
		l.until(l.short)
	}
}

func claimOwn(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", l.short))
	l.until(l.short)
	record := l.requireClaimed(t, ours, l.long, "order-1")[0]
	require.Equal(t, ours, record.Owner)
	require.Equal(t, int64(2), record.Epoch)
}

func claimInOrder(t testing.TB, l *ledger) {
	l.begin(t, l.leased("late", 3*l.short))
	l.begin(t, l.leased("early", l.short))
	l.begin(t, l.leased("between", 2*l.short))
	l.until(3 * l.short)
	require.Empty(t, l.claim(t, rivals, l.long, 0))
	require.ElementsMatch(t, []string{"early", "between"}, idsOf(l.claim(t, rivals, l.long, 2)))
	require.Equal(t, []string{"late"}, idsOf(l.claim(t, rivals, l.long, 2)))
	require.Empty(t, l.claim(t, rivals, l.long, 2))
}

func claimUnfinished(t testing.TB, l *ledger) {
	for _, id := range []string{"begun", "releasing", "assigned", "released"} {
		l.begin(t, l.leased(id, l.short))
	}
	for _, id := range []string{"cleaning", "cleaned"} {
		record := l.dropping(id)
		record.Lease = l.short
		l.begin(t, record)
	}
	l.decide(t, "releasing", releasingFor(refusal()))
	l.finish(t, "released")
	for _, id := range []string{"assigned", "cleaning", "cleaned"} {
		l.decide(t, id, assigning("packet-1", "agent-1"))
	}
	l.released(t, "cleaned", "store")

	l.until(l.short)
	claimed := l.requireClaimed(t, rivals, l.short, "begun", "releasing", "cleaning")
	require.Equal(t, twophase.StateBegun, claimed[0].State)
	require.Equal(t, twophase.StateAssigned, claimed[1].State)
	require.Equal(t, twophase.StateReleasing, claimed[2].State)
	requireDecision(t, releasingFor(refusal()), claimed[2].Decision())

	l.released(t, "cleaning", "store")
	l.until(l.short)
	l.requireClaimed(t, ours, l.short, "begun", "releasing")
}

func claimNothing(t testing.TB, l *ledger) {
	require.Empty(t, l.claim(t, ours, l.long, 10))
	l.begin(t, l.leased("order-1", 0))
	l.finish(t, "order-1")
	l.until(0)
	require.Empty(t, l.claim(t, ours, l.long, 10))
}

var renewChecks = []journalCheck{
	{"Renew extends the lease from now", renewExtends},
	{"Renew extends only the owner's own", renewOwn},
	{"Renew does not take back what was claimed", renewAfterClaim},
	{"Renew does not take back what was yielded", renewAfterYield},
	{"Renew with no lease hands over at once", renewHandsOver},
	{"Renew leaves out what is finished or unknown", renewLeavesOut},
}

func renewExtends(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", 2*l.short))
	l.begin(t, l.leased("order-2", 2*l.short))
	l.sleep(l.short)
	var record twophase.Record
	renewed := spanOf(func() { l.renew(t, 3*l.short, "order-1", "order-2") })
	read := spanOf(func() { record = l.get(t, "order-1") })
	requireLeft(t, 3*l.short, record.Lease, renewed, read, "Lease")
	require.Equal(t, int64(1), record.Epoch)
	l.sleep(2 * l.short)
	require.Empty(t, l.claim(t, rivals, l.long, 10))
	l.until(l.short)
	l.requireClaimed(t, rivals, l.long, "order-1", "order-2")
}

func renewOwn(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", l.short))
	l.begin(t, l.leased("order-2", l.short))
	record := l.leased("order-3", l.short)
	record.Owner = rivals
	l.begin(t, record)
	l.renew(t, l.long, "order-1", "order-3")
	l.until(l.short)
	l.requireClaimed(t, "coordinator-3", l.long, "order-2", "order-3")
}

func renewAfterClaim(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", 0))
	l.until(0)
	l.requireClaimed(t, rivals, l.short, "order-1")
	l.renew(t, l.long, "order-1")
	require.Equal(t, rivals, l.get(t, "order-1").Owner)
	l.until(l.short)
	l.requireClaimed(t, "coordinator-3", l.long, "order-1")
}

func renewAfterYield(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.yield(t, "order-1", ours, 1, l.short, "the store is away")
	l.renew(t, l.long, "order-1")
	l.until(l.short)
	l.requireClaimed(t, rivals, l.long, "order-1")
}

func renewHandsOver(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.begin(t, l.record("order-2"))
	l.renew(t, 0, "order-1")
	l.until(0)
	require.Equal(t, int64(2), l.requireClaimed(t, rivals, l.long, "order-1")[0].Epoch)
}

func renewLeavesOut(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", l.short))
	l.begin(t, l.record("order-2"))
	l.finish(t, "order-2")
	l.renew(t, 0, "order-2")
	l.renew(t, l.long, "unknown", "order-2", "order-1")
	l.renew(t, l.long)
	l.until(l.short)
	require.Empty(t, l.claim(t, rivals, l.long, 10))
	l.requireGone(t, "unknown")
}

var yieldChecks = []journalCheck{
	{"Yield keeps the transaction from everybody for the delay", yieldDelays},
	{"Yield without delay gives back at once", yieldAtOnce},
	{"Yield counts the attempts and keeps the last trouble", yieldShowsTrouble},
	{"Yield repeated counts once", yieldRepeated},
	{"Yield by somebody else changes nothing", yieldByRival},
	{"Yield of an earlier epoch changes nothing", yieldEarlierEpoch},
	{"Yield of what is finished or unknown changes nothing", yieldFinished},
}

func yieldDelays(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.yield(t, "order-1", ours, 1, 2*l.short, "the store is away")
	l.sleep(l.short)
	require.Empty(t, l.claim(t, ours, l.long, 10))
	require.Empty(t, l.claim(t, rivals, l.long, 10))
	l.until(l.short)
	l.requireClaimed(t, rivals, l.long, "order-1")
}

func yieldAtOnce(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.yield(t, "order-1", ours, 1, 0, "the participant is not known here")
	l.until(0)
	require.Equal(t, int64(2), l.requireClaimed(t, rivals, l.long, "order-1")[0].Epoch)
}

func yieldShowsTrouble(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	require.False(t, l.get(t, "order-1").Stuck())
	for attempt, trouble := range []string{"the store is away", "the store is still away"} {
		l.yield(t, "order-1", ours, int64(attempt+1), 0, trouble)
		record := l.get(t, "order-1")
		require.Equal(t, attempt+1, record.Attempts)
		require.Equal(t, trouble, record.Trouble)
		require.True(t, record.Stuck())
		l.until(0)
		claimed := l.requireClaimed(t, ours, l.long, "order-1")[0]
		require.Equal(t, attempt+1, claimed.Attempts)
		require.Equal(t, trouble, claimed.Trouble)
	}
}

func yieldRepeated(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	for range 3 {
		l.yield(t, "order-1", ours, 1, 0, "the store is away")
	}
	require.Equal(t, 1, l.get(t, "order-1").Attempts)
}

func yieldByRival(t testing.TB, l *ledger) {
	want := l.begin(t, l.record("order-1"))
	l.yield(t, "order-1", rivals, 1, 0, "mine!")
	requireRecord(t, want, l.get(t, "order-1"))
	l.until(0)
	require.Empty(t, l.claim(t, rivals, l.long, 10))
}

func yieldEarlierEpoch(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", 0))
	l.until(0)
	want := l.requireClaimed(t, ours, l.long, "order-1")[0]
	l.yield(t, "order-1", ours, 1, 0, "late")
	requireRecord(t, want, l.get(t, "order-1"))
	l.until(0)
	require.Empty(t, l.claim(t, rivals, l.long, 10))
}

func yieldFinished(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.finish(t, "order-1")
	l.yield(t, "order-1", ours, 1, 0, "late")
	l.yield(t, "unknown", ours, 1, 0, "late")
	l.until(0)
	require.Empty(t, l.claim(t, rivals, l.long, 10))
	require.Equal(t, twophase.StateReleased, l.get(t, "order-1").State)
	l.requireGone(t, "unknown")
}
