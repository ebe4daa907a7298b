package load

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Show shows how a load goes, until ctx ends: as one line that changes on a
// terminal, as a line every five seconds elsewhere.
func Show(ctx context.Context, w io.Writer, stats *Stats) {
	every, width := 5*time.Second, 0
	if file, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 {
			every, width = 500*time.Millisecond, columns
		}
	}
	began := time.Now()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			show(w, width, line(time.Since(began), stats.Window(), stats.Total()))
		case <-ctx.Done():
			if width > 0 {
				show(w, width, "")
			}
			return
		}
	}
}

// line tells how fast it goes now, and what came of it so far.
func line(elapsed time.Duration, now, total Summary) string {
	return fmt.Sprintf("%3.0fs %6.0f/s  p50 %-7s p99 %-7s %v",
		elapsed.Seconds(), now.PerSecond, Round(now.P50), Round(now.P99), total)
}

// Round returns a latency with as many digits as mean something.
func Round(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// show writes a line: over the last one if the width of a terminal is given. If it
// cannot be written, there is nobody to be told.
func show(w io.Writer, width int, text string) {
	if width == 0 {
		_, _ = fmt.Fprintln(w, text)
		return
	}
	if len(text) >= width {
		text = text[:width-1]
	}
	_, _ = fmt.Fprintf(w, "\r%s\x1b[K", text)
}
