package twophasehttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// network connects clients with a server: by TCP, or by pipes in memory, which
// a synctest bubble can hold.
type network interface {
	listen(t testing.TB) net.Listener
	dial(ctx context.Context, address string) (net.Conn, error)
}

// tcp is the loopback interface.
type tcp struct{}

func (tcp) listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

func (tcp) dial(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// pipes is a network in memory. Its addresses are names.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
}

func newPipes() *pipes { return &pipes{listeners: map[string]*pipeListener{}} }

func (p *pipes) listen(testing.TB) net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &pipeListener{
		name:   "host-" + string(rune('a'+len(p.listeners))) + ":80",
		conns:  make(chan net.Conn),
		closed: make(chan struct{}),
	}
	p.listeners[l.name] = l
	return l
}

func (p *pipes) dial(ctx context.Context, address string) (net.Conn, error) {
	p.mu.Lock()
	l, ok := p.listeners[address]
	p.mu.Unlock()
	if !ok {
		return nil, errors.New("no such host: " + address)
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeListener struct {
	name   string
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.name) }

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// serveOn serves a handler, and returns its address.
func serveOn(t testing.TB, n network, handler http.Handler) (address string) {
	t.Helper()
	return startOn(t, n, &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute})
}

func startOn(t testing.TB, n network, server *http.Server) (address string) {
	t.Helper()
	listener := n.listen(t)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		served.Wait()
	})
	return listener.Addr().String()
}

// newTransport returns a transport over a network.
func newTransport(n network) *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return n.dial(ctx, address)
		},
	}
}

// newClientOn returns a client of what is served at an address.
func newClientOn(t testing.TB, n network, address string, options ...twophasehttp.ClientOption) *twophasehttp.Participant {
	t.Helper()
	return newClient(t, "http://"+address, append(options, twophasehttp.WithRoundTripper(newTransport(n)))...)
}

// through returns a participant as it is seen over a network.
func through(t testing.TB, n network, p twophase.Participant, options ...twophasehttp.HandlerOption) twophase.Participant {
	t.Helper()
	return newClientOn(t, n, serveOn(t, n, newHandler(t, p, options...)))
}

// throughHTTP2 is through, over HTTP/2.
func throughHTTP2(t testing.TB, n network, p twophase.Participant) twophase.Participant {
	t.Helper()
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	address := startOn(t, n, &http.Server{Handler: newHandler(t, p), Protocols: only, ReadHeaderTimeout: time.Minute})
	transport := newTransport(n)
	transport.Protocols = only
	return newClient(t, "http://"+address, twophasehttp.WithRoundTripper(transport))
}
