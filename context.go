package twophase

import (
	"context"
	"sync"
	"time"
)

// lazyContext ends with its parent, at its deadline if it has one, or by a call
// of end. It is a [context.WithDeadline] that costs a timer only if somebody
// waits for its end: calls in memory do not, and would pay more for contexts
// and timers than for their work.
type lazyContext struct {
	parent   context.Context
	deadline time.Time // zero for none

	mu    sync.Mutex
	taken bool
	ended bool
	full  *fullContext // made when somebody waits
}

type fullContext struct {
	context.Context
	cancel context.CancelFunc
}

// take returns the context to the first who asks for it, and a new one to any
// other, or if there is none: nobody gets one that somebody may still hold.
func (c *lazyContext) take() *lazyContext {
	if c == nil {
		return new(lazyContext)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return new(lazyContext)
	}
	c.taken = true
	return c
}

// end ends the context.
func (c *lazyContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.full != nil {
		c.full.cancel()
	}
}

// Deadline implements [context.Context].
func (c *lazyContext) Deadline() (time.Time, bool) {
	deadline, ok := c.parent.Deadline()
	if c.deadline.IsZero() || ok && deadline.Before(c.deadline) {
		return deadline, ok
	}
	return c.deadline, true
}

// Done implements [context.Context].
func (c *lazyContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full == nil {
		c.makeFull()
	}
	return c.full.Done()
}

func (c *lazyContext) makeFull() {
	c.full = new(fullContext)
	if c.deadline.IsZero() {
		c.full.Context, c.full.cancel = context.WithCancel(c.parent)
	} else {
		c.full.Context, c.full.cancel = context.WithDeadline(c.parent, c.deadline)
	}
	if c.ended {
		c.full.cancel()
	}
}

// Err implements [context.Context].
func (c *lazyContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.full != nil:
		return c.full.Err()
	case c.ended:
		return context.Canceled
	case c.parent.Err() != nil:
		return c.parent.Err()
	case !c.deadline.IsZero() && time.Until(c.deadline) <= 0:
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements [context.Context]. Contexts derived from this one find what
// ends them by it.
func (c *lazyContext) Value(key any) any {
	c.mu.Lock()
	full := c.full
	c.mu.Unlock()
	if full != nil {
		return full.Value(key)
	}
	return c.parent.Value(key)
}

// lifeContext has the values of whoever began a transaction and the life of
// the coordinator: a caller who goes away does not end what has to be cleaned
// up.
type lifeContext struct {
	context.Context // of the coordinator
	values          context.Context
}

// Value implements [context.Context]. The coordinator's comes first: contexts
// derived from this one find by it what ends them.
func (c lifeContext) Value(key any) any {
	if value := c.Context.Value(key); value != nil {
		return value
	}
	return c.values.Value(key)
}
