package audit_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/audit"
	"github.com/seed-bcc3c603/twophase/examples/microservices/load"
)

// world is what one order leaves behind that is placed, and one that is not.
type world struct {
	books   audit.Books
	told    []*load.Told
	settled bool
}

func newWorld() *world {
	given := func(id string) *twophase.Reservation { return &twophase.Reservation{Resources: []string{id}} }
	key := func(order, step string) twophase.Key { return twophase.Key{Transaction: order, Step: step} }
	return &world{
		settled: true,
		books: audit.Books{
			Journal: []twophase.Record{
				{ID: "placed", State: twophase.StateAssigned, Steps: []twophase.StepRecord{
					{Name: "store", Participant: "store", Reservation: given("packet-1")},
					{Name: "delivery", Participant: "delivery", Reservation: given("agent-1")},
				}},
				{ID: "not-placed", State: twophase.StateReleased, Steps: []twophase.StepRecord{
					{Name: "store", Participant: "store", Released: true},
					{Name: "delivery", Participant: "delivery", Released: true},
				}},
			},
			Packets: []audit.Line{
				{Kind: "dosa", ID: "packet-1", State: api.Assigned, Key: key("placed", "store")},
				{Kind: "dosa", ID: "packet-2", State: api.Free},
			},
			Agents: []audit.Line{
				{Kind: "HSR", ID: "agent-1", State: api.Assigned, Key: key("placed", "delivery")},
				{Kind: "HSR", ID: "agent-2", State: api.Free},
			},
			PacketKeys: []audit.Key{
				{Key: key("placed", "store"), State: twophase.EntryAssigned, Resources: []string{"packet-1"}},
				{Key: key("not-placed", "store"), State: twophase.EntryReleased, Resources: []string{"packet-2"}},
			},
			AgentKeys: []audit.Key{
				{Key: key("placed", "delivery"), State: twophase.EntryAssigned, Resources: []string{"agent-1"}},
				{Key: key("not-placed", "delivery"), State: twophase.EntryReleased},
			},
		},
		told: []*load.Told{
			{Order: api.Order{ID: "placed"}, Answer: api.Answer{Status: api.Placed, Packet: "packet-1", Agent: "agent-1"}},
			{Order: api.Order{ID: "not-placed"}, Answer: api.Answer{Status: api.NotPlaced}},
			{Order: api.Order{ID: "never-begun"}, Answer: api.Answer{Status: api.InDoubt}},
		},
	}
}

func TestAuditFindsNothingInGoodBooks(t *testing.T) {
	t.Parallel()
	w := newWorld()
	require.Empty(t, audit.Check(w.books, w.told, w.settled))
}

func TestAuditFinds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil     func(w *world)
		invariant string
	}{
		"a packet that a placed order does not have": {
			func(w *world) { w.books.Packets[0].State, w.books.Packets[0].Key = api.Free, twophase.Key{} }, "I1"},
		"an agent who is another order's": {
			func(w *world) { w.books.Agents[0].Key.Transaction = "not-placed" }, "I1"},
		"a placed order whose packet has gone": {
			func(w *world) { w.books.Packets = w.books.Packets[1:] }, "I1"},
		"a customer told of another packet than the journal has": {
			func(w *world) { w.told[0].Answer.Packet = "packet-2" }, "I1"},
		"a customer told placed of which the journal knows nothing": {
			func(w *world) { w.told[2].Answer = api.Answer{Status: api.Placed} }, "I1"},
		"a placed order that was given nothing": {
			func(w *world) { w.books.Journal[0].Steps[1].Reservation = nil }, "I1"},
		"a customer told placed whose order is released": {
			func(w *world) { w.told[1].Answer.Status = api.Placed }, "I1"},
		"a customer told not placed whose order is": {
			func(w *world) { w.told[0].Answer.Status = api.NotPlaced }, "I2"},
		"a customer told two things": {
			func(w *world) { w.told[0].Other = &api.Answer{Status: api.NotPlaced} }, "I2"},
		"a packet given to two orders": {
			func(w *world) {
				twin := w.books.Journal[0]
				twin.ID = "twin"
				w.books.Journal = append(w.books.Journal, twin)
			}, "I3"},
		"a packet that is there twice": {
			func(w *world) { w.books.Packets = append(w.books.Packets, w.books.Packets[1]) }, "I3"},
		"a packet assigned to an order that is not placed": {
			func(w *world) {
				w.books.Packets[1].State = api.Assigned
				w.books.Packets[1].Key = twophase.Key{Transaction: "not-placed", Step: "store"}
			}, "I4"},
		"an agent assigned to an order that nobody knows": {
			func(w *world) {
				w.books.Agents[1].State = api.Assigned
				w.books.Agents[1].Key = twophase.Key{Transaction: "ghost", Step: "delivery"}
			}, "I5"},
		"a packet assigned to an order that is undecided": {
			func(w *world) { w.books.Journal[0].State = twophase.StateBegun }, "I5"},
		"an agent who is still reserved": {
			func(w *world) { w.books.Agents[0].State = api.Reserved }, "I6"},
		"a key that is still reserved": {
			func(w *world) {
				w.books.PacketKeys[1].State, w.books.PacketKeys[1].Live = twophase.EntryReserved, true
			}, "I6"},
		"an order whose release was not acknowledged": {
			func(w *world) {
				w.books.Journal[1].State, w.books.Journal[1].Steps[0].Released = twophase.StateReleasing, false
			}, "I6"},
		"things that do not come to an end": {func(w *world) { w.settled = false }, "I6"},
		"an agent whom the fence has and the table has not": {
			func(w *world) { w.books.AgentKeys[0].Resources = []string{"agent-2"} }, "books"},
		"an agent whom the table has and the fence has not": {
			func(w *world) { w.books.AgentKeys = w.books.AgentKeys[1:] }, "books"},
		"an agent held by a key that is released": {
			func(w *world) { w.books.AgentKeys[0].State = twophase.EntryReleased }, "books"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			test.spoil(w)
			found := map[string]bool{}
			for _, breach := range audit.Check(w.books, w.told, w.settled) {
				found[breach.Invariant] = true
			}
			assert.True(t, found[test.invariant], "%v", found)
		})
	}
}

func TestReportNamesWhatIsBrokenAndHow(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	breaches := make([]audit.Breach, 7)
	for i := range breaches {
		breaches[i] = audit.Breach{Invariant: "I4", Shows: "packet-2 is held"}
	}
	require.NoError(t, audit.Report(&out, audit.Books{}, breaches))
	assert.Contains(t, out.String(), "ok      I1")
	assert.Contains(t, out.String(), "BROKEN  I4")
	assert.Contains(t, out.String(), "packet-2 is held")
	assert.Contains(t, out.String(), "and 2 more")
}
