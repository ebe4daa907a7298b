package sqlite

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/seed-bcc3c603/twophase"
)

// Option changes how a journal works.
type Option func(*config)

// WithReaders sets how many connections read at the same time: [Journal.Get]
// and [Journal.List] wait for one. Each takes some megabytes of memory. Unless
// set it is the number of processors, and at least 2.
func WithReaders(n int) Option { return func(c *config) { c.readers = n } }

// WithMaxWaiting sets how many writes may wait for their commit. One more is
// refused with [twophase.ErrUnavailable]. Unless set it is 8192.
func WithMaxWaiting(n int) Option { return func(c *config) { c.maxWaiting = n } }

// WithMaxBatch sets how many writes are committed together at most. Unless set
// it is 512.
func WithMaxBatch(n int) Option { return func(c *config) { c.maxBatch = n } }

type config struct{ readers, maxWaiting, maxBatch int }

func newConfig(options []Option) (config, error) {
	c := config{readers: max(2, runtime.GOMAXPROCS(0)), maxWaiting: 8192, maxBatch: 512}
	for _, option := range options {
		option(&c)
	}
	return c, errors.Join(
		atLeastOne("WithReaders", c.readers),
		atLeastOne("WithMaxWaiting", c.maxWaiting),
		atLeastOne("WithMaxBatch", c.maxBatch),
	)
}

func atLeastOne(option string, n int) error {
	if n >= 1 {
		return nil
	}
	return fmt.Errorf("twophase/sqlite: %w: %s(%d): give at least 1", twophase.ErrInvalid, option, n)
}
