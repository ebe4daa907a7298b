// Foodorder is a day of food orders in Bengaluru. An order is placed only when
// the Store has given it a packet of each food and Delivery has given it an
// agent, over a network that loses calls and replies. In the evening the
// answers that the customers got are checked against the books of both.
//
// Everything is in one process. Run it from the root of the repository:
//
//	go run ./examples/foodorder
//	go run ./examples/foodorder -fail 0.4 -lose 0.3 -table failed
//	go run ./examples/foodorder -help
//
// Its exit status is 1 if an invariant is broken, 2 if a flag or a file is
// wrong, and 130 if the day was called off by Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-bcc3c603/twophase"
)

// The exit statuses.
const (
	exitOK          = 0
	exitBroken      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for an orderly end
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: a day, and a report of it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return fail(stderr, exitUsage, err)
	}
	day, err := readDay(s.files)
	if err != nil {
		return fail(stderr, exitUsage, err)
	}
	shown := newProgress(stderr, len(day.Orders))
	var observers []twophase.Observer
	if s.verbose {
		log := slog.New(slog.NewTextHandler(shown, &slog.HandlerOptions{Level: slog.LevelDebug}))
		observers = append(observers, twophase.NewLogObserver(log))
	}
	city, err := newCity(day, s.faults, s.lives, observers...)
	if err != nil {
		return fail(stderr, exitUsage, err)
	}
	evening, err := city.spend(ctx, day.Orders, s.concurrency, shown)
	shown.end()
	if err != nil {
		return fail(stderr, exitBroken, err)
	}
	status, err := conclude(stdout, day, evening, s.table)
	switch {
	case err != nil:
		return fail(stderr, exitBroken, err)
	case status == exitOK && ctx.Err() != nil:
		return exitInterrupted
	}
	return status
}

// conclude audits a day, reports it, and returns the exit status.
func conclude(stdout io.Writer, day *Day, e *Evening, table string) (status int, err error) {
	breaches := audit(e)
	if len(breaches) > 0 {
		status = exitBroken
	}
	_, err = stdout.Write(report(day, e, breaches, table))
	return status, err
}

func fail(stderr io.Writer, status int, err error) int {
	_, _ = fmt.Fprintln(stderr, err) // or nobody is there to be told
	return status
}
