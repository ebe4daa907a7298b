package twophasehttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// Whatever a stranger sends is answered: without a panic, without blaming the
// service, and with JSON that tells its own status. What reaches the participant
// is within bounds.
//
//	go test -run '^$' -fuzz FuzzHandler ./twophasehttp
func FuzzHandler(f *testing.F) {
	for _, seed := range []struct{ method, path, contentType, key, timeout, body string }{
		{"PUT", onePath, "application/json", `"order-1/store"`, "2.5", oneBody},
		{"POST", assignmentPath, "", "", "", ""},
		{"DELETE", "/reservations/a%2Fb/%2E%2E", "", `"a%2Fb/%2E%2E"`, "1e9", ""},
		{"GET", onePath, "", "order-1/store", "0", ""},
		{"PUT", onePath, "application/json;q=", "", "999999999999999999999", `{"hold_ms":1,"hold_ms":2}`},
		{"PUT", "/reservations/%zz/x", "application/json", `"`, ".", `{"payload":[[[[{}]]]],"hold_ms":1}{`},
	} {
		f.Add(seed.method, seed.path, seed.contentType, seed.key, seed.timeout, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, method, path, contentType, key, timeout string, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", strings.NewReader(string(body)))
		parsed, err := url.ParseRequestURI(path)
		if err != nil {
			return // so does net/http
		}
		r.Method, r.URL = method, parsed
		r.Header = http.Header{"Content-Type": {contentType}, "Idempotency-Key": {key}, "Request-Timeout": {timeout}}
		p := &bounded{t: t}
		w := ask(newHandler(t, p), r)
		if parsed.EscapedPath() == "/openapi.yaml" || parsed.EscapedPath() == "openapi.yaml" {
			return
		}
		require.Less(t, w.Code, 500, w.Body)
		require.Equal(t, w.Code == http.StatusOK, p.calls == 1, "%d after %d calls", w.Code, p.calls)
		var reply struct {
			State, Reason string
			Status        int
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &reply))
		if w.Code == http.StatusOK {
			require.NotEmpty(t, reply.State)
			return
		}
		require.Equal(t, w.Code, reply.Status)
		require.Equal(t, "invalid", reply.Reason)
	})
}

// bounded is a participant that checks what it is asked.
type bounded struct {
	t     *testing.T
	calls int
}

func (b *bounded) check(key twophase.Key) {
	b.calls++
	for _, id := range []string{key.Transaction, key.Step} {
		require.NotEmpty(b.t, id)
		require.LessOrEqual(b.t, len(id), twophase.MaxIDLength)
	}
}

func (b *bounded) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	b.check(req.Key)
	require.LessOrEqual(b.t, len(req.Payload), twophase.MaxPayloadSize)
	require.True(b.t, req.Payload == nil || json.Valid(req.Payload))
	require.Positive(b.t, req.Hold)
	require.LessOrEqual(b.t, req.Hold, twophasehttp.MaxHold)
	return twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: req.Hold}, ctx.Err()
}

func (b *bounded) Assign(ctx context.Context, key twophase.Key) error {
	b.check(key)
	return ctx.Err()
}

func (b *bounded) Release(ctx context.Context, key twophase.Key) error {
	b.check(key)
	return ctx.Err()
}

// Whatever a service answers, a client does not panic, takes for a success only
// what has the state that was asked for, and for final only what may be.
func FuzzReply(f *testing.F) {
	for _, seed := range []struct {
		status                  int
		contentType, after, key string
		body                    string
	}{
		{200, "application/json", "", `"order-1/store"`, `{"state":"assigned"}`},
		{200, "application/json", "", "", `{"state":"reserved","resources":["packet-1"],"time_left_ms":1,"details":{}}`},
		{200, "text/html", "", "", `<html>`},
		{409, "application/problem+json", "", "", `{"reason":"refused","detail":"no dosa left"}`},
		{503, "application/problem+json; charset=utf-8", "Wed, 21 Oct 2015 07:28:00 GMT", "", `{"reason":"busy"}`},
		{404, "application/json", "99999999999999999999", "", `{"reason":"unknown","status":"x"}`},
		{301, "", "-1", "", ``},
	} {
		f.Add(seed.status, seed.contentType, seed.after, seed.key, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, status int, contentType, after, key string, body []byte) {
		client := replying(t, status, string(body), "Content-Type", contentType, "Retry-After", after, "Idempotency-Key", key)
		for call, do := range calling {
			err := do(t.Context(), client)
			if err == nil {
				requireSuccess(t, call, status, body)
				continue
			}
			require.Less(t, len(err.Error()), 4000)
			if patience, ok := errors.AsType[*twophase.RetryAfterError](err); ok {
				require.False(t, twophase.IsFinal(err))
				require.GreaterOrEqual(t, patience.After, time.Duration(0))
				require.LessOrEqual(t, patience.After, 24*time.Hour)
			}
			if twophase.IsFinal(err) {
				require.NotEqual(t, 2, status/100)
				require.True(t, strings.Contains(string(body), "reason") || slices.Contains([]int{409, 410, 422}, status), "%v", err)
			}
		}
	})
}

