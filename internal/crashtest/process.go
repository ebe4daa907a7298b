//go:build unix

package crashtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// process is a child under way.
type process struct {
	child
	command *exec.Cmd
	stdin   io.Closer
	output  string
	killed  bool
	ended   chan struct{}
}

// start starts a child. It is killed at the end of the test, at the latest.
func start(t testing.TB, c child) *process {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	text, err := json.Marshal(c)
	require.NoError(t, err)
	p := &process{child: c, output: filepath.Join(c.Dir, c.Name+".output"), ended: make(chan struct{})}
	output, err := os.Create(p.output)
	require.NoError(t, err)
	defer func() { _ = output.Close() }()

	p.command = exec.CommandContext(context.WithoutCancel(t.Context()), binary, "-test.run=^$")
	p.command.Env = append(os.Environ(), childEnv+"="+string(text), "GORACE=halt_on_error=1")
	p.command.Stdout, p.command.Stderr = output, output
	p.stdin, err = p.command.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.command.Start())
	go func() {
		defer close(p.ended)
		_ = p.command.Wait()
	}()
	t.Cleanup(func() { p.kill(t) })
	return p
}

// kill ends the process where it stands. One that has ended by itself fails the
// test, with its last words.
func (p *process) kill(t testing.TB) {
	if p.killed {
		return
	}
	p.killed = true
	select {
	case <-p.ended:
		words, err := os.ReadFile(p.output)
		assert.Fail(t, "a child has ended by itself", "%s: %s %v", p.Name, words, err)
	default:
	}
	p.signal(t, syscall.SIGKILL)
	<-p.ended
	_ = p.stdin.Close()
}

func (p *process) signal(t testing.TB, signal syscall.Signal) {
	if err := p.command.Process.Signal(signal); err != nil {
		t.Log(fmt.Errorf("%v to %s: %w", signal, p.Name, err))
	}
}
