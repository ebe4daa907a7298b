package twophasetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// TestJournal checks that a journal keeps the contract of [twophase.Journal].
// Each subtest calls open for an empty journal of its own. Open closes it by
// t.Cleanup, and must not call t.Run or t.Parallel.
//
// What is checked:
//
//   - Begin stores a record once, and tells everybody else what stands;
//     payloads come back as the same bytes;
//   - a transaction has one decision, whoever asks, however many at once, and
//     each is told that one, with what was given or why not;
//   - acknowledged releases add up to the end of a transaction;
//   - leases, claims, renewals and yields: a claim waits for the lease, raises
//     the epoch, and is given to one only;
//   - reading, listing by every filter, and pruning of nothing but what
//     finished long ago;
//   - deadlines, leases and ages are durations that pass;
//   - a context that ends leaves each record whole, and an error that is
//     [twophase.ErrUnavailable] means that nothing was written;
//   - whatever was acknowledged outlives the instance that did so, if
//     [Reopened] is given;
//   - all of it among several instances on one storage, if [Shared] is given.
//
// An error that leaves open what happened is answered by repeating the call,
// as a coordinator does.
func TestJournal(t *testing.T, open func(t testing.TB) twophase.Journal, options ...Option) {
	t.Helper()
	c := newConfig(options)
	c.runAll(t, journalSuite(c, open))
}

type journalCheck struct {
	name string
	run  func(t testing.TB, l *ledger)
}

func journalSuite(c config, open func(t testing.TB) twophase.Journal) []check {
	waiting := slices.Concat(
		beginChecks, decideChecks, releasedChecks, claimChecks, renewChecks, yieldChecks, readChecks, pruneChecks,
	)
	racing := c.journalChecks(open, slices.Concat(journalRaceChecks, journalContextChecks), newLedger)
	for i := range racing {
		racing[i].racing = true
	}
	durable := slices.Concat(
		c.journalChecks(open, durableChecks, reopening),
		c.journalChecks(open, reopenedChecks(), alwaysReopening),
	)
	if c.reopen == nil {
		for i := range durable {
			durable[i].skip = "not declared durable by Reopened"
		}
	}
	return slices.Concat(c.journalChecks(open, waiting, newLedger), racing, durable)
}

// journalChecks returns checks that each open a journal and run on the ledger
// made of it.
func (c config) journalChecks(
	open func(t testing.TB) twophase.Journal, all []journalCheck,
	on func(t testing.TB, c config, journal twophase.Journal) *ledger,
) []check {
	checks := make([]check, len(all))
	for i, j := range all {
		checks[i] = check{name: j.name, run: func(t testing.TB, clock clock) {
			c := c
			c.clock = clock
			l := on(t, c, open(t))
			l.watch.start()
			j.run(t, l)
		}}
	}
	return checks
}

// ledger is the journal of one check.
type ledger struct {
	clock
	journal twophase.Journal
	reopen  func() // only of durableChecks
}

// The coordinators of most checks.
const (
	ours   = "coordinator-1"
	rivals = "coordinator-2"
)

// record is one of an undecided transaction of two steps, with a long lease
// and a long deadline.
func (l *ledger) record(id string) twophase.Record {
	return twophase.Record{
		Version: twophase.RecordVersion,
		ID:      id,
		State:   twophase.StateBegun,
		Steps: []twophase.StepRecord{
			{Name: "store", Participant: "store", Payload: json.RawMessage(`{"food":"masala dosa"}`), Hold: time.Minute},
			{Name: "delivery", Participant: "delivery", Payload: json.RawMessage(`{"area":"Indiranagar"}`), Hold: 2 * time.Minute},
		},
		Deadline: l.long,
		Owner:    ours,
		Lease:    l.long,
	}
}

// releasing is a record of a transaction that failed before it began.
func (l *ledger) releasing(id string) twophase.Record {
	record := l.record(id)
	record.State, record.Cause = twophase.StateReleasing, refusal()
	return record
}

// dropping is a record with a step that was tried and not kept.
func (l *ledger) dropping(id string) twophase.Record {
	record := l.record(id)
	record.Steps[0].Dropped = true
	return record
}

// leased is a record whose lease lasts so long.
func (l *ledger) leased(id string, lease time.Duration) twophase.Record {
	record := l.record(id)
	record.Lease = lease
	return record
}

