package simulation

import (
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// plan is what a seed says about a world before it begins.
type plan struct {
	rates     *rates
	sides     int
	services  []servicePlan
	orders    []orderPlan
	outages   []outage
	strokes   []stroke
	policy    twophase.Policy
	timeout   time.Duration
	lease     time.Duration
	retention time.Duration
	healAt    time.Duration
	reconcile bool // compare the books with the journal in the end
	forgets   bool // let the journal forget what is over
}

// servicePlan is one participant.
type servicePlan struct {
	name  string
	pool  bool           // the library's own, in memory; else a store with a disk and a clock
	stock map[string]int // how many resources of each kind
	kinds []string
	clock clockPlan
	fsync time.Duration // how long a write takes at most to be durable
}

// clockPlan is how a participant's clock is off.
type clockPlan struct {
	offset time.Duration
	rate   float64
}

// right is how a clock should be.
var right = clockPlan{rate: 1}

// orderPlan is one transaction, and who asks for it.
type orderPlan struct {
	id         string
	steps      []twophase.Step
	timeout    time.Duration // 0 is that of all
	byFunction bool
	callers    []callerPlan
}

// callerPlan is somebody who wants to know.
type callerPlan struct {
	name     string
	at       time.Duration
	side     int
	patience time.Duration
	tries    int
	pause    time.Duration
	// otherSteps: the caller uses the id for something else, which is an error.
	otherSteps bool
	// onlyAsks: the caller only asks what became of it.
	onlyAsks bool
}

// outage is a time in which a participant, or the journal, does not answer.
type outage struct {
	of       string
	from, to time.Duration
	silent   bool // requests vanish; else they are refused
}

// stroke is what befalls a coordinator at some time, wherever it is then.
type stroke struct {
	kind  strokeKind
	side  int
	at    time.Duration
	lasts time.Duration // how long it is down or frozen, or may take to close
}

type strokeKind string

const (
	kills   strokeKind = "is killed"
	freezes strokeKind = "freezes"
	closes  strokeKind = "closes"
)

const (
	// everything is what a coordinator recovers at a time: with a limit it would
	// choose by chance whether it goes on, or does its rounds first.
	everything  = 1 << 20
	longestLoad = 80 * time.Second
	journalName = "journal"
	// longestAsking is for how long callers go on asking, at most. The journal
	// must not forget before: who asks later begins something new.
	longestAsking = 15 * time.Minute
)

// newPlan draws the plan of a seed.
func newPlan(seed uint64) *plan {
	d := newDice(seed, "plan", 0)
	p := &plan{rates: newRates(&d), sides: 2 + d.below(5)/4, reconcile: d.chance(0.1)}
	load := d.between(10*time.Second, longestLoad)
	p.healAt = load + d.upTo(20*time.Second)
	p.policy = newPolicy(&d)
	p.timeout = p.policy.ReserveFor + p.policy.AssignFor + d.upTo(15*time.Second)
	p.lease = d.between(4*time.Second, 12*time.Second)
	p.retention = 24 * time.Hour
	if p.forgets = d.chance(0.1); p.forgets {
		p.retention = longestAsking
	}
	orders := []int{1 + d.below(4), 5 + d.below(20), 20 + d.below(60), 40 + d.below(100)}[d.below(4)]
	p.services = newServices(&d, orders)
	for i := range orders {
		p.orders = append(p.orders, p.newOrder(newDice(seed, "order", i), i, load))
	}
	p.outages, p.strokes = p.newOutages(&d, load), p.newStrokes(&d, load)
	return p
}

// newPolicy repeats at the pace that the network asks for, not by the library's
// jitter, which no seed governs.
func newPolicy(d *dice) twophase.Policy {
	retry := twophase.Retry{First: 2, Max: 2, Attempt: d.between(time.Second, 4*time.Second)}
	p := twophase.Policy{
		ReserveFor: d.between(time.Second, 5*time.Second),
		AssignFor:  d.between(3*time.Second, 15*time.Second),
		ReleaseFor: d.between(time.Second, 8*time.Second),
		Margin:     d.between(50*time.Millisecond, time.Second),
		Reserve:    retry, Assign: retry, Release: retry,
		Budget: twophase.RetryBudget{Burst: 1 << 30},
	}
	p.Hold = p.ReserveFor + p.AssignFor + p.Margin + d.upTo(20*time.Second)
	return p
}

func newServices(d *dice, orders int) (services []servicePlan) {
	names := []string{"store", "delivery", "kitchen", "counter"}
	for _, name := range names[:2+d.below(3)] {
		s := servicePlan{
			name: name, pool: d.chance(0.25), stock: map[string]int{}, fsync: d.upTo(10 * time.Millisecond),
			clock: right,
		}
		for _, kind := range []string{"red", "green"}[:1+d.below(2)] {
			s.kinds = append(s.kinds, kind)
			s.stock[kind] = 1 + int(float64(orders)*[]float64{0.3, 0.8, 2.5, 2.5}[d.below(4)])
		}
		if !s.pool && d.chance(0.5) {
			s.clock = clockPlan{
				offset: d.upTo(48*time.Hour) - 24*time.Hour,
				rate:   []float64{0.5, 0.9, 1.1, 1.5, 3}[d.below(5)],
			}
		}
		services = append(services, s)
	}
	return services
}

func (p *plan) newOrder(d dice, i int, load time.Duration) orderPlan {
	o := orderPlan{id: fmt.Sprintf("order-%d", i), byFunction: d.chance(0.25)}
	for _, s := range p.services {
		if d.chance(0.6) {
			o.addStep(&d, s, s.name)
		}
		if d.chance(0.1) {
			o.addStep(&d, s, s.name+"-again")
		}
	}
	if n := len(o.steps); n > 0 && d.chance(0.2) {
		o.steps[n-1].Hold = p.policy.Hold + d.upTo(30*time.Second)
	}
	if d.chance(0.2) {
		o.timeout = d.between(20*time.Millisecond, p.timeout)
	}
	if len(o.steps) == 0 {
		o.addStep(&d, p.services[0], p.services[0].name)
	}
	for n := range 1 + d.below(5)/3 + d.below(6)/5 {
		o.callers = append(o.callers, p.newCaller(&d, &o, n, load))
	}
	return o
}

func (o *orderPlan) addStep(d *dice, s servicePlan, name string) {
	want := pool.Want{Kind: s.kinds[d.below(len(s.kinds))], Count: 1 + d.below(6)/5}
	o.steps = append(o.steps, twophase.Step{Participant: s.name, Name: name, Payload: want})
}

func (p *plan) newCaller(d *dice, o *orderPlan, n int, load time.Duration) callerPlan {
	c := callerPlan{
		name: fmt.Sprintf("caller %d of %s", n+1, o.id),
		at:   d.upTo(load), side: d.below(p.sides), patience: d.between(5*time.Second, time.Minute),
		tries: 1 + d.below(4), pause: d.upTo(20 * time.Second),
	}
	if n > 0 && d.chance(0.7) { // at about the same time
		c.at = o.callers[0].at + d.upTo(30*time.Millisecond)
	}
	if d.chance(0.2) { // it gives up soon
		c.patience = d.upTo(40 * time.Millisecond)
	}
	if n > 0 && !o.byFunction {
		c.otherSteps = d.chance(0.15)
		c.onlyAsks = !c.otherSteps && d.chance(0.15)
	}
	return c
}

func (p *plan) newOutages(d *dice, load time.Duration) (outages []outage) {
	names := []string{journalName}
	for _, s := range p.services {
		names = append(names, s.name)
	}
	for _, name := range names {
		if d.chance(0.12) {
			from := d.upTo(load)
			outages = append(outages, outage{name, from, from + d.upTo(40*time.Second), d.chance(0.5)})
		}
	}
	return outages
}

func (p *plan) newStrokes(d *dice, load time.Duration) (strokes []stroke) {
	for side := range p.sides {
		for range []int{0, 0, 0, 1, 1, 2}[d.below(6)] {
			s := stroke{side: side, at: d.upTo(load), kind: []strokeKind{kills, freezes, closes}[d.below(3)]}
			switch s.kind {
			case kills:
				s.lasts = d.upTo(longestDown)
			case freezes:
				s.lasts = d.upTo(longestSleep)
			case closes:
				s.lasts = d.upTo(10 * time.Second)
			}
			strokes = append(strokes, s)
		}
	}
	return strokes
}
