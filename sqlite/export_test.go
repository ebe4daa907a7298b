package sqlite

import (
	"sync/atomic"
	"time"
)

// PrepareConn makes a connection's settings those of [OpenDB].
var PrepareConn = prepareConn

// withClock has a pool or a fence look at another clock.
func withClock(now func() time.Time) ParticipantOption {
	return func(c *participantConfig) { c.clock = now }
}

// Watched returns an option that lets verdicts be watched, and when the last of
// them was.
func Watched() (option ParticipantOption, last func() time.Time) {
	var at atomic.Int64
	option = withClock(func() time.Time {
		now := wallTime()
		at.Store(now.UnixNano())
		return now
	})
	return option, func() time.Time { return time.Unix(0, at.Load()) }
}
