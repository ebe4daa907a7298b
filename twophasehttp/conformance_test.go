package twophasehttp_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

const dosa = "masala dosa"

// short is how long what is to run out is held: longer than a handful of calls
// ever takes on a machine that does other things, too.
const short = time.Second

// It is not parallel, as the time that it takes is real.
func TestAParticipantOverTCPKeepsTheContract(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		return subject(newClient(t, serve(t, newHandler(t, newPool(t, free)))))
	}, twophasetest.RealTime(short))
}

// In memory, time is exact: what happens at the instant of an expiry is as over
// no network at all.
func TestAParticipantOverHTTPKeepsTheContractToTheInstant(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t testing.TB, p twophase.Participant) twophase.Participant{
		"at the root": func(t testing.TB, p twophase.Participant) twophase.Participant {
			return through(t, newPipes(), p)
		},
		"over HTTP/2": func(t testing.TB, p twophase.Participant) twophase.Participant {
			return throughHTTP2(t, newPipes(), p)
		},
		"below a path of a ServeMux": func(t testing.TB, p twophase.Participant) twophase.Participant {
			mux := http.NewServeMux()
			mux.Handle("/shop/store/", http.StripPrefix("/shop/store/", newHandler(t, p)))
			n := newPipes()
			return newClientOn(t, n, serveOn(t, n, mux)+"/shop/store/")
		},
		"behind a gateway that is a participant, too": func(t testing.TB, p twophase.Participant) twophase.Participant {
			n := newPipes()
			return through(t, n, through(t, n, p))
		},
		"over a faulty network to the client": func(t testing.TB, p twophase.Participant) twophase.Participant {
			return newFaulty(t, through(t, newPipes(), p))
		},
		"over a faulty network behind the handler": func(t testing.TB, p twophase.Participant) twophase.Participant {
			return through(t, newPipes(), newFaulty(t, p), silent)
		},
		"over faulty networks on both sides": func(t testing.TB, p twophase.Participant) twophase.Participant {
			return newFaulty(t, through(t, newPipes(), newFaulty(t, p), silent))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
				return subject(open(t, newPool(t, free)))
			})
		})
	}
}

// newFaulty puts a participant behind a network that loses and repeats.
func newFaulty(t testing.TB, p twophase.Participant) twophase.Participant {
	faulty := twophasetest.NewFaultyParticipant(p, twophasetest.Seeded(1, twophasetest.Rates{
		LoseRequest: 0.1, LoseReply: 0.1, Repeat: 0.2, Unavailable: 0.1,
	}))
	t.Cleanup(faulty.Stop)
	return faulty
}

func subject(p twophase.Participant) twophasetest.Subject {
	return twophasetest.Subject{
		Participant: p,
		Payload:     pool.Want{Kind: dosa},
		Different:   pool.Want{Kind: dosa, Count: 2},
		Several:     func(n int) any { return pool.Want{Kind: dosa, Count: n} },
	}
}

// newPool returns a pool with so many packets of dosa.
func newPool(t testing.TB, free int) *pool.Pool {
	t.Helper()
	p, err := pool.New()
	require.NoError(t, err)
	packets := make([]string, free)
	for i := range packets {
		packets[i] = "packet-" + strconv.Itoa(i+1)
	}
	require.NoError(t, p.Restock(dosa, packets...))
	return p
}

func newHandler(t testing.TB, p twophase.Participant, options ...twophasehttp.HandlerOption) http.Handler {
	t.Helper()
	handler, err := twophasehttp.NewHandler(p, options...)
	require.NoError(t, err)
	return handler
}

// serve serves a handler over TCP, and returns its base URL.
func serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func newClient(t testing.TB, baseURL string, options ...twophasehttp.ClientOption) *twophasehttp.Participant {
	t.Helper()
	client, err := twophasehttp.NewParticipant(baseURL, options...)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client
}
