package twophasehttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-bcc3c603/twophase"
)

// Participant is a [twophase.Participant] that calls a service over HTTP. It is
// safe for concurrent use. Make it with [NewParticipant].
type Participant struct {
	base   *url.URL // its path has no slash at the end
	config *clientConfig
	client *http.Client
}

var _ twophase.Participant = (*Participant)(nil)

// NewParticipant returns a client of the service at baseURL, which is where its
// handler is mounted: "https://shop.example/store/", say. The error is
// [twophase.ErrInvalid] and names all that cannot be right. No request is made.
func NewParticipant(baseURL string, options ...ClientOption) (*Participant, error) {
	c, err := newClientConfig(options)
	base, baseErr := parseBase(baseURL)
	if err := errors.Join(baseErr, err); err != nil {
		return nil, err
	}
	return &Participant{
		base:   base,
		config: c,
		client: &http.Client{
			Transport: c.roundTripper,
			// Who answers elsewhere is not the one who was asked.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// parseBase checks where a service is said to be.
func parseBase(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	var problem string
	switch {
	case err != nil:
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err // without the URL, which may have a password
		}
		return nil, invalid("the base URL does not parse: %w", err)
	case base.Scheme != "http" && base.Scheme != "https":
		problem = "it must begin with http:// or https://"
	case base.Hostname() == "":
		problem = "it has no host"
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		problem = "it must have neither a query nor a fragment"
	default:
		base.RawPath = strings.TrimRight(base.EscapedPath(), "/")
		base.Path, err = url.PathUnescape(base.RawPath)
		return base, err
	}
	return nil, invalid("the base URL %q: %s", base.Redacted(), problem)
}

// Reserve implements [twophase.Participant].
func (p *Participant) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	body, err := encodeReserve(req)
	if err != nil {
		return twophase.Reservation{}, fmt.Errorf("twophasehttp: reserve %s: %w: %w", req.Key, twophase.ErrRefused, err)
	}
	answer, err := p.do(ctx, call{
		Call: twophase.CallReserve, method: http.MethodPut, key: req.Key, body: body,
		states: []twophase.EntryState{twophase.EntryReserved, twophase.EntryAssigned},
	})
	return answer.Reservation, err
}

// Assign implements [twophase.Participant].
func (p *Participant) Assign(ctx context.Context, key twophase.Key) error {
	_, err := p.do(ctx, call{
		Call: twophase.CallAssign, method: http.MethodPost, key: key,
		states: []twophase.EntryState{twophase.EntryAssigned},
	})
	return err
}

// Release implements [twophase.Participant].
func (p *Participant) Release(ctx context.Context, key twophase.Key) error {
	_, err := p.do(ctx, call{
		Call: twophase.CallRelease, method: http.MethodDelete, key: key,
		states: []twophase.EntryState{twophase.EntryReleased},
	})
	return err
}

// Lookup returns what the service has under a key, and whether it has anything.
// A service that cannot tell answers with an error.
func (p *Participant) Lookup(ctx context.Context, key twophase.Key) (Holding, bool, error) {
	holding, err := p.do(ctx, call{
		Call: callLookup, method: http.MethodGet, key: key,
		states: []twophase.EntryState{
			twophase.EntryReserved, twophase.EntryAssigned, twophase.EntryReleased, twophase.EntryExpired,
		},
	})
	if errors.Is(err, twophase.ErrUnknown) {
		return Holding{}, false, nil
	}
	return holding, err == nil, err
}

// CloseIdleConnections closes connections that are kept for further calls, and
// touches none that is in use. The participant may be used again.
func (p *Participant) CloseIdleConnections() { p.client.CloseIdleConnections() }
