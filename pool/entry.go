package pool

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/queue"
)

// entry is what the pool has stored under a key. What becomes of it is ruled
// by [twophase.Entry] alone; the pool takes, frees and files accordingly.
type entry struct {
	twophase.Entry
	key       twophase.Key
	kind      *kind       // of the resources
	resources []*resource // what it holds, reserved or assigned
	sameHold  *sameHold   // while it is reserved
	consumed  []string    // what it held until that was consumed; nil if it was not
	finished  time.Time   // when it was released, found expired, or consumed
	place     queue.Place[entry]
}

// entry returns what is stored under key, or else an entry to be stored.
func (p *Pool) entry(key twophase.Key) *entry {
	if e, ok := p.entries[key]; ok {
		return e
	}
	return &entry{key: key}
}

// store makes a verdict on e the state of things, and returns its answer.
func (p *Pool) store(e *entry, v twophase.Verdict, now time.Time) error {
	if v.Entry != e.Entry {
		p.change(e, v, now)
	}
	if v.Err != nil {
		return fmt.Errorf("%w: %s", v.Err, e.key)
	}
	return nil
}

// change moves e from the list of its former state to that of its next.
func (p *Pool) change(e *entry, v twophase.Verdict, now time.Time) {
	switch e.State {
	case twophase.EntryNone:
		p.forget(now)
		p.entries[e.key] = e
	case twophase.EntryReserved:
		e.kind.expiries.remove(e)
	}
	e.Entry = v.Entry
	if v.Free {
		e.free()
	}
	switch e.State {
	case twophase.EntryReserved:
		e.kind.expiries.add(e, e.Expires.Sub(now))
	case twophase.EntryAssigned:
		e.shelve(Assigned)
	case twophase.EntryReleased, twophase.EntryExpired:
		e.finished = now
		p.finished.Add(e, &e.place)
	}
}

// take gives e what is wanted, all or nothing.
func (p *Pool) take(e *entry, want Want, now time.Time) error {
	k, ok := p.kinds[want.Kind]
	if !ok {
		return refused(e.key, want, "there is no such kind")
	}
	p.takeBack(k, want.Count, now)
	free := &k.shelves[Free]
	if free.Len() < want.Count {
		return refused(e.key, want, fmt.Sprintf("%d free", free.Len()))
	}
	e.kind = k
	e.resources = make([]*resource, want.Count)
	for i, r := 0, free.First(); i < want.Count; i, r = i+1, r.place.Next() {
		r.holder = e
		e.resources[i] = r
	}
	e.shelve(Reserved)
	return nil
}

// takeBack frees what has run out, until enough resources of a kind are free.
func (p *Pool) takeBack(k *kind, enough int, now time.Time) {
	for k.shelves[Free].Len() < enough {
		e := k.expiries.next()
		if e == nil || !p.expire(e, now) {
			return
		}
	}
}

// expire frees what e holds if its time has run out, and reports whether.
func (p *Pool) expire(e *entry, now time.Time) bool {
	v := e.Expire(now)
	if v.Free {
		p.change(e, v, now)
	}
	return v.Free
}

// forget drops entries that are past their retention. Each entry that is added
// pays for two, so that they do not pile up.
func (p *Pool) forget(now time.Time) {
	for range 2 {
		oldest := p.finished.First()
		if oldest == nil || now.Sub(oldest.finished) < p.config.retention {
			return
		}
		oldest.place.Leave()
		delete(p.entries, oldest.key)
	}
}

// free gives back what e holds.
func (e *entry) free() {
	for _, r := range e.resources {
		r.holder = nil
	}
	e.shelve(Free)
	e.kind, e.resources, e.consumed = nil, nil, nil
}

// shelve puts what e holds where resources of that state are.
func (e *entry) shelve(state State) {
	for _, r := range e.resources {
		e.kind.shelves[state].Add(r, &r.place)
	}
}

// ids returns those of what e holds, or held when it was consumed.
func (e *entry) ids() []string {
	if e.consumed != nil {
		return slices.Clone(e.consumed)
	}
	ids := make([]string, len(e.resources))
	for i, r := range e.resources {
		ids[i] = r.id
	}
	return ids
}
