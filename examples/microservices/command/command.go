// Package command is the command line.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// command is one of the commands.
type command struct {
	name, does string
	// set makes the flags, and returns what to do once they are read.
	set func(flags *flag.FlagSet, env environment) func(ctx context.Context) error
}

// environment is where a command shows what it does.
type environment struct{ stdout, stderr io.Writer }

func commands() []command {
	return []command{
		{"up", "start everything on this machine, until Ctrl-C or down", up},
		{"down", "stop what up has started", down},
		{"load", "place orders, show how it goes, and audit all books at the end", loadOrders},
		{"audit", "audit the books of what is up", auditBooks},
		{"chaos", "place orders while services are killed, databases crash and networks fail", runChaos},
		{"bench", "measure orders per second, beside the same requests by hand", runBench},
		{"order", "run an order service", orderService},
		{"store", "run a store service", storeService},
		{"delivery", "run a delivery service", deliveryService},
	}
}

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Run runs a command line and returns the exit status.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := run(ctx, args, environment{stdout, stderr})
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, new(usageError)):
		say(stderr, "%v\n", err)
		return exitUsage
	}
	say(stderr, "%v\n", err)
	return exitFailed
}

func run(ctx context.Context, args []string, env environment) error {
	if len(args) == 0 || strings.TrimLeft(args[0], "-") == "help" || args[0] == "-h" {
		list(env.stdout)
		return nil
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
		flags.SetOutput(io.Discard) // errors are told by the caller
		do := c.set(flags, env)
		err := flags.Parse(args[1:])
		switch {
		case errors.Is(err, flag.ErrHelp):
			say(env.stdout, "%s: %s\n\nusage: microservices %s [flags]\n\n", c.name, c.does, c.name)
			flags.SetOutput(env.stdout)
			flags.PrintDefaults()
			return err
		case err != nil:
			return usage("%s: %w; see microservices %s -help", c.name, err, c.name)
		case flags.NArg() > 0:
			return usage("%s: unexpected argument %q: there are only flags; see microservices %s -help", c.name, flags.Arg(0), c.name)
		}
		return do(ctx)
	}
	return usage("there is no command %q; microservices help lists them", args[0])
}

// say writes to whoever is at the terminal: if it cannot, there is nobody.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func list(w io.Writer) {
	say(w, "The food order as three services.\n\nusage: microservices <command> [flags]\n\n")
	for _, c := range commands() {
		say(w, "  %-9s %s\n", c.name, c.does)
	}
	say(w, "\nmicroservices <command> -help lists its flags.\n")
}

// newLogger returns the log of a process.
func newLogger(w io.Writer, service string, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})).With(slog.String("service", service))
}

// commandFunc returns a command that runs a service.
type commandFunc = func(args ...string) *exec.Cmd

// itself returns how this program is run again, for the services.
func itself() (commandFunc, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return func(args ...string) *exec.Cmd {
		// Its life is no context's: it is ended in order, or killed.
		return exec.CommandContext(context.Background(), path, args...)
	}, nil
}
