//go:build unix

package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
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
	mux := http.NewServeMux()
	mux.Handle("/store", counter{store})
	mux.Handle("/delivery", counter{delivery})
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(listener)
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

// message is a call on a participant, or its answer.
type message struct {
	Call        twophase.Call
	Request     twophase.Request
	Reservation twophase.Reservation
	Final       int // 1 is the first of finals
	Err         string
}

var finals = []error{
	twophase.ErrRefused, twophase.ErrExpired, twophase.ErrReleased, twophase.ErrUnknown, twophase.ErrMismatch,
}

// counter is where a participant is called. Some calls arrive late, whatever has become
// of their caller.
type counter struct{ participant twophase.Participant }

const latest = 400 * time.Millisecond

func (c counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if rand.N(20) == 0 {
		time.Sleep(rand.N(latest))
	}
	ctx, err := context.WithoutCancel(r.Context()), error(nil)
	switch m.Call {
	case twophase.CallReserve:
		m.Reservation, err = c.participant.Reserve(ctx, m.Request)
	case twophase.CallAssign:
		err = c.participant.Assign(ctx, m.Request.Key)
	case twophase.CallRelease:
		err = c.participant.Release(ctx, m.Request.Key)
	default:
		err = fmt.Errorf("there is no call %v", m.Call)
	}
	if err != nil {
		m.Err = err.Error()
		for i, final := range finals {
			if errors.Is(err, final) {
				m.Final = i + 1
			}
		}
	}
	_ = json.NewEncoder(w).Encode(m) // the caller may have gone
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
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	s := &service{url: url, socket: socket, client: &http.Client{Transport: transport}}
	s.start(t)
	t.Cleanup(func() {
		s.kill(t)
		transport.CloseIdleConnections()
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

// anyOf is a participant of services of which any may be called.
type anyOf struct {
	services []*service
	name     string
}

func (a anyOf) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	answer, err := a.call(ctx, message{Call: twophase.CallReserve, Request: req})
	return answer.Reservation, err
}

func (a anyOf) Assign(ctx context.Context, key twophase.Key) error {
	_, err := a.call(ctx, message{Call: twophase.CallAssign, Request: twophase.Request{Key: key}})
	return err
}

func (a anyOf) Release(ctx context.Context, key twophase.Key) error {
	_, err := a.call(ctx, message{Call: twophase.CallRelease, Request: twophase.Request{Key: key}})
	return err
}

func (a anyOf) call(ctx context.Context, m message) (answer message, err error) {
	body, err := json.Marshal(m)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://service/"+a.name, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	reply, err := a.services[rand.N(len(a.services))].client.Do(req)
	if err != nil {
		return answer, err
	}
	defer func() { _ = reply.Body.Close() }()
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil {
		return answer, err
	}
	switch {
	case answer.Final > 0:
		return answer, fmt.Errorf("%w: %s", finals[answer.Final-1], answer.Err)
	case answer.Err != "":
		return answer, errors.New(answer.Err)
	}
	return answer, nil
}
