package twophasetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Calls that come at once, and calls whose context ends.

var journalRaceChecks = []journalCheck{
	{"of many who begin one transaction at once, one has created it", beginAtOnce},
	{"many who decide at once, both ways, are told one decision", decideAtOnce},
	{"many who claim at once get each transaction once", claimAtOnce},
	{"a renewal that meets a claim does not take back what was claimed", renewAtClaim},
	{"releases acknowledged at once are all kept", releasedAtOnce},
	{"many transactions at once do not disturb each other", manyTransactions},
}

func beginAtOnce(t testing.TB, l *ledger) {
	records := make([]twophase.Record, 12)
	created := make([]bool, len(records))
	together(len(records), func(i int) {
		record := l.record("order-1")
		record.Owner = fmt.Sprintf("coordinator-%d", i)
		var err error
		records[i], created[i], err = l.tryBegin(t, record)
		assert.NoError(t, err)
	})
	owner := slices.Index(created, true)
	require.Equal(t, 1, countTrue(created), "how many have created it")
	for _, record := range records {
		require.Equal(t, fmt.Sprintf("coordinator-%d", owner), record.Owner)
	}
}

func countTrue(values []bool) (n int) {
	for _, value := range values {
		if value {
			n++
		}
	}
	return n
}

func decideAtOnce(t testing.TB, l *ledger) {
	for n := range 4 {
		id := fmt.Sprintf("order-%d", n)
		l.begin(t, l.record(id))
		told := make([]twophase.Decision, 12)
		together(len(told), func(i int) {
			decision := assigning(fmt.Sprintf("packet-%d", i), "agent")
			if i%2 == 0 {
				decision = releasingFor(&twophase.Cause{Message: fmt.Sprintf("cause-%d", i)})
			}
			var err error
			told[i], err = l.tryDecide(t, id, decision)
			assert.NoError(t, err)
		})
		standing := l.get(t, id).Decision()
		for _, decision := range told {
			requireDecision(t, standing, decision)
		}
	}
}

func claimAtOnce(t testing.TB, l *ledger) {
	const transactions, owners = 30, 6
	for i := range transactions {
		l.begin(t, l.leased(fmt.Sprintf("order-%d", i), 0))
	}
	l.until(0)
	claimed := make([][]twophase.Record, owners)
	together(owners, func(i int) {
		for range transactions {
			records, err := l.journal.Claim(t.Context(), fmt.Sprintf("coordinator-%d", i), l.long, 3)
			if err != nil {
				t.Logf("the claim is repeated: %v", err)
				continue
			}
			assert.LessOrEqual(t, len(records), 3)
			claimed[i] = append(claimed[i], records...)
		}
	})
	all := slices.Concat(claimed...)
	requireDistinct(t, idsOf(all))
	require.Len(t, all, transactions)
	for _, record := range all {
		require.Equal(t, int64(2), record.Epoch)
		require.Equal(t, record.Owner, l.get(t, record.ID).Owner)
	}
}

func renewAtClaim(t testing.TB, l *ledger) {
	const rounds, transactions = 4, 12
	for round := range rounds {
		for i := range transactions {
			l.begin(t, l.leased(fmt.Sprintf("order-%d-%d", round, i), 0))
		}
		l.until(0)
		together(transactions+1, func(i int) {
			var err error
			if i == transactions/2 { // neither the first nor the last to start
				_, err = l.journal.Claim(t.Context(), rivals, l.short, transactions)
			} else {
				err = l.journal.Renew(t.Context(), ours, l.long, []string{fmt.Sprintf("order-%d-%d", round, i)})
			}
			if err != nil {
				t.Logf("left out: %v", err)
			}
		})
	}
	var claimed []string
	for _, record := range l.records(t) {
		if record.Owner == rivals {
			claimed = append(claimed, record.ID)
		}
	}
	l.until(l.short)
	require.Subset(t, idsOf(l.claim(t, "coordinator-3", l.long, rounds*transactions)), claimed)
}

func releasedAtOnce(t testing.TB, l *ledger) {
	record := l.record("order-1")
	for i := range 10 {
		step := record.Steps[0]
		step.Name = fmt.Sprintf("store-%d", i)
		record.Steps = append(record.Steps, step)
	}
	l.begin(t, record)
	l.decide(t, "order-1", releasingFor(refusal()))
	together(len(record.Steps), func(i int) {
		assert.NoError(t, l.known(t, func(ctx context.Context) error {
			return l.journal.Released(ctx, "order-1", []string{record.Steps[i].Name})
		}))
	})
	require.Equal(t, twophase.StateReleased, l.get(t, "order-1").State)
}

func manyTransactions(t testing.TB, l *ledger) {
	const transactions = 48
	together(transactions, func(i int) {
		id := fmt.Sprintf("order-%d", i)
		_, created, err := l.tryBegin(t, l.record(id))
		assert.NoError(t, err)
		assert.True(t, created)
		decision := assigning("packet-"+id, "agent-"+id)
		if i%2 == 0 {
			decision = releasingFor(refusal())
		}
		standing, err := l.tryDecide(t, id, decision)
		assert.NoError(t, err)
		assert.Equal(t, plainDecision(decision), plainDecision(standing))
		if i%4 == 0 {
			assert.NoError(t, l.known(t, func(ctx context.Context) error {
				return l.journal.Released(ctx, id, []string{"store", "delivery"})
			}))
		}
	})
	require.Len(t, l.list(t, twophase.Filter{State: twophase.StateAssigned}), transactions/2)
	require.Len(t, l.list(t, twophase.Filter{State: twophase.StateReleasing}), transactions/4)
	require.Len(t, l.list(t, twophase.Filter{State: twophase.StateReleased}), transactions/4)
	for _, record := range l.records(t) {
		if record.State == twophase.StateAssigned {
			given := record.Decision().Reservations
			require.NotEmpty(t, given)
			require.Equal(t, "packet-"+record.ID, given[0].Resource())
		}
	}
}

