package order

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
)

// Latest remembers the latest orders of this process with their timelines, and
// counts all answers. It is a [twophase.Observer]; its memory is bounded.
type Latest struct {
	mu     sync.Mutex
	number int64
	ring   [maxLatest]*entry // by number
	orders map[string]*entry
	totals api.Totals
	// changed are the numbers of the orders that changed since they were last
	// asked for. It is nil if nobody asks.
	changed map[int64]bool
	// strange are orders that were taken up here, of which only the journal
	// knows what they are for.
	strange []string
}

const (
	maxLatest   = 200
	maxTimeline = 40
	maxWords    = 300 // bytes of an error that are kept
)

type entry struct {
	view  api.View
	began time.Time
}

func newLatest() *Latest {
	return &Latest{orders: map[string]*entry{}, totals: api.Totals{ByReason: map[api.Reason]int64{}}}
}

// begin makes an order known. One that is sent again goes on where it is.
func (l *Latest) begin(o api.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entry(o.ID); e.view.Food == "" {
		e.view.Food, e.view.Area = o.Food, o.Area
	}
}

// notBegun enters why an order came to nothing, if that is all that is known of it.
func (l *Latest) notBegun(id, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, known := l.orders[id]; known && e.view.Status == api.UnderWay {
		e.view.Status, e.view.Detail = api.InDoubt, why
		l.touch(e)
	}
}

// entry returns an order's, or a new one in the place of the oldest. The lock is
// held.
func (l *Latest) entry(id string) *entry {
	if e, known := l.orders[id]; known {
		return e
	}
	now := time.Now()
	l.number++
	e := &entry{began: now, view: api.View{
		Answer: api.Answer{ID: id, Status: api.UnderWay}, Number: l.number, StartedAt: now.UTC(), Timeline: []api.Mark{},
	}}
	place := &l.ring[l.number%maxLatest]
	if *place != nil {
		delete(l.orders, (*place).view.ID)
		delete(l.changed, (*place).view.Number)
	}
	*place = e
	l.orders[id] = e
	l.touch(e)
	return e
}

func (l *Latest) touch(e *entry) {
	if l.changed != nil {
		l.changed[e.view.Number] = true
	}
}

// answered enters what the customer is told.
func (l *Latest) answered(a api.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(a)
	if e, known := l.orders[a.ID]; known {
		if e.view.Took == 0 && a.Status != api.InDoubt {
			e.view.Took = api.Milliseconds(time.Since(e.began))
		}
		e.view.Answer = a
		l.touch(e)
	}
}

// count counts answers; one that is given again counts again. The lock is held.
func (l *Latest) count(a api.Answer) {
	switch a.Status {
	case api.Placed:
		l.totals.Placed++
	case api.NotPlaced:
		l.totals.NotPlaced++
		l.totals.ByReason[a.Reason]++
	case api.InDoubt:
		l.totals.InDoubt++
	}
}

// identify enters what the journal says of an order that was taken up here.
func (l *Latest) identify(a api.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, known := l.orders[a.ID]; known {
		if a.Status == api.InDoubt {
			a.Status, a.Detail, a.Ask = api.UnderWay, "", ""
		}
		e.view.Answer = a
		l.touch(e)
	}
}

// Observe implements [twophase.Observer].
func (l *Latest) Observe(_ context.Context, ev twophase.Event) {
	if ev.Transaction == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, known := l.orders[ev.Transaction]
	if !known {
		if ev.Kind != twophase.EventRecovering {
			return
		}
		e = l.entry(ev.Transaction)
		e.view.Recovered = true
	}
	switch ev.Kind {
	case twophase.EventRecovering:
		l.identifyLater(ev.Transaction)
		return
	case twophase.EventCall:
		e.mark(ev, api.Mark{To: ev.Participant, Call: string(ev.Call), Attempt: ev.Attempt})
	case twophase.EventBegun:
		e.mark(ev, api.Mark{To: "journal", Call: "begin", Attempt: 1})
	case twophase.EventDecided:
		e.decided(ev)
		l.identifyLater(ev.Transaction)
	case twophase.EventFinished:
		e.view.Finished = true
	default:
		return
	}
	l.touch(e)
}

// identifyLater remembers to look into the journal for an order that nobody here
// has sent. The lock is held.
func (l *Latest) identifyLater(id string) {
	if e := l.orders[id]; e.view.Recovered && len(l.strange) < maxLatest && !slices.Contains(l.strange, id) {
		l.strange = append(l.strange, id)
	}
}

// mark adds what took some time to the timeline.
func (e *entry) mark(ev twophase.Event, m api.Mark) {
	m.At = api.Milliseconds(ev.Start.Sub(e.began))
	m.Took = api.Milliseconds(ev.Duration)
	m.OK = ev.Err == nil
	if ev.Err != nil {
		m.Final = twophase.IsFinal(ev.Err)
		words := ev.Err.Error()
		m.Error = words[:min(len(words), maxWords)]
	}
	e.add(m)
}

// decided adds the moment of the decision. One that is placed is finished by it:
// nothing was tried that is not kept.
func (e *entry) decided(ev twophase.Event) {
	e.view.Finished = e.view.Finished || ev.State == twophase.StateAssigned
	e.add(api.Mark{
		To: "journal", Call: "decide", Attempt: 1, OK: true, Note: ev.State.String(),
		At: api.Milliseconds(ev.Start.Add(ev.Duration).Sub(e.began)),
	})
}

// add keeps the timeline in the order in which things began. Who reads it has
// copied it.
func (e *entry) add(m api.Mark) {
	if len(e.view.Timeline) >= maxTimeline {
		e.view.More++
		return
	}
	at := len(e.view.Timeline)
	for at > 0 && e.view.Timeline[at-1].At > m.At {
		at--
	}
	e.view.Timeline = slices.Insert(e.view.Timeline, at, m)
}

// Orders returns the latest orders, the newest first.
func (l *Latest) Orders(limit int) api.Orders {
	l.mu.Lock()
	defer l.mu.Unlock()
	orders := api.Orders{Orders: []api.View{}, Totals: l.copyTotals()}
	for n := l.number; n > 0 && n > l.number-maxLatest && len(orders.Orders) < limit; n-- {
		orders.Orders = append(orders.Orders, l.ring[n%maxLatest].copy())
	}
	return orders
}

// Changed returns up to limit of the orders that have changed since it was last
// called, the newest first, and whether there were any. Changes are only noted
// from the first call on, until [Latest.Forget].
func (l *Latest) Changed(limit int) (api.Orders, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := make([]int64, 0, len(l.changed))
	for n := range l.changed {
		changed = append(changed, n)
	}
	l.changed = map[int64]bool{}
	slices.Sort(changed)
	slices.Reverse(changed)
	orders := api.Orders{Orders: []api.View{}, Totals: l.copyTotals()}
	for _, n := range changed[:min(limit, len(changed))] {
		orders.Orders = append(orders.Orders, l.ring[n%maxLatest].copy())
	}
	return orders, len(changed) > 0
}

// Forget ends noting what changes.
func (l *Latest) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = nil
}

// takeStrange returns the orders that somebody should identify.
func (l *Latest) takeStrange() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := l.strange
	l.strange = nil
	return ids
}

func (l *Latest) copyTotals() api.Totals {
	totals := l.totals
	totals.ByReason = make(map[api.Reason]int64, len(l.totals.ByReason))
	for reason, n := range l.totals.ByReason {
		totals.ByReason[reason] = n
	}
	return totals
}

func (e *entry) copy() api.View {
	view := e.view
	view.Timeline = slices.Clone(e.view.Timeline)
	return view
}
