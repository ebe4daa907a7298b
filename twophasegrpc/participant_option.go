package twophasegrpc

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/seed-bcc3c603/twophase"
)

// ClientOption configures a [Participant].
type ClientOption func(*clientConfig)

// WithTimeout bounds each call whose context has no earlier deadline. A
// coordinator's calls have one: see [twophase.Retry]. Default 30 seconds.
func WithTimeout(d time.Duration) ClientOption { return func(c *clientConfig) { c.timeout = d } }

// WithCallOptions adds options to every call: credentials that come with each,
// say.
func WithCallOptions(options ...grpc.CallOption) ClientOption {
	return func(c *clientConfig) { c.callOptions = append(c.callOptions, options...) }
}

// clientConfig is what the options add up to.
type clientConfig struct {
	timeout     time.Duration
	callOptions []grpc.CallOption
	errs        []error
}

func newClientConfig(options []ClientOption) (*clientConfig, error) {
	c := &clientConfig{
		timeout:     30 * time.Second,
		callOptions: []grpc.CallOption{grpc.MaxCallRecvMsgSize(maxAnswer)},
	}
	for i, option := range options {
		if option == nil {
			c.errs = append(c.errs, wrong("option %d is nil", i+1))
			continue
		}
		option(c)
	}
	if c.timeout <= 0 {
		c.errs = append(c.errs, wrong("WithTimeout(%v): it must be above zero", c.timeout))
	}
	return c, errors.Join(c.errs...)
}

// wrong is the error of an argument that cannot be right.
func wrong(format string, args ...any) error {
	return fmt.Errorf("twophasegrpc: %w: "+format, append([]any{twophase.ErrInvalid}, args...)...)
}
