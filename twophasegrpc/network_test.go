package twophasegrpc_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// network is what lies between a client and a server: connections that are cut
// in the middle of whatever is being said, or fall silent without a sign.
type network struct {
	dialer   func(context.Context) (net.Conn, error)
	broken   atomic.Int64 // connections so far
	connects atomic.Int64

	mu    sync.Mutex
	next  func() fate
	down  bool
	conns []*frailConn
}

// fate is what becomes of a connection.
type fate struct {
	after   int           // bytes that the client receives before it breaks; 0 is never
	silent  bool          // it does not end when it breaks: nothing gets through any more
	slow    time.Duration // how long a piece is on its way, now and then
	howSlow float64       // how often, from 0 to 1
}

func newNetwork(dialer func(context.Context) (net.Conn, error), next func() fate) *network {
	return &network{dialer: dialer, next: next}
}

// kind is a network on which nothing breaks.
func kind() fate { return fate{} }

// unkind is a network on which every connection breaks, after some replies.
func unkind(seed uint64, silent float64, slow time.Duration) func() fate {
	var mu sync.Mutex // networks may share their fates
	random := rand.New(rand.NewPCG(seed, 0))
	return func() fate {
		mu.Lock()
		defer mu.Unlock()
		return fate{
			after: 1 + random.IntN(3000), silent: random.Float64() < silent,
			slow: slow, howSlow: 0.1,
		}
	}
}

// mend lets new connections be, from now on.
func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next = kind
}

// silence lets nothing through any more, on any connection that there is.
func (n *network) silence() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.conns {
		conn.silent.Store(true)
	}
}

// setDown cuts all connections and lets no new one through, or lets them again.
func (n *network) setDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	for _, conn := range n.conns {
		if down {
			_ = conn.Close()
		}
	}
}

func (n *network) dial(ctx context.Context, _ string) (net.Conn, error) {
	n.connects.Add(1)
	n.mu.Lock()
	fate, down := n.next(), n.down
	n.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	conn, err := n.dialer(ctx)
	if err != nil {
		return nil, err
	}
	frail := &frailConn{
		Conn: conn, network: n, fate: fate, closed: make(chan struct{}),
		random: rand.New(rand.NewPCG(uint64(fate.after), 1)),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, frail)
	return frail, nil
}

// option makes a client use the network.
func (n *network) option() grpc.DialOption { return grpc.WithContextDialer(n.dial) }

// frailConn is a client's end of a connection, which meets its fate.
type frailConn struct {
	net.Conn
	network *network
	fate    fate
	random  *rand.Rand // of the only reader
	read    int
	silent  atomic.Bool
	once    sync.Once
	closed  chan struct{}
}

func (c *frailConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *frailConn) Read(p []byte) (int, error) {
	if c.random.Float64() < c.fate.howSlow {
		select {
		case <-time.After(time.Duration(c.random.Int64N(int64(c.fate.slow) + 1))):
		case <-c.closed:
		}
	}
	if left := c.fate.after - c.read; c.fate.after > 0 {
		p = p[:min(len(p), left)]
	}
	n, err := c.Conn.Read(p)
	if c.silent.Load() {
		return 0, c.swallow(err)
	}
	c.read += n
	if c.fate.after > 0 && c.read == c.fate.after {
		c.breakUp()
	}
	return n, err
}

func (c *frailConn) Write(p []byte) (int, error) {
	if c.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// breakUp ends the connection, or lets it fall silent.
func (c *frailConn) breakUp() {
	c.network.broken.Add(1)
	if c.fate.silent {
		c.silent.Store(true)
		return
	}
	_ = c.Close()
}

// swallow reads what never arrives, and does not notice that the other side has
// gone: only giving up the connection ends it.
func (c *frailConn) swallow(err error) error {
	buffer := make([]byte, 1024)
	for err == nil {
		_, err = c.Conn.Read(buffer)
	}
	<-c.closed
	return err
}
