package twophase

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-bcc3c603/twophase/internal/names"
)

// Option configures a [Coordinator].
type Option func(*config)

// WithParticipant makes a participant known under the name that steps use.
// The name is journaled with each step: recovery finds the participant by it,
// so it must stay the same as long as there are records.
func WithParticipant(name string, p Participant) Option {
	return func(c *config) {
		if _, twice := c.participants[name]; twice {
			c.fail("WithParticipant(%q) is given twice", name)
		}
		if p == nil {
			c.fail("WithParticipant(%q) is given nil", name)
		}
		if reason := names.Bad(name, MaxIDLength); reason != "" {
			c.fail("WithParticipant(%q): the name %s", name, reason)
		}
		c.participants[name] = p
	}
}

// WithPolicy replaces the default policy for all participants; zero fields
// keep their defaults.
func WithPolicy(p Policy) Option { return func(c *config) { c.policy = p } }

// WithPolicyFor sets the policy for one participant; zero fields are those of
// [WithPolicy].
func WithPolicyFor(participant string, p Policy) Option {
	return func(c *config) { c.policies[participant] = p }
}

// WithTimeout sets how long a transaction may stay undecided before it is
// released. Default 1 minute.
func WithTimeout(d time.Duration) Option { return func(c *config) { c.timeout = d } }

// WithLease sets how long a transaction belongs to this coordinator without a
// sign of life: when a coordinator dies, another on the same journal takes its
// transactions over after a lease and a third of it at most. Default 15
// seconds.
func WithLease(d time.Duration) Option { return func(c *config) { c.lease = d } }

// WithRetention sets how long outcomes are kept after a transaction is
// finished: for longer than callers go on asking. Default 24 hours.
func WithRetention(d time.Duration) Option { return func(c *config) { c.retention = d } }

// WithRecoveryLimit bounds how many transactions are recovered at a time, in
// the background or by [Coordinator.Recover]. Default 100.
func WithRecoveryLimit(n int) Option { return func(c *config) { c.recoveryLimit = n } }

// WithoutBackgroundRecovery leaves recovery to calls of [Coordinator.Recover]
// and to other coordinators on the journal; nothing is pruned either.
func WithoutBackgroundRecovery() Option { return func(c *config) { c.background = false } }

// WithObserver tells o of every step of every transaction; it may be given
// several times. See [NewLogObserver].
func WithObserver(o Observer) Option {
	return func(c *config) {
		if o == nil {
			c.fail("WithObserver is given nil")
			return
		}
		c.observers = append(c.observers, o)
	}
}

// config is what the options add up to.
type config struct {
	participants  map[string]Participant
	policy        Policy
	policies      map[string]Policy
	timeout       time.Duration
	lease         time.Duration
	retention     time.Duration
	recoveryLimit int
	background    bool
	observers     []Observer
	errs          []error
}

func newConfig(options []Option) (*config, error) {
	c := &config{
		participants:  map[string]Participant{},
		policies:      map[string]Policy{},
		timeout:       time.Minute,
		lease:         15 * time.Second,
		retention:     24 * time.Hour,
		recoveryLimit: 100,
		background:    true,
	}
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option(c)
	}
	c.check()
	return c, errors.Join(c.errs...)
}

func (c *config) check() {
	if len(c.participants) == 0 {
		c.fail("there are no participants: give at least one WithParticipant")
	}
	for _, d := range []struct {
		option string
		value  time.Duration
	}{
		{"WithTimeout", c.timeout},
		{"WithLease", c.lease},
	} {
		if d.value <= 0 {
			c.fail("%s(%v): it must be above zero", d.option, d.value)
		}
	}
	if c.recoveryLimit < 1 {
		c.fail("WithRecoveryLimit(%d): it must be 1 or more", c.recoveryLimit)
	}
	if c.retention < c.timeout {
		c.fail("WithRetention(%v): outcomes would be forgotten before the timeout of %v", c.retention, c.timeout)
	}
	for name := range c.policies {
		if _, known := c.participants[name]; !known {
			c.fail("WithPolicyFor(%q): there is no participant of that name", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.participants)) {
		if err := c.policyFor(name).check(c.timeout); err != nil {
			c.errs = append(c.errs, fmt.Errorf("twophase: policy for participant %q: %w", name, err))
		}
	}
}

func (c *config) policyFor(participant string) Policy {
	return c.policies[participant].orElse(c.policy).orElse(defaultPolicy)
}

func (c *config) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("twophase: %w: "+format, append([]any{ErrInvalid}, args...)...))
}
