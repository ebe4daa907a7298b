package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// hunt is how mutations are hunted.
type hunt struct {
	root  string
	seeds int
	limit time.Duration
}

// catch is what a mutation was caught by; "" if it was not.
type catch struct{ simulation, exploration string }

func (c catch) caught() bool { return c.simulation != "" || c.exploration != "" }

// The lines in which the hunting test says what it has caught.
const (
	bySimulation  = "caught by simulation: "
	byExploration = "caught by exploration: "
	notCaught     = "hunted"
)

// seedsVariable tells the hunting test how many seeds it has.
const seedsVariable = "TWOPHASE_MUTATION_SEEDS"

// catch builds the hunting test with a mutation, and runs it.
func (h hunt) catch(ctx context.Context, m mutation) (catch, error) {
	dir, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return catch{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := m.apply(ctx, h.root, dir)
	if err != nil {
		return catch{}, err
	}
	hunter := filepath.Join(dir, "hunter")
	if out, err := h.goCommand(ctx, "test", "-c", "-overlay", overlay, "-o", hunter, "./simulation/mutations").CombinedOutput(); err != nil {
		return catch{}, fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	var c catch
	for _, test := range []string{"TestHuntBySimulation", "TestHuntByExploration"} {
		if err := h.run(ctx, hunter, test, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (h hunt) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = h.root
	return command
}

// run runs one hunting test. One that the mutation crashes or hangs has caught
// it, too.
func (h hunt) run(ctx context.Context, hunter, test string, c *catch) error {
	ctx, cancel := context.WithTimeout(ctx, h.limit)
	defer cancel()
	command := exec.CommandContext(ctx, hunter, "-test.run", "^"+test+"$", "-test.v")
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%d", seedsVariable, h.seeds))
	out, err := command.CombinedOutput()
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Cause(ctx)
	}
	by, found := &c.simulation, ""
	if test == "TestHuntByExploration" {
		by = &c.exploration
	}
	for line := range strings.Lines(string(out)) {
		for _, prefix := range []string{bySimulation, byExploration} {
			if _, what, ok := strings.Cut(line, prefix); ok {
				found = strings.TrimSpace(what)
			}
		}
	}
	switch {
	case found != "":
		*by = found
	case ctx.Err() != nil:
		*by = fmt.Sprintf("it hangs for %v", h.limit)
	case err != nil && bytes.Contains(out, []byte("panic: ")):
		*by = "it panics: " + after(string(out), "panic: ")
	case err != nil || !strings.Contains(string(out), notCaught):
		return fmt.Errorf("%s fails: %w\n%s", test, err, out)
	}
	return nil
}

// after returns the rest of the line in which text stands first.
func after(out, text string) string {
	_, rest, _ := strings.Cut(out, text)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}
