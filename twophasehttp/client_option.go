package twophasehttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// ClientOption configures a [Participant].
type ClientOption func(*clientConfig)

// WithRoundTripper sets what makes the requests: for mutual TLS, for tokens, for
// the connections to keep. It must not repeat calls by itself, as that is what
// the coordinator does. Default is a transport of the participant's own, which
// keeps up to 256 connections and opens no more: calls beyond wait for one.
func WithRoundTripper(rt http.RoundTripper) ClientOption {
	return func(c *clientConfig) {
		if rt == nil {
			c.fail("WithRoundTripper is given nil: leave it out for the default")
		}
		c.roundTripper = rt
	}
}

// WithTimeout bounds each call whose context has no earlier deadline. A
// coordinator's calls have one: see [twophase.Retry]. Default 30 seconds.
func WithTimeout(d time.Duration) ClientOption { return func(c *clientConfig) { c.timeout = d } }

// WithHeaders calls set before each request is sent, with the context of the
// call. It fits the propagators of OpenTelemetry:
//
//	twophasehttp.WithHeaders(func(ctx context.Context, h http.Header) {
//		propagator.Inject(ctx, propagation.HeaderCarrier(h))
//	})
//
// Without it, the trace context that came with the context is passed on; see
// [ContextWithTrace].
func WithHeaders(set func(ctx context.Context, h http.Header)) ClientOption {
	return func(c *clientConfig) {
		if set == nil {
			c.fail("WithHeaders is given nil: leave it out for none")
			return
		}
		c.headers = append(c.headers, set)
	}
}

// clientConfig is what the options add up to.
type clientConfig struct {
	roundTripper http.RoundTripper
	timeout      time.Duration
	headers      []func(context.Context, http.Header)
	errs         []error
}

func newClientConfig(options []ClientOption) (*clientConfig, error) {
	c := &clientConfig{roundTripper: newTransport(), timeout: 30 * time.Second}
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option(c)
	}
	if c.timeout <= 0 {
		c.fail("WithTimeout(%v): it must be above zero", c.timeout)
	}
	return c, errors.Join(c.errs...)
}

func (c *clientConfig) fail(format string, args ...any) {
	c.errs = append(c.errs, invalid(format, args...))
}

// maxConnections is how many connections the default transport opens.
const maxConnections = 256

// newTransport returns the default transport with connections enough for a
// coordinator that has many transactions under way at one service.
func newTransport() http.RoundTripper {
	defaults, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // somebody has put an instrument in its place
		return http.DefaultTransport
	}
	t := defaults.Clone()
	t.MaxIdleConns = maxConnections
	t.MaxIdleConnsPerHost = maxConnections
	t.MaxConnsPerHost = maxConnections
	t.DisableCompression = true
	return t
}

// invalid is the error of an option that cannot be right.
func invalid(format string, args ...any) error {
	return fmt.Errorf("twophasehttp: %w: "+format, append([]any{twophase.ErrInvalid}, args...)...)
}
