package twophase

import (
	"sync"
	"time"
)

// deadlines tells runs that their timeout has come. Those that are given the same
// time end in the order in which they began, so one timer serves all, and one that
// is decided in time, as most are, pays for a place in a list only.
type deadlines struct {
	timeout time.Duration

	mu          sync.Mutex
	first, last *deadline
	timer       *time.Timer // nil unless it is going to fire, at first's time or before
	closed      bool
}

// deadline is a run's place in the list.
type deadline struct {
	run        *run
	due        time.Time
	in         bool
	prev, next *deadline
}

// add puts a run at the end.
func (d *deadlines) add(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := &r.deadline
	own.run, own.due, own.in, own.prev = r, r.started.Add(d.timeout), true, d.last
	if d.last == nil {
		d.first = own
	} else {
		d.last.next = own
	}
	d.last = own
	d.arm()
}

// remove takes a run out, if it is in.
func (d *deadlines) remove(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(&r.deadline)
}

func (d *deadlines) drop(own *deadline) {
	if !own.in {
		return
	}
	if own.prev == nil {
		d.first = own.next
	} else {
		own.prev.next = own.next
	}
	if own.next == nil {
		d.last = own.prev
	} else {
		own.next.prev = own.prev
	}
	own.in, own.prev, own.next = false, nil, nil
}

// arm sets the timer for the first, unless it fires before. The lock is held.
func (d *deadlines) arm() {
	if d.timer == nil && d.first != nil && !d.closed {
		d.timer = time.AfterFunc(time.Until(d.first.due), d.fire)
	}
}

// fire tells those whose time has come.
func (d *deadlines) fire() {
	d.mu.Lock()
	d.timer = nil
	var late []*run
	for d.first != nil && time.Until(d.first.due) <= 0 {
		late = append(late, d.first.run)
		d.drop(d.first)
	}
	d.arm()
	d.mu.Unlock()
	for _, r := range late {
		r.late()
	}
}

// close ends the timer. No run is under way any more.
func (d *deadlines) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
}
