package twophase

import (
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/internal/queue"
)

// deadlines tells runs that their timeout has come. Those that are given the same
// time end in the order in which they began, so one timer serves all, and one that
// is decided in time, as most are, pays for a place in a list only.
type deadlines struct {
	timeout time.Duration

	mu     sync.Mutex
	runs   queue.Queue[run] // the next to end is the first
	timer  *time.Timer      // nil unless it is going to fire, at the first's time or before
	closed bool
}

// add puts a run at the end.
func (d *deadlines) add(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs.Add(r, &r.deadline)
	d.arm()
}

// remove takes a run out, if it is in.
func (d *deadlines) remove(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.deadline.Leave()
}

// arm sets the timer for the first, unless it fires before. The lock is held.
func (d *deadlines) arm() {
	if first := d.runs.First(); first != nil && d.timer == nil && !d.closed {
		d.timer = time.AfterFunc(d.left(first), d.fire)
	}
}

// fire tells those whose time has come.
func (d *deadlines) fire() {
	d.mu.Lock()
	d.timer = nil
	var late []*run
	for r := d.runs.First(); r != nil && d.left(r) <= 0; r = d.runs.First() {
		late = append(late, r)
		r.deadline.Leave()
	}
	d.arm()
	d.mu.Unlock()
	for _, r := range late {
		r.late()
	}
}

// left is how long a run has until its timeout.
func (d *deadlines) left(r *run) time.Duration { return d.timeout - time.Since(r.started) }

// close ends the timer. No run is under way any more.
func (d *deadlines) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
}
