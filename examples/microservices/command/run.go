package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/audit"
	"github.com/seed-bcc3c603/twophase/examples/microservices/bench"
	"github.com/seed-bcc3c603/twophase/examples/microservices/chaos"
	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/load"
	"github.com/seed-bcc3c603/twophase/examples/microservices/process"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// maxCallers is how many customers there may be: each takes a goroutine and a
// connection.
const maxCallers = 2000

// settleWithin is how long an audit waits for what is under way.
const settleWithin = time.Minute

type loadSettings struct {
	state   string
	callers int
	span    time.Duration
	pause   time.Duration
	restock int
	audit   bool
}

func loadOrders(flags *flag.FlagSet, env environment) func(context.Context) error {
	var s loadSettings
	setStateFile(flags, &s.state)
	flags.IntVar(&s.callers, "callers", 16, "the `number` of customers at a time")
	flags.DurationVar(&s.span, "for", 30*time.Second, "how long they order")
	flags.DurationVar(&s.pause, "pause", 0, "how long a customer waits between orders, at most")
	flags.IntVar(&s.restock, "restock", 20, "the `number` of packets of each food, and of agents in each area, that come every second")
	flags.BoolVar(&s.audit, "audit", true, "audit the books of all three services at the end")
	return func(ctx context.Context) error {
		switch {
		case s.callers < 1 || s.callers > maxCallers:
			return usage("-callers %d: it must be 1 to %d", s.callers, maxCallers)
		case s.span <= 0 || s.pause < 0:
			return usage("-for and -pause must be above zero")
		case s.restock < 0 || s.restock > api.MaxRestock:
			return usage("-restock %d: it must be 0 to %d", s.restock, api.MaxRestock)
		}
		return s.run(ctx, env)
	}
}

func (s loadSettings) run(ctx context.Context, env environment) error {
	at, err := readState(s.state)
	if err != nil {
		return err
	}
	client := load.NewClient(at.URLs[city.Order], s.callers)
	defer client.Close()
	l := load.New(load.Config{
		Client: client, Callers: s.callers, Prefix: fmt.Sprintf("load-%x", time.Now().UnixMilli()),
		Foods: store.Foods(), Areas: delivery.Areas(), Pause: s.pause, Patience: settleWithin, Seed: rand.Uint64(),
	})
	ordering, cancel := context.WithTimeout(ctx, s.span)
	defer cancel()
	showing, stopShowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopShowing()
	var done sync.WaitGroup
	done.Go(func() { load.Show(showing, env.stdout, l.Stats()) })
	done.Go(func() { restockEverySecond(ordering, at, s.restock) })
	l.Run(ordering)
	stopShowing()
	done.Wait()
	total := l.Stats().Total()
	say(env.stdout, "%d orders, %.0f/s, p50 %s, p99 %s\n%v\n",
		total.Answers, total.PerSecond, load.Round(total.P50), load.Round(total.P99), total)
	if !s.audit {
		return nil
	}
	return auditState(context.WithoutCancel(ctx), env, at, l.Told())
}

// restockEverySecond brings new stock. A service that is down gets none.
func restockEverySecond(ctx context.Context, at state, count int) {
	if count == 0 {
		return
	}
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			_ = city.Restock(ctx, at.URLs[store.Name], at.URLs[delivery.Name], count)
		case <-ctx.Done():
			return
		}
	}
}

func auditBooks(flags *flag.FlagSet, env environment) func(context.Context) error {
	var path string
	setStateFile(flags, &path)
	return func(ctx context.Context) error {
		at, err := readState(path)
		if err != nil {
			return err
		}
		return auditState(ctx, env, at, nil)
	}
}

func auditState(ctx context.Context, env environment, at state, told []*load.Told) error {
	shelf, err := audit.Open(ctx, at.Databases[city.Order], at.Databases[store.Name], at.Databases[delivery.Name])
	if err != nil {
		return err
	}
	defer shelf.Close()
	return audit.Run(ctx, env.stdout, shelf, told, settleWithin)
}

