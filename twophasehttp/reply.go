package twophasehttp

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// answer reads a reply, and returns a success only if it certainly is one.
func (c call) answer(resp *http.Response) (Holding, error) {
	if named := resp.Header.Get(headerKey); named != "" && !namesKey(named, c.key) {
		// What is left unread is not read by the next call, either: the
		// connection is closed.
		return Holding{}, fmt.Errorf("the reply is that to another call: its %s is %q", headerKey, clean(named))
	}
	body, err := readBounded(resp.Body, maxReply)
	if err != nil {
		return Holding{}, fmt.Errorf("reply %d: %w", resp.StatusCode, err)
	}
	if resp.StatusCode/100 != 2 {
		return Holding{}, c.failure(resp, body)
	}
	answer, err := decodeAnswer(c, body)
	if err != nil {
		return Holding{}, fmt.Errorf("reply %d is no success: %w", resp.StatusCode, err)
	}
	return answer, nil
}

// failure returns the error that a reply is.
func (c call) failure(resp *http.Response, body []byte) error {
	problem := readProblem(resp, body)
	delay, patience := retryAfter(resp.Header)
	problem.judge(c.Call, patience)
	if patience && !twophase.IsFinal(problem) {
		return &twophase.RetryAfterError{After: delay, Err: problem}
	}
	return problem
}

// readBounded reads to the end, so that the connection can be used again.
func readBounded(from io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("the body has more than %d bytes", limit)
	}
	return body, err
}

// maxPatience bounds what a service may ask for.
const maxPatience = 24 * time.Hour

// retryAfter returns the delay that a reply asks for, and whether it does. A
// date is counted from the date of the reply, which is by the same clock.
func retryAfter(h http.Header) (time.Duration, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxPatience), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(0, at.Sub(now)), maxPatience), true
}

// mediaTypeOf returns the media type of a body, without its parameters.
func mediaTypeOf(h http.Header) string {
	value := h.Get("Content-Type")
	if value == typeJSON || value == typeProblem {
		return value
	}
	mediaType, _, err := mime.ParseMediaType(value)
	if err != nil {
		return ""
	}
	return mediaType
}
