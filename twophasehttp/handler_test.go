package twophasehttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// stub is a participant that answers what it is told to, and remembers what it
// was asked.
type stub struct {
	reservation twophase.Reservation
	err         error
	panics      any
	wait        func(ctx context.Context)
	asked       twophase.Request
	trace       twophasehttp.Trace
	patience    time.Duration
}

func (s *stub) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	s.asked = req
	return s.reservation, s.answer(ctx)
}

func (s *stub) Assign(ctx context.Context, key twophase.Key) error {
	s.asked.Key = key
	return s.answer(ctx)
}

func (s *stub) Release(ctx context.Context, key twophase.Key) error {
	s.asked.Key = key
	return s.answer(ctx)
}

func (s *stub) answer(ctx context.Context) error {
	s.trace, _ = twophasehttp.TraceFromContext(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		s.patience = time.Until(deadline)
	}
	if s.wait != nil {
		s.wait(ctx)
	}
	if s.panics != nil {
		panic(s.panics)
	}
	if s.err == nil {
		return nil
	}
	return s.err
}

var reserved = twophase.Reservation{Resources: []string{"packet-1"}, TimeLeft: 1999999 * time.Microsecond}

const (
	onePath        = "/reservations/order-1/store"
	assignmentPath = onePath + "/assignment"
	oneBody        = `{"payload":{"kind":"masala dosa"},"hold_ms":2000}`
)

var oneKey = twophase.Key{Transaction: "order-1", Step: "store"}