// refusal is a cause of StateReleasing.
func refusal() *twophase.Cause {
	return &twophase.Cause{
		Step: "delivery", Participant: "delivery", Call: twophase.CallReserve,
		Reason: "refused", Message: "refused: no agent left",
	}
}

// assigning is the decision that the two steps are given those resources.
func assigning(packet, agent string) twophase.Decision {
	return twophase.Decision{State: twophase.StateAssigned, Reservations: []twophase.Reservation{
		{Resources: []string{packet}, Assigned: true, Details: json.RawMessage(`{"shelf":3}`)},
		{Resources: []string{agent, "scooter"}, Assigned: true},
	}}
}

// releasingFor is the decision to release.
func releasingFor(cause *twophase.Cause) twophase.Decision {
	return twophase.Decision{State: twophase.StateReleasing, Cause: cause}
}

// known repeats a call until its effect is known.
func (l *ledger) known(t testing.TB, do func(ctx context.Context) error) error {
	t.Helper()
	var err error
	for n := range attempts {
		l.pause(n, err)
		if err = do(t.Context()); err == nil || errors.Is(err, twophase.ErrGone) {
			return err
		}
		t.Logf("the effect is not known, the call is repeated: %v", err)
	}
	return err
}

func (l *ledger) tryBegin(t testing.TB, record twophase.Record) (standing twophase.Record, created bool, err error) {
	t.Helper()
	err = l.known(t, func(ctx context.Context) (err error) {
		standing, created, err = l.journal.Begin(ctx, cloned(record))
		return err
	})
	return cloned(standing), created, err
}

// begin begins a transaction that is new.
func (l *ledger) begin(t testing.TB, record twophase.Record) twophase.Record {
	t.Helper()
	standing, created, err := l.tryBegin(t, record)
	require.NoError(t, err, "Begin of %s", record.ID)
	require.True(t, created, "Begin of %s has created it", record.ID)
	return standing
}

// find begins a transaction that is there already.
func (l *ledger) find(t testing.TB, record twophase.Record) (standing twophase.Record, created bool) {
	t.Helper()
	standing, created, err := l.tryBegin(t, record)
	require.NoError(t, err, "Begin of %s", record.ID)
	return standing, created
}

func (l *ledger) tryDecide(t testing.TB, id string, d twophase.Decision) (standing twophase.Decision, err error) {
	t.Helper()
	err = l.known(t, func(ctx context.Context) (err error) {
		standing, err = l.journal.Decide(ctx, id, d)
		return err
	})
	return standing, err
}

func (l *ledger) decide(t testing.TB, id string, d twophase.Decision) twophase.Decision {
	t.Helper()
	standing, err := l.tryDecide(t, id, d)
	require.NoError(t, err, "Decide of %s", id)
	return standing
}

func (l *ledger) released(t testing.TB, id string, steps ...string) {
	t.Helper()
	require.NoError(t, l.known(t, func(ctx context.Context) error { return l.journal.Released(ctx, id, steps) }),
		"Released of %v of %s", steps, id)
}

// finish brings a transaction to its end, released.
func (l *ledger) finish(t testing.TB, id string) {
	t.Helper()
	l.decide(t, id, releasingFor(refusal()))
	l.released(t, id, "store", "delivery")
}

func (l *ledger) claim(t testing.TB, owner string, lease time.Duration, limit int) []twophase.Record {
	t.Helper()
	claimed, err := l.journal.Claim(t.Context(), owner, lease, limit)
	require.NoError(t, err, "Claim by %s", owner)
	for i := range claimed {
		claimed[i] = cloned(claimed[i])
	}
	return claimed
}

// requireClaimed checks that owner may claim those transactions and no others,
// in whatever order, and returns their records by id.
func (l *ledger) requireClaimed(t testing.TB, owner string, lease time.Duration, ids ...string) []twophase.Record {
	t.Helper()
	claimed := l.claim(t, owner, lease, len(ids)+10)
	require.ElementsMatch(t, ids, idsOf(claimed), "claimed by %s", owner)
	slices.SortFunc(claimed, func(a, b twophase.Record) int { return cmp.Compare(a.ID, b.ID) })
	return claimed
}

