package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// settings are what the flags say.
type settings struct {
	files       Files
	concurrency int
	faults      Faults
	lives       Lifetimes
	table       string
	verbose     bool
}

// Bounds of the flags.
const (
	maxConcurrency = 10_000    // each order under way has goroutines
	maxLifetime    = time.Hour // a day passes in seconds
)

const usage = `A day of food orders in Bengaluru, placed over a bad network and audited in the
evening. Exit status: 0 if every invariant is kept, 1 if one is broken, 2 if a
flag or a file is wrong, 130 if the day was called off by Ctrl-C.

usage: foodorder [flags]

Files are CSV with a header. Those not given are of the day that comes with the
program.

`

// parse reads the flags. If one is wrong, the error names it and what would be
// right. Help goes to stdout.
func parse(args []string, stdout io.Writer) (*settings, error) {
	var s settings
	flags := flag.NewFlagSet("foodorder", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are told by the caller
	flags.StringVar(&s.files.Menu, "menu", "", "`file` of foods: food,price")
	flags.StringVar(&s.files.Packets, "packets", "", "`file` of the store's packets: packet,food")
	flags.StringVar(&s.files.Agents, "agents", "", "`file` of delivery's agents: agent,area,trips")
	flags.StringVar(&s.files.Orders, "orders", "", "`file` of orders: order,time,area,foods (joined by +)")
	flags.IntVar(&s.concurrency, "concurrency", 16, "the `number` of orders under way at a time")
	flags.Float64Var(&s.faults.Fail, "fail", 0.1, "the `share` of calls that do not arrive, from 0 to 1")
	flags.Float64Var(&s.faults.Lose, "lose", 0.05, "the `share` of calls whose reply does not arrive, from 0 to 1")
	flags.DurationVar(&s.faults.Latency, "latency", 40*time.Millisecond, "the longest that a call or a reply is on its way")
	flags.Uint64Var(&s.faults.Seed, "seed", 1, "the `number` that chooses the calls that are hit")
	flags.DurationVar(&s.lives.Hold, "hold", 30*time.Second, "how long a reservation lasts")
	flags.DurationVar(&s.lives.Timeout, "timeout", 15*time.Second, "how long an order may take")
	flags.StringVar(&s.table, "table", tableShort, "`which` orders to show: "+strings.Join(tables, ", "))
	flags.BoolVar(&s.verbose, "v", false, "log every call and decision")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w; see -help", err)
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: there are only flags; see -help", flags.Arg(0))
	}
	return &s, s.check()
}

// check names all that is wrong.
func (s *settings) check() error {
	var errs []error
	need := func(ok bool, name string, value any, right string) {
		if !ok {
			errs = append(errs, fmt.Errorf("-%s %v: it must be %s", name, value, right))
		}
	}
	isShare := func(share float64) bool { return share >= 0 && share <= 1 }
	need(s.concurrency >= 1 && s.concurrency <= maxConcurrency,
		"concurrency", s.concurrency, fmt.Sprintf("from 1 to %d", maxConcurrency))
	need(isShare(s.faults.Fail), "fail", s.faults.Fail, "a share from 0 to 1")
	need(isShare(s.faults.Lose), "lose", s.faults.Lose, "a share from 0 to 1")
	need(s.faults.Latency >= 0, "latency", s.faults.Latency, "0 or more")
	needLifetime := func(name string, d, shortest time.Duration) {
		need(d >= shortest && d <= maxLifetime, name, d, fmt.Sprintf(
			"from %v, to outlast a service that is out for %v, to %v", shortest, assignFor, maxLifetime))
	}
	needLifetime("hold", s.lives.Hold, reserveFor+assignFor+margin)
	needLifetime("timeout", s.lives.Timeout, reserveFor+assignFor)
	need(slices.Contains(tables, s.table), "table", s.table, "one of "+strings.Join(tables, ", "))
	return errors.Join(errs...)
}
