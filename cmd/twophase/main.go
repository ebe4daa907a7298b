// Twophase is the command line of the library.
//
//	twophase verify -kind verify http://localhost:8081/
//
// See README.md, and "twophase <command> -help".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// The exit statuses.
const (
	exitKept   = 0 // every promise that was checked is kept
	exitBroken = 1 // at least one promise is broken
	exitUsage  = 2 // it could not be told
)

// command is what the first argument names.
type command struct {
	name  string
	about string
	run   func(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error)
}

var commands = []command{
	{"verify", "check that a live service keeps the contract of participants", verify},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for an orderly end
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it finds the command and runs it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		return fail(stderr, exitUsage, errors.New("no command is given: \"twophase help\" lists them"))
	}
	switch args[0] {
	case "help", "-help", "--help", "-h":
		help(stdout)
		return exitKept
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		status, err := c.run(ctx, args[1:], stdout, stderr)
		if errors.Is(err, flag.ErrHelp) {
			return exitKept
		}
		if err != nil {
			return fail(stderr, status, err)
		}
		return status
	}
	return fail(stderr, exitUsage, fmt.Errorf("there is no command %q: \"twophase help\" lists them", args[0]))
}

func help(w io.Writer) {
	var b strings.Builder
	b.WriteString("usage: twophase <command> [flags] [arguments]\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.about)
	}
	b.WriteString("\n\"twophase <command> -help\" shows the flags of a command.\n")
	_, _ = io.WriteString(w, b.String())
}

// fail tells an error, a line for each thing that is wrong.
func fail(stderr io.Writer, status int, err error) int {
	_, _ = fmt.Fprintln(stderr, "twophase:", err)
	return status
}