var journalContextChecks = []journalCheck{
	{"Begin with an ended context stores all or nothing", endedBegin},
	{"Decide with an ended context decides or does not", endedDecide},
	{"Claim with an ended context gives what it claims", endedClaim},
	{"the other calls with an ended context leave the record whole", endedOthers},
	{"List with an ended context gives an error or everything", endedList},
	{"List whose context ends under way gives an error or everything", listCutShort},
	{"one caller's ended context fails no other's Begin", endedAmongOthers},
}

func endedBegin(t testing.TB, l *ledger) {
	_, _, err := l.journal.Begin(ended(t), l.record("order-1"))
	switch _, gone := l.journal.Get(t.Context(), "order-1"); {
	case err == nil:
		require.NoError(t, gone, "Begin has succeeded")
	case errors.Is(err, twophase.ErrUnavailable):
		require.ErrorIs(t, gone, twophase.ErrGone, "Begin says that nothing was written")
	}
	record := l.record("order-1")
	standing := l.begin(t, record)
	record.Epoch = 1
	requireRecord(t, record, standing)
}

func endedDecide(t testing.TB, l *ledger) {
	l.begin(t, l.record("order-1"))
	_, err := l.journal.Decide(ended(t), "order-1", assigning("packet-1", "agent-1"))
	require.NotErrorIs(t, err, twophase.ErrGone)
	state := l.get(t, "order-1").State
	switch {
	case err == nil:
		require.Equal(t, twophase.StateAssigned, state, "Decide has succeeded")
	case errors.Is(err, twophase.ErrUnavailable):
		require.Equal(t, twophase.StateBegun, state, "Decide says that nothing was written")
	}
	standing := l.decide(t, "order-1", releasingFor(refusal()))
	if state == twophase.StateAssigned {
		requireDecision(t, assigning("packet-1", "agent-1"), standing)
	} else {
		requireDecision(t, releasingFor(refusal()), standing)
	}
}

func endedClaim(t testing.TB, l *ledger) {
	l.begin(t, l.leased("order-1", 0))
	l.until(0)
	claimed, err := l.journal.Claim(ended(t), rivals, l.short, 10)
	switch epoch := l.get(t, "order-1").Epoch; {
	case err == nil:
		require.Equal(t, int64(len(claimed)+1), epoch)
	case errors.Is(err, twophase.ErrUnavailable):
		require.Equal(t, int64(1), epoch, "Claim says that nothing was written")
	}
	l.until(l.short)
	l.requireClaimed(t, ours, l.long, "order-1")
}

func endedOthers(t testing.TB, l *ledger) {
	ctx := ended(t)
	l.begin(t, l.record("order-1"))
	_ = l.journal.Renew(ctx, ours, 2*l.long, []string{"order-1"})
	_ = l.journal.Yield(ctx, "order-1", ours, 1, l.long, "the store is away")
	_, err := l.journal.Get(ctx, "order-1")
	require.NotErrorIs(t, err, twophase.ErrGone)
	l.decide(t, "order-1", releasingFor(refusal()))
	_ = l.journal.Released(ctx, "order-1", []string{"store"})
	n, err := l.journal.Prune(ctx, 0, 10)
	require.Zero(t, n)
	require.NotErrorIs(t, err, twophase.ErrGone)
	require.Equal(t, twophase.StateReleasing, l.get(t, "order-1").State)
	l.released(t, "order-1", "store", "delivery")
	require.Equal(t, twophase.StateReleased, l.get(t, "order-1").State)
}

func endedList(t testing.TB, l *ledger) { l.requireAllOrError(t, ended(t), func() {}) }

func listCutShort(t testing.TB, l *ledger) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.requireAllOrError(t, ctx, cancel)
}

// requireAllOrError lists with a context that ends at the first record, and
// checks that nothing is left out silently.
func (l *ledger) requireAllOrError(t testing.TB, ctx context.Context, end func()) {
	t.Helper()
	for _, key := range numbered("order", 3) {
		l.begin(t, l.record(key.Transaction))
	}
	listed, failed := 0, false
	l.journal.List(ctx, twophase.Filter{})(func(_ twophase.Record, err error) bool {
		require.False(t, failed, "an error ends the list")
		if err != nil {
			failed = true
			return true
		}
		listed++
		end()
		return true
	})
	require.True(t, failed || listed == 3, "%d of 3 records, and no error", listed)
}

func endedAmongOthers(t testing.TB, l *ledger) {
	const callers = 24
	together(callers, func(i int) {
		record := l.record(fmt.Sprintf("order-%d", i))
		if i%3 != 0 {
			_, created, err := l.tryBegin(t, record)
			assert.NoError(t, err)
			assert.True(t, created)
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go cancel()
		_, _, err := l.journal.Begin(ctx, record)
		_, gone := l.journal.Get(t.Context(), record.ID)
		if errors.Is(err, twophase.ErrUnavailable) {
			assert.ErrorIs(t, gone, twophase.ErrGone, "Begin says that nothing was written")
		}
		if err == nil {
			assert.NoError(t, gone, "Begin has succeeded")
		}
	})
	for i := range callers {
		if i%3 != 0 {
			l.get(t, fmt.Sprintf("order-%d", i))
		}
	}
}