func runChaos(flags *flag.FlagSet, env environment) func(context.Context) error {
	config := chaos.Config{}
	var logs string
	flags.DurationVar(&config.For, "for", 2*time.Minute, "how long things break")
	flags.IntVar(&config.Callers, "callers", 16, "the `number` of customers at a time")
	flags.StringVar(&config.Transport, "transport", process.HTTP, "between the services: http or grpc")
	flags.Uint64Var(&config.Seed, "seed", rand.Uint64N(1_000_000), "the `number` that chooses what breaks when")
	flags.StringVar(&logs, "logs", "", "`directory` for the logs of the services; by default they are thrown away")
	return func(ctx context.Context) error {
		switch {
		case config.For <= 0:
			return usage("-for %v: it must be above zero", config.For)
		case config.Callers < 1 || config.Callers > maxCallers:
			return usage("-callers %d: it must be 1 to %d", config.Callers, maxCallers)
		}
		itself, output, closeLogs, err := children(config.Transport, logs)
		if err != nil {
			return err
		}
		config.Command, config.Output = itself, output
		say(env.stdout, "chaos for %v, -seed %d\n", config.For, config.Seed)
		_, err = chaos.Run(ctx, env.stdout, config)
		return errors.Join(err, closeLogs())
	}
}

func runBench(flags *flag.FlagSet, env environment) func(context.Context) error {
	config := bench.Config{}
	var callers, transports string
	flags.StringVar(&callers, "callers", "1,4,16,64,256", "the `numbers` of customers at a time")
	flags.StringVar(&transports, "transport", "http,grpc", "between the services: http, grpc or both")
	flags.DurationVar(&config.For, "for", 2*time.Second, "how long each measurement takes")
	flags.IntVar(&config.Rounds, "rounds", 2, "how `often` each is repeated")
	return func(ctx context.Context) error {
		if config.For <= 0 || config.Rounds < 1 {
			return usage("-for and -rounds must be above zero")
		}
		for text := range strings.SplitSeq(callers, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > maxCallers {
				return usage("-callers %q: they must be numbers from 1 to %d, with commas between", callers, maxCallers)
			}
			config.Callers = append(config.Callers, n)
		}
		for transport := range strings.SplitSeq(transports, ",") {
			if err := benchOne(ctx, env, config, transport); err != nil {
				return err
			}
		}
		return nil
	}
}

func benchOne(ctx context.Context, env environment, config bench.Config, transport string) error {
	itself, output, closeLogs, err := children(transport, "")
	if err != nil {
		return err
	}
	config.Transport, config.Command, config.Output = transport, itself, output
	rows, err := bench.Run(ctx, env.stderr, config)
	if err := errors.Join(err, closeLogs()); err != nil {
		return err
	}
	return bench.Table(env.stdout, transport, rows)
}

// children returns how services are run, and where what they log goes.
func children(transport, logs string) (command commandFunc, output func(string) io.Writer, closeLogs func() error, err error) {
	if transport != process.HTTP && transport != process.GRPC {
		return nil, nil, nil, usage("-transport %q: it must be http or grpc", transport)
	}
	if command, err = itself(); err != nil {
		return nil, nil, nil, err
	}
	if logs == "" {
		return command, func(string) io.Writer { return nil }, func() error { return nil }, nil
	}
	files := map[string]*os.File{}
	closeLogs = func() error {
		var errs []error
		for _, file := range files {
			errs = append(errs, file.Close())
		}
		return errors.Join(errs...)
	}
	for _, service := range city.Services() {
		file, err := os.Create(filepath.Join(logs, service+".log"))
		if err != nil {
			return nil, nil, nil, errors.Join(fmt.Errorf("-logs: %w", err), closeLogs())
		}
		files[service] = file
	}
	return command, func(service string) io.Writer { return files[service] }, closeLogs, nil
}
