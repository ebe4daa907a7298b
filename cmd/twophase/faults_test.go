package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// serveFunc serves whatever a test wants, and returns its address.
func serveFunc(t *testing.T, serve http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	return server.URL
}

func answering(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestServiceThatIsNoParticipantIsRefusedWithAHint(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		serve   http.HandlerFunc
		flags   []string
		says    []string
		another string // address
	}{
		"HTML": {
			serve: answering(http.StatusOK, "text/html", "<!doctype html>\n<title>Welcome</title>"),
			says:  []string{"200 text/html <!doctype html> <title>Welcome</title>", "is the base URL right"},
		},
		"no such page": {
			serve: http.NotFound,
			says:  []string{"404 text/plain", "the base URL is what /reservations/{transaction}/{step} is below"},
		},
		"a redirect": {
			serve: http.RedirectHandler("https://elsewhere.example/", http.StatusMovedPermanently).ServeHTTP,
			says:  []string{"301", "the base URL is what /reservations/{transaction}/{step} is below"},
		},
		"who are you": {
			serve: answering(http.StatusUnauthorized, "text/plain", "who are you?"),
			says:  []string{"401 text/plain who are you?", "-header \"Authorization: …\""},
		},
		"busy": {
			serve: answering(http.StatusServiceUnavailable, "text/plain", "come back later"),
			says:  []string{"503 text/plain come back later", "try again later"},
		},
		"another JSON": {
			serve: answering(http.StatusOK, "application/json", `{"ok":true}`),
			says:  []string{`200 {"ok":true}`, "does the service follow docs/http.md"},
		},
		"slow": {
			serve: func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // or the end of the caller is not seen
				<-r.Context().Done()
			},
			flags: []string{"-timeout", "20ms"},
			says:  []string{"no answer within 20ms", "is it overloaded, or is -timeout too short?"},
		},
		"cut off": {
			serve: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			says:  []string{"no answer: EOF"},
		},
		"down":    {another: "http://127.0.0.1:1/", says: []string{"connection refused", "is the service running"}},
		"no host": {another: "http://no-such-host.invalid/", says: []string{"no-such-host.invalid", "is it spelt right?"}},
		"gRPC that is down": {
			another: "grpc://127.0.0.1:1", says: []string{"connection refused", "does it speak gRPC"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := test.another
			if address == "" {
				address = serveFunc(t, test.serve)
			}
			status, stdout, stderr := twophaseCommand(t,
				append([]string{"verify", "-kind", "verify", address}, test.flags...)...)
			assert.Equal(t, exitUsage, status)
			assert.Empty(t, stdout)
			for _, says := range append(test.says, "twophase: "+address+" does not answer as a participant", "\n  sent      ", "\n  hint      ") {
				assert.Contains(t, stderr, says)
			}
		})
	}
}

func TestGRPCWithoutParticipantIsRefusedWithAHint(t *testing.T) {
	t.Parallel()
	status, _, stderr := twophaseCommand(t, "verify", "-kind", "verify", "grpc://"+serveOn(t, grpc.NewServer()))
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "there is no twophase.v1.ParticipantService at this address")
}

func TestTooFewResourcesAreRefusedWithTheirNumber(t *testing.T) {
	t.Parallel()
	p := newPool(t, 5, "verify")
	status, stdout, stderr := twophaseCommand(t, "verify", "-kind", "verify", serveHTTP(t, p))
	assert.Equal(t, exitUsage, status)
	assert.Empty(t, stdout)
	assert.Equal(t, "twophase: only 5 of kind \"verify\" are free, and at least 22 are needed: add 17\n", stderr)
	assert.Equal(t, 5, p.Count("verify").Free)
}

func TestKindOfWhichNothingIsFreeIsRefusedWithWhatTheServiceSays(t *testing.T) {
	t.Parallel()
	status, _, stderr := twophaseCommand(t, "verify", "-kind", "verfiy", serveHTTP(t, newPool(t, 30, "verify")))
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "nothing is free of kind \"verfiy\", and at least 22 are needed")
	assert.Contains(t, stderr, "there is no such kind")
}

func TestTooManyResourcesAreRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t, maxStock+1, "verify")
	status, _, stderr := twophaseCommand(t, "verify", "-kind", "verify", serveHTTP(t, p))
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "more than 1000 of kind \"verify\" are free")
	assert.Equal(t, maxStock+1, p.Count("verify").Free)
}

// slowly is a participant that takes its time.
type slowly struct{ twophase.Participant }

func (p slowly) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	time.Sleep(10 * time.Millisecond)
	return p.Participant.Reserve(ctx, req)
}

func TestHoldThatIsTooShortForTheServiceIsRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t, 22, "verify")
	status, _, stderr := twophaseCommand(t, "verify", "-kind", "verify", "-hold", "50ms", serveHTTP(t, slowly{p}))
	assert.Equal(t, exitUsage, status)
	assert.Regexp(t, `a call takes \d+ms, so what runs out after 50ms cannot be told from what is late: give -hold \d+s, or more`, stderr)
	assert.Equal(t, 22, p.Count("verify").Free)
}

