package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
)

// Stats count answers. They take the same memory however many there are, and are
// safe for concurrent use.
type Stats struct {
	mu       sync.Mutex
	began    time.Time
	total    counts
	window   counts // since it was last shown
	windowed time.Time
	again    int64
}

// counts are those of a span of time.
type counts struct {
	placed, inDoubt int64
	notPlaced       map[api.Reason]int64
	latency         *hdrhistogram.Histogram // in microseconds
}

const (
	shortest = 1                 // µs
	longest  = 120 * 1000 * 1000 // µs
	digits   = 3
)

func newStats() *Stats {
	now := time.Now()
	return &Stats{began: now, windowed: now, total: newCounts(), window: newCounts()}
}

func newCounts() counts {
	return counts{notPlaced: map[api.Reason]int64{}, latency: hdrhistogram.New(shortest, longest, digits)}
}

func (s *Stats) answered(a api.Answer, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.add(a, took)
	s.window.add(a, took)
}

func (s *Stats) askedAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again++
}

func (c *counts) add(a api.Answer, took time.Duration) {
	switch a.Status {
	case api.Placed:
		c.placed++
	case api.NotPlaced:
		c.notPlaced[a.Reason]++
	default:
		c.inDoubt++
		return
	}
	// What is longer than the longest is counted as that.
	_ = c.latency.RecordValue(min(max(took.Microseconds(), shortest), longest))
}

func (c *counts) answers() int64 {
	n := c.placed + c.inDoubt
	for _, count := range c.notPlaced {
		n += count
	}
	return n
}

// Summary is what is shown.
type Summary struct {
	Answers, Placed, InDoubt, AskedAgain int64
	NotPlaced                            map[api.Reason]int64
	// PerSecond is the rate of answers.
	PerSecond float64
	// P50 and P99 are of the time to an answer.
	P50, P99 time.Duration
}

func (c *counts) summary(span time.Duration) Summary {
	quantile := func(q float64) time.Duration {
		return time.Duration(c.latency.ValueAtQuantile(q)) * time.Microsecond
	}
	return Summary{
		Answers: c.answers(), Placed: c.placed, InDoubt: c.inDoubt, NotPlaced: maps.Clone(c.notPlaced),
		PerSecond: float64(c.answers()) / span.Seconds(), P50: quantile(50), P99: quantile(99),
	}
}

// Total returns what was answered since the beginning.
func (s *Stats) Total() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	summary := s.total.summary(time.Since(s.began))
	summary.AskedAgain = s.again
	return summary
}

// Window returns what was answered since it was last called.
func (s *Stats) Window() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	summary := s.window.summary(time.Since(s.windowed))
	s.windowed = time.Now()
	s.window.latency.Reset()
	s.window = counts{notPlaced: map[api.Reason]int64{}, latency: s.window.latency}
	return summary
}

// Reasons returns how many were not placed, by reason.
func (s Summary) Reasons() string {
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(s.NotPlaced)) {
		words = append(words, fmt.Sprintf("%s %d", reason, s.NotPlaced[reason]))
	}
	if len(words) == 0 {
		return "0"
	}
	return strings.Join(words, ", ")
}

// String returns the counts as one line.
func (s Summary) String() string {
	return fmt.Sprintf("placed %d, not placed: %s; in doubt %d, asked again %d", s.Placed, s.Reasons(), s.InDoubt, s.AskedAgain)
}
