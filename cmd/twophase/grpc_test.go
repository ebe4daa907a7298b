package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
)

// serveGRPC serves a participant, and returns its address.
func serveGRPC(t testing.TB, p twophase.Participant, options ...grpc.ServerOption) string {
	t.Helper()
	server := grpc.NewServer(append(twophasegrpc.ServerOptions(), options...)...)
	require.NoError(t, twophasegrpc.Register(server, p))
	return "grpc://" + serveOn(t, server)
}

// serveOn lets a server listen, and returns where.
func serveOn(t testing.TB, server *grpc.Server) (hostPort string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		assert.NoError(t, <-served)
	})
	return listener.Addr().String()
}

func TestServiceThatKeepsTheContractOverGRPC(t *testing.T) {
	t.Parallel()
	p := newPool(t, 24, eightKinds...)
	address := serveGRPC(t, p)
	status, stdout, stderr := twophaseCommand(t,
		append([]string{"verify", "-hold", "400ms", address, address}, kindFlags(eightKinds...)...)...)
	assert.Equal(t, exitKept, status, stdout)
	assert.Empty(t, stderr)
	for _, kind := range eightKinds {
		assert.Equal(t, 24, p.Count(kind).Free)
	}
}
