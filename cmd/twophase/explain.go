package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// explain adds to an error that ended the run what was called last, and what
// may be done about it.
func (v *verifier) explain(err error) error {
	hint := v.hint(err)
	if hint == "" {
		return err
	}
	var last exchange
	for _, s := range v.stocks {
		for _, e := range s.transcript.until(time.Now()) {
			if e.began.After(last.began) {
				last = e
			}
		}
	}
	return fmt.Errorf("%s does not answer as a participant: %w\n  sent      %s\n  answered  %s\n  hint      %s",
		v.settings.name(), rootOf(err), last.Sent, last.Answered, hint)
}

// name returns the address, or that there are several.
func (s *settings) name() string {
	if len(s.targets) > 1 {
		return "one of the instances"
	}
	return s.targets[0].String()
}

// hint says what may be done about an error of a call, and nothing if it was
// none.
func (v *verifier) hint(err error) string {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	problem, answered := errors.AsType[*twophasehttp.Problem](err)
	switch {
	case isOwn(err):
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("it took longer than %v: is it overloaded, or is -timeout too short?", v.settings.timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the service running, and is the port right?"
	case errors.As(err, &dns):
		return "the host's name is not known here: is it spelt right?"
	case errors.As(err, &unknown):
		return "its certificate is not trusted here: give the authority's with -ca"
	case errors.As(err, &name):
		return "its certificate is for another name: use that name in the address"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it does not speak TLS: use http:// or grpc://"
	case answered:
		return hintForStatus(problem)
	}
	if s, ok := status.FromError(rootOf(err)); ok {
		return hintForCode(s)
	}
	return "what answers is not a participant: is the base URL right, and does the service follow docs/http.md?"
}

// isOwn reports whether an error is no answer to a call, and says all itself.
func isOwn(err error) bool {
	_, short := errors.AsType[*shortage](err)
	_, own := errors.AsType[*unfitError](err)
	return short || own || isBroken(err)
}

func hintForStatus(p *twophasehttp.Problem) string {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return `it wants to know who calls: give -header "Authorization: …", or -cert and -key`
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMovedPermanently, http.StatusFound,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return "there is no participant at this address: the base URL is what /reservations/{transaction}/{step} is below"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return "it is not ready, or busy: try again later"
	case http.StatusBadRequest:
		if p.Reason == "" {
			return "if it speaks TLS, use https://; else it does not follow docs/http.md"
		}
	}
	return "the service's own log should say more"
}

func hintForCode(s *status.Status) string {
	switch s.Code() {
	case codes.Unimplemented:
		return "there is no twophase.v1.ParticipantService at this address: is the port right, and is the service registered?"
	case codes.Unauthenticated, codes.PermissionDenied:
		return `it wants to know who calls: give -header "Authorization: …", or -cert and -key`
	case codes.Unavailable:
		return "is the service running, is the port right, and does it speak gRPC, with TLS for grpcs:// and without for grpc://?"
	}
	return "the service's own log should say more"
}

// unfitError is the error of a run that cannot be of use.
type unfitError struct{ what string }

// Error says why, and what would be right.
func (e *unfitError) Error() string { return e.what }

func unfit(format string, args ...any) error { return &unfitError{fmt.Sprintf(format, args...)} }