// request returns a request to a handler. A body is JSON unless headers, which
// are names and values in turn, say otherwise.
func request(t testing.TB, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, path, content)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// ask lets a handler answer.
func ask(handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestASuccessIsTold(t *testing.T) {
	t.Parallel()
	given := reserved
	given.Details = json.RawMessage(`{ "from": "<kitchen>" }`)
	assigned := twophase.Reservation{Resources: []string{"packet-1", "packet-2"}, Assigned: true}
	for _, tc := range []struct {
		name, method, path, body string
		reservation              twophase.Reservation
		want                     string
	}{
		{
			"Reserve, with the time left rounded down", http.MethodPut, onePath, oneBody, reserved,
			`{"state":"reserved","resources":["packet-1"],"time_left_ms":1999}`,
		},
		{
			"Reserve, with details as they are", http.MethodPut, onePath, oneBody, given,
			`{"state":"reserved","resources":["packet-1"],"time_left_ms":1999,"details":{"from":"<kitchen>"}}`,
		},
		{
			"Reserve of what is assigned", http.MethodPut, onePath, oneBody, assigned,
			`{"state":"assigned","resources":["packet-1","packet-2"]}`,
		},
		{
			"Reserve of no resources", http.MethodPut, onePath, oneBody, twophase.Reservation{TimeLeft: time.Second},
			`{"state":"reserved","resources":[],"time_left_ms":1000}`,
		},
		{"Assign", http.MethodPost, assignmentPath, "", reserved, `{"state":"assigned"}`},
		{"Assign with an empty object", http.MethodPost, assignmentPath, "{}", reserved, `{"state":"assigned"}`},
		{"Release", http.MethodDelete, onePath, "", reserved, `{"state":"released"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := &stub{reservation: tc.reservation}
			w := ask(newHandler(t, p), request(t, tc.method, tc.path, tc.body))
			assert.Equal(t, http.StatusOK, w.Code)
			assert.Equal(t, tc.want, w.Body.String())
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			assert.Equal(t, `"order-1/store"`, w.Header().Get("Idempotency-Key"), "what it is the reply to")
			assert.Equal(t, oneKey, p.asked.Key)
		})
	}
}

func TestTheErrorsOfAParticipantAreToldByTheirReason(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err    error
		status int
		reason string
		detail string
		after  string
	}{
		{fmt.Errorf("%w: no dosa left", twophase.ErrRefused), 409, "refused", "refused: no dosa left", ""},
		{fmt.Errorf("%w: order-1", twophase.ErrMismatch), 422, "mismatch", "used before with other contents: order-1", ""},
		{twophase.ErrExpired, 410, "expired", "expired", ""},
		{twophase.ErrReleased, 410, "released", "released", ""},
		{twophase.ErrUnknown, 404, "unknown", "unknown reservation", ""},
		{fmt.Errorf("%w: a week is too long", twophase.ErrInvalid), 400, "invalid", "invalid: a week is too long", ""},
		{context.DeadlineExceeded, 503, "timeout", "the participant did not answer in time", ""},
		{context.Canceled, 503, "timeout", "the participant did not answer in time", ""},
		{&twophase.RetryAfterError{After: 1200 * time.Millisecond, Err: errors.New("stocktaking")}, 503, "unavailable", "stocktaking", "2"},
		{&twophase.RetryAfterError{Err: errors.New("stocktaking")}, 503, "unavailable", "stocktaking", "1"},
		{errors.New("dial 10.0.0.7: password is wrong"), 500, "internal", "what happened is in the service's log", ""},
		{twophase.ErrUnavailable, 500, "internal", "what happened is in the service's log", ""},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			t.Parallel()
			handler := newHandler(t, &stub{err: tc.err}, silent)
			for _, r := range []*http.Request{
				request(t, http.MethodPut, onePath, oneBody),
				request(t, http.MethodPost, assignmentPath, ""),
				request(t, http.MethodDelete, onePath, ""),
			} {
				w := ask(handler, r)
				requireProblem(t, w, tc.status, tc.reason, tc.detail)
				assert.Equal(t, tc.after, w.Header().Get("Retry-After"))
			}
		})
	}
}

// requireProblem checks that a reply is a problem, and of what kind.
func requireProblem(t testing.TB, w *httptest.ResponseRecorder, status int, reason, detail string) {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	var problem struct {
		Type, Title, Detail, Reason string
		Status                      int
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
	assert.Equal(t, "https://github.com/seed-bcc3c603/twophase/blob/main/docs/http.md#"+reason, problem.Type)
	assert.NotEmpty(t, problem.Title)
	assert.Equal(t, status, problem.Status)
	assert.Equal(t, reason, problem.Reason)
	assert.Contains(t, problem.Detail, detail)
}

func TestWhatIsNotExpectedIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", twophase.MaxIDLength+1)
	for _, tc := range []struct {
		name    string
		r       *http.Request
		status  int
		detail  string
		allowed string
	}{
		{"another path", request(t, "PUT", "/orders/1", oneBody), 404, "no such path: it is /reservations/{transaction}/{step}", ""},
		{"a path that is too short", request(t, "PUT", "/reservations/order-1", oneBody), 404, "no such path", ""},
		{"a path that is too long", request(t, "PUT", onePath+"/assignment/x", oneBody), 404, "no such path", ""},
		{"something else below a reservation", request(t, "POST", onePath+"/cancellation", ""), 404, "no such path", ""},
		{"an endless path", request(t, "PUT", "/reservations/"+strings.Repeat("x", 9999)+"/store", oneBody), 414, "at most", ""},
		{"an empty id", request(t, "PUT", "/reservations//store", oneBody), 400, "the transaction's id is empty", ""},
		{"an empty step", request(t, "PUT", "/reservations/order-1/", oneBody), 400, "the step's name is empty", ""},
		{"a long id", request(t, "PUT", "/reservations/"+long+"/store", oneBody), 400, "has 256 bytes: at most 255", ""},
		{"an id with control characters", request(t, "PUT", "/reservations/a%0Ab/store", oneBody), 400, "control characters", ""},
		{"an id that is no UTF-8", request(t, "PUT", "/reservations/%ff/store", oneBody), 400, "not valid UTF-8", ""},
		{"another method", request(t, "PATCH", onePath, oneBody), 405, "serves PUT, DELETE", "PUT, DELETE"},
		{"GET of a participant that cannot tell", request(t, "GET", onePath, ""), 405, "serves PUT, DELETE", "PUT, DELETE"},
		{"another method of an assignment", request(t, "PUT", assignmentPath, oneBody), 405, "serves POST", "POST"},
		{"another method of the description", request(t, "PUT", "/openapi.yaml", oneBody), 405, "serves GET, HEAD", "GET, HEAD"},
		{"the key of another call", request(t, "PUT", onePath, oneBody, "Idempotency-Key", `"order-2/store"`), 400, `not the key of the path, "order-1/store"`, ""},
		{"a key that is none", request(t, "PUT", onePath, oneBody, "Idempotency-Key", "5f0c"), 400, "Idempotency-Key", ""},
		{"a timeout that is none", request(t, "PUT", onePath, oneBody, "Request-Timeout", "soon"), 400, "such as 2.5", ""},
		{"a timeout below zero", request(t, "PUT", onePath, oneBody, "Request-Timeout", "-1"), 400, "Request-Timeout", ""},
		{"a timeout of zero", request(t, "PUT", onePath, oneBody, "Request-Timeout", "0"), 400, "Request-Timeout", ""},
		{"a body of another type", request(t, "PUT", onePath, oneBody, "Content-Type", "text/plain"), 415, "give application/json", ""},
		{"a body of no type", request(t, "PUT", onePath, oneBody, "Content-Type", ""), 415, "give application/json", ""},
		{"no body", request(t, "PUT", onePath, ""), 400, "no object", ""},
		{"a body that is too long", request(t, "PUT", onePath, `{"payload":"`+strings.Repeat("x", 300<<10)+`"}`), 413, "more than 266240 bytes", ""},
		{"a payload that is too long", request(t, "PUT", onePath, `{"hold_ms":1,"payload":"`+strings.Repeat("x", 256<<10)+`"}`), 400, "at most 262144", ""},
		{"no JSON", request(t, "PUT", onePath, "payload=1"), 400, "no object", ""},
		{"no object", request(t, "PUT", onePath, "[]"), 400, "no object", ""},
		{"half an object", request(t, "PUT", onePath, `{"hold_ms":2000`), 400, "ends early", ""},
		{"JSON that is no UTF-8", request(t, "PUT", onePath, "{\"payload\":\"\xff\",\"hold_ms\":1}"), 400, "UTF-8", ""},
		{"no hold", request(t, "PUT", onePath, `{"payload":1}`), 400, "hold_ms is missing", ""},
		{"a hold that is null", request(t, "PUT", onePath, `{"hold_ms":null}`), 400, "hold_ms is missing", ""},
		{"a hold of nothing", request(t, "PUT", onePath, `{"hold_ms":0}`), 400, "give 1 to 2592000000", ""},
		{"a hold of years", request(t, "PUT", onePath, `{"hold_ms":2592000001}`), 400, "give 1 to 2592000000", ""},
		{"a hold with a fraction", request(t, "PUT", onePath, `{"hold_ms":1.5}`), 400, "hold_ms", ""},
		{"a hold that is text", request(t, "PUT", onePath, `{"hold_ms":"1"}`), 400, "hold_ms", ""},
		{"an unknown member", request(t, "PUT", onePath, `{"hold_ms":1,"priority":9}`), 400, `"priority" is no member`, ""},
		{"a member in other letters", request(t, "PUT", onePath, `{"Hold_MS":1}`), 400, `"Hold_MS" is no member`, ""},
		{"a member twice", request(t, "PUT", onePath, `{"hold_ms":1,"hold_ms":2}`), 400, "hold_ms is given twice", ""},
		{"something behind the object", request(t, "PUT", onePath, oneBody+oneBody), 400, "behind the JSON object", ""},
		{"a body for Assign", request(t, "POST", assignmentPath, oneBody), 400, "the body is to be empty", ""},
		{"a body for Release", request(t, "DELETE", onePath, oneBody), 400, "the body is to be empty", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := &stub{reservation: reserved}
			w := ask(newHandler(t, p), tc.r)
			requireProblem(t, w, tc.status, "invalid", tc.detail)
			assert.Equal(t, tc.allowed, w.Header().Get("Allow"))
			assert.Empty(t, p.asked, "the participant is not bothered")
		})
	}
}

func TestABodyWithoutALengthIsBoundedToo(t *testing.T) {
	t.Parallel()
	for body, status := range map[string]int{
		oneBody: 200,
		`{"payload":"` + strings.Repeat("x", 300<<10) + `"}`: 413,
	} {
		r := request(t, http.MethodPut, onePath, body)
		r.ContentLength = -1
		assert.Equal(t, status, ask(newHandler(t, &stub{reservation: reserved}), r).Code)
	}
}

// endless is a stream, and how much of it was read.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += len(p)
	return len(p), nil
}

func TestMemoryIsBoundedWhateverIsSent(t *testing.T) {
	t.Parallel()
	const bound = 2 << 20 // buffers grow ahead of what they hold
	var sent, answered endless
	r := request(t, http.MethodPut, onePath, "{}")
	r.Body, r.ContentLength = io.NopCloser(&sent), -1
	requireProblem(t, ask(newHandler(t, &stub{}), r), 413, "invalid", "more than")
	assert.Less(t, sent.read, bound, "of a request")
	client := newClient(t, "http://store/", twophasehttp.WithRoundTripper(roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(&answered)}, nil
	})))
	require.ErrorContains(t, client.Assign(t.Context(), oneKey), "the body has more than")
	assert.Less(t, answered.read, bound, "of a reply")
}

func TestThePayloadArrivesCompactAndOtherwiseAsItIs(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]json.RawMessage{
		`{"hold_ms":1}`:                                 nil,
		`{"hold_ms":1,"payload":null}`:                  json.RawMessage(`null`),
		`{"hold_ms":1,"payload": { "b" : 1, "a": 2 } }`: json.RawMessage(`{"b":1,"a":2}`),
		`{"hold_ms":1,"payload":"<&> \u003c é"}`:        json.RawMessage(`"<&> \u003c é"`),
		`{"hold_ms":1,"payload":1.50e1}`:                json.RawMessage(`1.50e1`),
		`{"hold_ms":1,"payload":{"a":1,"a":2}}`:         json.RawMessage(`{"a":1,"a":2}`),
	} {
		p := &stub{}
		require.Equal(t, http.StatusOK, ask(newHandler(t, p), request(t, http.MethodPut, onePath, sent)).Code)
		assert.Equal(t, want, p.asked.Payload)
		assert.Equal(t, time.Millisecond, p.asked.Hold)
	}
}

func TestAMediaTypeMayHaveParameters(t *testing.T) {
	t.Parallel()
	w := ask(newHandler(t, &stub{}), request(t, http.MethodPut, onePath, oneBody, "Content-Type", "Application/JSON; charset=utf-8"))
	assert.Equal(t, http.StatusOK, w.Code)
}

func TestAnIdempotencyKeyMayBeWrittenInSeveralWays(t *testing.T) {
	t.Parallel()
	for _, key := range []string{`"order-1/store"`, `order-1/store`, `"order%2D1/store"`, `"%6Frder-1/store"`} {
		w := ask(newHandler(t, &stub{}), request(t, http.MethodDelete, onePath, "", "Idempotency-Key", key))
		assert.Equal(t, http.StatusOK, w.Code, key)
	}
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	handler := newHandler(t, &stub{panics: "out of dosa"}, twophasehttp.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
	w := ask(handler, request(t, http.MethodPost, assignmentPath, ""))
	requireProblem(t, w, 500, "internal", "what happened is in the service's log")
	assert.Contains(t, logged.String(), "the participant panicked: out of dosa")
	assert.Contains(t, logged.String(), onePath)
	assert.Contains(t, logged.String(), "handler_test.go", "the stack")
}

func TestFaultsAreLoggedAndAnswersAreNot(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		errors.New("disk full"): "disk full",
		twophase.ErrRefused:     "",
		&twophase.RetryAfterError{After: time.Second, Err: errors.New("later")}: "",
	} {
		var logged bytes.Buffer
		handler := newHandler(t, &stub{err: err}, twophasehttp.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		ask(handler, request(t, http.MethodDelete, onePath, ""))
		assert.Equal(t, want != "", logged.Len() > 0, "%v: %s", err, &logged)
		assert.Contains(t, logged.String(), want)
	}
}

func TestDetailsThatAreNoJSONAreAFaultOfTheParticipant(t *testing.T) {
	t.Parallel()
	p := &stub{reservation: twophase.Reservation{Resources: []string{"packet-1"}, Details: json.RawMessage(`{`)}}
	requireProblem(t, ask(newHandler(t, p, silent), request(t, http.MethodPut, onePath, oneBody)), 500, "internal", "log")
}

func TestAnAnswerThatNoCallerWouldReadIsAFaultOfTheParticipant(t *testing.T) {
	t.Parallel()
	p := &stub{reservation: twophase.Reservation{Details: json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)}}
	requireProblem(t, ask(newHandler(t, p, silent), request(t, http.MethodPut, onePath, oneBody)), 500, "internal", "log")
}

func TestTheCallersPatienceBoundsTheCall(t *testing.T) {
	t.Parallel()
	const bound = 20 * time.Second
	for header, want := range map[string]time.Duration{
		"":                        bound,
		"2.5":                     2500 * time.Millisecond,
		"3":                       3 * time.Second,
		"86400":                   bound,
		"99999999999999999999999": bound,
	} {
		p := &stub{}
		r := request(t, http.MethodDelete, onePath, "")
		if header != "" {
			r.Header.Set("Request-Timeout", header)
		}
		ask(newHandler(t, p, twophasehttp.WithCallTimeout(bound)), r)
		assert.InDelta(t, want, p.patience, float64(time.Second), header)
	}
}

func TestCallsBeyondTheLimitAreToldThatTheServiceIsBusy(t *testing.T) {
	t.Parallel()
	arrived, leave := make(chan struct{}), make(chan struct{})
	p := &stub{wait: func(context.Context) { arrived <- struct{}{}; <-leave }}
	handler := newHandler(t, p, twophasehttp.WithMaxCalls(1))
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- ask(handler, request(t, http.MethodDelete, onePath, "")) }()
	<-arrived
	second := ask(handler, request(t, http.MethodDelete, onePath, ""))
	requireProblem(t, second, 429, "busy", "under way")
	assert.Equal(t, "1", second.Header().Get("Retry-After"))
	close(leave)
	assert.Equal(t, http.StatusOK, (<-first).Code)
	go func() { <-arrived }()
	assert.Equal(t, http.StatusOK, ask(handler, request(t, http.MethodDelete, onePath, "")).Code, "there is room again")
}

func TestAHandlerWithOptionsThatCannotBeRightIsRefused(t *testing.T) {
	t.Parallel()
	_, err := twophasehttp.NewHandler(nil, nil,
		twophasehttp.WithCallTimeout(0), twophasehttp.WithBodyTimeout(-1), twophasehttp.WithMaxCalls(0),
		twophasehttp.WithLookup(nil), twophasehttp.WithLogger(nil))
	require.ErrorIs(t, err, twophase.ErrInvalid)
	for _, named := range []string{
		"the participant is nil", "option 1 is nil", "WithCallTimeout(0s)", "WithBodyTimeout(-1ns)", "WithMaxCalls(0)", "WithLookup", "WithLogger",
	} {
		assert.ErrorContains(t, err, named)
	}
}
