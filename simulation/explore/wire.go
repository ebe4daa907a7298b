package explore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// wire is what lies between the coordinators and the rest of the world. Calls
// park in it until the scheduler lets them in.
type wire struct {
	mu    sync.Mutex
	calls []*call
	// late are requests that nobody waits for any more, and that may still
	// arrive.
	late []*call
	// through: calls do not park any more, for the world is to be settled.
	through bool
	numbers map[string]int
	trace   func(format string, args ...any)
	inbound func(*call) // looks at each call when it is sent
}

// call is one attempt of a call on a participant or the journal.
type call struct {
	from  *side
	name  string // tells it from others, in the scheduler's choices
	what  string // all that matters of it to whoever is called
	serve func() (answer string, err error)

	served bool // and the answer is still to be told
	answer string
	err    error
	done   chan error
}

var (
	errCrashed = errors.New("the coordinator has crashed")
	errLost    = errors.New("connection reset")
)

func newWire() *wire { return &wire{numbers: map[string]int{}} }

// send parks a call until it is answered, or ctx ends. The request is under way
// then, and may still arrive.
func (w *wire) send(ctx context.Context, from *side, what string, serve func() (string, error)) error {
	w.mu.Lock()
	if from.crashed {
		w.mu.Unlock()
		return errCrashed
	}
	c := &call{from: from, what: what, serve: serve, done: make(chan error, 1)}
	name := from.name + "." + what
	w.numbers[name]++
	c.name = fmt.Sprintf("%s#%d", name, w.numbers[name])
	w.inbound(c)
	if w.through {
		w.mu.Unlock()
		return c.serveNow(w)
	}
	w.calls = append(w.calls, c)
	w.mu.Unlock()
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		w.abandon(c)
		return ctx.Err()
	}
}

// serveNow lets a call in and returns its answer.
func (c *call) serveNow(w *wire) error {
	c.answer, c.err = c.serve()
	c.served = true
	w.trace("%s: %s", c.name, c.answer)
	return c.err
}

// tell brings an answer back to the coordinator.
func (c *call) tell(w *wire, err error) {
	w.mu.Lock()
	w.drop(c)
	c.from.remember(c, err)
	w.mu.Unlock()
	c.done <- err
}

// drop takes a call out of those that somebody waits for. The lock is held.
func (w *wire) drop(c *call) {
	w.calls = slices.DeleteFunc(w.calls, func(other *call) bool { return other == c })
}

// abandon makes a call one that nobody waits for.
func (w *wire) abandon(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.calls, c) {
		return
	}
	w.drop(c)
	w.lateLocked(c)
}

// lateLocked keeps what may still arrive; the same from the same once. The lock
// is held.
func (w *wire) lateLocked(c *call) {
	same := func(other *call) bool { return other.from == c.from && other.what == c.what }
	if !c.served && c.changes() && !slices.ContainsFunc(w.late, same) {
		w.late = append(w.late, c)
	}
}

// changes reports whether a call may change anything when nobody waits for it.
func (c *call) changes() bool { return !strings.HasPrefix(c.what, "get ") && c.what != "claim" }

// cut makes all calls of a crashed coordinator ones that nobody waits for.
func (w *wire) cut(s *side) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.crashed = true
	for _, c := range slices.Clone(w.calls) {
		if c.from == s {
			w.drop(c)
			w.lateLocked(c)
		}
	}
}

// open lets everything through from now on, and what is parked first.
func (w *wire) open() {
	w.mu.Lock()
	w.through = true
	parked := sorted(w.calls)
	w.mu.Unlock()
	for _, c := range parked {
		if !c.served {
			_ = c.serveNow(w)
		}
		c.tell(w, c.err)
	}
}

// arriveAll lets in all that is late.
func (w *wire) arriveAll() {
	w.mu.Lock()
	late := sorted(w.late)
	w.late = nil
	w.mu.Unlock()
	for _, c := range late {
		w.trace("late %s arrives", c.name)
		_ = c.serveNow(w)
	}
}

func (w *wire) parked() []*call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sorted(w.calls)
}

func (w *wire) underWay() []*call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sorted(w.late)
}

// arrive lets in one call that is late.
func (w *wire) arrive(c *call) {
	w.mu.Lock()
	w.late = slices.DeleteFunc(w.late, func(other *call) bool { return other == c })
	w.mu.Unlock()
	_ = c.serveNow(w)
}

func sorted(calls []*call) []*call {
	return slices.SortedFunc(slices.Values(calls), func(a, b *call) int { return strings.Compare(a.name, b.name) })
}
