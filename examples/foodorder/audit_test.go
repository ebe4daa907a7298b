package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// quietEvening is one on which everything is as it should be: order-1 is
// placed, order-2 is not, and order-3 was in doubt and is placed.
func quietEvening() *Evening {
	told := []Answer{
		placedAnswer("order-1", "dosa-1", "Ravi #1"),
		{Order: orderOf("order-2"), Verdict: NotPlaced, Details: "no masala dosa left"},
		{Order: orderOf("order-3"), Verdict: InDoubt},
	}
	return &Evening{
		Told:  told,
		Asked: []Answer{told[0], told[1], placedAnswer("order-3", "dosa-3", "Asha #1")},
		Store: []pool.Resource{
			line("dosa-1", "masala dosa", pool.Assigned, "order-1"),
			line("dosa-2", "masala dosa", pool.Free, ""),
			line("dosa-3", "masala dosa", pool.Assigned, "order-3"),
			line("coffee-1", "filter coffee", pool.Free, ""),
		},
		Delivery: []pool.Resource{
			line("Ravi #1", "Hebbal", pool.Assigned, "order-1"),
			line("Asha #1", "Hebbal", pool.Assigned, "order-3"),
			line("Ravi #2", "Hebbal", pool.Free, ""),
		},
	}
}

func orderOf(id string) Order { return Order{ID: id, Area: "Hebbal", Foods: []string{"masala dosa"}} }

func placedAnswer(id, packet, agent string) Answer {
	return Answer{
		Order: orderOf(id), Verdict: Placed, Packets: []string{packet}, Agent: agent, Details: packet + " by " + agent,
	}
}

func line(id, kind string, state pool.State, holder string) pool.Resource {
	return pool.Resource{ID: id, Kind: kind, State: state, Key: twophase.Key{Transaction: holder}}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Evening)
		want   []Breach
	}{
		{"a quiet evening has no breach", func(*Evening) {}, nil},
		{
			"a placed order's packet is free",
			func(e *Evening) { e.Store[0] = line("dosa-1", "masala dosa", pool.Free, "") },
			[]Breach{{"I1", "order-1 was given dosa-1, which is free"}},
		},
		{
			"a placed order's agent is only reserved",
			func(e *Evening) { e.Delivery[0].State = pool.Reserved },
			[]Breach{
				{"I1", "order-1 was given Ravi #1, which is reserved for order-1"},
				{"I6", "Ravi #1 is still reserved for order-1"},
			},
		},
		{
			"a placed order's packet is somebody else's",
			func(e *Evening) { e.Store[0].Key.Transaction = "order-3" },
			[]Breach{
				{"I1", "order-1 was given dosa-1, which is assigned to order-3"},
				{"I5", "dosa-1 is assigned to order-3, which was not given it"},
			},
		},
		{
			"a placed order was given too little",
			func(e *Evening) { e.Told[0].Packets, e.Asked[0].Packets = nil, nil },
			[]Breach{
				{"I1", "order-1 was given 0 of its 1 packets"},
				{"I5", "dosa-1 is assigned to order-1, which was not given it"},
			},
		},
		{
			"a placed order was given another food",
			func(e *Evening) { e.Store[0].Kind = "filter coffee" },
			[]Breach{{"I1", "order-1 was given dosa-1 of filter coffee, and wants masala dosa"}},
		},
		{
			"a placed order was given what nobody has",
			func(e *Evening) { e.Delivery = e.Delivery[1:] },
			[]Breach{{"I1", `order-1 was given "Ravi #1", which the delivery service does not have`}},
		},
		{
			"a customer is told one thing and then another",
			func(e *Evening) { e.Asked[1] = placedAnswer("order-2", "dosa-2", "Ravi #2") },
			[]Breach{{"I2", "order-2 was told Order Not Placed (no masala dosa left), " +
				"and then Order Placed (dosa-2 by Ravi #2)"}},
		},
		{
			"a customer is told of one agent and then of another",
			func(e *Evening) { e.Asked[0].Agent, e.Asked[0].Details = "Ravi #2", "dosa-1 by Ravi #2" },
			[]Breach{{"I2", "order-1 was told Order Placed (dosa-1 by Ravi #1), and then Order Placed (dosa-1 by Ravi #2)"}},
		},
		{
			"two orders were given the same",
			func(e *Evening) {
				e.Asked[2] = placedAnswer("order-3", "dosa-1", "Asha #1")
				e.Store[2] = line("dosa-3", "masala dosa", pool.Free, "")
			},
			[]Breach{
				{"I3", "dosa-1 was given to order-1 and to order-3"},
				{"I1", "order-3 was given dosa-1, which is assigned to order-1"},
			},
		},
		{
			"a resource is in the books twice",
			func(e *Evening) { e.Store[1].ID = "dosa-1" },
			[]Breach{
				{"I3", "dosa-1 is in the books of the store service twice: assigned to order-1 and free"},
				{"I1", "order-1 was given dosa-1, which is free"},
			},
		},
		{
			"an order that is not placed holds a packet",
			func(e *Evening) { e.Store[1] = line("dosa-2", "masala dosa", pool.Assigned, "order-2") },
			[]Breach{{"I4", "order-2 is not placed, and dosa-2 is assigned to order-2"}},
		},
		{
			"a reservation of an order that is not placed is left over",
			func(e *Evening) { e.Delivery[2] = line("Ravi #2", "Hebbal", pool.Reserved, "order-2") },
			[]Breach{
				{"I4", "order-2 is not placed, and Ravi #2 is reserved for order-2"},
				{"I6", "Ravi #2 is still reserved for order-2"},
			},
		},
		{
			"an order that is still being released may hold something for now",
			func(e *Evening) {
				e.Store[1] = line("dosa-2", "masala dosa", pool.Assigned, "order-2")
				e.Delivery[2] = line("Ravi #2", "Hebbal", pool.Reserved, "order-2")
				e.Unfinished = []string{"order-2"}
			},
			nil,
		},
		{
			"something is assigned to an order that nobody made",
			func(e *Evening) { e.Store[3] = line("coffee-1", "filter coffee", pool.Assigned, "order-9") },
			[]Breach{{"I5", "coffee-1 is assigned to order-9, which was not given it"}},
		},
		{
			"a placed order holds more than it was given",
			func(e *Evening) { e.Store[3] = line("coffee-1", "filter coffee", pool.Assigned, "order-1") },
			[]Breach{{"I5", "coffee-1 is assigned to order-1, which was not given it"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := quietEvening()
			test.change(e)
			assert.Equal(t, test.want, audit(e))
		})
	}
}

// The audit's words for an invariant are looked up by its name.
func TestEveryBreachIsReported(t *testing.T) {
	t.Parallel()
	for _, invariant := range invariants {
		out := string(report(&Day{}, &Evening{}, []Breach{{invariant.name, "this is how it shows"}}, tableNone))
		assert.Contains(t, out, "BROKEN  "+invariant.name+"  "+invariant.means+": 1×\n")
		assert.Contains(t, out, "this is how it shows\n")
	}
}
