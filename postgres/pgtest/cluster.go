// Package pgtest runs a private PostgreSQL server for tests, from the binaries
// that are installed: its own directory, a free port on the loopback interface,
// fsync as in production. It ends with the test, also if that dies.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a private PostgreSQL server. Make it with [Start].
type Cluster struct {
	bin       string
	dir       string
	port      int
	account   *account // whose process it is; nil for our own
	postgres  *process // nil while it is stopped
	databases atomic.Int64
}

// Mode is how a server is shut down.
type Mode syscall.Signal

// The modes of pg_ctl.
const (
	// Fast ends the sessions and writes a checkpoint.
	Fast = Mode(syscall.SIGINT)
	// Immediate is a crash: the next start recovers from the log.
	Immediate = Mode(syscall.SIGQUIT)
)

const (
	superuser = "twophase"
	patience  = 30 * time.Second // for a server to start or to stop
	attempts  = 5                // at a port that nobody takes meanwhile
)

// Start makes a new cluster and starts it. Whoever starts it stops it.
func Start(ctx context.Context) (*Cluster, error) {
	bin, err := binaries(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin}
	if c.account, err = unprivileged(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "twophase-postgres-"); err != nil {
		return nil, err
	}
	err = c.initialise(ctx)
	for n := 0; err == nil && n < attempts; n++ {
		if c.port, err = freePort(ctx); err != nil {
			break
		}
		if err = c.StartAgain(ctx); err == nil {
			return c, nil
		}
	}
	return nil, errors.Join(err, c.Stop())
}

// StartAgain starts a cluster that was shut down, on the port that it had.
func (c *Cluster) StartAgain(ctx context.Context) error {
	if c.postgres != nil {
		return errors.New("pgtest: the cluster runs already")
	}
	postgres, err := spawn(c.command("postgres", "-D", c.data(),
		"-h", "127.0.0.1", "-p", strconv.Itoa(c.port), "-k", "",
		"-c", "fsync=on", "-c", "max_connections=500", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"))
	if err != nil {
		return fmt.Errorf("pgtest: start the server: %w", err)
	}
	c.postgres = postgres
	if err := c.answers(ctx); err != nil {
		return errors.Join(err, c.ShutDown(Immediate))
	}
	return nil
}

// Restart shuts the cluster down and starts it again.
func (c *Cluster) Restart(ctx context.Context, mode Mode) error {
	if err := c.ShutDown(mode); err != nil {
		return err
	}
	return c.StartAgain(ctx)
}

// StopImmediate crashes the server. StartAgain recovers it.
func (c *Cluster) StopImmediate() error { return c.ShutDown(Immediate) }

// ShutDown ends the server and keeps its data.
func (c *Cluster) ShutDown(mode Mode) error {
	if c.postgres == nil {
		return nil
	}
	postgres := c.postgres
	c.postgres = nil
	if err := postgres.end(syscall.Signal(mode)); err != nil {
		return fmt.Errorf("pgtest: stop the server: %w", err)
	}
	return nil
}

// Stop ends the server and removes all that it has stored.
func (c *Cluster) Stop() error {
	return errors.Join(c.ShutDown(Immediate), os.RemoveAll(c.dir))
}

// Address is where the server listens.
func (c *Cluster) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// URL returns the connection string of a database; "postgres" always exists.
func (c *Cluster) URL(database string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", superuser, c.Address(), database)
}

// CreateDatabase makes an empty database and returns its connection string.
func (c *Cluster) CreateDatabase(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return "", fmt.Errorf("pgtest: create a database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	name := fmt.Sprintf("test_%d", c.databases.Add(1))
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("pgtest: create a database: %w", err)
	}
	return c.URL(name), nil
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// initialise makes the cluster's files, owned by whoever runs the server.
func (c *Cluster) initialise(ctx context.Context) error {
	if c.account != nil {
		if err := os.Chown(c.dir, int(c.account.uid), int(c.account.gid)); err != nil {
			return fmt.Errorf("pgtest: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	initdb := c.command("initdb", "-D", c.data(), "-U", superuser,
		"--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
	output, err := runWithin(ctx, initdb)
	if err != nil {
		return fmt.Errorf("pgtest: initdb: %w\n%s", err, output)
	}
	return nil
}

// command returns one of PostgreSQL's programs, to be run in the cluster's
// directory by its owner, and to die with this process: its life is no context's.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = attributes(c.account)
	return cmd
}

// answers waits until the server takes connections.
func (c *Cluster) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pgtest: the server does not answer: %w", err)
		case <-c.postgres.done:
			return fmt.Errorf("pgtest: the server has ended: %w\n%s", c.postgres.err, c.postgres.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freePort(ctx context.Context) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("pgtest: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
