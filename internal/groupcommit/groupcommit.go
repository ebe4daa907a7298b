// Package groupcommit gathers the writes of many concurrent callers into few
// commits: while one commit is under way, the next batch gathers. Nobody waits
// for a batch to fill: a caller alone commits its write itself, at once.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
)

// Group commits the writes of many callers together. It is safe for concurrent
// use. Make it with [New] and end it with [Group.Close].
type Group[W any] struct {
	commit  func(ctx context.Context, batch []W) error
	options Options

	mu     sync.Mutex
	queue  []*write[W]
	busy   int // commits under way
	closed bool
	turn   sync.Cond // there may be something to commit, or the group is closed

	committing sync.WaitGroup // workers, and callers who commit alone
	writes     sync.Pool      // of *write[W] that nobody refers to
}

// Options bound a group. What is zero or less has a default.
type Options struct {
	// MaxBatch is how many writes one commit has at most; 256 by default.
	MaxBatch int
	// MaxQueue is how many writes wait at most for their commit to begin;
	// by default 16 batches.
	MaxQueue int
	// Parallel is how many commits are under way at most; 1 by default.
	Parallel int
}

func (o Options) withDefaults() Options {
	if o.MaxBatch <= 0 {
		o.MaxBatch = 256
	}
	if o.MaxQueue <= 0 {
		o.MaxQueue = 16 * o.MaxBatch
	}
	o.Parallel = max(o.Parallel, 1)
	return o
}

// The errors that are certain of it: nothing of the write took place. Each is
// [ErrNotWritten]; a commit may return that too.
var (
	ErrNotWritten = errors.New("nothing was written")
	// ErrFull says that too many writes wait already.
	ErrFull = fmt.Errorf("too many writes wait: %w", ErrNotWritten)
	// ErrClosed says that the group takes no more writes.
	ErrClosed = fmt.Errorf("closed: %w", ErrNotWritten)
	// ErrWithdrawn says that the caller's context ended before the commit of
	// its write began. It comes with the context's error.
	ErrWithdrawn = fmt.Errorf("withdrawn: %w", ErrNotWritten)
)

// New returns a group whose batches are written by commit, durably when it
// returns nil. An error of it is told to every caller of the batch; what
// concerns one write only, commit stores in that write: W is a pointer then.
//
// Commit is called by up to options.Parallel goroutines at a time. What a caller
// commits alone has that caller's context. That of any other batch is nobody's
// and has no deadline, so commit sets its own. It must not keep the batch.
func New[W any](commit func(ctx context.Context, batch []W) error, options Options) *Group[W] {
	g := &Group[W]{commit: commit, options: options.withDefaults()}
	g.turn.L = &g.mu
	g.writes.New = func() any { return &write[W]{done: make(chan error, 1)} }
	for range g.options.Parallel {
		g.committing.Go(g.work)
	}
	return g
}

// write is what one caller has queued.
type write[W any] struct {
	value W
	done  chan error // has the commit's error, once
}

// Do commits w and returns the error of its commit. If ctx ends before the
// commit has begun, w is withdrawn: [ErrWithdrawn]. If it ends later, what
// happened is open. Alone, the commit heeds ctx as it may; among others, Do
// returns the context's error at once and the commit goes on, so the caller must
// not touch what w refers to any more.
func (g *Group[W]) Do(ctx context.Context, w W) error {
	if err := ctx.Err(); err != nil {
		return withdrawn(err)
	}
	if g.isAlone() {
		return g.commitAlone(ctx, w)
	}
	own, err := g.enqueue(w)
	if err != nil {
		return err
	}
	select {
	case err = <-own.done:
	case <-ctx.Done():
		if g.withdraw(own) {
			err = withdrawn(ctx.Err())
			break
		}
		select {
		case err = <-own.done:
		default:
			return ctx.Err() // the worker still has it: it is not reused
		}
	}
	g.recycle(own)
	return err
}

// Close refuses new writes, commits what is queued, and returns when no
// goroutine of the group is left.
func (g *Group[W]) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.turn.Broadcast()
	g.committing.Wait()
}

// isAlone reports whether nobody is before a caller, who may then commit at once.
// To wake up a worker, and be woken up in turn, can take as long as the commit.
func (g *Group[W]) isAlone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || len(g.queue) > 0 || g.busy == g.options.Parallel {
		return false
	}
	g.busy++
	g.committing.Add(1)
	return true
}

func (g *Group[W]) commitAlone(ctx context.Context, w W) error {
	defer g.committing.Done()
	err := g.attempt(ctx, []W{w})
	g.mu.Lock()
	g.busy--
	g.mu.Unlock()
	g.turn.Signal()
	return err
}

func (g *Group[W]) enqueue(w W) (*write[W], error) {
	own := g.writes.Get().(*write[W])
	own.value = w
	g.mu.Lock()
	var err error
	switch {
	case g.closed:
		err = ErrClosed
	case len(g.queue) >= g.options.MaxQueue:
		err = ErrFull
	default:
		g.queue = append(g.queue, own)
	}
	g.mu.Unlock()
	if err != nil {
		g.recycle(own)
		return nil, err
	}
	g.turn.Signal()
	return own, nil
}

// withdraw takes a write out of the queue, and reports whether it was there.
func (g *Group[W]) withdraw(own *write[W]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, own)
	if i < 0 {
		return false
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	return true
}

func (g *Group[W]) recycle(own *write[W]) {
	var none W
	own.value = none
	g.writes.Put(own)
}

// work commits batches until the group is closed and nothing is queued.
func (g *Group[W]) work() {
	var writes []*write[W]
	var batch []W
	for {
		writes = g.take(writes, len(writes) > 0)
		if len(writes) == 0 {
			return
		}
		batch = batch[:0]
		for _, w := range writes {
			batch = append(batch, w.value)
		}
		err := g.attempt(context.Background(), batch)
		for _, w := range writes {
			w.done <- err
		}
		clear(batch)
		if len(writes) > 1 {
			runtime.Gosched() // those just answered are likely to write again
		}
	}
}

// take waits for writes and for its turn, and returns a batch; none says that
// there will be no more. A worker that is busy keeps its turn while there are
// writes, so that who writes again joins a batch instead of committing alone.
func (g *Group[W]) take(batch []*write[W], busy bool) []*write[W] {
	clear(batch)
	g.mu.Lock()
	defer g.mu.Unlock()
	if busy && len(g.queue) == 0 {
		g.busy--
		busy = false
	}
	for !busy {
		switch {
		case len(g.queue) == 0 && g.closed:
			g.turn.Broadcast() // to whoever waited for this one's turn
			return nil
		case len(g.queue) > 0 && g.busy < g.options.Parallel:
			g.busy++
			busy = true
		default:
			g.turn.Wait()
		}
	}
	n := min(len(g.queue), g.options.MaxBatch)
	batch = append(batch[:0], g.queue[:n]...)
	g.queue = slices.Delete(g.queue, 0, n)
	return batch
}

// attempt commits a batch. A panic leaves open what happened, like any error.
func (g *Group[W]) attempt(ctx context.Context, batch []W) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("commit panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	return g.commit(ctx, batch)
}

func withdrawn(err error) error { return fmt.Errorf("%w: %w", ErrWithdrawn, err) }
