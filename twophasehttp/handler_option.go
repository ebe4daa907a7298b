package twophasehttp

import (
	"errors"
	"log/slog"
	"time"
)

// HandlerOption configures a handler.
type HandlerOption func(*handlerConfig)

// WithLookup lets the handler answer GET for a participant that it does not know
// how to ask, such as a fence:
//
//	twophasehttp.WithLookup(func(ctx context.Context, key twophase.Key) (twophasehttp.Holding, bool, error) {
//		entry, found, err := fence.Lookup(ctx, key)
//		return twophasehttp.Holding(entry), found, err
//	})
//
// Default is the participant's own method Lookup, if it has one like that of
// [Participant] or that of the pools of this library.
func WithLookup(lookup Lookup) HandlerOption {
	return func(c *handlerConfig) {
		if lookup == nil {
			c.fail("WithLookup is given nil: leave it out for the participant's own")
		}
		c.lookup = lookup
	}
}

// WithCallTimeout bounds how long the participant may take for one call. The
// caller's own patience, which it tells in the header Request-Timeout, can only
// make it less. Default 30 seconds.
func WithCallTimeout(d time.Duration) HandlerOption {
	return func(c *handlerConfig) { c.callTimeout = d }
}

// WithBodyTimeout bounds how long the body of a request may take to arrive.
// Default 10 seconds.
func WithBodyTimeout(d time.Duration) HandlerOption {
	return func(c *handlerConfig) { c.bodyTimeout = d }
}

// WithMaxCalls bounds how many calls are served at a time; those beyond are told
// that the service is busy. Default 1024.
func WithMaxCalls(n int) HandlerOption { return func(c *handlerConfig) { c.maxCalls = n } }

// WithLogger sets where faults of the participant are logged: panics, and errors
// that are not of the contract, whose text the caller is not told. Default is
// [slog.Default].
func WithLogger(l *slog.Logger) HandlerOption {
	return func(c *handlerConfig) {
		if l == nil {
			c.fail("WithLogger is given nil: give slog.New(slog.DiscardHandler) for silence")
		}
		c.logger = l
	}
}

// handlerConfig is what the options add up to.
type handlerConfig struct {
	lookup      Lookup
	callTimeout time.Duration
	bodyTimeout time.Duration
	maxCalls    int
	logger      *slog.Logger
	errs        []error
}

func newHandlerConfig(options []HandlerOption) (*handlerConfig, error) {
	c := &handlerConfig{
		callTimeout: 30 * time.Second,
		bodyTimeout: 10 * time.Second,
		maxCalls:    1024,
		logger:      slog.Default(),
	}
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option(c)
	}
	if c.callTimeout <= 0 {
		c.fail("WithCallTimeout(%v): it must be above zero", c.callTimeout)
	}
	if c.bodyTimeout <= 0 {
		c.fail("WithBodyTimeout(%v): it must be above zero", c.bodyTimeout)
	}
	if c.maxCalls < 1 {
		c.fail("WithMaxCalls(%d): it must be 1 or more", c.maxCalls)
	}
	return c, errors.Join(c.errs...)
}

func (c *handlerConfig) fail(format string, args ...any) {
	c.errs = append(c.errs, invalid(format, args...))
}
