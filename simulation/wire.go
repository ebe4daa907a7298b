package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// endpoint is who can be sent to: a participant or the journal.
type endpoint struct {
	name    string
	refusal error // what is heard while it does not serve
	down    bool
	life    int // how often it was restarted
	outages []outage
}

// message is one attempt of a call, with what becomes of it.
type message struct {
	from   *process
	to     *endpoint
	label  string // who does what to which
	n      int    // how often that was sent before
	dice   dice
	fault  faultKind
	there  time.Duration // how long it travels
	back   time.Duration // and its reply
	again  time.Duration // until it arrives a second time
	pause  time.Duration // what its sender is to wait before the next attempt
	moment time.Duration // some time that only this message has
}

var (
	errReset   = errors.New("connection reset")
	errRefused = errors.New("connection refused")
)

// post counts a message and draws what becomes of it. It returns nil if the sender
// is gone.
func (w *world) post(p *process, to *endpoint, label string, kinds []faultKind) *message {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.gone {
		return nil
	}
	n := w.counts[label]
	w.counts[label] = n + 1
	m := &message{from: p, to: to, label: label, n: n, dice: newDice(w.seed, label, n)}
	d := &m.dice
	m.fault = w.plan.rates.drawn(d, kinds)
	m.there, m.back = d.between(shortLatency, longLatency), d.between(shortLatency, longLatency)
	m.moment = d.upTo(100 * time.Microsecond)
	m.pause = d.between(20*time.Millisecond, 1500*time.Millisecond)
	if to.name == journalName {
		m.pause += min(20*time.Millisecond<<min(n, 10), 2*time.Second)
	}
	if m.fault == fine {
		return m
	}
	if w.healed || !w.strikes(m.name()) {
		m.fault = fine
		return m
	}
	w.note(label, n, m.fault.String())
	switch m.fault {
	case slow:
		m.there = d.upTo(slowest)
	case requestLate:
		m.there = d.upTo(latest)
	case repeatedLate:
		m.again = d.upTo(latest)
	case busy:
		m.pause = d.upTo(5 * time.Second)
	}
	return m
}

// name identifies a message's fault, for people too.
func (m *message) name() string { return fmt.Sprintf("%s #%d: %v", m.label, m.n+1, m.fault) }

// refuse is a transient error of the wire. The pause that it asks for is longer
// than any that the library would draw by chance.
func (m *message) refuse(err error) error {
	return &twophase.RetryAfterError{After: m.pause, Err: err}
}

// reply is what comes back.
type reply[T any] struct {
	value T
	err   error
}

// send sends a request to an endpoint, which serves it when it arrives, and waits
// for the reply, for as long as ctx says. A context that ends does not call back a
// request that is under way.
func send[T any](
	ctx context.Context, p *process, to *endpoint, label string, kinds []faultKind,
	serve func(m *message) served[T],
) (none T, err error) {
	if ctx.Err() != nil {
		return none, neverAgain(ctx.Err())
	}
	m := p.world.post(p, to, label, kinds)
	if m == nil {
		return none, errGone
	}
	p.stricken(m, killedSending, frozenSending)
	if err := p.awake(m.moment); err != nil {
		return none, err
	}
	if m.fault == panicking {
		time.Sleep(m.moment)
		panic("out of paper")
	}
	replies := make(chan reply[T], 1)
	dispatch(m, replies, serve)
	return receive(ctx, m, replies)
}

// dispatch puts a message on its way, once, twice, or not at all.
func dispatch[T any](m *message, replies chan reply[T], serve func(m *message) served[T]) {
	w := m.from.world
	switch m.fault {
	case requestLost:
		w.after(m.there, func() { replies <- reply[T]{err: m.refuse(errReset)} })
		return
	case hanging:
		return
	case requestLate:
		w.arrives(m.there)
		w.after(m.there, func() { deliver(m, nil, serve) })
		w.after(m.back, func() { replies <- reply[T]{err: m.refuse(errReset)} })
		return
	case repeatedLate:
		w.arrives(m.again)
		again := *m
		again.label += ", again"
		w.after(m.again, func() { deliver(&again, nil, serve) })
	}
	w.after(m.there, func() { deliver(m, replies, serve) })
}

// served is what an endpoint makes of a request.
type served[T any] struct {
	value T
	err   error
	// durable is called when what was done has to be durable, a little later,
	// and says whether the endpoint lived so long. If nil, it is durable at once.
	durable func() bool
	fsync   time.Duration
}

// deliver lets the endpoint serve a request that arrives, and sends the reply.
func deliver[T any](m *message, replies chan reply[T], serve func(m *message) served[T]) {
	w := m.from.world
	answer := func(value T, err error) {
		if replies == nil {
			return
		}
		if m.fault == replyLost {
			value, err = *new(T), m.refuse(errReset)
		}
		w.after(m.back, func() { replies <- reply[T]{value, err} })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if away, silent := m.to.away(w.now()); away {
		w.note(m.label, m.n, "does not arrive")
		if m.to.name == journalName {
			w.coverage.reach(journalAwayFault)
		}
		if !silent {
			answer(*new(T), m.refuse(m.to.refusal))
		}
		return
	}
	if m.fault == failing || m.fault == busy {
		answer(*new(T), m.refuse(m.to.refusal))
		return
	}
	s := serve(m)
	if s.durable == nil {
		answer(s.value, s.err)
		return
	}
	w.after(s.fsync, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s.durable() {
			answer(s.value, s.err)
		} else {
			answer(*new(T), m.refuse(errReset))
		}
	})
}

// away reports whether an endpoint cannot be reached, and whether those who try
// hear nothing.
func (e *endpoint) away(now time.Duration) (away, silent bool) {
	for _, o := range e.outages {
		if now >= o.from && now < o.to {
			return true, o.silent
		}
	}
	return e.down, false
}

// receive waits for the reply.
func receive[T any](ctx context.Context, m *message, replies chan reply[T]) (none T, err error) {
	p := m.from
	var r reply[T]
	select {
	case r = <-replies:
	case <-ctx.Done():
		// Calls that end at the same time are told so one after another.
		time.Sleep(m.moment)
		r.err = m.refuse(ctx.Err())
	case <-p.dead:
	}
	p.stricken(m, killedHearing, frozenHearing)
	if err := p.awake(m.moment); err != nil {
		return none, err
	}
	return r.value, r.err
}

// stricken lets the sender be killed or frozen, if that is the message's fault. It
// comes a moment later: nothing else happens in that instant.
func (p *process) stricken(m *message, kill, freeze faultKind) {
	switch m.fault {
	case kill:
		time.Sleep(m.moment)
		p.kill(m.dice.upTo(longestDown))
	case freeze:
		time.Sleep(m.moment)
		p.freeze(m.dice.upTo(longestSleep))
	}
}
