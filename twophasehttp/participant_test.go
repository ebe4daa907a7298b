package twophasehttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// roundTrip is a service, and the network before it.
type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply returns a reply. Headers are names and values in turn.
func reply(status int, body string, headers ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i < len(headers); i += 2 {
		resp.Header.Set(headers[i], headers[i+1])
	}
	return resp
}

// canned is a reply that is given whenever it is asked for.
type canned struct {
	status  int
	body    string
	headers []string
}

func can(status int, body string, headers ...string) canned { return canned{status, body, headers} }

// replying returns a client of a service that always gives the same reply.
func replying(t testing.TB, status int, body string, headers ...string) *twophasehttp.Participant {
	t.Helper()
	return newClient(t, "http://store/", twophasehttp.WithRoundTripper(roundTrip(func(*http.Request) (*http.Response, error) {
		return reply(status, body, headers...), nil
	})))
}

// calling makes each of the three calls.
var calling = map[twophase.Call]func(context.Context, *twophasehttp.Participant) error{
	twophase.CallReserve: func(ctx context.Context, p *twophasehttp.Participant) error {
		_, err := p.Reserve(ctx, oneRequest)
		return err
	},
	twophase.CallAssign: func(ctx context.Context, p *twophasehttp.Participant) error { return p.Assign(ctx, oneKey) },
	twophase.CallRelease: func(ctx context.Context, p *twophasehttp.Participant) error {
		return p.Release(ctx, oneKey)
	},
}

var oneRequest = twophase.Request{
	Key:     oneKey,
	Payload: json.RawMessage(`{ "kind": "<dosa>" }`),
	Hold:    2*time.Second - time.Nanosecond,
}

func TestACallIsSentAsTheWireWantsIt(t *testing.T) {
	t.Parallel()
	for call, want := range map[twophase.Call]struct{ method, path, body, contentType string }{
		twophase.CallReserve: {"PUT", onePath, `{"payload":{"kind":"<dosa>"},"hold_ms":2000}`, "application/json"},
		twophase.CallAssign:  {"POST", assignmentPath, "", ""},
		twophase.CallRelease: {"DELETE", onePath, "", ""},
	} {
		t.Run(string(call), func(t *testing.T) {
			t.Parallel()
			var sent *http.Request
			var body []byte
			client := newClient(t, "http://store:81/shop/", twophasehttp.WithRoundTripper(roundTrip(
				func(r *http.Request) (*http.Response, error) {
					sent = r
					if r.Body != nil {
						body, _ = io.ReadAll(r.Body)
					}
					return reply(500, ""), nil
				})))
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			require.Error(t, calling[call](ctx, client))
			assert.Equal(t, want.method, sent.Method)
			assert.Equal(t, "http://store:81/shop"+want.path, sent.URL.String())
			assert.Equal(t, "store:81", sent.Host)
			assert.Equal(t, want.body, string(body))
			assert.Equal(t, int64(len(want.body)), sent.ContentLength)
			assert.Equal(t, want.contentType, sent.Header.Get("Content-Type"))
			assert.Equal(t, "application/json, application/problem+json", sent.Header.Get("Accept"))
			assert.Equal(t, `"order-1/store"`, sent.Header.Get("Idempotency-Key"))
			assert.NotContains(t, sent.Header, "Traceparent")
		})
	}
}

func TestTheCallersPatienceIsTold(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		deadline time.Duration // 0 for none
		want     string
	}{
		{"that of the context", 2500 * time.Millisecond, "2.5"},
		{"rounded up", 2*time.Second + time.Nanosecond, "2.001"},
		{"that of WithTimeout, if it is less", time.Hour, "30"},
		{"that of WithTimeout, if there is no other", 0, "30"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tc.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
					defer cancel()
				}
				var told string
				client := newClient(t, "http://store", twophasehttp.WithRoundTripper(roundTrip(
					func(r *http.Request) (*http.Response, error) {
						told = r.Header.Get("Request-Timeout")
						return reply(200, `{"state":"released"}`), nil
					})))
				require.NoError(t, client.Release(ctx, oneKey))
				assert.Equal(t, tc.want, told)
			})
		})
	}
}

func TestACallEndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		client := newClient(t, "http://store", twophasehttp.WithTimeout(3*time.Second), twophasehttp.WithRoundTripper(roundTrip(
			func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, context.Cause(r.Context())
			})))
		err := client.Assign(t.Context(), oneKey)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.False(t, twophase.IsFinal(err))
		assert.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestASuccessIsReadInFull(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]twophase.Reservation{
		`{"state":"reserved","resources":["packet-1"],"time_left_ms":1999}`: {
			Resources: []string{"packet-1"}, TimeLeft: 1999 * time.Millisecond,
		},
		`{"state":"assigned","resources":["packet-1","packet-2"],"details": {"a": "<"} }`: {
			Resources: []string{"packet-1", "packet-2"}, Assigned: true, Details: json.RawMessage(`{"a":"<"}`),
		},
		`{"weather":{"wind":[1]},"state":"reserved","resources":[],"time_left_ms":0,"weather":null}`: {Resources: []string{}},
		`{"state":"reserved","resources":[],"time_left_ms":9223372036854775807}`: {
			Resources: []string{}, TimeLeft: math.MaxInt64 / time.Millisecond * time.Millisecond,
		},
	} {
		for _, status := range []int{200, 201, 299} {
			r, err := replying(t, status, body).Reserve(t.Context(), oneRequest)
			require.NoError(t, err)
			assert.Equal(t, want, r)
		}
	}
}

// What is not known to be a success is never taken for one.
func TestWhatIsNoSuccessIsTransient(t *testing.T) {
	t.Parallel()
	const good = `{"state":"reserved","resources":["packet-1"],"time_left_ms":1999}`
	for name, answer := range map[string]canned{
		"no body":                      can(200, ""),
		"no content":                   can(204, ""),
		"a proxy's page":               can(200, "<html>Welcome</html>", "Content-Type", "text/html"),
		"half a reply":                 can(200, good[:40]),
		"two replies":                  can(200, good+good),
		"an empty object":              can(200, `{}`),
		"null":                         can(200, `null`),
		"a state of null":              can(200, `{"state":null}`),
		"a state in other letters":     can(200, `{"State":"assigned","state2":"released"}`),
		"a state given twice":          can(200, `{"state":"assigned","state":"released","resources":[]}`),
		"a state that nobody asked":    can(200, `{"state":"expired"}`),
		"a state of nothing":           can(200, `{"state":"none"}`),
		"a reply that never ends":      can(200, `{"state":"`+strings.Repeat("x", 1<<20)),
		"a reply to another call":      can(200, `{"state":"assigned","resources":[]}`, "Idempotency-Key", `"order-2/store"`),
		"a redirect":                   can(301, "", "Location", "http://elsewhere/"),
		"a redirect without a place":   can(307, ""),
		"a redirect with a success":    can(303, good, "Location", "http://elsewhere/"),
		"not modified":                 can(304, ""),
		"no permission":                can(403, ""),
		"a path that does not exist":   can(404, "404 page not found"),
		"a proxy without a service":    can(502, "<html>"),
		"a success with a bad status":  can(500, good),
		"a problem with a good status": can(200, `{"type":"about:blank","status":409,"reason":"refused"}`, "Content-Type", "application/problem+json"),
		"a reason in another format":   can(400, `{"reason":"refused"}`, "Content-Type", "text/html"),
		"a reason nobody knows":        can(404, `{"reason":"sold out"}`, "Content-Type", "application/problem+json"),
		"a conflict for the moment":    can(409, `busy`, "Retry-After", "1"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := replying(t, answer.status, answer.body, answer.headers...)
			for call, do := range calling {
				err := do(t.Context(), client)
				require.Error(t, err, call)
				assert.False(t, twophase.IsFinal(err), "%s: %v", call, err)
				assert.ErrorContains(t, err, "order-1/store")
			}
		})
	}
}

