package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far the day has come. It is safe for concurrent use.
type progress interface {
	io.Writer // of whole lines of a log
	answered(Answer)
	releasing(orders int)
	end()
}

// newProgress shows a bar on a terminal, and plain lines elsewhere: also on a
// terminal that does not say how wide it is, where a bar would not show.
func newProgress(w io.Writer, orders int) progress {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return newBar(file, orders)
		}
	}
	return &lines{w: w, orders: orders}
}

// bar is a progress on a terminal. A log goes above it.
type bar struct {
	*mpb.Progress
	bar            *mpb.Bar
	placed, others atomic.Int64
	unfinished     atomic.Int64
}

func newBar(w io.Writer, orders int) *bar {
	b := &bar{Progress: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))}
	// The bar has one step more than there are orders: the day ends when
	// nothing is left to be released.
	b.bar = b.AddBar(int64(orders)+1,
		mpb.PrependDecorators(decor.Any(func(s decor.Statistics) string {
			return fmt.Sprintf("%d of %d orders ", min(s.Current, int64(orders)), orders)
		})),
		mpb.AppendDecorators(decor.Any(b.words)),
	)
	return b
}

func (b *bar) words(s decor.Statistics) string {
	words := fmt.Sprintf(" %d placed, %d not", b.placed.Load(), b.others.Load())
	if n := b.unfinished.Load(); n > 0 && !s.Completed {
		words += fmt.Sprintf("; %d to release", n)
	}
	return words
}

func (b *bar) answered(a Answer) {
	if a.Verdict == Placed {
		b.placed.Add(1)
	} else {
		b.others.Add(1)
	}
	b.bar.Increment()
}

func (b *bar) releasing(orders int) { b.unfinished.Store(int64(orders)) }

func (b *bar) end() {
	b.bar.Increment()
	b.Wait()
}

// lines are a progress elsewhere: one for each tenth of the day.
type lines struct {
	mu             sync.Mutex
	w              io.Writer
	orders         int
	placed, others int
	waiting        bool
}

// Write implements [io.Writer].
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (l *lines) answered(a Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.Verdict == Placed {
		l.placed++
	} else {
		l.others++
	}
	if done := l.placed + l.others; done*10/l.orders > (done-1)*10/l.orders {
		l.tell("%d of %d orders: %d placed, %d not", done, l.orders, l.placed, l.others)
	}
}

func (l *lines) releasing(orders int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.waiting {
		l.tell("orders with something still to release: %d; waiting up to %v", orders, patience)
	}
	l.waiting = true
}

func (l *lines) end() {}

// tell writes a line. If it cannot be written there is nobody to be told.
func (l *lines) tell(format string, args ...any) { _, _ = fmt.Fprintf(l.w, format+"\n", args...) }
