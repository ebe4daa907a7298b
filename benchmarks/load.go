package main

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// work does something once, and says how many transactions that was and how
// long each of them took.
type work func(ctx context.Context) (transactions int, took time.Duration, err error)

// timed makes work of something that is one transaction.
func timed(do func(ctx context.Context) error) work {
	return func(ctx context.Context) (int, time.Duration, error) {
		start := time.Now()
		err := do(ctx)
		return 1, time.Since(start), err
	}
}

// subject is something to measure: workers who repeat their work, side by side.
type subject struct {
	name    string
	note    string
	workers []work
	spent   func(ctx context.Context) (spent, error) // nil if nobody counts
	close   func() error
	series  series
}

// alike returns n workers who do the same.
func alike(n int, w work) []work {
	workers := make([]work, n)
	for i := range workers {
		workers[i] = w
	}
	return workers
}

// series is what was measured of a subject, in all rounds together.
type series struct {
	took         []time.Duration
	transactions int
	all          int // with those outside the time that was measured
	measured     time.Duration
	spent        spent
	processor    time.Duration // of this process
}

func (s *series) perSecond() float64 {
	if s.measured <= 0 {
		return 0
	}
	return float64(s.transactions) / s.measured.Seconds()
}

// batch is how many writes, two for each transaction, a commit had.
func (s *series) batch() float64 {
	if s.spent.commits == 0 {
		return 0
	}
	return 2 * float64(s.transactions) / float64(s.spent.commits)
}

// processorEach is what a transaction costs this process, whatever else the
// machine was doing.
func (s *series) processorEach() time.Duration {
	if s.transactions == 0 {
		return 0
	}
	return s.processor / time.Duration(s.transactions)
}

func (s *series) bytesEach() float64 {
	if s.transactions == 0 {
		return 0
	}
	return float64(s.spent.bytes) / float64(s.transactions)
}

// drive has the workers work, first for as long as warm without measuring, and
// adds what happened in the window after that to the series. Only what ended
// in the window counts.
func (s *subject) drive(ctx context.Context, warm, window time.Duration) error {
	runtime.GC() // what others have left is not this one's to collect
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start := time.Now().Add(warm)
	end := start.Add(window)
	parts := make([]series, len(s.workers)+1) // the last is what was spent
	var done sync.WaitGroup
	for i, w := range s.workers {
		done.Go(func() {
			if err := parts[i].collect(ctx, w, start, end); err != nil {
				cancel(err)
			}
		})
	}
	if err := s.watch(ctx, &parts[len(s.workers)], start, end); err != nil {
		cancel(err)
	}
	done.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, p := range parts {
		s.series.add(p)
	}
	s.series.measured += window
	return nil
}

func (s *series) add(other series) {
	s.took = append(s.took, other.took...)
	s.transactions += other.transactions
	s.all += other.all
	s.spent = s.spent.plus(other.spent)
	s.processor += other.processor
}

// collect repeats one worker's work until the window ends.
func (s *series) collect(ctx context.Context, w work, start, end time.Time) error {
	for ctx.Err() == nil {
		n, took, err := w(ctx)
		if err != nil {
			return err
		}
		s.all += n
		now := time.Now()
		if now.After(end) {
			return nil
		}
		if n > 0 && !now.Before(start) {
			s.took = append(s.took, took)
			s.transactions += n
		}
	}
	return nil
}

// watch waits for the window to pass and notes what was spent in it.
func (s *subject) watch(ctx context.Context, into *series, start, end time.Time) error {
	spending := s.spent
	if spending == nil {
		spending = func(context.Context) (spent, error) { return spent{}, nil }
	}
	pause(ctx, time.Until(start))
	processor := processorUsed()
	before, err := spending(ctx)
	if err != nil {
		return err
	}
	pause(ctx, time.Until(end))
	into.processor = processorUsed() - processor
	after, err := spending(ctx)
	into.spent = after.minus(before)
	return err
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// rounds is how often the subjects of a cell take turns, so that what else the
// machine does strikes them alike.
const rounds = 3

// takeTurns measures subjects, each for as long as duration in all.
func takeTurns(ctx context.Context, duration time.Duration, subjects ...*subject) error {
	window := duration / rounds
	for round := range rounds {
		warm := window / 8
		if round == 0 {
			warm = window / 2
		}
		for _, s := range subjects {
			if err := s.drive(ctx, warm, window); err != nil {
				return err
			}
		}
	}
	return nil
}

// placing returns the subject that matters: so many callers who run
// transactions on a coordinator on the journal. Closing it closes both.
func placing(name string, callers int, j *opened, order idOrder) (*subject, error) {
	c, err := newCoordinator(j)
	if err != nil {
		return nil, err
	}
	ids := newIDs(order)
	run := timed(func(ctx context.Context) error {
		_, err := c.Run(ctx, orderOf(ids.take()))
		return err
	})
	return &subject{
		name: name, workers: alike(callers, run), spent: j.spent,
		close: func() error { return closeBoth(c, j) },
	}, nil
}
