package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// PoolOption configures a [Pool].
type PoolOption interface{ configurePool(*poolConfig) }

// FenceOption configures a [Fence].
type FenceOption interface{ configureFence(*participantConfig) }

// ParticipantOption configures a [Pool] or a [Fence].
type ParticipantOption func(*participantConfig)

func (o ParticipantOption) configurePool(c *poolConfig)         { o(&c.participantConfig) }
func (o ParticipantOption) configureFence(c *participantConfig) { o(c) }

// WithRetention sets for how long keys that were released or have expired are
// remembered. A message that comes later than that finds a new key, and may
// reserve again; so it must be longer than [WithLongestTimeout] by 10 minutes
// at least, for slow messages. Keys that hold something are never forgotten.
// Default 24 hours.
func WithRetention(d time.Duration) ParticipantOption {
	return func(c *participantConfig) { c.retention = d }
}

// WithLongestTimeout says how long the transactions that call this participant
// may stay undecided: the longest [twophase.Transaction.Timeout] of all
// coordinators. [WithRetention] is checked against it. Default 1 hour.
func WithLongestTimeout(d time.Duration) ParticipantOption {
	return func(c *participantConfig) { c.longestTimeout = d }
}

// WithLogger sets who is told when housekeeping fails. Default is
// [slog.Default].
func WithLogger(logger *slog.Logger) ParticipantOption {
	return func(c *participantConfig) {
		if logger == nil {
			c.fail("WithLogger(nil): leave it out, or give it a logger")
			return
		}
		c.logger = logger
	}
}

// WithoutBackground leaves housekeeping to whoever calls Sweep and Prune.
// Reservations end at their time all the same.
func WithoutBackground() ParticipantOption {
	return func(c *participantConfig) { c.withoutBackground = true }
}

const (
	// slowestMessage is how much longer than a transaction a message of it may
	// be on its way.
	slowestMessage = 10 * time.Minute
	maxNameLength  = 255
	// longestHold keeps moments within what can be stored.
	longestHold = 10 * 365 * 24 * time.Hour
)

// participantConfig is what the options of a pool or a fence add up to.
type participantConfig struct {
	retention         time.Duration
	longestTimeout    time.Duration
	logger            *slog.Logger
	withoutBackground bool
	clock             func() time.Time // wallTime, but for tests
	errs              []error
}

func newParticipantConfig() participantConfig {
	return participantConfig{retention: 24 * time.Hour, longestTimeout: time.Hour, logger: slog.Default(), clock: wallTime}
}

func (c *participantConfig) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("twophase/sqlite: %w: "+format, append([]any{twophase.ErrInvalid}, args...)...))
}

// check returns everything that is wrong.
func (c *participantConfig) check(name string) error {
	if name == "" || len(name) > maxNameLength {
		c.fail("the name %q has %d bytes: give it 1 to %d", name, len(name), maxNameLength)
	}
	if c.longestTimeout <= 0 {
		c.fail("WithLongestTimeout(%v): it must be above zero", c.longestTimeout)
	}
	if least := c.longestTimeout + slowestMessage; c.retention < least {
		c.fail("WithRetention(%v): a late message of a transaction of %v could reserve anew: give at least %v",
			c.retention, c.longestTimeout, least)
	}
	return errors.Join(c.errs...)
}
