package twophasegrpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dosa = "masala dosa"

var mine = twophase.Key{Transaction: "order-1001", Step: "store"}

// newPool returns a pool with so many packets of masala dosa.
func newPool(t testing.TB, free int) *pool.Pool {
	t.Helper()
	p, err := pool.New()
	require.NoError(t, err)
	require.NoError(t, p.Restock(dosa, numbered("packet", free)...))
	return p
}

// overGRPC returns a participant behind a server and a connection of its own.
func overGRPC(t testing.TB, p twophase.Participant, options ...twophasegrpc.ServiceOption) *twophasegrpc.Participant {
	t.Helper()
	return newParticipant(t, serving(t, p, options...))
}

// serving returns a connection to a service of a participant.
func serving(t testing.TB, p twophase.Participant, options ...twophasegrpc.ServiceOption) *grpc.ClientConn {
	t.Helper()
	return connect(t, serve(t, func(server *grpc.Server) {
		require.NoError(t, twophasegrpc.Register(server, p, append([]twophasegrpc.ServiceOption{quiet}, options...)...))
	}))
}

// quiet logs nothing.
var quiet = twophasegrpc.WithLogger(slog.New(slog.DiscardHandler))

func newParticipant(t testing.TB, conn grpc.ClientConnInterface) *twophasegrpc.Participant {
	t.Helper()
	p, err := twophasegrpc.NewParticipant(conn)
	require.NoError(t, err)
	return p
}

// serve starts a server in memory, until the test ends, and returns how to
// reach it.
func serve(t testing.TB, register func(*grpc.Server), options ...grpc.ServerOption) *bufconn.Listener {
	t.Helper()
	listener := bufconn.Listen(64 << 10)
	start(t, listener, register, options...)
	return listener
}

// start starts a server on a listener, until the test ends.
func start(t testing.TB, listener net.Listener, register func(*grpc.Server), options ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	server := grpc.NewServer(append(twophasegrpc.ServerOptions(), options...)...)
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return server
}

// connect returns a connection to a server in memory, until the test ends.
func connect(t testing.TB, listener *bufconn.Listener) *grpc.ClientConn {
	t.Helper()
	return dialTarget(t, "passthrough:///bufconn", grpc.WithContextDialer(
		func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
}

// dialTarget returns a connection to an address, until the test ends.
func dialTarget(t testing.TB, target string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append(append(twophasegrpc.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials())), options...)
	conn, err := grpc.NewClient(target, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}
