package postgres

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

// proxy stands between a pool and the server, and cuts the connection at the
// worst moment.
type proxy struct {
	server string
	cut    atomic.Int32 // at what the next transaction is cut
	cuts   atomic.Int32 // how many were
	done   sync.WaitGroup
}

const (
	cutNothing int32 = iota
	cutRequest       // before the server gets the transaction
	cutAnswer        // after it has committed it, before it says so
	loseAnswer       // the same, but nobody is told that the connection is dead
)

// readyForQuery is the server's last message of a transaction: it is idle.
var readyForQuery = []byte{'Z', 0, 0, 0, 5, 'I'}

// throughProxy returns a pool with a single connection on the same database, and
// the proxy that it goes through. Each transaction is one round trip.
func throughProxy(t *testing.T, pool *pgxpool.Pool) (*pgxpool.Pool, *proxy) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{server: cluster.Address()}
	p.done.Go(func() { p.accept(listener) })
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		p.done.Wait()
	})
	address := listener.Addr().(*net.TCPAddr)
	proxied := pgtest.Open(t, pool.Config().ConnString(), withConns(1), inMode(pgx.QueryExecModeExec),
		func(c *pgxpool.Config) { c.ConnConfig.Port = uint16(address.Port) })
	return proxied, p
}

func (p *proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.done.Go(func() { p.forward(client, server, p.passesRequest) })
		p.done.Go(func() { p.forward(server, client, p.passesAnswer) })
	}
}

// forward copies until one side ends or something is not to pass.
func (p *proxy) forward(from, to net.Conn, passes func([]byte) bool) {
	defer func() {
		_ = from.Close()
		_ = to.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if !passes(buffer[:n]) {
			p.cuts.Add(1)
			return
		}
		if p.lost(buffer[:n]) {
			continue
		}
		if _, err := io.Copy(to, bytes.NewReader(buffer[:n])); err != nil {
			return
		}
	}
}

func (p *proxy) passesRequest([]byte) bool { return !p.cut.CompareAndSwap(cutRequest, cutNothing) }

// passesAnswer holds an answer back to see it whole: small ones come in one
// piece.
func (p *proxy) passesAnswer(answer []byte) bool {
	return !bytes.HasSuffix(answer, readyForQuery) || !p.cut.CompareAndSwap(cutAnswer, cutNothing)
}

func (p *proxy) lost(answer []byte) bool {
	return bytes.HasSuffix(answer, readyForQuery) && p.cut.CompareAndSwap(loseAnswer, cutNothing)
}
