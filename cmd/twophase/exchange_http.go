package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// recordingTransport puts down the requests that it makes, and their replies.
// Headers are not among it: they may be secret.
type recordingTransport struct{ base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t *recordingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	w := wireOf(req.Context())
	w.sent = req.Method + " " + req.URL.Redacted() + bodyOf(req)
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	_ = resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reply %d is cut off: %w", resp.StatusCode, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	w.answered = shownReply(resp, body)
	return resp, nil
}

// maxReply is more than the client accepts.
const maxReply = 1<<20 + 1

// bodyOf returns the body of a request, to be shown.
func bodyOf(req *http.Request) string {
	if req.GetBody == nil {
		return ""
	}
	body, err := req.GetBody()
	if err != nil {
		return ""
	}
	defer func() { _ = body.Close() }()
	text, err := io.ReadAll(io.LimitReader(body, maxReply))
	if err != nil || len(text) == 0 {
		return ""
	}
	return " " + cut(string(text))
}

func shownReply(resp *http.Response, body []byte) string {
	shown := fmt.Sprint(resp.StatusCode)
	if media := resp.Header.Get("Content-Type"); media != "" && media != "application/json" {
		shown += " " + cut(media)
	}
	if after := resp.Header.Get("Retry-After"); after != "" {
		shown += " (Retry-After: " + cut(after) + ")"
	}
	if len(body) == 0 {
		return shown + " with no body"
	}
	return shown + " " + cut(string(body))
}
