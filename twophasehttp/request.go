package twophasehttp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// call is one request to a service, and the states that are its success.
type call struct {
	twophase.Call
	method string
	key    twophase.Key
	body   []byte // nil for none
	states []twophase.EntryState
}

// callLookup is not one that a coordinator makes.
const callLookup twophase.Call = "look up"

// do makes a call and returns its answer.
func (p *Participant) do(ctx context.Context, c call) (Holding, error) {
	answer, err := p.send(ctx, c)
	if err != nil {
		return Holding{}, fmt.Errorf("twophasehttp: %s %s: %w", c.Call, c.key, err)
	}
	return answer, nil
}

func (p *Participant) send(ctx context.Context, c call) (Holding, error) {
	if reason := badKey(c.key); reason != "" {
		return Holding{}, refusedBefore(c.Call, reason)
	}
	deadline := time.Now().Add(p.config.timeout)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	resp, err := p.client.Do(p.request(ctx, c, time.Until(deadline)))
	if err != nil {
		return Holding{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	return c.answer(resp)
}

// request returns what is sent: with the time for which its answer is waited.
func (p *Participant) request(ctx context.Context, c call, timeout time.Duration) *http.Request {
	path, escaped := pathOf(c.key, c.Call)
	req := (&http.Request{
		Method: c.method,
		URL: &url.URL{
			Scheme: p.base.Scheme, Host: p.base.Host, User: p.base.User,
			Path: p.base.Path + path, RawPath: p.base.EscapedPath() + escaped,
		},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host:   p.base.Host,
		Header: make(http.Header, 8),
	}).WithContext(ctx)
	req.Header["Accept"] = acceptJSON
	// With this header the transport sends a request again, if the connection
	// was closed before it was read.
	req.Header.Set(headerKey, keyHeader(c.key))
	req.Header.Set(headerTimeout, formatTimeout(timeout))
	if c.body != nil {
		req.Header["Content-Type"] = contentJSON
		req.ContentLength = int64(len(c.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.body)), nil }
		req.Body, _ = req.GetBody()
	}
	setTrace(ctx, req.Header)
	for _, set := range p.config.headers {
		set(ctx, req.Header)
	}
	return req
}

var (
	acceptJSON  = []string{typeJSON + ", " + typeProblem}
	contentJSON = []string{typeJSON}
)

// accepts reports whether an answer is what was asked for.
func (c call) accepts(state twophase.EntryState) bool { return slices.Contains(c.states, state) }

// formatTimeout returns seconds, rounded up to a millisecond: what is left is
// never nothing while somebody waits.
func formatTimeout(d time.Duration) string {
	ms := max(1, ceilMillis(d))
	return strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64)
}

// refusedBefore is the error of a request that is not even sent.
func refusedBefore(c twophase.Call, reason string) error {
	err := fmt.Errorf("%w: %s", twophase.ErrInvalid, reason)
	if c == twophase.CallReserve {
		return fmt.Errorf("%w: %w", twophase.ErrRefused, err)
	}
	return err
}
