package twophasehttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// bound returns the context of a participant's call: it ends when the caller
// goes away, or no longer waits, or at the handler's own bound.
func (h *handler) bound(r *http.Request) (context.Context, context.CancelFunc, error) {
	timeout := h.config.callTimeout
	if header := r.Header.Get(headerTimeout); header != "" {
		asked, ok := parseTimeout(header)
		if !ok {
			return nil, nil, badRequest(0, "%s is %q: give the seconds that you go on waiting, such as 2.5",
				headerTimeout, clean(header))
		}
		timeout = min(timeout, asked)
	}
	ctx, cancel := context.WithTimeout(withTrace(r.Context(), r.Header), timeout)
	return ctx, cancel, nil
}

// parseTimeout reads seconds: decimal digits, with a fraction or without.
func parseTimeout(header string) (time.Duration, bool) {
	for _, c := range []byte(header) {
		if c != '.' && (c < '0' || c > '9') {
			return 0, false
		}
	}
	seconds, err := strconv.ParseFloat(header, 64)
	const endless = float64(1<<63-1) / float64(time.Second)
	if err != nil || seconds <= 0 {
		return 0, false
	}
	if seconds >= endless {
		return 1<<63 - 1, true
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// readBody returns the body of a request, if it is JSON, is not too long and
// arrives in time.
func (h *handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > maxBody {
		return nil, errTooLong
	}
	if mediaTypeOf(r.Header) != typeJSON {
		return nil, badRequest(http.StatusUnsupportedMediaType, "the Content-Type is %q: give %s",
			clean(r.Header.Get("Content-Type")), typeJSON)
	}
	// Where deadlines are not supported, the server's own have to do. The server
	// lifts this one when it has seen the end of the body.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.config.bodyTimeout))
	body, err := readAll(http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength)
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLong
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, tooSlow(h.config.bodyTimeout)
	}
	return nil, errIncomplete
}

// readAll reads to the end. If the length is known it is what is told before.
func readAll(from io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(from)
	}
	body := make([]byte, length)
	_, err := io.ReadFull(from, body)
	return body, err
}
