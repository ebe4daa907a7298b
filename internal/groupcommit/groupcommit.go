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
	"time"
)

// Group commits the writes of many callers together. It is safe for concurrent
// use. Make it with [New] and end it with [Group.Close].
type Group[W any] struct {
	commit  func(ctx context.Context, batch []W) error
	options Options

	mu      sync.Mutex
	queue   []*write[W]
	batches [][]*write[W] // each worker's, while it commits them
	busy    int           // commits under way
	closed  bool
	turn    sync.Cond   // there may be something to commit, or the group is closed
	looker  *time.Timer // calls look; nil while nobody waits

	working sync.WaitGroup // workers, and callers who commit alone
	looking sync.WaitGroup // the look that is due
	writes  sync.Pool      // of *write[W] that nobody refers to
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
	g.writes.New = func() any { return &write[W]{answer: make(chan error, 1)} }
	g.batches = make([][]*write[W], g.options.Parallel)
	for i := range g.batches {
		g.working.Go(func() { g.work(i) })
	}
	return g
}

// write is what one caller has queued.
type write[W any] struct {
	value  W
	ctx    context.Context
	answer chan error // has the commit's error, or that of ctx
	left   bool       // ctx ended during the commit: only its worker still has it
}

// Do commits w and returns the error of its commit. If ctx ends before the
// commit has begun, w is withdrawn: [ErrWithdrawn]. If it ends later, what
// happened is open. Alone, the commit heeds ctx as it may; among others, Do
// returns the context's error soon and the commit goes on, so the caller must
// not touch what w refers to any more.
func (g *Group[W]) Do(ctx context.Context, w W) error {
	if err := ctx.Err(); err != nil {
		return withdrawn(err)
	}
	if g.isAlone() {
		return g.commitAlone(ctx, w)
	}
	own, err := g.enqueue(ctx, w)
	if err != nil {
		return err
	}
	err = <-own.answer
	if !own.left {
		g.recycle(own)
	}
	return err
}

// Close refuses new writes, commits what is queued, and returns when no
// goroutine of the group is left.
func (g *Group[W]) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.turn.Broadcast()
	g.working.Wait()
	g.mu.Lock()
	if g.looker != nil && g.looker.Stop() {
		g.looking.Done() // nobody waits any more
	}
	g.mu.Unlock()
	g.looking.Wait()
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
	g.working.Add(1)
	return true
}

func (g *Group[W]) commitAlone(ctx context.Context, w W) error {
	defer g.working.Done()
	err := g.attempt(ctx, []W{w})
	g.mu.Lock()
	g.busy--
	wanted := len(g.queue) > 0 || g.closed
	g.mu.Unlock()
	if wanted {
		g.turn.Signal()
	}
	return err
}

func (g *Group[W]) enqueue(ctx context.Context, w W) (*write[W], error) {
	own := g.writes.Get().(*write[W])
	own.value, own.ctx = w, ctx
	g.mu.Lock()
	var err error
	switch {
	case g.closed:
		err = ErrClosed
	case len(g.queue) >= g.options.MaxQueue:
		err = ErrFull
	default:
		g.queue = append(g.queue, own)
		g.lookLater()
	}
	g.mu.Unlock()
	if err != nil {
		g.recycle(own)
		return nil, err
	}
	g.turn.Signal()
	return own, nil
}

// lookEvery is how soon those who wait learn that their context has ended. To ask
// each context for its channel, and wait for that too, can cost more than the
// write: one with a deadline makes a timer for it.
const lookEvery = 20 * time.Millisecond

// lookLater has look called, unless it is going to be. The lock is held.
func (g *Group[W]) lookLater() {
	if g.looker == nil {
		g.looking.Add(1)
		g.looker = time.AfterFunc(lookEvery, g.look)
	}
}

// look answers those whose context has ended.
func (g *Group[W]) look() {
	defer g.looking.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = slices.DeleteFunc(g.queue, func(w *write[W]) bool {
		err := w.ctx.Err()
		if err != nil {
			w.answer <- withdrawn(err)
		}
		return err != nil
	})
	waiting := len(g.queue)
	for _, batch := range g.batches {
		waiting += len(batch)
		for _, w := range batch {
			if err := w.ctx.Err(); err != nil && !w.left {
				w.left = true
				w.answer <- err
			}
		}
	}
	g.looker = nil
	if waiting > 0 {
		g.lookLater()
	}
}

func (g *Group[W]) recycle(own *write[W]) {
	var none W
	own.value, own.ctx = none, nil
	g.writes.Put(own)
}

// work commits batches until the group is closed and nothing is queued.
func (g *Group[W]) work(worker int) {
	var writes []*write[W]
	var batch []W
	for {
		writes = g.take(worker, writes)
		if len(writes) == 0 {
			return
		}
		batch = batch[:0]
		for _, w := range writes {
			batch = append(batch, w.value)
		}
		err := g.attempt(context.Background(), batch)
		g.mu.Lock()
		g.batches[worker] = nil // from now on nobody else answers them
		g.mu.Unlock()
		for _, w := range writes {
			if !w.left {
				w.answer <- err
			}
		}
		clear(batch)
		if len(writes) > 1 {
			runtime.Gosched() // those just answered are likely to write again
		}
	}
}

// take waits for writes and for its turn, and returns a batch; none says that
// there will be no more. A worker that has committed one keeps its turn while
// there are writes, so that who writes again joins a batch instead of committing
// alone.
func (g *Group[W]) take(worker int, batch []*write[W]) []*write[W] {
	busy := len(batch) > 0
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
	g.batches[worker] = batch
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
