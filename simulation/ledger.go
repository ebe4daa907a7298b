package simulation

import (
	"errors"
	"slices"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// ledger checks the answers of one participant against what it has promised. It
// keeps account of its own, and knows nothing of [twophase.Entry]: a mistake
// there must not hide itself.
type ledger struct {
	world    *world
	service  string
	promises map[twophase.Key]promise
	holders  map[string]twophase.Key // who was last given a resource
	highest  time.Time               // that the participant's clock has ever shown
	loses    bool                    // what is not durable when the participant restarts
	undo     []ledgerUndo
}

// promise is what was answered under a key. The zero value is none.
type promise struct {
	state     twophase.EntryState // reserved, assigned or released
	request   twophase.Fingerprint
	resources []string
	expires   time.Time
	forgotten bool // the participant was made to forget it, once
}

// ledgerUndo takes back a change that was lost with what was not durable.
type ledgerUndo struct {
	writes int
	key    twophase.Key
	before promise
}

func newLedger(w *world, service string) *ledger {
	return &ledger{world: w, service: service, promises: map[twophase.Key]promise{}, holders: map[string]twophase.Key{}}
}

func (l *ledger) violate(format string, args ...any) {
	l.world.violate("%s: "+format, append([]any{l.service}, args...)...)
}

// binds reports whether a promise certainly still stands: it has not run out, nor
// had it before the clock was set back.
func (l *ledger) binds(p promise, now time.Time) bool {
	if now.After(l.highest) {
		l.highest = now
	}
	return p.live(l.highest)
}

// live reports whether a promise has not run out.
func (p promise) live(now time.Time) bool {
	return p.state == twophase.EntryAssigned || p.state == twophase.EntryReserved && now.Before(p.expires)
}

func (l *ledger) reserved(req twophase.Request, r twophase.Reservation, err error, now time.Time) {
	key := req.Key
	p := l.promises[key]
	binds := l.binds(p, now)
	if err != nil {
		if errors.Is(err, twophase.ErrExpired) && binds {
			l.violate("I1: %s is told expired, and is not", key)
		}
		return
	}
	switch {
	case p.state == twophase.EntryReleased:
		l.violate("I4: a late Reserve of %s takes what was released", key)
	case p.state != twophase.EntryNone && p.request != twophase.FingerprintOf(req.Payload):
		l.violate("I1: %s is given what another payload asked for", key)
	case p.state != twophase.EntryNone && !p.live(now):
		l.violate("I6: %s has run out, and is reserved again", key)
	case p.state != twophase.EntryNone && !slices.Equal(p.resources, r.Resources):
		l.violate("I3: %s has %v, and is given %v", key, p.resources, r.Resources)
	case p.state == twophase.EntryReserved && r.TimeLeft > p.expires.Sub(now):
		l.violate("I6: %s is told %v, and has %v", key, r.TimeLeft, p.expires.Sub(now))
	case p.state == twophase.EntryNone:
		l.take(req, r, now)
	}
}

// take accounts for what a key is given.
func (l *ledger) take(req twophase.Request, r twophase.Reservation, now time.Time) {
	want, err := twophase.PayloadOf[pool.Want](req)
	if err != nil || len(r.Resources) != want.Count {
		l.violate("I1: %s wants %+v, and is given %v", req.Key, want, r.Resources)
	}
	for _, id := range r.Resources {
		holder := l.holders[id]
		if p := l.promises[holder]; holder != req.Key && slices.Contains(p.resources, id) && l.binds(p, now) {
			l.violate("I3: %s is held by %s and by %s", id, holder, req.Key)
		}
		l.holders[id] = req.Key
	}
	l.set(req.Key, promise{
		state: twophase.EntryReserved, request: twophase.FingerprintOf(req.Payload),
		resources: r.Resources, expires: now.Add(req.Hold), forgotten: l.promises[req.Key].forgotten,
	})
}

func (l *ledger) assigned(key twophase.Key, err error, now time.Time) {
	p := l.promises[key]
	binds := l.binds(p, now)
	if err != nil {
		if binds {
			l.violate("I1: %s is promised, and its Assign is answered %v", key, err)
		}
		return
	}
	switch p.state {
	case twophase.EntryNone:
		l.violate("I5: %s was never reserved, and is assigned", key)
	case twophase.EntryReleased:
		l.violate("I4: a late Assign of %s takes what was released", key)
	case twophase.EntryReserved:
		if !p.live(now) {
			l.violate("I6: %s is assigned %v after it has run out", key, now.Sub(p.expires))
		}
		for _, id := range p.resources {
			if l.holders[id] != key {
				l.violate("I3: %s is assigned to %s, and was given to %s", id, key, l.holders[id])
			}
		}
		p.state = twophase.EntryAssigned
		l.set(key, p)
		l.world.assignedOn(key)
	}
}

func (l *ledger) released(key twophase.Key, err error) {
	if err != nil {
		l.violate("I4: Release of %s is answered %v", key, err)
		return
	}
	if p := l.promises[key]; p.state != twophase.EntryReleased {
		p.state = twophase.EntryReleased
		l.set(key, p)
		l.world.releasedOn(key)
	}
}

func (l *ledger) set(key twophase.Key, p promise) {
	if l.loses {
		l.undo = append(l.undo, ledgerUndo{writes: -1, key: key, before: l.promises[key]})
	}
	l.promises[key] = p
}

// at says how much the books had written after the last changes.
func (l *ledger) at(writes int) {
	for i := len(l.undo) - 1; i >= 0 && l.undo[i].writes < 0; i-- {
		l.undo[i].writes = writes
	}
}

// sync makes durable what the books had written then.
func (l *ledger) sync(writes int) {
	n := 0
	for n < len(l.undo) && l.undo[n].writes <= writes {
		n++
	}
	l.undo = l.undo[n:]
}

// restart takes back what the books have lost.
func (l *ledger) restart() {
	for i := len(l.undo) - 1; i >= 0; i-- {
		l.promises[l.undo[i].key] = l.undo[i].before
	}
	l.undo = nil
}

// forget accounts for a participant that was made to forget a key.
func (l *ledger) forget(key twophase.Key) {
	l.undo = nil
	l.promises[key] = promise{forgotten: true}
}
