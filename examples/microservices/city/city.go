// Package city runs the three services on one machine, each as a process with a
// database of its own: on a private PostgreSQL server, or on three. It can kill them
// and start them again, crash their databases, and spoil the network between them.
package city

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/order"
	"github.com/seed-bcc3c603/twophase/examples/microservices/process"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// Order is the name of the order service; the others have names as participants.
const Order = "order"

// Services returns the names of all.
func Services() []string { return []string{Order, store.Name, delivery.Name} }

// Config says what to run.
type Config struct {
	// Command returns how a service is run: this program, with arguments.
	Command func(args ...string) *exec.Cmd
	// Output is where what a service logs goes.
	Output func(service string) io.Writer
	// Addresses are where services listen; by default at free ports.
	Addresses map[string]string
	Transport string
	Stock     int
	Lives     order.Lifetimes
	// OneServer puts the three databases on one PostgreSQL server.
	OneServer bool
	// Proxies puts a [Proxy] before each service. Seed chooses what they lose.
	Proxies bool
	Seed    uint64
	// Control is the URL of whoever breaks things; see [process.Order].
	Control string
	// ByHand allows orders with no coordinator.
	ByHand bool
	// Level is that of the services' log.
	Level slog.Level
	// Restart starts again a service that has ended by itself.
	Restart bool
}

// City is the three services. Make it with [Start], and end it with [City.Close].
type City struct {
	config    Config
	databases *databases
	children  map[string]*child
	proxies   map[string]*Proxy
	client    *http.Client
	restarts  sync.WaitGroup
	ending    chan struct{}

	mu      sync.Mutex
	crashes []error
	closed  bool
}

// Start starts everything and waits until it is well.
func Start(ctx context.Context, config Config) (*City, error) {
	c := &City{
		config: config, children: map[string]*child{}, proxies: map[string]*Proxy{},
		client: &http.Client{Timeout: 3 * time.Second}, ending: make(chan struct{}),
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *City) start(ctx context.Context) (err error) {
	if c.databases, err = startDatabases(ctx, c.config.OneServer); err != nil {
		return err
	}
	if err := c.plan(ctx); err != nil {
		return err
	}
	for _, service := range Services() {
		if err := c.StartService(service); err != nil {
			return err
		}
	}
	return c.Healthy(ctx, time.Minute)
}

// plan decides where everything is, and how it is started.
func (c *City) plan(ctx context.Context) error {
	addresses := map[string]string{}
	for _, name := range append(Services(), store.Name+grpcSuffix, delivery.Name+grpcSuffix) {
		address := c.config.Addresses[name]
		if address == "" {
			var err error
			if address, err = freeAddress(ctx); err != nil {
				return err
			}
		}
		addresses[name] = address
	}
	// What is called through a proxy, and what is not.
	called := map[string]string{}
	for i, name := range Services() {
		target := addresses[name]
		if c.config.Transport == process.GRPC && name != Order {
			target = addresses[name+grpcSuffix]
		}
		called[name] = target
		if !c.config.Proxies {
			continue
		}
		proxy, err := NewProxy(ctx, target, c.config.Seed+uint64(i))
		if err != nil {
			return fmt.Errorf("proxy to %s: %w", name, err)
		}
		c.proxies[name] = proxy
		called[name] = proxy.Address()
	}
	for _, name := range Services() {
		args := append([]string{name, "-until-stdin-ends",
			"-listen", addresses[name], "-database", c.databases.url(name), "-log", c.config.Level.String()},
			c.arguments(name, addresses, called)...)
		c.children[name] = &child{
			name: name, args: args, url: "http://" + addresses[name],
			start: c.config.Command, output: c.config.Output(name),
		}
	}
	return nil
}

const grpcSuffix = "-grpc"

// arguments returns those that only one kind of service has.
func (c *City) arguments(name string, addresses, called map[string]string) []string {
	if name != Order {
		args := []string{"-demo", "-stock", strconv.Itoa(c.config.Stock)}
		if c.config.Transport == process.GRPC {
			args = append(args, "-grpc", addresses[name+grpcSuffix])
		}
		return args
	}
	scheme := ""
	if c.config.Transport == process.HTTP {
		scheme = "http://"
	}
	lives := c.config.Lives
	args := []string{
		"-transport", c.config.Transport,
		"-store", scheme + called[store.Name], "-delivery", scheme + called[delivery.Name],
		"-store-stock", "http://" + addresses[store.Name], "-delivery-stock", "http://" + addresses[delivery.Name],
		"-hold", lives.Hold.String(), "-timeout", lives.Timeout.String(), "-lease", lives.Lease.String(),
		"-reserve-for", lives.ReserveFor.String(), "-assign-for", lives.AssignFor.String(),
		"-attempt", lives.Attempt.String(),
	}
	if c.config.Control != "" {
		args = append(args, "-control", c.config.Control)
	}
	if c.config.ByHand {
		args = append(args, "-by-hand")
	}
	return args
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// URL returns where a service is, not through its proxy.
func (c *City) URL(service string) string { return c.children[service].url }

// Proxy returns what stands before a service, or nil.
func (c *City) Proxy(service string) *Proxy { return c.proxies[service] }

// Database returns the connection string of a service's database.
func (c *City) Database(service string) string { return c.databases.url(service) }

// StartService starts a service that does not run.
func (c *City) StartService(service string) error { return c.children[service].begin(c.unexpected) }

// Kill ends a service where it stands.
func (c *City) Kill(service string) error { return c.children[service].end(syscall.SIGKILL) }

// CrashDatabase ends the server of a service's database where it stands, or lets it
// end in order. The server may be that of the other services, too.
func (c *City) CrashDatabase(service string, inOrder bool) error {
	return c.databases.crash(service, inOrder)
}

// StartDatabase starts it again.
func (c *City) StartDatabase(ctx context.Context, service string) error {
	return c.databases.start(ctx, service)
}

// Healthy waits until all services are well, but not for longer than within.
func (c *City) Healthy(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range c.children {
		group.Go(func() error { return p.healthy(ctx, c.client) })
	}
	return group.Wait()
}

// unexpected notes that a service has ended by itself.
func (c *City) unexpected(service string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashes = append(c.crashes, fmt.Errorf("the %s service has ended by itself: %w", service, inWords(err)))
	if !c.config.Restart || c.closed {
		return
	}
	c.restarts.Go(func() {
		select {
		case <-time.After(time.Second):
			_ = c.StartService(service) // or it runs again already
		case <-c.ending:
		}
	})
}

func inWords(err error) error {
	if err == nil {
		return errors.New("in order")
	}
	return err
}

// Crashes returns how services have ended by themselves.
func (c *City) Crashes() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.crashes...)
}

// Close ends everything in order, and removes the databases.
func (c *City) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	close(c.ending)
	c.restarts.Wait()
	var errs []error
	for _, service := range Services() { // those who call go first
		p := c.children[service]
		if p == nil {
			continue
		}
		if err := p.end(os.Interrupt); err != nil && !errors.Is(err, errNotRunning) {
			errs = append(errs, err)
		}
	}
	for _, proxy := range c.proxies {
		errs = append(errs, proxy.Close())
	}
	if c.databases != nil {
		errs = append(errs, c.databases.stop())
	}
	c.client.CloseIdleConnections()
	return errors.Join(errs...)
}