// renew renews leases of ours.
func (l *ledger) renew(t testing.TB, lease time.Duration, ids ...string) {
	t.Helper()
	require.NoError(t, l.journal.Renew(t.Context(), ours, lease, ids), "Renew of %v", ids)
}

func (l *ledger) yield(t testing.TB, id, owner string, epoch int64, delay time.Duration, trouble string) {
	t.Helper()
	require.NoError(t, l.journal.Yield(t.Context(), id, owner, epoch, delay, trouble), "Yield of %s by %s", id, owner)
}

func (l *ledger) get(t testing.TB, id string) (record twophase.Record) {
	t.Helper()
	require.NoError(t, l.known(t, func(ctx context.Context) (err error) {
		record, err = l.journal.Get(ctx, id)
		return err
	}), "Get of %s", id)
	return cloned(record)
}

// list returns the ids of what matches.
func (l *ledger) list(t testing.TB, filter twophase.Filter) []string {
	t.Helper()
	ids := []string{}
	for record, err := range l.journal.List(t.Context(), filter) {
		require.NoError(t, err, "List of %+v", filter)
		ids = append(ids, record.ID)
	}
	return ids
}

func (l *ledger) prune(t testing.TB, age time.Duration, limit int) int {
	t.Helper()
	n, err := l.journal.Prune(t.Context(), age, limit)
	require.NoError(t, err, "Prune")
	return n
}

// requireGone checks that there is no record of a transaction.
func (l *ledger) requireGone(t testing.TB, id string) {
	t.Helper()
	_, err := l.journal.Get(t.Context(), id)
	require.ErrorIs(t, err, twophase.ErrGone, "Get of %s", id)
	_, err = l.tryDecide(t, id, assigning("packet-1", "agent-1"))
	require.ErrorIs(t, err, twophase.ErrGone, "Decide of %s", id)
	require.NotContains(t, l.list(t, twophase.Filter{}), id)
}

// cloned returns a record that shares nothing that a journal may write to.
func cloned(r twophase.Record) twophase.Record {
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		step := &r.Steps[i]
		step.Payload = bytes.Clone(step.Payload)
		if step.Reservation != nil {
			reservation := *step.Reservation
			step.Reservation = &reservation
		}
	}
	return r
}

func idsOf(records []twophase.Record) []string {
	ids := []string{}
	for _, record := range records {
		ids = append(ids, record.ID)
	}
	return ids
}

// requireRecord checks that two records are the same but for their durations.
func requireRecord(t testing.TB, want, got twophase.Record) {
	t.Helper()
	require.Equal(t, plainRecord(want), plainRecord(got), "record of %s", want.ID)
}

// plainRecord returns a record without its durations and without differences
// that do not matter, such as between nil and empty.
func plainRecord(r twophase.Record) twophase.Record {
	r.Deadline, r.Lease, r.Age = 0, 0, 0
	r.Cause = plainCause(r.Cause)
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		step := &r.Steps[i]
		step.Payload = json.RawMessage(string(step.Payload)) // nil or empty, and its bytes as they are
		if step.Reservation != nil {
			reservation := plainReservation(*step.Reservation)
			step.Reservation = &reservation
		}
	}
	return r
}

// plainCause drops what only the process knows that saw it happen.
func plainCause(c *twophase.Cause) *twophase.Cause {
	if c == nil {
		return nil
	}
	return &twophase.Cause{Step: c.Step, Participant: c.Participant, Call: c.Call, Reason: c.Reason, Message: c.Message}
}

func plainReservation(r twophase.Reservation) twophase.Reservation {
	r.Resources = slices.Clone(r.Resources)
	r.Details = json.RawMessage(canonical(r.Details))
	return r
}

// requireDecision checks that two decisions are the same. Once all is
// released, a decision to release may be told as released.
func requireDecision(t testing.TB, want, got twophase.Decision) {
	t.Helper()
	if want.State == twophase.StateReleasing && got.State == twophase.StateReleased {
		got.State = twophase.StateReleasing
	}
	require.Equal(t, plainDecision(want), plainDecision(got), "decision")
}

func plainDecision(d twophase.Decision) twophase.Decision {
	d.Cause = plainCause(d.Cause)
	reservations := make([]twophase.Reservation, len(d.Reservations))
	for i, r := range d.Reservations {
		reservations[i] = plainReservation(r)
	}
	d.Reservations = reservations
	return d
}
