package twophasetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// What Begin stores, and what it tells those who come later.

var beginChecks = []journalCheck{
	{"Begin stores the record as it is", beginStores},
	{"Begin stores a transaction that failed before it began", beginReleasing},
	{"Begin repeated by the same owner says created again", beginRepeated},
	{"Begin repeated by the same owner after the decision tells the decision", beginAfterDecision},
	{"Begin by another owner gets the record that stands", beginByRival},
	{"Begin with other steps gets the record that stands and touches nothing", beginOtherSteps},
	{"Begin with another payload is not the same work", beginOtherPayload},
	{"Begin after a claim gets the record of who claimed it", beginAfterClaim},
	{"payloads come back as the same bytes", payloadBytes},
	{"Begin stores as many steps as a transaction may have", beginManySteps},
	{"ids may have any valid characters", journalOddIDs},
	{"deadlines, leases and ages are durations that pass", durationsPass},
	{"a deadline that has passed is negative", deadlinePasses},
}

func beginStores(t testing.TB, l *ledger) {
	record := l.dropping("order-1")
	var standing, stored twophase.Record
	begun := spanOf(func() { standing = l.begin(t, record) })
	record.Epoch = 1
	requireRecord(t, record, standing)
	requireLeft(t, record.Deadline, standing.Deadline, begun, begun, "Deadline")
	requireLeft(t, record.Lease, standing.Lease, begun, begun, "Lease")

	read := spanOf(func() { stored = l.get(t, "order-1") })
	requireRecord(t, record, stored)
	requireTimes(t, record, stored, begun, read)
}

func beginReleasing(t testing.TB, l *ledger) {
	record := l.releasing("order-1")
	standing := l.begin(t, record)
	record.Epoch = 1
	requireRecord(t, record, standing)
	requireRecord(t, record, l.get(t, "order-1"))
	requireDecision(t, releasingFor(refusal()), l.decide(t, "order-1", assigning("packet-1", "agent-1")))
	l.released(t, "order-1", "store", "delivery")
	require.Equal(t, twophase.StateReleased, l.get(t, "order-1").State)
}

func beginRepeated(t testing.TB, l *ledger) {
	record := l.record("order-1")
	begun := spanOf(func() { l.begin(t, record) })
	l.sleep(l.short)
	var standing twophase.Record
	read := spanOf(func() { standing = l.begin(t, record) })
	record.Epoch = 1
	requireRecord(t, record, standing)
	requireTimes(t, record, standing, begun, read)
	require.Equal(t, []string{"order-1"}, l.list(t, twophase.Filter{}))
}

func beginAfterDecision(t testing.TB, l *ledger) {
	record := l.record("order-1")
	l.begin(t, record)
	decision := assigning("packet-1", "agent-1")
	l.decide(t, "order-1", decision)
	requireDecision(t, decision, l.begin(t, record).Decision())
	requireDecision(t, decision, l.get(t, "order-1").Decision())
}

func beginByRival(t testing.TB, l *ledger) {
	want := l.begin(t, l.record("order-1"))
	record := l.releasing("order-1")
	record.Owner, record.Deadline, record.Lease = rivals, l.short, l.short
	standing, created := l.find(t, record)
	require.False(t, created, "created by another owner")
	requireRecord(t, want, standing)
	require.Greater(t, standing.Deadline, l.long/2, "Deadline")
	require.Greater(t, standing.Lease, l.long/2, "Lease")
	requireRecord(t, want, l.get(t, "order-1"))
}

func beginOtherSteps(t testing.TB, l *ledger) {
	want := l.begin(t, l.record("order-1"))
	record := l.record("order-1")
	record.Steps = record.Steps[:1]
	standing, created := l.find(t, record)
	require.False(t, created, "created with other steps")
	requireRecord(t, want, standing)
	requireRecord(t, want, l.get(t, "order-1"))
}

func beginOtherPayload(t testing.TB, l *ledger) {
	want := l.begin(t, l.record("order-1"))
	record := l.record("order-1")
	record.Steps[1].Payload = json.RawMessage(`{"area":"Jayanagar"}`)
	standing, created := l.find(t, record)
	require.False(t, created, "created with another payload")
	requireRecord(t, want, standing)
	requireRecord(t, want, l.get(t, "order-1"))
}

func beginAfterClaim(t testing.TB, l *ledger) {
	record := l.leased("order-1", l.short)
	l.begin(t, record)
	l.until(l.short)
	claimed := l.requireClaimed(t, rivals, l.long, "order-1")
	record.Owner = "coordinator-3"
	standing, created := l.find(t, record)
	require.False(t, created, "created by a third owner")
	requireRecord(t, claimed[0], standing)
}

// stepOf returns the step of that name.
func stepOf(t testing.TB, record twophase.Record, name string) twophase.StepRecord {
	t.Helper()
	i := slices.IndexFunc(record.Steps, func(s twophase.StepRecord) bool { return s.Name == name })
	require.GreaterOrEqual(t, i, 0, "%s has a step %q", record.ID, name)
	return record.Steps[i]
}

