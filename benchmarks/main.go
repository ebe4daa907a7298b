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
	"fmt"
	"io"
	"os"

	"github.com/seed-bcc3c603/twophase/benchmarks/internal/command"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	return command.Run("benchmarks", args, errs, parse, func(ctx context.Context, s settings) error {
		return measureAll(ctx, s, out, errs)
	})
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
