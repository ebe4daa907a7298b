package twophasetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// The one decision, and the releases that follow from it.

var decideChecks = []journalCheck{
	{"Decide assigned stores what each step was given", decideAssigned},
	{"Decide releasing stores the cause", decideReleasing},
	{"a decision repeated is the same decision", decideRepeated},
	{"whoever decides to release after it was assigned is told what was given", releasingLoses},
	{"whoever decides to assign after it was released is told the cause", assigningLoses},
	{"whoever decides to assign what is assigned already is told what was given first", assigningTwice},
	{"whoever decides to release what is releasing already is told the first cause", releasingTwice},
	{"a decision stands when all is released", decisionOutlivesRelease},
	{"a decision needs no lease", decideWithoutLease},
	{"Decide of an unknown transaction is gone", decideUnknown},
}

func decideAssigned(t testing.TB, l *ledger) {
	l.begin(t, l.dropping("order-1"))
	decision := assigning("", "agent-1")
	decision.Reservations[0] = twophase.Reservation{} // it is dropped
	requireDecision(t, decision, l.decide(t, "order-1", decision))

	want := l.dropping("order-1")
	want.Epoch, want.State, want.Steps[1].Reservation = 1, twophase.StateAssigned, &decision.Reservations[1]
	got := l.get(t, "order-1")
	requireRecord(t, want, got)
	requireDecision(t, decision, got.Decision())
}

func decideReleasing(t testing.TB, l *ledger) {
	want := l.begin(t, l.record("order-1"))
	requireDecision(t, releasingFor(refusal()), l.decide(t, "order-1", releasingFor(refusal())))
	want.State, want.Cause = twophase.StateReleasing, refusal()
	got := l.get(t, "order-1")
	requireRecord(t, want, got)
	require.ErrorIs(t, got.Cause, twophase.ErrRefused)
}

func decideRepeated(t testing.TB, l *ledger) {
	for id, decision := range map[string]twophase.Decision{
		"order-1": assigning("packet-1", "agent-1"), "order-2": releasingFor(refusal()),
	} {
		l.begin(t, l.record(id))
		l.decide(t, id, decision)
		want := l.get(t, id)
		for range 2 {
			requireDecision(t, decision, l.decide(t, id, decision))
		}
		requireRecord(t, want, l.get(t, id))
	}
}

// requireStands decides one way and then another, and checks that the first
// decision is told and kept.
func (l *ledger) requireStands(t testing.TB, first, second twophase.Decision) {
	t.Helper()
	l.begin(t, l.record("order-1"))
	l.decide(t, "order-1", first)
	want := l.get(t, "order-1")
	requireDecision(t, first, l.decide(t, "order-1", second))
	requireRecord(t, want, l.get(t, "order-1"))
}

func releasingLoses(t testing.TB, l *ledger) {
	l.requireStands(t, assigning("packet-1", "agent-1"), releasingFor(refusal()))
}

func assigningLoses(t testing.TB, l *ledger) {
	l.requireStands(t, releasingFor(refusal()), assigning("packet-1", "agent-1"))
}

func assigningTwice(t testing.TB, l *ledger) {
	l.requireStands(t, assigning("packet-1", "agent-1"), assigning("packet-2", "agent-2"))
}

func releasingTwice(t testing.TB, l *ledger) {
	l.requireStands(t, releasingFor(refusal()), releasingFor(&twophase.Cause{Message: "the caller gave up"}))
}

func decisionOutlivesRelease(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.finish(t, "order-1")
	requireDecision(t, releasingFor(refusal()), l.decide(t, "order-1", assigning("packet-1", "agent-1")))
	record := l.get(t, "order-1")
	require.Equal(t, twophase.StateReleased, record.State)
	requireDecision(t, releasingFor(refusal()), record.Decision())
}

func decideWithoutLease(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", l.short))
	l.until(l.short)
	l.requireClaimed(t, rivals, l.long, "order-1")
	decision := assigning("packet-1", "agent-1")
	requireDecision(t, decision, l.decide(t, "order-1", decision))
	record := l.get(t, "order-1")
	requireDecision(t, decision, record.Decision())
	require.Equal(t, int64(2), record.Epoch)
}

func decideUnknown(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.requireGone(t, "order-2")
	_, err := l.tryDecide(t, "order-2", releasingFor(refusal()))
	require.ErrorIs(t, err, twophase.ErrGone)
	require.Equal(t, twophase.StateBegun, l.get(t, "order-1").State)
}

var releasedChecks = []journalCheck{
	{"releases are acknowledged step by step", releasedInSteps},
	{"a release acknowledged again changes nothing", releasedAgain},
	{"a releasing transaction is released with its last step, dropped ones included", releasedWithDropped},
	{"an assigned transaction stays assigned when its dropped steps are released", assignedWithDropped},
	{"an undecided transaction has no releases to acknowledge", releasedUndecided},
	{"releases of an unknown transaction are of no effect", releasedUnknown},
}

func releasedInSteps(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.decide(t, "order-1", releasingFor(refusal()))
	l.released(t, "order-1")
	l.released(t, "order-1", "delivery")
	record := l.get(t, "order-1")
	require.Equal(t, twophase.StateReleasing, record.State)
	require.False(t, stepOf(t, record, "store").Released)
	require.True(t, stepOf(t, record, "delivery").Released)

	l.released(t, "order-1", "store")
	record = l.get(t, "order-1")
	require.Equal(t, twophase.StateReleased, record.State)
	require.True(t, record.Finished())
	requireDecision(t, releasingFor(refusal()), record.Decision())
}

func releasedAgain(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	l.decide(t, "order-1", releasingFor(refusal()))
	for range 2 {
		l.released(t, "order-1", "store")
	}
	require.Equal(t, twophase.StateReleasing, l.get(t, "order-1").State)
	for range 2 {
		l.released(t, "order-1", "store", "delivery")
		require.Equal(t, twophase.StateReleased, l.get(t, "order-1").State)
	}
}

func releasedWithDropped(t testing.TB, l *ledger) {
	l.begin(t, l.dropping("order-1"))
	l.decide(t, "order-1", releasingFor(refusal()))
	l.released(t, "order-1", "delivery")
	require.Equal(t, twophase.StateReleasing, l.get(t, "order-1").State)
	l.released(t, "order-1", "store")
	require.Equal(t, twophase.StateReleased, l.get(t, "order-1").State)
}

func assignedWithDropped(t testing.TB, l *ledger) {
	l.begin(t, l.dropping("order-1"))
	decision := assigning("", "agent-1")
	decision.Reservations[0] = twophase.Reservation{}
	l.decide(t, "order-1", decision)
	require.False(t, l.get(t, "order-1").Finished())
	l.released(t, "order-1", "store")
	record := l.get(t, "order-1")
	require.True(t, record.Finished())
	requireDecision(t, decision, record.Decision())
}

func releasedUndecided(t testing.TB, l *ledger) {
	want := l.begin(t, l.record("order-1"))
	_ = l.journal.Released(t.Context(), "order-1", []string{"store", "delivery"})
	requireRecord(t, want, l.get(t, "order-1"))
}

func releasedUnknown(t testing.TB, l *ledger) {
	want := l.begin(t, l.record("order-1"))
	if err := l.journal.Released(t.Context(), "order-2", []string{"store"}); err != nil {
		require.ErrorIs(t, err, twophase.ErrGone)
	}
	l.requireGone(t, "order-2")
	requireRecord(t, want, l.get(t, "order-1"))
}
