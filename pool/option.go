package pool

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Option configures a [Pool].
type Option func(*config)

// For lets payloads be of a type of one's own: want says what one asks for.
// It must not depend on anything but the payload. A payload that is no JSON of
// T is refused. Default is [Want] itself.
func For[T any](want func(payload T) Want) Option {
	return func(c *config) {
		if want == nil {
			c.fail("For is given nil: give it a function from the payload to a Want")
			return
		}
		c.want = func(req twophase.Request) (Want, error) {
			payload, err := twophase.PayloadOf[T](req)
			if err != nil {
				return Want{}, err
			}
			return want(payload), nil
		}
	}
}

// WithRetention sets for how long the pool remembers keys that were released
// or have expired: longer than a transaction's timeout and the life of the
// slowest message. A message that comes later than that finds a new key, and
// may reserve again. Keys that hold something are never forgotten. Default 24
// hours.
func WithRetention(d time.Duration) Option { return func(c *config) { c.retention = d } }

// config is what the options add up to.
type config struct {
	want      func(twophase.Request) (Want, error)
	retention time.Duration
	errs      []error
}

func newConfig(options []Option) (*config, error) {
	c := &config{retention: 24 * time.Hour}
	For(func(w Want) Want { return w })(c)
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option(c)
	}
	if c.retention <= 0 {
		c.fail("WithRetention(%v): it must be above zero", c.retention)
	}
	return c, errors.Join(c.errs...)
}

func (c *config) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("pool: %w: "+format, append([]any{twophase.ErrInvalid}, args...)...))
}
