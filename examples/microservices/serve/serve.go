// Package serve is what the three services have in common as processes: their
// servers, with bounds on time and size, and an orderly end.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
)

// Server is what a process serves until it is told to end.
type Server struct {
	Log *slog.Logger
	// Address is where Handler is served over HTTP.
	Address string
	Handler http.Handler
	// AnswerWithin bounds how long a request may take. Default 15 seconds.
	AnswerWithin time.Duration
	// GRPC is served at GRPCAddress, unless it is nil.
	GRPC        *grpc.Server
	GRPCAddress string
}

// Bounds of every server. A connection is kept for longer than any client keeps it
// idle, so that no request is sent on one that is being closed.
const (
	headerWithin = 5 * time.Second
	bodyWithin   = 10 * time.Second
	idleFor      = 2 * time.Minute
	maxHeader    = 16 << 10
	drainFor     = 10 * time.Second
)

// Run serves until ctx ends, lets the requests under way come to their end, and
// returns. The error is why it could not serve.
func (s Server) Run(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// What streams until its client goes has to be told that the server goes.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	within := s.AnswerWithin
	if within == 0 {
		within = 15 * time.Second
	}
	server := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: headerWithin,
		ReadTimeout:       bodyWithin,
		WriteTimeout:      within,
		IdleTimeout:       idleFor,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return WithEnding(requests, ctx) },
	}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(listener) }()
	if err := s.startGRPC(ctx, ended); err != nil {
		return errors.Join(err, server.Close())
	}
	s.Log.Info("serving", slog.String("address", listener.Addr().String()))
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	return errors.Join(err, s.end(server))
}

func (s Server) startGRPC(ctx context.Context, ended chan<- error) error {
	if s.GRPC == nil {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.GRPCAddress)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	go func() { ended <- s.GRPC.Serve(listener) }()
	s.Log.Info("serving gRPC", slog.String("address", listener.Addr().String()))
	return nil
}

// end lets the requests under way come to their end, but not for ever.
func (s Server) end(server *http.Server) error {
	s.Log.Info("ending")
	ctx, cancel := context.WithTimeout(context.Background(), drainFor)
	defer cancel()
	if s.GRPC != nil {
		stop := context.AfterFunc(ctx, s.GRPC.Stop)
		defer stop()
		s.GRPC.GracefulStop()
	}
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.Log.Warn("requests were cut off at the end")
		err = server.Close()
	}
	return err
}

type endingKey struct{}

// WithEnding returns a context whose [Ending] is the end of serving.
func WithEnding(ctx, serving context.Context) context.Context {
	return context.WithValue(ctx, endingKey{}, serving.Done())
}

// Ending returns a channel that is closed when the server of a request is about to
// end: what streams has to stop then. It is nil if nobody tells.
func Ending(ctx context.Context) <-chan struct{} {
	done, _ := ctx.Value(endingKey{}).(<-chan struct{})
	return done
}
