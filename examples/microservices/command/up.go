package command

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/order"
	"github.com/seed-bcc3c603/twophase/examples/microservices/page"
	"github.com/seed-bcc3c603/twophase/examples/microservices/process"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

func thePage() http.Handler { return page.Handler() }

type upSettings struct {
	transport string
	stock     int
	demo      bool
	state     string
	addresses [3]string
	level     slog.Level
	lives     order.Lifetimes
}

func up(flags *flag.FlagSet, env environment) func(context.Context) error {
	s := upSettings{lives: order.DefaultLifetimes()}
	flags.StringVar(&s.transport, "transport", process.HTTP, "between the services: http or grpc")
	flags.IntVar(&s.stock, "stock", 8, "the `number` of packets of each food, and of agents in each area")
	flags.BoolVar(&s.demo, "demo", true, "allow breaking things, from the page or by POST /break/{name}")
	flags.StringVar(&s.addresses[0], "order", "127.0.0.1:8080", "`address` of the order service")
	flags.StringVar(&s.addresses[1], "store", "127.0.0.1:8081", "`address` of the store service")
	flags.StringVar(&s.addresses[2], "delivery", "127.0.0.1:8082", "`address` of the delivery service")
	flags.TextVar(&s.level, "log", slog.LevelWarn, "`level` of the services' log: debug, info, warn or error")
	setStateFile(flags, &s.state)
	setLifetimes(flags, &s.lives)
	return func(ctx context.Context) error { return s.run(ctx, env) }
}

func (s upSettings) check() error {
	switch {
	case s.transport != process.HTTP && s.transport != process.GRPC:
		return usage("-transport %q: it must be http or grpc", s.transport)
	case s.stock < 1 || s.stock > api.MaxRestock:
		return usage("-stock %d: it must be 1 to %d", s.stock, api.MaxRestock)
	}
	return nil
}

// run starts everything, and ends it when ctx ends or down asks for it.
func (s upSettings) run(ctx context.Context, env environment) error {
	if err := s.check(); err != nil {
		return err
	}
	if running, err := readState(s.state); err == nil && running.answers(ctx) {
		return fmt.Errorf("it is up already, at %s: microservices down stops it", running.URLs[city.Order])
	}
	itself, err := itself()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	control := "http://" + listener.Addr().String()
	log := sharedBy(env.stderr)
	config := city.Config{
		Command: itself, Output: func(string) io.Writer { return log },
		Addresses: map[string]string{city.Order: s.addresses[0], store.Name: s.addresses[1], delivery.Name: s.addresses[2]},
		Transport: s.transport, Stock: s.stock, Lives: s.lives, Level: s.level,
		OneServer: true, Proxies: s.demo, Seed: 1, Restart: true,
	}
	if s.demo {
		config.Control = control
	}
	say(env.stdout, "Starting PostgreSQL and the three services…\n")
	c, err := city.Start(ctx, config)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	state := newState(c, control)
	served := serveControl(listener, c, s.demo, state.Token, stop)
	defer served()
	if err := state.write(s.state); err != nil {
		return errors.Join(err, c.Close())
	}
	s.announce(env.stdout, c)
	<-ctx.Done()
	say(env.stdout, "\nStopping…\n")
	served()
	return errors.Join(c.Close(), os.Remove(s.state))
}

func (s upSettings) announce(w io.Writer, c *city.City) {
	say(w, `
  the page  %[1]s
  order     curl -i %[1]s/orders -H 'Content-Type: application/json' \
              -d '{"id":"order-1001","food":"masala dosa","area":"Indiranagar"}'
  store     %[2]s/stock
  delivery  %[3]s/stock
  psql      %[4]s
            %[5]s
            %[6]s

Ctrl-C stops everything, as does "microservices down" elsewhere.
`, c.URL(city.Order), c.URL(store.Name), c.URL(delivery.Name),
		c.Database(city.Order), c.Database(store.Name), c.Database(delivery.Name))
}

// serveControl serves who breaks things, and down, until the function that it
// returns is called.
func serveControl(listener net.Listener, c *city.City, demo bool, token string, stop func()) (end func()) {
	mux := http.NewServeMux()
	breaker := city.NewBreaker(c)
	if demo {
		breaker.Register(mux)
	}
	mux.HandleFunc("POST /down/{token}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("token") != token {
			serve.Problem(w, http.StatusForbidden, "that is the token of another run")
			return
		}
		serve.JSON(w, http.StatusOK, struct{}{})
		stop()
	})
	mux.HandleFunc("GET /up/{token}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("token") != token {
			serve.Problem(w, http.StatusForbidden, "that is the token of another run")
			return
		}
		serve.JSON(w, http.StatusOK, struct{}{})
	})
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until it is closed below
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // or what is under way is cut off
		_ = server.Close()
		<-ended
		breaker.Close()
	}
}

// sharedBy returns a writer that several services may have at once.
func sharedBy(w io.Writer) io.Writer {
	if file, ok := w.(*os.File); ok {
		return file // theirs directly
	}
	return &shared{w: w}
}

type shared struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements [io.Writer].
func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func newToken() string { return rand.Text() }
