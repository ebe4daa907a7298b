//go:build unix

package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/crashtest"
)

// The environment that makes the test binary a service, which is to be killed.
const (
	serveEnv  = "TWOPHASE_POSTGRES_SERVE" // the database
	socketEnv = "TWOPHASE_POSTGRES_SOCKET"
)

func init() {
	url := os.Getenv(serveEnv)
	if url == "" {
		return
	}
	go func() { // a service whose test has gone has nobody to end it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	fmt.Fprintln(os.Stderr, "the service has ended:", serve(context.Background(), url, os.Getenv(socketEnv)))
	os.Exit(1)
}

// serve has a pool and a fence called at a socket until the process is killed.
func serve(ctx context.Context, url, socket string) error {
	db, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	store, err := whenItIsThere(func() (*Pool, error) { return NewPool(ctx, db, "store") })
	if err != nil {
		return err
	}
	delivery, err := whenItIsThere(func() (*Fence, error) { return NewFence(ctx, db, "delivery", shelves("delivery")) })
	if err != nil {
		return err
	}
	return crashtest.Serve(map[string]twophase.Participant{"store": store, "delivery": delivery}, socket)
}

// whenItIsThere waits for a server that is away.
func whenItIsThere[T any](open func() (T, error)) (opened T, err error) {
	for range 300 {
		if opened, err = open(); err == nil {
			return opened, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return opened, err
}

// service is a process that serves, and is started again when it was killed.
type service struct {
	url, socket string
	process     *exec.Cmd
	stdin       io.Closer
	words       *bytes.Buffer
	client      *http.Client
}

// newService starts a service that ends with the test.
func newService(t *testing.T, url, socket string) *service {
	t.Helper()
	s := &service{url: url, socket: socket, client: crashtest.NewClient(socket)}
	s.start(t)
	t.Cleanup(func() {
		s.kill(t)
		s.client.CloseIdleConnections()
	})
	return s
}

func (s *service) start(t *testing.T) {
	t.Helper()
	s.words = &bytes.Buffer{}
	s.process = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^$")
	s.process.Env = append(os.Environ(), serveEnv+"="+s.url, socketEnv+"="+s.socket, "GORACE=halt_on_error=1")
	s.process.Stderr = s.words
	var err error
	s.stdin, err = s.process.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, s.process.Start())
}

// kill ends the process where it stands.
func (s *service) kill(t *testing.T) {
	t.Helper()
	_ = s.process.Process.Kill()
	err := s.process.Wait()
	_ = s.stdin.Close()
	require.ErrorContains(t, err, "killed", "it has ended by itself: %s", s.words)
}

// anyOf is a participant that several services serve, of which any may be called.
type anyOf []twophase.Participant

func newAnyOf(services []*service, name string) (all anyOf) {
	for _, s := range services {
		all = append(all, crashtest.NewRemote(name, s.client))
	}
	return all
}

func (a anyOf) one() twophase.Participant { return a[rand.N(len(a))] }

func (a anyOf) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	return a.one().Reserve(ctx, req)
}

func (a anyOf) Assign(ctx context.Context, key twophase.Key) error { return a.one().Assign(ctx, key) }

func (a anyOf) Release(ctx context.Context, key twophase.Key) error { return a.one().Release(ctx, key) }
