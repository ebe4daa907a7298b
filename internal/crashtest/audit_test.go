//go:build unix

package crashtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func change(seconds int, id, step string, state twophase.EntryState, resource string) Change {
	return Change{
		At: at(seconds), Key: twophase.Key{Transaction: id, Step: step},
		State: State(state), Expires: at(10), Resource: resource,
	}
}

func step(name string, reservation *twophase.Reservation) twophase.StepRecord {
	return twophase.StepRecord{Name: name, Participant: name, Reservation: reservation, Released: reservation == nil}
}

// goodBooks has a transaction that was placed, and one that was not.
func goodBooks() Books {
	return Books{
		Told: []Told{
			{At: at(1), ID: "placed", Answer: Asked},
			{At: at(2), ID: "placed", Answer: InDoubt},
			{At: at(5), ID: "placed", Answer: Placed, Given: map[string]string{"store": "packet-1", "delivery": "agent-1"}},
			{At: at(5), ID: "not placed", Answer: NotPlaced},
		},
		Records: []twophase.Record{
			{ID: "placed", State: twophase.StateAssigned, Steps: []twophase.StepRecord{
				step("store", &twophase.Reservation{Resources: []string{"packet-1"}}),
				step("delivery", &twophase.Reservation{Resources: []string{"agent-1"}}),
			}},
			{ID: "not placed", State: twophase.StateReleased, Steps: []twophase.StepRecord{
				step("store", nil), step("delivery", nil),
			}},
		},
		Ledgers: map[string][]Change{
			"store": {
				change(1, "not placed", "store", twophase.EntryReserved, "packet-1"),
				change(2, "not placed", "store", twophase.EntryReleased, ""),
				change(3, "placed", "store", twophase.EntryReserved, "packet-1"),
				change(4, "placed", "store", twophase.EntryAssigned, "packet-1"),
				change(4, "lost", "store", twophase.EntryReserved, "packet-2"),
			},
			"delivery": {
				change(3, "placed", "delivery", twophase.EntryReserved, "agent-1"),
				change(4, "placed", "delivery", twophase.EntryAssigned, "agent-1"),
			},
		},
	}
}

func TestGoodBooksPassTheAudit(t *testing.T) {
	t.Parallel()
	require.Empty(t, goodBooks().Audit(at(20)))
}

func TestAuditReportsEachViolation(t *testing.T) {
	t.Parallel()
	add := func(b *Books, participant string, changes ...Change) {
		b.Ledgers[participant] = append(b.Ledgers[participant], changes...)
	}
	for _, broken := range []struct {
		name      string
		invariant string
		id        string
		breaks    func(b *Books)
	}{
		{"told placed without a record", "I1", "unknown", func(b *Books) {
			b.Told = append(b.Told, Told{At: at(6), ID: "unknown", Answer: Placed})
		}},
		{"told placed and released in the journal", "I1", "placed", func(b *Books) {
			b.Records[0].State = twophase.StateReleased
			b.Ledgers = nil
		}},
		{"told placed and released in the ledger", "I1", "placed", func(b *Books) {
			add(b, "store", change(6, "placed", "store", twophase.EntryReleased, ""))
		}},
		{"told placed and expired in the ledger", "I1", "placed", func(b *Books) {
			b.Ledgers["delivery"] = b.Ledgers["delivery"][:1]
		}},
		{"told of another resource", "I1", "placed", func(b *Books) {
			b.Told[2].Given["store"] = "packet-2"
		}},
		{"told of another resource when asked again", "I1", "placed", func(b *Books) {
			b.Told = append(b.Told, Told{At: at(7), ID: "placed", Answer: Placed, Given: map[string]string{"store": "packet-1"}})
		}},
		{"assigned another resource", "I1", "placed", func(b *Books) {
			b.Records[0].Steps[0].Reservation.Resources[0] = "packet-2"
			b.Told[2].Given["store"] = "packet-2"
		}},
		{"told both", "I2", "placed", func(b *Books) {
			b.Told = append(b.Told, Told{At: at(6), ID: "placed", Answer: NotPlaced})
		}},
		{"told not placed and assigned in the journal", "I2", "placed", func(b *Books) {
			b.Told[2] = Told{At: at(5), ID: "placed", Answer: NotPlaced}
		}},
		{"told not placed without a record", "I2", "unknown", func(b *Books) {
			b.Told = append(b.Told, Told{At: at(6), ID: "unknown", Answer: NotPlaced})
		}},
		{"an outcome that is gone", "I2", "placed", func(b *Books) {
			b.Told = append(b.Told, Told{At: at(6), ID: "placed", Answer: Gone})
		}},
		{"held by two", "I3", "lost", func(b *Books) {
			add(b, "store", change(6, "lost", "store", twophase.EntryReserved, "packet-1"))
		}},
		{"held by two for a moment", "I3", "lost", func(b *Books) {
			add(b, "store",
				change(6, "lost", "store", twophase.EntryReserved, "packet-1"),
				change(7, "lost", "store", twophase.EntryReleased, ""))
		}},
		{"not placed and assigned", "I4", "not placed", func(b *Books) {
			add(b, "delivery", change(6, "not placed", "delivery", twophase.EntryAssigned, "agent-2"))
		}},
		{"reserved again after it was released", "I4", "not placed", func(b *Books) {
			add(b, "store",
				change(6, "not placed", "store", twophase.EntryReserved, "packet-3"),
				change(7, "not placed", "store", twophase.EntryExpired, ""))
		}},
		{"dropped and assigned", "I4", "placed", func(b *Books) {
			dropped := twophase.StepRecord{Name: "pickup", Participant: "store", Dropped: true, Released: true}
			b.Records[0].Steps = append(b.Records[0].Steps, dropped)
			add(b, "store", change(6, "placed", "pickup", twophase.EntryAssigned, "packet-3"))
		}},
		{"assigned without a record", "I5", "lost", func(b *Books) {
			add(b, "store", change(6, "lost", "store", twophase.EntryAssigned, "packet-2"))
		}},
		{"assigned under a step that is in no record", "I5", "placed", func(b *Books) {
			add(b, "store", change(6, "placed", "store-2", twophase.EntryAssigned, "packet-3"))
		}},
		{"assigned after its expiry", "I6", "placed", func(b *Books) {
			b.Ledgers["store"][3].At = at(10)
		}},
		{"prolonged", "I6", "lost", func(b *Books) {
			prolonged := change(6, "lost", "store", twophase.EntryReserved, "packet-2")
			prolonged.Expires = at(15)
			add(b, "store", prolonged)
		}},
		{"reserved in the end", "I6", "lost", func(b *Books) {
			b.Ledgers["store"][4].Expires = at(30)
		}},
		{"undecided in the end", "unfinished", "not placed", func(b *Books) {
			b.Told = b.Told[:3]
			b.Records[1].State = twophase.StateBegun
		}},
		{"not all released in the end", "unfinished", "not placed", func(b *Books) {
			b.Records[1].State, b.Records[1].Steps[0].Released = twophase.StateReleasing, false
		}},
	} {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			books := goodBooks()
			broken.breaks(&books)
			violations := books.Audit(at(20))
			require.NotEmpty(t, violations)
			for _, err := range violations {
				var v *Violation
				require.ErrorAs(t, err, &v)
				assert.Equal(t, broken.invariant, v.Invariant, "%v", v)
				assert.Equal(t, broken.id, v.ID)
				assert.Contains(t, v.Error(), "journal: ")
			}
		})
	}
}
