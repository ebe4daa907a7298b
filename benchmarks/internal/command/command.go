// Package command is the frame of a benchmark that is run from the command line.
package command

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

// What Run returns.
const (
	Failed      = 1
	Usage       = 2
	Interrupted = 130
)

// Run parses args, measures until it is done or the process is interrupted, and
// returns the exit status. Errors go to errs, after the command's name.
func Run[S any](
	name string, args []string, errs io.Writer,
	parse func(args []string, errs io.Writer) (S, error), measure func(ctx context.Context, s S) error,
) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(errs, name+": "+format+"\n", args...) }
	s, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		say("%v", err)
		return Usage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt does not wait for us to tidy up
	err = measure(ctx, s)
	switch {
	case ctx.Err() != nil:
		say("interrupted; everything is tidied up")
		return Interrupted
	case err != nil:
		say("%v", err)
		return Failed
	}
	return 0
}

// Parse parses flags only. Asked for help, it prints what there is to errs.
func Parse(flags *flag.FlagSet, args []string, errs io.Writer) error {
	flags.SetOutput(io.Discard) // the caller prints the error, once
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(errs)
			flags.PrintDefaults()
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: only flags are taken, see -help", flags.Arg(0))
	}
	return nil
}
