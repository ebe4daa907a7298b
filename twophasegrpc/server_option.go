package twophasegrpc

import (
	"errors"
	"log/slog"
	"time"
)

// ServiceOption configures what [Register] serves.
type ServiceOption func(*serviceConfig)

// WithCallTimeout bounds how long the participant may take for one call. The
// caller's own deadline can only make it less. Default 30 seconds.
func WithCallTimeout(d time.Duration) ServiceOption {
	return func(c *serviceConfig) { c.callTimeout = d }
}

// WithLookup serves GetReservation for a participant whose Lookup, if it has
// one, is not of a form that [Register] knows.
func WithLookup(lookup Lookup) ServiceOption {
	return func(c *serviceConfig) {
		if lookup == nil {
			c.errs = append(c.errs, wrong("WithLookup is given nil: leave it out for the participant's own"))
		}
		c.lookup = lookup
	}
}

// WithLogger sets where faults of the participant are logged: panics, and errors
// that are not of the contract, whose text callers are not told. Default is
// [slog.Default].
func WithLogger(l *slog.Logger) ServiceOption {
	return func(c *serviceConfig) {
		if l == nil {
			c.errs = append(c.errs, wrong("WithLogger is given nil: give slog.New(slog.DiscardHandler) for silence"))
		}
		c.logger = l
	}
}

// serviceConfig is what the options add up to.
type serviceConfig struct {
	callTimeout time.Duration
	lookup      Lookup
	logger      *slog.Logger
	errs        []error
}

func newServiceConfig(options []ServiceOption) (*serviceConfig, error) {
	c := &serviceConfig{callTimeout: 30 * time.Second, logger: slog.Default()}
	for i, option := range options {
		if option == nil {
			c.errs = append(c.errs, wrong("option %d is nil", i+1))
			continue
		}
		option(c)
	}
	if c.callTimeout <= 0 {
		c.errs = append(c.errs, wrong("WithCallTimeout(%v): it must be above zero", c.callTimeout))
	}
	return c, errors.Join(c.errs...)
}
