package city

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// child is the process of one of the services. It is started again and again.
type child struct {
	name   string
	args   []string
	url    string // where it is asked for its health
	start  func(args ...string) *exec.Cmd
	output io.Writer

	mu      sync.Mutex
	running *run
}

// run is one life of a process.
type run struct {
	command *exec.Cmd
	stdin   io.Closer
	ended   chan struct{}
	err     error
	wanted  bool // that it ends
}

// errRunning and errNotRunning say that there is nothing to be done.
var (
	errRunning    = errors.New("it runs already")
	errNotRunning = errors.New("it does not run")
)

// begin starts the process. It ends with this one: its standard input does.
func (c *child) begin(unexpected func(name string, err error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		return fmt.Errorf("start %s: %w", c.name, errRunning)
	}
	command := c.start(c.args...)
	command.Stdout, command.Stderr = c.output, c.output
	// A group of its own: an interrupt at the terminal is ours to pass on.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := command.StdinPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	r := &run{command: command, stdin: stdin, ended: make(chan struct{})}
	c.running = r
	go c.wait(r, unexpected)
	return nil
}

func (c *child) wait(r *run, unexpected func(name string, err error)) {
	r.err = r.command.Wait()
	c.mu.Lock()
	wanted := r.wanted
	c.running = nil
	c.mu.Unlock()
	close(r.ended)
	if !wanted {
		unexpected(c.name, r.err)
	}
}

// end sends a signal and waits for the process to end. One that does not within
// some time is killed.
func (c *child) end(signal os.Signal) error {
	c.mu.Lock()
	r := c.running
	if r == nil {
		c.mu.Unlock()
		return fmt.Errorf("end %s: %w", c.name, errNotRunning)
	}
	r.wanted = true
	c.mu.Unlock()
	_ = r.command.Process.Signal(signal) // or it has just ended
	select {
	case <-r.ended:
	case <-time.After(endWithin):
		_ = r.command.Process.Kill()
		<-r.ended
		return fmt.Errorf("end %s: it did not end on %v within %v, and was killed", c.name, signal, endWithin)
	}
	return nil
}

const endWithin = 25 * time.Second // more than a service takes to drain

// healthy waits until the process answers that it is well.
func (c *child) healthy(ctx context.Context, client *http.Client) error {
	var last error
	for {
		if last = c.health(ctx, client); last == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s is not well: %w", c.name, last)
		}
	}
}

func (c *child) health(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
