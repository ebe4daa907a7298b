package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// PoolOption configures a [Pool]: an [Option], a [ParticipantOption] or [For].
type PoolOption interface{ applyToPool(c *entryConfig) }

// FenceOption configures a [Fence]: an [Option] or a [ParticipantOption].
type FenceOption interface{ applyToFence(c *entryConfig) }

// ParticipantOption configures a [Pool] or a [Fence].
type ParticipantOption func(*entryConfig)

func (o ParticipantOption) applyToPool(c *entryConfig)  { o(c) }
func (o ParticipantOption) applyToFence(c *entryConfig) { o(c) }

func (o Option) applyToPool(c *entryConfig)  { o(&c.config) }
func (o Option) applyToFence(c *entryConfig) { o(&c.config) }

type poolOption func(*entryConfig)

func (o poolOption) applyToPool(c *entryConfig) { o(c) }

// WithRetention sets for how long keys that were released or have expired are
// remembered. A message that comes later than that finds a new key, and may
// reserve again; so it must be longer than [WithLongestTimeout] by 10 minutes
// at least, for slow messages. Keys that hold something are never forgotten.
// Default 24 hours.
func WithRetention(d time.Duration) ParticipantOption {
	return func(c *entryConfig) { c.retention = d }
}

// WithLongestTimeout says how long the transactions that call this participant
// may stay undecided: the longest [twophase.Transaction.Timeout] of all
// coordinators. [WithRetention] is checked against it. Default 1 hour.
func WithLongestTimeout(d time.Duration) ParticipantOption {
	return func(c *entryConfig) { c.longest = d }
}

// WithLogger sets who is told when housekeeping fails. Default is
// [slog.Default].
func WithLogger(logger *slog.Logger) ParticipantOption {
	return func(c *entryConfig) {
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
	return func(c *entryConfig) { c.withoutBackground = true }
}

// slowestMessage is how much longer than a transaction a message of it may be on
// its way.
const slowestMessage = 10 * time.Minute

type entryConfig struct {
	config
	retention         time.Duration
	longest           time.Duration
	withoutBackground bool
	logger            *slog.Logger
	clock             string // SQL
	wanted            func(twophase.Request) (Query, error)
}

func newEntryConfig(name string) *entryConfig {
	c := &entryConfig{
		config: newConfig(nil), retention: 24 * time.Hour, longest: time.Hour,
		logger: slog.Default(), clock: "clock_timestamp()",
	}
	c.commits = 1
	if name == "" || len(name) > twophase.MaxIDLength || !storable(name) {
		c.fail("the name %q: 1 to %d bytes of UTF-8 are needed", name, twophase.MaxIDLength)
	}
	return c
}

// check returns everything that cannot be right.
func (c *entryConfig) check() error {
	if c.longest <= 0 {
		c.fail("WithLongestTimeout(%v): it has to be more than 0", c.longest)
	}
	if need := c.longest + slowestMessage; c.retention < need {
		c.fail("WithRetention(%v): at least %v are needed, WithLongestTimeout's %v and %v for the slowest message: "+
			"a key that is forgotten earlier could be reserved by a message of a transaction that is over",
			c.retention, need, c.longest, slowestMessage)
	}
	return errors.Join(c.errs...)
}

// storableKey reports whether a key can be stored. One that cannot is never reserved.
func storableKey(key twophase.Key) bool {
	for _, part := range []string{key.Transaction, key.Step} {
		if part == "" || len(part) > twophase.MaxIDLength || !storable(part) {
			return false
		}
	}
	return true
}

// checkKey refuses a key that cannot be stored.
func checkKey(key twophase.Key) error {
	if storableKey(key) {
		return nil
	}
	return fmt.Errorf("%w: the key %q: each part has 1 to %d bytes of UTF-8, none of them 0",
		twophase.ErrRefused, key, twophase.MaxIDLength)
}

// checkHold refuses a hold that would be over at once.
func checkHold(req twophase.Request) error {
	if req.Hold < time.Microsecond {
		return fmt.Errorf("%w: %s: a hold of %v would be over at once", twophase.ErrRefused, req.Key, req.Hold)
	}
	return nil
}
