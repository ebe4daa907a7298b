package twophasegrpc

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// ServerOptions are for a server that serves participants only: they bound the
// size of a request, the headers, the calls that one connection may have under
// way, and how long a client may take to connect; let clients ping as often as
// [DialOptions] makes them; and make Stop wait for the participant, so that its
// store may be closed then. Options that come after them win.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.MaxConcurrentStreams(1000),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             pingEvery / 2,
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    pingEvery,
			Timeout: pingTimeout,
		}),
	}
}

// DialOptions are for a connection to a participant: one that is cut without a
// sign is found dead within 15 seconds, well before an Assign has to be given
// up, and one that is down is tried again every 2 seconds at most. A server
// that was not made with [ServerOptions] must allow a ping every 10 seconds,
// or it closes the connection. Options that come after them win.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                pingEvery,
			Timeout:             pingTimeout,
			PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  50 * time.Millisecond,
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   2 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDisableRetry(),
	}
}

// Pings find out whether the other end of a silent connection is there.
const (
	pingEvery   = 10 * time.Second // gRPC's clients do not ping more often
	pingTimeout = 5 * time.Second
)
