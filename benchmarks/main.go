// Command benchmarks measures what a transaction costs on each journal, beside
// the least that its disk, its driver and its server could do, in the same run.
// Run it from the root of the repository:
//
//	go run ./benchmarks
//
// README.md says what the columns mean and has the figures of a full run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// What run returns.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func run(args []string, out, errs io.Writer) int {
	s, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		printf(errs, "benchmarks: %v\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt does not wait for us to tidy up
	err = measureAll(ctx, s, out, errs)
	switch {
	case ctx.Err() != nil:
		printf(errs, "benchmarks: interrupted; everything is tidied up\n")
		return exitInterrupted
	case err != nil:
		printf(errs, "benchmarks: %v\n", err)
		return exitFailed
	}
	return 0
}

// measureAll runs one part after the other and prints each as soon as it is
// known. What it made in the directory is gone when it returns.
func measureAll(ctx context.Context, s settings, out, progress io.Writer) (err error) {
	place, err := newPlace(s.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.remove()) }()
	b := &bench{settings: s, place: place, out: out, progress: progress}
	b.header()
	for _, kind := range s.journals {
		store, err := kinds[kind].open(ctx, place.dir, s.ids)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		err = b.measure(ctx, store)
		if err := errors.Join(err, store.Close()); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	b.report()
	return nil
}
