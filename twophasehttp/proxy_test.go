package twophasehttp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// fault is what becomes of one request and its reply on their way.
type fault struct {
	delay      time.Duration // of the request
	cutRequest float64       // the connections are cut after this share of it, unless 0
	repeat     bool          // it reaches the service twice
	late       time.Duration // it reaches the service once more, so much later, unless 0
	replyDelay time.Duration
	cutReply   float64 // the connection is cut after this share of it, unless 0
	halfOpen   bool    // the reply is lost, and nobody is told
	echo       bool    // the reply comes once more, as that to the next request on the connection
}

// drawFault returns the fault of the n-th request of a kind.
func drawFault(seed uint64, kind string, n int) fault {
	const rate = 0.08
	identity := sha256.Sum256(fmt.Appendf(nil, "%d %s %d", seed, kind, n))
	random := rand.New(rand.NewChaCha8(identity))
	happens := func() bool { return random.Float64() < rate }
	some := func() time.Duration {
		d := time.Duration(random.Int64N(int64(8 * time.Second)))
		if !happens() {
			return 0
		}
		return d
	}
	share := func() float64 {
		s := random.Float64()
		if !happens() {
			return 0
		}
		return s
	}
	return fault{
		delay: some(), cutRequest: share(), repeat: happens(), late: some(),
		replyDelay: some(), cutReply: share(), halfOpen: happens(), echo: happens(),
	}
}

// proxy forwards requests over connections that meet with faults.
type proxy struct {
	network network
	service string
	plan    func(kind string, n int) fault
	life    context.Context // ends with the proxy

	mu    sync.Mutex
	seen  map[string]int
	conns map[net.Conn]bool
	met   map[string]int // how often each fault was met
	work  sync.WaitGroup
}

// newProxy serves as what a service at an address looks like from afar. It
// returns its own address.
func newProxy(t testing.TB, n network, service string, plan func(kind string, n int) fault) (*proxy, string) {
	t.Helper()
	life, die := context.WithCancel(context.Background())
	p := &proxy{
		network: n, service: service, plan: plan, life: life,
		seen: map[string]int{}, conns: map[net.Conn]bool{}, met: map[string]int{},
	}
	listener := n.listen(t)
	p.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.forward(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		die()
		p.mu.Lock()
		for conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.work.Wait()
	})
	return p, listener.Addr().String()
}

// opened remembers a connection, so that it ends with the proxy.
func (p *proxy) opened(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
}

func (p *proxy) close(conn net.Conn) {
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
	_ = conn.Close()
}

// meets counts a fault, and reports whether it is one.
func (p *proxy) meets(name string, is bool) bool {
	if is {
		p.mu.Lock()
		p.met[name]++
		p.mu.Unlock()
	}
	return is
}

// faultOf returns what becomes of a request.
func (p *proxy) faultOf(r *http.Request) fault {
	kind := r.Method + " " + r.URL.EscapedPath()
	p.mu.Lock()
	p.seen[kind]++
	n := p.seen[kind]
	p.mu.Unlock()
	return p.plan(kind, n)
}

// forward serves one connection of a client.
func (p *proxy) forward(client net.Conn) {
	p.opened(client)
	defer p.close(client)
	requests := bufio.NewReader(client)
	var echo []byte
	for {
		r, err := http.ReadRequest(requests)
		if err != nil {
			return
		}
		var request bytes.Buffer
		if r.Write(&request) != nil {
			return
		}
		f := p.faultOf(r)
		reply, whole := p.pass(client, request.Bytes(), f)
		if !whole {
			return
		}
		if _, err := client.Write(append(echo, reply...)); err != nil {
			return
		}
		echo = nil
		if p.meets("echo", f.echo) {
			echo = bytes.Clone(reply)
		}
	}
}

// pass lets a request and its reply pass, and returns the reply and whether the
// connection is still whole.
func (p *proxy) pass(client net.Conn, request []byte, f fault) (reply []byte, whole bool) {
	if p.meets("late", f.late > 0) {
		p.work.Go(func() {
			if p.sleep(f.late) {
				p.exchange(request)
			}
		})
	}
	if p.meets("delay", f.delay > 0) && !p.sleep(f.delay) {
		return nil, false
	}
	if p.meets("cut request", f.cutRequest > 0) {
		p.send(request[:int(float64(len(request))*f.cutRequest)])
		return nil, false
	}
	if p.meets("repeat", f.repeat) {
		p.exchange(request)
	}
	reply = p.exchange(request)
	switch {
	case reply == nil:
		return nil, false
	case p.meets("reply delay", f.replyDelay > 0) && !p.sleep(f.replyDelay):
		return nil, false
	case p.meets("cut reply", f.cutReply > 0):
		_, _ = client.Write(reply[:int(float64(len(reply))*f.cutReply)])
		return nil, false
	case p.meets("half open", f.halfOpen):
		_, _ = io.Copy(io.Discard, client) // until the client gives up
		return nil, false
	}
	return reply, true
}

// exchange sends a request to the service and returns the reply, or nil.
func (p *proxy) exchange(request []byte) []byte {
	conn, err := p.network.dial(p.life, p.service)
	if err != nil {
		return nil
	}
	p.opened(conn)
	defer p.close(conn)
	if _, err := conn.Write(request); err != nil {
		return nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	var reply bytes.Buffer
	if resp.Write(&reply) != nil {
		return nil
	}
	return reply.Bytes()
}

// send sends part of a request to the service, and cuts the connection.
func (p *proxy) send(part []byte) {
	conn, err := p.network.dial(p.life, p.service)
	if err != nil {
		return
	}
	p.opened(conn)
	defer p.close(conn)
	_, _ = conn.Write(part)
}

// sleep reports whether the proxy still lives after a while.
func (p *proxy) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.life.Done():
		return false
	}
}