// texts are payloads that re-encoding would change.
var texts = map[string]string{
	"none":         "",
	"null":         "null",
	"spaced":       "{ \"a\" : 1 ,\n\t\"b\":[ ] }",
	"unordered":    `{"z":1,"a":2}`,
	"repeated":     `{"a":1,"a":2}`,
	"numbers":      `[1.0,1e3,-0,12345678901234567890,0.1000]`,
	"escapes":      `"\u00e9\/\u003c<>&\u2028"`,
	"not latin":    `"ದೋಸೆ 🛵"`,
	"half a pair":  `"\ud83d"`,
	"zero":         `"\u0000"`,
	"not an id":    `"' OR 1=1; -- %s $1 ?"`,
	"large":        `"` + strings.Repeat("x", twophase.MaxPayloadSize-2) + `"`,
	"empty string": `""`,
}

func payloadBytes(t testing.TB, l *ledger) {
	record := l.record("order-1")
	record.Steps = nil
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		record.Steps = append(record.Steps, twophase.StepRecord{
			Name: name, Participant: "store", Payload: json.RawMessage(texts[name]), Hold: time.Minute,
		})
	}
	l.begin(t, record)
	_, created := l.find(t, record)
	require.True(t, created, "a repeated Begin of the same payloads")
	steps := l.get(t, "order-1").Steps
	require.Len(t, steps, len(texts))
	for i, step := range steps {
		require.Equal(t, record.Steps[i].Name, step.Name, "order of the steps")
		require.Equal(t, texts[step.Name], string(step.Payload), "payload %q", step.Name)
	}
}

func beginManySteps(t testing.TB, l *ledger) {
	record := l.record("order-1")
	for len(record.Steps) < twophase.MaxSteps {
		step := record.Steps[0]
		step.Name = fmt.Sprintf("store-%d", len(record.Steps))
		record.Steps = append(record.Steps, step)
	}
	l.begin(t, record)
	record.Epoch = 1
	requireRecord(t, record, l.get(t, "order-1"))
}

func journalOddIDs(t testing.TB, l *ledger) {
	var ids []string
	keys := slices.Concat(alike, odd)
	for _, key := range keys {
		record := l.record(key.Transaction + "|" + key.Step)
		if len(record.ID) > twophase.MaxIDLength {
			record.ID = key.Transaction
		}
		record.Steps[0].Name, record.Steps[0].Participant = key.Step, key.Step
		l.begin(t, record)
		ids = append(ids, record.ID)
	}
	require.ElementsMatch(t, ids, l.list(t, twophase.Filter{}))
	for i, key := range keys {
		record := l.get(t, ids[i])
		require.Equal(t, ids[i], record.ID)
		require.Equal(t, key.Step, stepOf(t, record, key.Step).Participant)
		l.decide(t, ids[i], releasingFor(refusal()))
		l.released(t, ids[i], key.Step)
		require.True(t, stepOf(t, l.get(t, ids[i]), key.Step).Released)
	}
}

func durationsPass(t testing.TB, l *ledger) {
	record := l.record("order-1")
	begun := spanOf(func() { l.begin(t, record) })
	for range 3 {
		l.sleep(l.short)
		var got, listed, found twophase.Record
		requireTimes(t, record, got, begun, spanOf(func() { got = l.get(t, "order-1") }))
		requireTimes(t, record, listed, begun, spanOf(func() { listed = l.only(t) }))
		requireTimes(t, record, found, begun, spanOf(func() { found, _ = l.find(t, record) }))
	}
}

func deadlinePasses(t testing.TB, l *ledger) {
	record := l.record("order-1")
	record.Deadline, record.Lease = l.short, l.short
	begun := spanOf(func() { l.begin(t, record) })
	l.sleep(3 * l.short)
	var got twophase.Record
	read := spanOf(func() { got = l.get(t, "order-1") })
	requireTimes(t, record, got, begun, read)
	require.Negative(t, got.Deadline)
	claimed := l.requireClaimed(t, rivals, l.long, "order-1")[0]
	require.Negative(t, claimed.Deadline)
	require.Positive(t, claimed.Lease)
}

// requireTimes checks what the durations of a record have become since it was
// begun.
func requireTimes(t testing.TB, begun, got twophase.Record, at, read span) {
	t.Helper()
	requireLeft(t, begun.Deadline, got.Deadline, at, read, "Deadline")
	requireLeft(t, begun.Lease, got.Lease, at, read, "Lease")
	least, most := at.elapsed(read)
	require.GreaterOrEqual(t, got.Age, least, "Age")
	require.LessOrEqual(t, got.Age, most, "Age")
}

// only returns the only record that there is.
func (l *ledger) only(t testing.TB) twophase.Record {
	t.Helper()
	records := l.records(t)
	require.Len(t, records, 1)
	return records[0]
}

// records returns everything that is on record.
func (l *ledger) records(t testing.TB) []twophase.Record {
	t.Helper()
	var records []twophase.Record
	for record, err := range l.journal.List(t.Context(), twophase.Filter{}) {
		require.NoError(t, err)
		records = append(records, cloned(record))
	}
	return records
}
