package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a child that is watched by one goroutine, on a thread of its own:
// the kernel's signal at the parent's death comes when that thread ends.
type process struct {
	cmd    *exec.Cmd
	output *tail
	done   chan struct{} // closed when it has ended
	err    error         // how it ended; read it after done
}

// spawn starts a process.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, output: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// end asks the process to end, waits, and kills it if it does not.
func (p *process) end(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		select {
		case <-p.done:
			return nil
		default:
			return err
		}
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("it does not end on %v", signal), p.cmd.Process.Kill())
	}
}

// runWithin runs a program to its end and returns what it printed.
func runWithin(ctx context.Context, cmd *exec.Cmd) (string, error) {
	p, err := spawn(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
		return p.output.String(), p.err
	case <-ctx.Done():
		return p.output.String(), errors.Join(context.Cause(ctx), p.end(syscall.SIGTERM))
	}
}

// tail keeps the end of what a process prints.
type tail struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

const tailSize = 64 << 10

// Write implements [io.Writer].
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buffer.Write(b)
	if over := t.buffer.Len() - tailSize; over > 0 {
		t.buffer.Next(over)
	}
	return len(b), nil
}

// String returns the end of what was printed.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buffer.String()
}
