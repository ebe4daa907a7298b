package twophasehttp_test

import (
	"bufio"
	"context"
	"io"
	"net"
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

// connected returns a connection to a handler.
func connected(t *testing.T, n network, handler http.Handler) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := n.dial(t.Context(), serveOn(t, n, handler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn, bufio.NewReader(conn)
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n"))
	require.NoError(t, err)
}

// receive reads one reply.
func receive(t *testing.T, from *bufio.Reader) (status int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(from, nil)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(text)
}

const head = "PUT /reservations/order-1/store HTTP/1.1\nHost: store\nContent-Type: application/json\nContent-Length: 31\n\n"
const content = `{"payload":"dosa","hold_ms":60}`

func TestASlowBodyTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, replies := connected(t, newPipes(), newHandler(t, &stub{}, twophasehttp.WithBodyTimeout(3*time.Second)))
		start := time.Now()
		send(t, conn, head+content[:10])
		status, body := receive(t, replies)
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, http.StatusRequestTimeout, status)
		assert.Contains(t, body, `"reason":"timeout"`)
	})
}

func TestABodyThatTricklesInIsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, replies := connected(t, newPipes(), newHandler(t, &stub{}, twophasehttp.WithBodyTimeout(3*time.Second)))
		send(t, conn, head+content[:10])
		time.Sleep(3*time.Second - time.Nanosecond)
		send(t, conn, content[10:])
		status, _ := receive(t, replies)
		assert.Equal(t, http.StatusOK, status)
	})
}

// The time of the body does not run on while the participant works, or while
// the connection is kept.
func TestTheTimeoutOfABodyEndsWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gone error
		p := &stub{wait: func(ctx context.Context) {
			time.Sleep(20 * time.Second)
			gone = ctx.Err()
		}}
		conn, replies := connected(t, newPipes(), newHandler(t, p, twophasehttp.WithBodyTimeout(3*time.Second)))
		for range 2 {
			send(t, conn, head+content)
			status, _ := receive(t, replies)
			assert.Equal(t, http.StatusOK, status)
			require.NoError(t, gone)
			time.Sleep(20 * time.Second)
		}
	})
}

func TestABodyThatIsCutIsNotTheCallersFault(t *testing.T) {
	t.Parallel()
	n := tcp{}
	conn, replies := connected(t, n, newHandler(t, &stub{}))
	send(t, conn, head+content[:10])
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	status, body := receive(t, replies)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, body, `"reason":"incomplete"`)
}

func TestTheParticipantHearsThatTheCallerIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		p := &stub{wait: func(ctx context.Context) {
			<-ctx.Done()
			gone <- ctx.Err()
		}}
		conn, _ := connected(t, newPipes(), newHandler(t, p))
		send(t, conn, head+content)
		synctest.Wait()
		require.NoError(t, conn.Close())
		assert.Equal(t, context.Canceled, <-gone)
	})
}

func TestTheParticipantIsEndedWhenTheCallerNoLongerWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &stub{wait: func(ctx context.Context) { <-ctx.Done() }, err: context.DeadlineExceeded}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		err := through(t, newPipes(), p).Assign(ctx, oneKey)
		require.Error(t, err)
		assert.False(t, twophase.IsFinal(err))
		assert.Equal(t, 1500*time.Millisecond, time.Since(start))
	})
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	n := newPipes()
	var conns int
	counted := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		conns++
		return n.dial(ctx, address)
	}}
	p := &stub{reservation: reserved}
	client := newClient(t, "http://"+serveOn(t, n, newHandler(t, p, silent)), twophasehttp.WithRoundTripper(counted))
	for range 3 {
		p.err = nil
		_, err := client.Reserve(t.Context(), oneRequest)
		require.NoError(t, err)
		p.err = twophase.ErrReleased
		require.ErrorIs(t, client.Assign(t.Context(), oneKey), twophase.ErrReleased)
	}
	assert.Equal(t, 1, conns, "replies are read to their end, errors too")
}

// A server closes connections that were idle for long, just as one is about to
// be used: the call is sent again on another, as its key allows.
func TestAConnectionThatWasClosedMeanwhileIsNoFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		listener := n.listen(t)
		server := &http.Server{Handler: newHandler(t, &stub{reservation: reserved}), IdleTimeout: time.Second}
		served := make(chan error)
		go func() { served <- server.Serve(listener) }()
		client := newClientOn(t, n, listener.Addr().String())
		for range 3 {
			_, err := client.Reserve(t.Context(), oneRequest)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.NoError(t, server.Close())
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, newHandler(t, &stub{reservation: reserved}))
	client := newClient(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere+r.URL.EscapedPath(), http.StatusTemporaryRedirect)
	})))
	for call, do := range calling {
		err := do(t.Context(), client)
		require.ErrorContains(t, err, "not followed to "+elsewhere, call)
		assert.False(t, twophase.IsFinal(err))
	}
}

// A reply that is meant for another call is taken for no success, though its
// state is the one that was asked for.
func TestTheReplyToAnotherCallIsNotBelieved(t *testing.T) {
	t.Parallel()
	handler := newHandler(t, newPool(t, 2))
	other := "/reservations/order-2/store/assignment"
	mixedUp := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Idempotency-Key")
		r.URL.Path, r.URL.RawPath = other, ""
		handler.ServeHTTP(w, r)
	})
	theirs := newClient(t, serve(t, handler))
	_, err := theirs.Reserve(t.Context(), twophase.Request{
		Key: twophase.Key{Transaction: "order-2", Step: "store"}, Payload: []byte(`{"kind":"masala dosa"}`), Hold: time.Minute,
	})
	require.NoError(t, err)
	err = newClient(t, serve(t, mixedUp)).Assign(t.Context(), oneKey)
	require.ErrorContains(t, err, "the reply is that to another call")
	assert.False(t, twophase.IsFinal(err))
}