// afterSome calls do instead of answering from the n-th Release on.
type afterSome struct {
	*pool.Pool
	calls atomic.Int64
	n     int64
	do    func()
	err   error
}

func (p *afterSome) Release(ctx context.Context, key twophase.Key) error {
	if p.calls.Add(1) >= p.n {
		p.do()
		if p.err != nil {
			return p.err
		}
	}
	return p.Pool.Release(ctx, key)
}

func TestInterruptGivesBackWhatIsHeld(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{1, 20, 100} {
		t.Run(fmt.Sprintf("at Release %d", n), func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			p := &afterSome{Pool: newPool(t, 24, "verify"), n: n, do: interrupt}
			var stdout, stderr bytes.Buffer
			status := run(ctx, []string{"verify", "-hold", "300ms", "-kind", "verify", serveHTTP(t, p)}, &stdout, &stderr)
			assert.Equal(t, exitUsage, status)
			assert.Contains(t, stdout.String(), "The checks did not come to an end: interrupted. What was held is given back.\n")
			assert.NotContains(t, stdout.String(), "BROKEN")
			assert.Equal(t, 24, p.Count("verify").Free)
		})
	}
}

func TestInterruptAtTheBeginningGivesBackWhatIsHeld(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	p := newPool(t, 24, "verify")
	address := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		handler, err := twophasehttp.NewHandler(p)
		assert.NoError(t, err)
		handler.ServeHTTP(w, r)
		if p.Count("verify").Free == 10 {
			interrupt()
		}
	})
	var stdout, stderr bytes.Buffer
	status := run(ctx, []string{"verify", "-kind", "verify", address}, &stdout, &stderr)
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr.String(), "interrupted")
	assert.Equal(t, 24, p.Count("verify").Free)
}

func TestServiceThatGoesDownEndsTheRun(t *testing.T) {
	t.Parallel()
	p := newPool(t, 24, "verify")
	handler, err := twophasehttp.NewHandler(p)
	require.NoError(t, err)
	var calls atomic.Int64
	address := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 80 {
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	})
	status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify", address)
	assert.NotEqual(t, exitKept, status)
	assert.Contains(t, stdout, "The checks did not come to an end: "+address+" does not answer as a participant")
	assert.Contains(t, stdout, "the service no longer answers")
	assert.Contains(t, stdout, "could not be released, do it by hand")
}

func TestKeysThatCannotBeReleasedAreNamed(t *testing.T) {
	t.Parallel()
	p := &afterSome{Pool: newPool(t, 3, "verify"), n: 1, do: func() {}, err: iotest.ErrTimeout}
	status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify", "-run", "^Assign of a new key is unknown$", serveHTTP(t, p))
	assert.Equal(t, exitUsage, status)
	for i := range 3 {
		assert.Regexp(t, fmt.Sprintf(`lost +transaction "verify-stock-\w{8}-1-%d", step "stock" could not be released`, i+1), stdout)
	}
}

func TestServicesThatBreakTheWireAreReported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		around func(http.Handler) http.Handler
		caught string
		found  string
	}{
		"paths are cleaned": {
			around: func(h http.Handler) http.Handler {
				mux := http.NewServeMux()
				mux.Handle("/", h)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.URL.RawPath = "" // decoded before it is split
					mux.ServeHTTP(w, r)
				})
			},
			caught: "keys may have any valid characters",
		},
		"the plus sign is a space": {
			around: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Idempotency-Key")
					path := strings.ReplaceAll(r.URL.EscapedPath(), "+", "%20")
					r.URL.Path, _ = url.PathUnescape(path)
					r.URL.RawPath = path
					h.ServeHTTP(w, r)
				})
			},
			caught: "keys may have any valid characters",
		},
		"every failure is 500": {
			around: statusInstead(func(status int) bool { return status == http.StatusGone }, http.StatusInternalServerError),
			caught: "Assign of a released key is turned away",
			found:  `is to be answered "released", and is answered "twophasehttp: assign `,
		},
		"every failure is 409": {
			around: statusInstead(func(status int) bool { return status == http.StatusGone }, http.StatusConflict),
			caught: "Assign of a released key is turned away",
			found:  `is to be answered "released", and is answered "twophasehttp: assign `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler, err := twophasehttp.NewHandler(newPool(t, 24, "verify"))
			require.NoError(t, err)
			status, stdout, _ := twophaseCommand(t, "verify", "-kind", "verify", "-run", "^"+test.caught+"$",
				serveFunc(t, test.around(handler).ServeHTTP))
			assert.Equal(t, exitBroken, status, stdout)
			assert.Contains(t, stdout, "BROKEN   "+test.caught)
			assert.Contains(t, stdout, test.found)
		})
	}
}

// statusInstead answers with another status, and nothing else, if so.
func statusInstead(of func(status int) bool, status int) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, r)
			if of(recorder.Code) {
				w.WriteHeader(status)
				return
			}
			for name, values := range recorder.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(recorder.Code)
			_, _ = w.Write(recorder.Body.Bytes())
		})
	}
}
