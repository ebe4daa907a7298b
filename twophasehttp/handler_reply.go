package twophasehttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// requestError is the error of a request that does not reach the participant.
type requestError struct{ problem *Problem }

func (e *requestError) Error() string { return e.problem.Error() }

// badRequest is the error of a request that can never be right. Status 0 is 400.
func badRequest(status int, format string, args ...any) error {
	return &requestError{newProblem(ReasonInvalid, status, fmt.Sprintf(format, args...))}
}

// The errors of requests that are refused for other reasons.
var (
	errTooLong = badRequest(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", maxBody)
	errBusy    = &twophase.RetryAfterError{
		After: time.Second, Err: &requestError{newProblem(ReasonBusy, 0, "as many calls are under way as are served at a time")},
	}
	errIncomplete = &requestError{newProblem(ReasonIncomplete, 0, "the body did not arrive whole")}
)

// tooSlow is the error of a body that did not arrive in time.
func tooSlow(d time.Duration) error {
	return &requestError{newProblem(ReasonTimeout, http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive within %v", d))}
}

// panicError is the error of a participant that panicked.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("the participant panicked: %v", e.value) }

// guard calls a service, and turns a panic of the participant into its error.
func guard(ctx context.Context, serve service, key twophase.Key, body []byte) (reply []byte, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value: value, stack: debug.Stack()}
		}
	}()
	return serve(ctx, key, body)
}

// writeError tells a caller of an error.
func (h *handler) writeError(w http.ResponseWriter, r *http.Request, err error) {
	problem := problemOf(err)
	if problem == nil {
		h.log(r, err)
		problem = newProblem(ReasonInternal, 0, "what happened is in the service's log")
	}
	if patience, ok := errors.AsType[*twophase.RetryAfterError](err); ok {
		w.Header().Set("Retry-After", strconv.FormatInt(ceilSeconds(patience.After), 10))
	}
	body, err := json.Marshal(problem)
	if err != nil { // it consists of strings and a number
		body = nil
	}
	write(w, problem.Status, contentProblem, body)
}

// problemOf returns how an error is told, and nil if it is not to be told.
func problemOf(err error) *Problem {
	if refused, ok := errors.AsType[*requestError](err); ok {
		return refused.problem
	}
	for _, r := range reasons {
		if r.sentinel != nil && errors.Is(err, r.sentinel) {
			return newProblem(r.name, 0, err.Error())
		}
	}
	if patience, ok := errors.AsType[*twophase.RetryAfterError](err); ok {
		return newProblem(ReasonUnavailable, 0, patience.Err.Error())
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return newProblem(ReasonTimeout, 0, "the participant did not answer in time")
	}
	return nil
}

// log tells of a fault that the caller is not told of.
func (h *handler) log(r *http.Request, err error) {
	attrs := []slog.Attr{slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()), slog.Any("error", err)}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	h.config.logger.LogAttrs(r.Context(), slog.LevelError, "twophasehttp: participant failed", attrs...)
}

// write sends a reply.
func write(w http.ResponseWriter, status int, contentType []string, body []byte) {
	header := w.Header()
	header["Content-Type"] = contentType
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	header["Cache-Control"] = noStore
	w.WriteHeader(status)
	_, _ = w.Write(body) // who has gone away asks again
}

var (
	contentProblem = []string{typeProblem}
	noStore        = []string{"no-store"}
)

// ceilSeconds returns seconds, rounded up, and at least one.
func ceilSeconds(d time.Duration) int64 { return max(1, int64(math.Ceil(d.Seconds()))) }
