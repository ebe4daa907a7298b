package city_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a service that answers each line with the same.
func echo(t *testing.T) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

type caller struct {
	net.Conn
	replies *bufio.Reader
}

func dial(t *testing.T, p *city.Proxy) caller {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return caller{conn, bufio.NewReader(conn)}
}

// say sends a line and waits for the answer.
func (c caller) say(within time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("hello\n")); err != nil {
		return err
	}
	_, err := c.replies.ReadString('\n')
	return err
}

func newProxy(t *testing.T) *city.Proxy {
	t.Helper()
	p, err := city.NewProxy(t.Context(), echo(t), 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

const soon = 5 * time.Second

func TestProxyPassesEverythingOn(t *testing.T) {
	t.Parallel()
	c := dial(t, newProxy(t))
	for range 3 {
		require.NoError(t, c.say(soon))
	}
}

func TestProxyThatIsDownClosesConnectionsAndComesBack(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	old := dial(t, p)
	require.NoError(t, old.say(soon))
	p.Change(func(f *city.Faults) { f.Down = true })
	require.Error(t, old.say(soon))
	require.Error(t, dial(t, p).say(soon))
	p.Change(func(f *city.Faults) { f.Down = false })
	require.NoError(t, dial(t, p).say(soon))
}

func TestSilentProxyClosesNothingUntilItSpeaksAgain(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := dial(t, p)
	require.NoError(t, c.say(soon))
	p.Change(func(f *city.Faults) { f.Silent = true })
	err := c.say(100 * time.Millisecond)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	p.Change(func(f *city.Faults) { f.Silent = false })
	err = c.say(soon)
	assert.False(t, err == nil || errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
}

func TestSlowProxyHoldsBackReplies(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := dial(t, p)
	p.Change(func(f *city.Faults) { f.DelayReply = 100 * time.Millisecond })
	began := time.Now()
	require.NoError(t, c.say(soon))
	assert.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
}

func TestProxyThatLosesRepliesCutsTheConnection(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.Change(func(f *city.Faults) { f.CutReply = 1 })
	err := dial(t, p).say(soon)
	assert.False(t, err == nil || errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
}