func TestAReservationMustBeComplete(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"state":"reserved","time_left_ms":1}`,
		`{"state":"reserved","resources":null,"time_left_ms":1}`,
		`{"state":"reserved","resources":"packet-1","time_left_ms":1}`,
		`{"state":"reserved","resources":[1],"time_left_ms":1}`,
		`{"state":"reserved","resources":["packet-1"]}`,
		`{"state":"reserved","resources":["packet-1"],"time_left_ms":null}`,
		`{"state":"reserved","resources":["packet-1"],"time_left_ms":-1}`,
		`{"state":"reserved","resources":["packet-1"],"time_left_ms":1.5}`,
		`{"state":"assigned"}`,
		`{"state":"released"}`,
	} {
		_, err := replying(t, 200, body).Reserve(t.Context(), oneRequest)
		require.Error(t, err, body)
		assert.False(t, twophase.IsFinal(err), body)
	}
}

func TestTheReasonDecidesAndTheStatusIsTheFallback(t *testing.T) {
	t.Parallel()
	anything := []twophase.Call{twophase.CallReserve, twophase.CallAssign, twophase.CallRelease}
	with := []twophase.Call{twophase.CallReserve, twophase.CallAssign}
	for _, tc := range []struct {
		name   string
		status int
		reason string
		want   error
		calls  []twophase.Call
	}{
		{"refused", 409, "refused", twophase.ErrRefused, anything},
		{"mismatch", 422, "mismatch", twophase.ErrMismatch, anything},
		{"expired", 410, "expired", twophase.ErrExpired, anything},
		{"released", 410, "released", twophase.ErrReleased, anything},
		{"unknown", 404, "unknown", twophase.ErrUnknown, anything},
		{"a reason with another status", 500, "refused", twophase.ErrRefused, anything},
		{"a reason against the status", 410, "mismatch", twophase.ErrMismatch, anything},
		{"a transient reason against the status", 410, "unavailable", nil, nil},
		{"an invalid Reserve", 400, "invalid", twophase.ErrRefused, []twophase.Call{twophase.CallReserve}},
		{"a bare 409", 409, "", twophase.ErrRefused, with},
		{"a bare 410", 410, "", twophase.ErrExpired, with},
		{"a bare 422", 422, "", twophase.ErrMismatch, with},
		{"a bare 400", 400, "", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			body := ""
			if tc.reason != "" {
				body = `{"reason":"` + tc.reason + `","detail":"no dosa left","status":200}`
			}
			client := replying(t, tc.status, body, "Content-Type", "application/problem+json")
			for call, do := range calling {
				err := do(t.Context(), client)
				assert.ErrorContains(t, err, string(call)+" order-1/store")
				final := false
				for _, c := range tc.calls {
					final = final || c == call
				}
				require.Equal(t, final, twophase.IsFinal(err), "%v", err)
				if final {
					assert.ErrorIs(t, err, tc.want)
				}
				if tc.reason != "" {
					assert.ErrorContains(t, err, "no dosa left")
				}
				var problem *twophasehttp.Problem
				require.ErrorAs(t, err, &problem)
				assert.Equal(t, tc.status, problem.Status)
				assert.Equal(t, tc.reason, problem.Reason)
			}
		})
	}
}

func TestTheMessageOfAnErrorIsThatOfTheService(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reply canned
		want  string
	}{
		{
			can(409, `{"reason":"refused","detail":"refused: no dosa left"}`, "Content-Type", "application/problem+json"),
			"twophasehttp: assign order-1/store: refused: no dosa left",
		},
		{
			can(409, `{"reason":"refused","detail":"no dosa left"}`, "Content-Type", "application/json"),
			"twophasehttp: assign order-1/store: refused: no dosa left",
		},
		{
			can(503, `{"reason":"timeout","detail":"database\nis \u0000away"}`, "Content-Type", "application/problem+json; charset=utf-8"),
			"twophasehttp: assign order-1/store: 503 Service Unavailable: database is  away",
		},
		{
			can(502, `<html>`, "Content-Type", "text/html"),
			"twophasehttp: assign order-1/store: 502 Bad Gateway",
		},
		{
			can(301, ``, "Location", "https://elsewhere/"),
			"twophasehttp: assign order-1/store: 301 Moved Permanently: not followed to https://elsewhere/: make that the base URL if it is right",
		},
		{
			can(200, `{"state":"reserved"}`),
			`twophasehttp: assign order-1/store: reply 200 is no success: the state is "reserved"`,
		},
	} {
		client := replying(t, tc.reply.status, tc.reply.body, tc.reply.headers...)
		assert.EqualError(t, client.Assign(t.Context(), oneKey), tc.want)
	}
}

func TestAStrangersWordsAreCutShort(t *testing.T) {
	t.Parallel()
	err := replying(t, 409, `{"reason":"refused","detail":"`+strings.Repeat("ü", 5000)+`"}`, "Content-Type", "application/json").
		Assign(t.Context(), oneKey)
	require.ErrorIs(t, err, twophase.ErrRefused)
	assert.Less(t, len(err.Error()), 2000)
}

func TestPatienceIsHonoured(t *testing.T) {
	t.Parallel()
	const date = "Wed, 21 Oct 2015 07:28:00 GMT"
	for _, tc := range []struct {
		name    string
		status  int
		headers []string
		want    time.Duration
		asked   bool
	}{
		{"seconds", 503, []string{"Retry-After", "7"}, 7 * time.Second, true},
		{"seconds of a busy service", 429, []string{"Retry-After", " 1 "}, time.Second, true},
		{"no time at all", 503, []string{"Retry-After", "0"}, 0, true},
		{"a date, by the clock of the reply", 503, []string{"Retry-After", "Wed, 21 Oct 2015 07:28:30 GMT", "Date", date}, 30 * time.Second, true},
		{"a date in the past", 503, []string{"Retry-After", "Wed, 21 Oct 2015 07:27:30 GMT", "Date", date}, 0, true},
		{"a date, by the own clock", 503, []string{"Retry-After", date}, 0, true},
		{"a year", 503, []string{"Retry-After", "31536000"}, 24 * time.Hour, true},
		{"a date far off", 503, []string{"Retry-After", "Wed, 21 Oct 2093 07:28:00 GMT", "Date", date}, 24 * time.Hour, true},
		{"a status that is not about patience", 500, []string{"Retry-After", "7"}, 7 * time.Second, true},
		{"a conflict for the moment", 409, []string{"Retry-After", "7"}, 7 * time.Second, true},
		{"nothing", 503, nil, 0, false},
		{"something else", 503, []string{"Retry-After", "soon"}, 0, false},
		{"less than nothing", 503, []string{"Retry-After", "-1"}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, do := range calling {
				err := do(t.Context(), replying(t, tc.status, "", tc.headers...))
				require.False(t, twophase.IsFinal(err))
				asked, ok := errors.AsType[*twophase.RetryAfterError](err)
				require.Equal(t, tc.asked, ok, "%v", err)
				if ok {
					assert.Equal(t, tc.want, asked.After)
				}
			}
		})
	}
}

func TestAFinalErrorStaysFinalWhateverThePatience(t *testing.T) {
	t.Parallel()
	err := replying(t, 409, `{"reason":"refused"}`, "Content-Type", "application/problem+json", "Retry-After", "7").Assign(t.Context(), oneKey)
	require.ErrorIs(t, err, twophase.ErrRefused)
	_, patient := errors.AsType[*twophase.RetryAfterError](err)
	assert.False(t, patient)
}

func TestAFaultOfTheNetworkIsTransient(t *testing.T) {
	t.Parallel()
	cut := errors.New("connection reset by peer")
	for name, rt := range map[string]roundTrip{
		"before the reply": func(*http.Request) (*http.Response, error) { return nil, cut },
		"in the reply": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(io.MultiReader(
				strings.NewReader(`{"state":"assigned","resources":[]}`), broken{cut}))}, nil
		},
		"in the reply that is an error": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusConflict, Body: io.NopCloser(broken{cut})}, nil
		},
	} {
		client := newClient(t, "http://store", twophasehttp.WithRoundTripper(rt))
		for call, do := range calling {
			err := do(t.Context(), client)
			require.ErrorIs(t, err, cut, "%s, %s", name, call)
			assert.False(t, twophase.IsFinal(err))
		}
	}
}

// broken is a connection that ends with an error.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestWhatCannotBeSentIsNot(t *testing.T) {
	t.Parallel()
	client := newClient(t, "http://store", twophasehttp.WithRoundTripper(roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("sent")
	})))
	_, err := client.Reserve(t.Context(), twophase.Request{Key: oneKey, Payload: json.RawMessage(`{`), Hold: time.Second})
	require.ErrorIs(t, err, twophase.ErrRefused)
	assert.ErrorContains(t, err, "the payload is no JSON")
	for _, key := range []twophase.Key{
		{Step: "store"}, {Transaction: "order-1"},
		{Transaction: strings.Repeat("x", 256), Step: "store"}, {Transaction: "\xff", Step: "store"}, {Transaction: "a\n", Step: "store"},
	} {
		_, err := client.Reserve(t.Context(), twophase.Request{Key: key, Hold: time.Second})
		require.ErrorIs(t, err, twophase.ErrRefused)
		require.ErrorIs(t, err, twophase.ErrInvalid)
		err = client.Release(t.Context(), key)
		require.ErrorIs(t, err, twophase.ErrInvalid)
		assert.False(t, twophase.IsFinal(err), "a Release is repeated until somebody mends it")
	}
}

func TestAClientWithOptionsThatCannotBeRightIsRefused(t *testing.T) {
	t.Parallel()
	_, err := twophasehttp.NewParticipant("store:8081", nil,
		twophasehttp.WithTimeout(0), twophasehttp.WithRoundTripper(nil), twophasehttp.WithHeaders(nil))
	require.ErrorIs(t, err, twophase.ErrInvalid)
	for _, named := range []string{
		`"store:8081": it must begin with http://`, "option 1 is nil", "WithTimeout(0s)", "WithRoundTripper", "WithHeaders",
	} {
		assert.ErrorContains(t, err, named)
	}
	for base, problem := range map[string]string{
		"":                          "must begin with",
		"ftp://store/":              "must begin with",
		"http:///path":              "no host",
		"http://:80":                "no host",
		"http://store/?key=1":       "neither a query",
		"http://store/?":            "neither a query",
		"http://store/#top":         "neither a query",
		"http://u:secret@store/%zz": "does not parse",
		"http://user:secret@/path":  "no host",
	} {
		_, err := twophasehttp.NewParticipant(base)
		require.ErrorIs(t, err, twophase.ErrInvalid, base)
		require.ErrorContains(t, err, problem, base)
		assert.NotContains(t, err.Error(), "secret")
	}
}
