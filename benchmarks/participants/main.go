// Command participants measures what Reserve and Assign cost on the pools of each
// database, beside the plainest transactions that the same database can do, in the
// same run. Run it from the root of the repository:
//
//	go run ./benchmarks/participants
//
// README.md says what the columns mean and has the figures of a full run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-bcc3c603/twophase/benchmarks/internal/command"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	return command.Run("participants", args, errs, parse, func(ctx context.Context, s settings) error {
		return measureAll(ctx, s, out)
	})
}

// measureAll measures one cell after the other and prints each as soon as it is
// known. What it made is gone when it returns.
func measureAll(ctx context.Context, s settings, out io.Writer) error {
	for _, name := range s.databases {
		db, err := databases[name](ctx, s.dir)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		_, _ = fmt.Fprintf(out, "\n## %s: %s\n\n%s\n", name, db.about(), pairHead)
		err = measurePairs(ctx, db, s, out)
		if err == nil && s.soldOut {
			_, _ = fmt.Fprintf(out, "\n%s\n", soldOutHead)
			err = measureSoldOut(ctx, db, s, out)
		}
		if err := errors.Join(err, db.close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

const (
	pairHead = `| resources | kinds | callers | pairs/s | p50 | p99 | plain/s | pairs to plain | calls to plain | grouped/s | pairs/s while others release | refused first |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |`

	soldOutHead = `| sold out | callers | refusals/s | p50 | p99 | taken meanwhile |
| --- | ---: | ---: | ---: | ---: | ---: |`
)

func measurePairs(ctx context.Context, db database, s settings, out io.Writer) error {
	for _, resources := range s.resources {
		for _, kinds := range s.kinds {
			n := max(resources, 4*kinds)
			stock, err := open(ctx, db, n, kinds)
			if err != nil {
				return err
			}
			for _, callers := range s.callers {
				if err = measurePair(ctx, db, stock, callers, s.duration, fmt.Sprintf("| %d | %d | %d |", n, kinds, callers), out); err != nil {
					break
				}
			}
			if err := errors.Join(err, stock.close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// measurePair measures one cell, which has that name.
func measurePair(ctx context.Context, db database, stock *stock, callers int, d time.Duration, cell string, out io.Writer) error {
	m, err := stock.pairs(ctx, callers, d)
	if err != nil {
		return err
	}
	p, err := db.plain(ctx, 2*stock.free, callers, d)
	if err != nil {
		return err
	}
	busy, err := stock.pairsWhileOthersRelease(ctx, callers, d)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%s %.0f | %.2f ms | %.2f ms | %.0f | %.2f | %.2f | %s | %.0f | %.1f %% |\n", cell,
		m.rate(), m.milliseconds(0.5), m.milliseconds(0.99), p.single, m.rate()/p.single, 2*m.rate()/p.single, p.groupedText(),
		busy.rate(), 100*busy.refused)
	return nil
}

func measureSoldOut(ctx context.Context, db database, s settings, out io.Writer) error {
	for _, coming := range []int{0, 8} {
		stock, err := openSoldOut(ctx, db)
		if err != nil {
			return err
		}
		name := "and stays so"
		if coming > 0 {
			name = fmt.Sprintf("and %d run out, or are released, and taken again", coming)
		}
		for _, callers := range s.callers {
			var m measured
			if m, err = stock.refusals(ctx, callers, coming, s.duration); err != nil {
				break
			}
			_, _ = fmt.Fprintf(out, "| %s | %d | %.0f | %.2f ms | %.2f ms | %.0f/s |\n",
				name, callers, m.refused, m.milliseconds(0.5), m.milliseconds(0.99), m.others)
		}
		if err := errors.Join(err, stock.close()); err != nil {
			return err
		}
	}
	return nil
}
