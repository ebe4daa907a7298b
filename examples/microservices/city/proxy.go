package city

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Proxy stands on the way to a service and does to the connections what bad
// networks do. It listens until it is closed. It is safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	done     sync.WaitGroup

	mu     sync.Mutex
	faults Faults
	random *rand.Rand
	conns  map[net.Conn]bool
	closed bool
}

// Faults are what a proxy does. The zero value passes everything on.
type Faults struct {
	// Down closes every connection, old and new.
	Down bool
	// Silent swallows everything, and closes nothing: who waits finds out by
	// itself.
	Silent bool
	// DelayRequest and DelayReply hold back each piece.
	DelayRequest, DelayReply time.Duration
	// CutReply is how often, from 0 to 1, a connection is closed when a reply
	// comes, which then is lost.
	CutReply float64
}

// NewProxy returns a proxy on a free port of the loopback interface. Seed chooses
// the replies that are lost.
func NewProxy(ctx context.Context, target string, seed uint64) (*Proxy, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		target: target, listener: listener,
		random: rand.New(rand.NewPCG(seed, 1)), conns: map[net.Conn]bool{},
	}
	p.done.Go(p.accept)
	return p, nil
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Change changes what the proxy does. Connections that were silent until now are
// closed: what was swallowed will not come.
func (p *Proxy) Change(change func(f *Faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := p.faults.Silent
	change(&p.faults)
	if p.faults.Down || silent && !p.faults.Silent {
		p.closeAll()
	}
}

// Close ends the proxy and all its connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.closeAll()
	p.mu.Unlock()
	err := p.listener.Close()
	p.done.Wait()
	return err
}

// closeAll closes the connections. The lock is held.
func (p *Proxy) closeAll() {
	for conn := range p.conns {
		_ = conn.Close()
	}
}

func (p *Proxy) now() Faults {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many files, say
			time.Sleep(10 * time.Millisecond)
			continue
		}
		p.done.Go(func() { p.connect(client) })
	}
}

// connect joins a client with the service, until one of them ends.
func (p *Proxy) connect(client net.Conn) {
	if !p.enter(client) {
		return
	}
	defer p.leave(client)
	dialer := net.Dialer{Timeout: 2 * time.Second}
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil || !p.enter(server) {
		return
	}
	defer p.leave(server)
	var both sync.WaitGroup
	both.Go(func() { p.forward(client, server, requests) })
	p.forward(server, client, replies)
	both.Wait()
}

// enter makes a connection known, or closes it.
func (p *Proxy) enter(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.faults.Down {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *Proxy) leave(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = conn.Close()
	delete(p.conns, conn)
}

type direction bool

const (
	requests direction = false
	replies  direction = true
)

// forward copies until one side ends or something is not to pass, and then ends
// both.
func (p *Proxy) forward(from, to net.Conn, direction direction) {
	defer func() {
		_ = from.Close()
		_ = to.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		faults := p.now()
		switch {
		case faults.Silent:
			continue
		case direction == replies && p.cut(faults.CutReply):
			return
		case direction == replies:
			time.Sleep(faults.DelayReply)
		default:
			time.Sleep(faults.DelayRequest)
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) cut(share float64) bool {
	if share == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.random.Float64() < share
}
