package sqlite

import (
	"math"
	"time"
)

// clock is the journal's. It starts from the wall time at opening, or from the
// newest record if that is later, and runs on by the process's monotonic
// clock: it never goes back, whatever happens to the wall clock.
type clock struct {
	start  int64 // nanoseconds since 1970
	opened time.Time
}

func newClock(newest int64) clock {
	opened := time.Now()
	return clock{start: max(opened.UnixNano(), newest), opened: opened}
}

func (c clock) now() int64 { return c.start + int64(time.Since(c.opened)) }

// after returns the moment d after another, within what can be stored.
func after(moment int64, d time.Duration) int64 {
	if d > 0 && moment > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return moment + int64(d)
}
