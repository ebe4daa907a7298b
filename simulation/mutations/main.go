// Command mutations breaks one rule of the protocol at a time, and sees that
// the simulation and the exploration find it out: a proof that cannot fail
// proves nothing.
//
//	go run ./simulation/mutations               # all of them, some minutes
//	go run ./simulation/mutations -run release  # those whose names match
//
// Each mutation is a patch in patches/. It is applied to a copy of the files
// that it touches, and the tests are built with these instead. The table says
// by which seed of the simulation each was caught, and in which small world by
// exhausting it.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() { os.Exit(command()) }

// command runs what the flags say, and returns the exit code: 1 if a mutation
// was not caught, 2 if something else went wrong.
func command() int {
	seeds := flag.Int("seeds", defaultSeeds, "how many seeds of the simulation may be needed")
	only := flag.String("run", "", "run the mutations only whose names match this regular expression")
	limit := flag.Duration("timeout", 3*time.Minute, "how long one mutation may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	survivors, err := run(ctx, os.Stdout, *only, hunt{seeds: *seeds, limit: *limit})
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutations:", err)
		return 2
	case survivors > 0:
		fmt.Fprintf(os.Stderr, "mutations: %d were not caught\n", survivors)
		return 1
	}
	return 0
}

// defaultSeeds is within how many seeds the simulation catches what it can.
const defaultSeeds = 100

// run hunts the mutations, prints a table, and returns how many nobody caught.
func run(ctx context.Context, w io.Writer, only string, h hunt) (survivors int, err error) {
	chosen, err := choose(only)
	if err != nil {
		return 0, err
	}
	if h.root, err = root(ctx); err != nil {
		return 0, err
	}
	rows := []string{"mutation\tby simulation\tby exploration"}
	for _, m := range chosen {
		c, err := h.catch(ctx, m)
		if err != nil {
			return survivors, fmt.Errorf("%s: %w", m.name, err)
		}
		if !c.caught() {
			survivors++
		}
		rows = append(rows, m.name+"\t"+cmp.Or(c.simulation, "-")+"\t"+cmp.Or(c.exploration, "-"))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, strings.Join(rows, "\n")); err != nil {
		return survivors, err
	}
	return survivors, table.Flush()
}

// choose returns the mutations whose names match a regular expression.
func choose(expression string) ([]mutation, error) {
	matches, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	all, err := mutations()
	chosen := slices.DeleteFunc(slices.Clone(all), func(m mutation) bool { return !matches.MatchString(m.name) })
	if err == nil && len(chosen) == 0 {
		err = fmt.Errorf("no mutation's name matches %q: leave out -run to run all %d", expression, len(all))
	}
	return chosen, err
}
