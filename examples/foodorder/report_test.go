package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestReport(t *testing.T) {
	t.Parallel()
	day := &Day{Prices: map[string]int{"masala dosa": 95}}
	e := quietEvening()
	e.Told[1].Reason = SoldOut
	e.Took, e.Calls, e.Lost = 1234567*time.Microsecond, 12, 3
	for i := range e.Told {
		e.Told[i].Order.Time = "08:15"
		e.Asked[i].Order.Time = "08:15"
	}
	e.Unfinished = []string{"order-2"}
	const want = `ORDER    TIME   AREA    FOODS        ANSWER            WITH WHAT, OR WHY NOT
order-1  08:15  Hebbal  masala dosa  Order Placed      dosa-1 by Ravi #1
order-2  08:15  Hebbal  masala dosa  Order Not Placed  no masala dosa left
order-3  08:15  Hebbal  masala dosa  Order Placed      dosa-3 by Asha #1

Orders                3  in 1.235s
Order Placed          2  for ₹190
Order Not Placed      1  sold out 1
Calls                12  of which 3 or their replies were lost
Unfinished            1  whose releases are not acknowledged after 30s

Audit of the answers against the books of the store and of delivery
  ok      I1  a placed order has its packets and its agent
  BROKEN  I2  whoever asks again is told the same: 6×
              1
              2
              3
              4
              5
  ok      I3  nothing is given to two orders
  ok      I4  an order that is not placed holds nothing
  ok      I5  nothing is assigned but to orders that are placed
  ok      I6  no reservation is left over
`
	breaches := []Breach{{"I2", "1"}, {"I2", "2"}, {"I2", "3"}, {"I2", "4"}, {"I2", "5"}, {"I2", "6"}}
	assert.Equal(t, want, string(report(day, e, breaches, tableShort)))
}

func TestChooseWhatATableShows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		orders int
		table  string
		shown  []string
		note   string
	}{
		{3, tableAll, []string{"order-0", "order-1", "order-2"}, ""},
		{3, tableFailed, []string{"order-1"}, ""},
		{3, tableNone, nil, ""},
		{3, tableShort, []string{"order-0", "order-1", "order-2"}, ""},
		{
			30, tableShort,
			[]string{
				"order-0", "order-2", "order-4", "order-6", "order-8", "order-10", "order-12", "order-14",
				"order-16", "order-18", "order-20", "order-22", "order-24", "order-26", "order-28",
			},
			"One order in 2 is shown; -table=all shows all, -table=failed those not placed.\n",
		},
	} {
		t.Run(fmt.Sprintf("%s of %d", test.table, test.orders), func(t *testing.T) {
			t.Parallel()
			answers := make([]Answer, test.orders)
			for i := range answers {
				answers[i] = Answer{Order: orderOf(fmt.Sprintf("order-%d", i)), Verdict: Placed}
			}
			answers[1].Verdict = NotPlaced
			shown, note := choose(answers, test.table)
			var ids []string
			for _, a := range shown {
				ids = append(ids, a.Order.ID)
			}
			assert.Equal(t, test.shown, ids)
			assert.Equal(t, test.note, note)
		})
	}
}

func TestMostFrequentReasonsComeFirst(t *testing.T) {
	t.Parallel()
	reasons := map[Reason]int{SoldOut: 2, NoAgent: 7, CalledOff: 2}
	assert.Equal(t, "no agent free 7, called off 2, sold out 2", mostFirst(reasons))
}
