// Package process runs the services: each function is the whole life of one process,
// from its settings to its end.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
	"github.com/seed-bcc3c603/twophase/examples/microservices/stock"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// The transports between the services.
const (
	HTTP = "http"
	GRPC = "grpc"
)

// Participant has the settings of a store or a delivery process.
type Participant struct {
	Listen   string // address
	GRPC     string // address; not served if empty
	Database string // connection string
	Conns    int
	// Stock is how many resources each new kind of the demonstration gets; 0 for
	// no demonstration at all.
	Stock int
	// Demo lets everybody change the stock.
	Demo bool
}

// Store is the life of a store process.
func (s Participant) Store(ctx context.Context, log *slog.Logger) error {
	var packets *store.Store
	db, err := serve.OpenDatabase(ctx, log, s.Database, s.Conns, func(ctx context.Context, db *pgxpool.Pool) (err error) {
		if packets == nil {
			packets, err = store.Open(ctx, db, log)
		}
		if err == nil && s.Stock > 0 {
			err = packets.Sell(ctx, s.Stock, store.Foods()...)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer db.Close()
	defer packets.Close()
	return s.run(ctx, log, packets, stock.Handler{
		Name: store.Name, What: "packets", Keeper: packets, DB: db, Demo: s.Demo,
	})
}

// Delivery is the life of a delivery process.
func (s Participant) Delivery(ctx context.Context, log *slog.Logger) error {
	var agents *delivery.Delivery
	db, err := serve.OpenDatabase(ctx, log, s.Database, s.Conns, func(ctx context.Context, db *pgxpool.Pool) (err error) {
		if agents == nil {
			agents, err = delivery.Open(ctx, db, log)
		}
		if err == nil && s.Stock > 0 {
			err = agents.Serve(ctx, s.Stock, delivery.Areas()...)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer db.Close()
	defer agents.Close()
	return s.run(ctx, log, agents, stock.Handler{
		Name: delivery.Name, What: "agents", Keeper: agents, DB: db, Demo: s.Demo,
	})
}

// run serves a participant until ctx ends.
func (s Participant) run(ctx context.Context, log *slog.Logger, p twophase.Participant, h stock.Handler) error {
	wire, err := twophasehttp.NewHandler(p, twophasehttp.WithLogger(log))
	if err != nil {
		return err
	}
	h.Participant = wire
	server := serve.Server{Log: log, Address: s.Listen, Handler: h.HTTP()}
	if s.GRPC != "" {
		server.GRPC = grpc.NewServer(twophasegrpc.ServerOptions()...)
		server.GRPCAddress = s.GRPC
		if err := twophasegrpc.Register(server.GRPC, p, twophasegrpc.WithLogger(log)); err != nil {
			return err
		}
		health := twophasegrpc.RegisterHealth(server.GRPC)
		stop := context.AfterFunc(ctx, health.Shutdown)
		defer stop()
	}
	return server.Run(ctx)
}

// UntilInputEnds returns a context that ends when standard input does: whoever
// started this process has gone.
func UntilInputEnds(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		cancel(errors.Join(errors.New("standard input has ended"), err))
	}()
	return ctx, func() { cancel(nil) }
}

// checkURL refuses what is no address of an HTTP service.
func checkURL(flag, url string) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil || request.URL.Host == "" || request.URL.Scheme != "http" && request.URL.Scheme != "https" {
		return fmt.Errorf("-%s %q: it must be the URL of a service, such as http://127.0.0.1:8081", flag, url)
	}
	return nil
}