func requireSuccess(t *testing.T, call twophase.Call, status int, body []byte) {
	t.Helper()
	require.Equal(t, 2, status/100)
	var reply map[string]any
	require.NoError(t, json.Unmarshal(body, &reply))
	switch call {
	case twophase.CallReserve:
		require.Contains(t, []any{"reserved", "assigned"}, reply["state"])
		require.IsType(t, []any{}, reply["resources"])
	case twophase.CallAssign:
		require.Equal(t, "assigned", reply["state"])
	case twophase.CallRelease:
		require.Equal(t, "released", reply["state"])
	}
}

// A key arrives as it was sent, whatever it is made of, also through a ServeMux;
// and no two keys have the same path.
func FuzzPath(f *testing.F) {
	for _, key := range []twophase.Key{
		oneKey, {Transaction: "..", Step: "."}, {Transaction: "a/b", Step: "c"}, {Transaction: "a", Step: "b/c"},
		{Transaction: "100%", Step: "%2F"}, {Transaction: "a?b=c&d", Step: "#e"}, {Transaction: "ದೋಸೆ", Step: "🛵"},
		{Transaction: "a b+c", Step: `\;"'`}, {Transaction: "assignment", Step: "assignment"}, {Transaction: "/", Step: "//"},
		{Transaction: "https://x", Step: "."}, {Transaction: strings.Repeat("/", 255), Step: strings.Repeat(".", 255)},
	} {
		f.Add(key.Transaction, key.Step)
	}
	f.Fuzz(func(t *testing.T, transaction, step string) {
		key := twophase.Key{Transaction: transaction, Step: step}
		p := &stub{reservation: reserved}
		mux := http.NewServeMux()
		mux.Handle("/shop/", http.StripPrefix("/shop", newHandler(t, p)))
		client := newClient(t, "http://store/shop/", twophasehttp.WithRoundTripper(roundTrip(
			func(r *http.Request) (*http.Response, error) {
				target, err := url.ParseRequestURI(r.URL.RequestURI()) // as it is on the wire
				require.NoError(t, err)
				arrived := httptest.NewRequestWithContext(r.Context(), r.Method, "/", nil)
				arrived.URL, arrived.Header, arrived.Body, arrived.ContentLength = target, r.Header, r.Body, r.ContentLength
				return ask(mux, arrived).Result(), nil
			})))
		_, err := client.Reserve(t.Context(), twophase.Request{Key: key, Hold: time.Second})
		if errors.Is(err, twophase.ErrInvalid) {
			require.Empty(t, p.asked.Key, "it is not sent")
			return
		}
		require.NoError(t, err)
		require.Equal(t, key, p.asked.Key)
		p.asked.Key = twophase.Key{}
		require.NoError(t, client.Assign(t.Context(), key))
		assert.Equal(t, key, p.asked.Key)
		p.asked.Key = twophase.Key{}
		require.NoError(t, client.Release(t.Context(), key))
		assert.Equal(t, key, p.asked.Key)
	})
}

// Both sides have the same bytes of a payload, and so the same fingerprint.
func FuzzPayload(f *testing.F) {
	for _, payload := range []string{`{"kind":"masala dosa"}`, ` [1, 2.50e1 ,"<&>"] `, `null`, `"\u003c\ud800"`, `{"a":1,"a":2}`, ``, `{`, "\"\xff\""} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		p := &stub{reservation: reserved}
		handler := newHandler(t, p)
		client := newClient(t, "http://store/", twophasehttp.WithRoundTripper(roundTrip(
			func(r *http.Request) (*http.Response, error) { return ask(handler, r).Result(), nil })))
		_, err := client.Reserve(t.Context(), twophase.Request{Key: oneKey, Payload: payload, Hold: time.Second})
		if err != nil {
			require.ErrorIs(t, err, twophase.ErrRefused, "what is no JSON is never going to be")
			return
		}
		if len(payload) == 0 {
			require.Nil(t, p.asked.Payload)
			return
		}
		require.Equal(t, compacted(t, payload), string(p.asked.Payload))
	})
}

func compacted(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, text))
	return b.String()
}
