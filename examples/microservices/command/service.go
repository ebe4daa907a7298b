package command

import (
	"context"
	"flag"
	"log/slog"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/order"
	"github.com/seed-bcc3c603/twophase/examples/microservices/process"
)

// common are the flags of every service.
type common struct {
	listen, database string
	conns            int
	untilStdinEnds   bool
	level            slog.Level
}

func (c *common) set(flags *flag.FlagSet, listen string, conns int) {
	flags.StringVar(&c.listen, "listen", listen, "`address` to serve HTTP at")
	flags.StringVar(&c.database, "database", "", "connection `string` of the service's own PostgreSQL database")
	flags.IntVar(&c.conns, "conns", conns, "the `number` of connections to the database, at most")
	flags.BoolVar(&c.untilStdinEnds, "until-stdin-ends", false, "end in order when standard input ends")
	flags.TextVar(&c.level, "log", slog.LevelWarn, "`level` of the log: debug, info, warn or error")
}

func (c *common) check() error {
	if c.database == "" {
		return usage("-database is needed: postgres://user@host/name")
	}
	if c.conns < 2 || c.conns > 1000 {
		return usage("-conns %d: it must be 2 to 1000", c.conns)
	}
	return nil
}

// run runs a service until it is told to end.
func (c *common) run(ctx context.Context, do func(ctx context.Context) error) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.untilStdinEnds {
		var stop context.CancelFunc
		ctx, stop = process.UntilInputEnds(ctx)
		defer stop()
	}
	return do(ctx)
}

func storeService(flags *flag.FlagSet, env environment) func(context.Context) error {
	return participant(flags, "127.0.0.1:8081", "packets of each food on a new menu", 8, func(ctx context.Context, c *common, p process.Participant) error {
		return p.Store(ctx, newLogger(env.stderr, "store", c.level))
	})
}

func deliveryService(flags *flag.FlagSet, env environment) func(context.Context) error {
	return participant(flags, "127.0.0.1:8082", "agents in each new area", 16, func(ctx context.Context, c *common, p process.Participant) error {
		return p.Delivery(ctx, newLogger(env.stderr, "delivery", c.level))
	})
}

func participant(
	flags *flag.FlagSet, listen, stocked string, conns int,
	live func(ctx context.Context, c *common, p process.Participant) error,
) func(context.Context) error {
	var c common
	var p process.Participant
	c.set(flags, listen, conns)
	flags.StringVar(&p.GRPC, "grpc", "", "`address` to serve gRPC at, too")
	flags.BoolVar(&p.Demo, "demo", false, "let everybody change the stock: POST /restock, POST /empty")
	flags.IntVar(&p.Stock, "stock", 0, "the `number` of "+stocked+" of the demonstration; 0 for none")
	return func(ctx context.Context) error {
		if p.Stock < 0 || p.Stock > api.MaxRestock {
			return usage("-stock %d: it must be 0 to %d", p.Stock, api.MaxRestock)
		}
		p.Listen, p.Database, p.Conns = c.listen, c.database, c.conns
		return c.run(ctx, func(ctx context.Context) error { return live(ctx, &c, p) })
	}
}

func orderService(flags *flag.FlagSet, env environment) func(context.Context) error {
	var c common
	s := process.Order{Lives: order.DefaultLifetimes(), Page: thePage()}
	c.set(flags, "127.0.0.1:8080", 8)
	flags.StringVar(&s.Transport, "transport", process.HTTP, "how the others are called: http or grpc")
	flags.StringVar(&s.Store, "store", "http://127.0.0.1:8081", "the store: `URL`, or address for gRPC")
	flags.StringVar(&s.Delivery, "delivery", "http://127.0.0.1:8082", "delivery: `URL`, or address for gRPC")
	flags.StringVar(&s.StoreStock, "store-stock", "http://127.0.0.1:8081", "`URL` where the store says what it has")
	flags.StringVar(&s.DeliveryStock, "delivery-stock", "http://127.0.0.1:8082", "`URL` where delivery says what it has")
	flags.StringVar(&s.Control, "control", "", "`URL` of whoever breaks things for a demonstration")
	flags.BoolVar(&s.ByHand, "by-hand", false, "allow orders with no coordinator (POST /by-hand), to measure it")
	setLifetimes(flags, &s.Lives)
	return func(ctx context.Context) error {
		s.Listen, s.Database, s.Conns = c.listen, c.database, c.conns
		return c.run(ctx, func(ctx context.Context) error { return s.Run(ctx, newLogger(env.stderr, "order", c.level)) })
	}
}

func setLifetimes(flags *flag.FlagSet, l *order.Lifetimes) {
	for _, f := range []struct {
		value      *time.Duration
		name, does string
	}{
		{&l.Hold, "hold", "how long a packet or an agent is reserved"},
		{&l.Timeout, "timeout", "how long an order may stay undecided"},
		{&l.ReserveFor, "reserve-for", "how long a service that does not answer is asked to reserve"},
		{&l.AssignFor, "assign-for", "the outage of a service that an order outlasts once all is reserved"},
		{&l.Attempt, "attempt", "how long one call may take"},
		{&l.Lease, "lease", "how long an order belongs to a process that gives no sign of life"},
	} {
		flags.DurationVar(f.value, f.name, *f.value, f.does)
	}
}
