package twophasehttp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/seed-bcc3c603/twophase"
)

// Problem is what a service answers instead of a success, as the problem
// details of RFC 9457. It is found by [errors.As] in the errors of a
// [Participant], and is the contract's error that its Reason names.
type Problem struct {
	// Type is the URI of a page that tells what to do.
	Type  string `json:"type"`
	Title string `json:"title"`
	// Status is that of the reply.
	Status int `json:"status"`
	// Detail says what happened, for people.
	Detail string `json:"detail,omitempty"`
	// Reason says what happened, for programs: "refused", say. It is empty in
	// replies that the service has not made, such as a proxy's.
	Reason string `json:"reason,omitempty"`

	is []error
}

// The reasons of a problem.
const (
	ReasonRefused     = "refused"     // twophase.ErrRefused
	ReasonMismatch    = "mismatch"    // twophase.ErrMismatch
	ReasonExpired     = "expired"     // twophase.ErrExpired
	ReasonReleased    = "released"    // twophase.ErrReleased
	ReasonUnknown     = "unknown"     // twophase.ErrUnknown
	ReasonInvalid     = "invalid"     // the request itself can never be right
	ReasonIncomplete  = "incomplete"  // the request did not arrive whole
	ReasonUnavailable = "unavailable" // not now
	ReasonBusy        = "busy"        // too many at once
	ReasonTimeout     = "timeout"     // no answer in time
	ReasonInternal    = "internal"    // a fault of the service
)

// typeBase is the page that the types of problems are sections of.
const typeBase = "https://github.com/seed-bcc3c603/twophase/blob/main/docs/http.md#"

// reasons are the statuses and titles of the reasons, and the errors that are
// final. The first that an error is, is told.
var reasons = []struct {
	name     string
	status   int
	title    string
	sentinel error
}{
	{ReasonRefused, http.StatusConflict, "Nothing is free, or the request can never be met", twophase.ErrRefused},
	{ReasonMismatch, http.StatusUnprocessableEntity, "The key was used before with other contents", twophase.ErrMismatch},
	{ReasonExpired, http.StatusGone, "The reservation ran out before it was assigned", twophase.ErrExpired},
	{ReasonReleased, http.StatusGone, "The key was released", twophase.ErrReleased},
	{ReasonUnknown, http.StatusNotFound, "The key was never reserved", twophase.ErrUnknown},
	{ReasonInvalid, http.StatusBadRequest, "The request can never be right", twophase.ErrInvalid},
	{ReasonIncomplete, http.StatusBadRequest, "The request did not arrive whole", nil},
	{ReasonUnavailable, http.StatusServiceUnavailable, "Not now", nil},
	{ReasonBusy, http.StatusTooManyRequests, "Too many calls at once", nil},
	{ReasonTimeout, http.StatusServiceUnavailable, "No answer in time", nil},
	{ReasonInternal, http.StatusInternalServerError, "The participant failed", nil},
}

// newProblem returns a problem to be sent. Status 0 is that of the reason.
func newProblem(reason string, status int, detail string) *Problem {
	p := &Problem{Type: typeBase + reason, Status: status, Reason: reason, Detail: clean(detail)}
	for _, r := range reasons {
		if r.name == reason {
			p.Title = r.title
			if status == 0 {
				p.Status = r.status
			}
		}
	}
	return p
}

// Error returns the detail, after the error that it is, or after the status.
func (p *Problem) Error() string {
	prefix := fmt.Sprintf("%d %s", p.Status, http.StatusText(p.Status))
	if len(p.is) > 0 {
		prefix = p.is[0].Error()
	}
	switch {
	case p.Detail == "":
		return prefix
	case strings.HasPrefix(p.Detail, prefix):
		return p.Detail
	}
	return prefix + ": " + p.Detail
}

// Unwrap returns the errors of the contract that the problem is, if any.
func (p *Problem) Unwrap() []error { return p.is }

// judge finds what the problem is as the answer to a call. The reason decides.
// The status does only where it can hardly be that of a proxy, and where no
// answer would be the worse for a coordinator to believe.
func (p *Problem) judge(c twophase.Call, patience bool) {
	for _, r := range reasons {
		if r.name != p.Reason {
			continue
		}
		if p.Reason == ReasonInvalid && c == twophase.CallReserve {
			p.is = append(p.is, twophase.ErrRefused) // nothing is kept, and repeating is pointless
		}
		if r.sentinel != nil {
			p.is = append(p.is, r.sentinel)
		}
		return
	}
	if patience || c != twophase.CallReserve && c != twophase.CallAssign {
		return
	}
	switch p.Status {
	case http.StatusConflict:
		p.is = []error{twophase.ErrRefused}
	case http.StatusGone:
		p.is = []error{twophase.ErrExpired}
	case http.StatusUnprocessableEntity:
		p.is = []error{twophase.ErrMismatch}
	}
}

// readProblem returns the problem that a reply tells of: whatever of it can be
// read, and the status.
func readProblem(resp *http.Response, body []byte) *Problem {
	p := &Problem{}
	if mediaType := mediaTypeOf(resp.Header); mediaType == typeProblem || mediaType == typeJSON {
		var read Problem
		if json.Unmarshal(body, &read) == nil {
			p = &read
		}
	}
	p.Status = resp.StatusCode
	p.Type, p.Title, p.Detail, p.Reason = clean(p.Type), clean(p.Title), clean(p.Detail), clean(p.Reason)
	if location := resp.Header.Get("Location"); location != "" && resp.StatusCode/100 == 3 {
		p.Detail = clean("not followed to " + location + ": make that the base URL if it is right")
	}
	return p
}

// clean makes a stranger's text fit for a message: of one line, and short.
func clean(text string) string {
	if len(text) > maxDetail {
		text = text[:maxDetail]
	}
	text = strings.ToValidUTF8(text, "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
