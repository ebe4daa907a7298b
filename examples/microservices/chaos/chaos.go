// Package chaos places orders in a city where services are killed, databases crash
// and networks fail, and audits the books when it is over.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/audit"
	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/load"
	"github.com/seed-bcc3c603/twophase/examples/microservices/order"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// Config says for how long, and how much.
type Config struct {
	Command   func(args ...string) *exec.Cmd
	Output    func(service string) io.Writer
	For       time.Duration
	Callers   int
	Transport string
	// Seed chooses what happens when. What the services make of it is their own.
	Seed uint64
}

// Lifetimes are short, so that reservations run out now and then.
var Lifetimes = order.Lifetimes{
	Hold: 6 * time.Second, Timeout: 6 * time.Second,
	ReserveFor: time.Second, AssignFor: 3 * time.Second, Attempt: time.Second, Lease: 2 * time.Second,
}

const (
	stock        = 60 // of each kind at first
	restock      = 12 // of each kind, every second
	callersPause = 20 * time.Millisecond
	patience     = 15 * time.Second // of a customer
	wellWithin   = time.Minute
	settleWithin = 40 * time.Second
)

// Run runs it, shows on w how it goes, and reports what came of it. The error is
// [audit.ErrBroken] if an invariant does not hold.
func Run(ctx context.Context, w io.Writer, config Config) (report Report, err error) {
	c, err := city.Start(ctx, city.Config{
		Command: config.Command, Output: config.Output, Transport: config.Transport,
		Stock: stock, Lives: Lifetimes, Proxies: true, Seed: config.Seed,
	})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	client := load.NewClient("http://"+c.Proxy(city.Order).Address(), config.Callers)
	defer client.Close()
	l := load.New(load.Config{
		Client: client, Callers: config.Callers, Prefix: fmt.Sprintf("chaos-%d", config.Seed),
		Foods: store.Foods(), Areas: delivery.Areas(),
		Pause: callersPause, Patience: patience, Seed: config.Seed,
	})
	monkey := newMonkey(c, config.Seed)
	err = underLoad(ctx, w, config.For, c, l, monkey)
	report = monkey.report()
	if err == nil {
		err = conclude(ctx, w, c, l, &report)
	}
	return report, errors.Join(err, c.Crashes())
}

// underLoad breaks things while orders are placed, then mends everything.
func underLoad(
	ctx context.Context, w io.Writer, span time.Duration, c *city.City, l *load.Load, monkey *monkey,
) error {
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var done sync.WaitGroup
	shown, stopShowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopShowing()
	done.Go(func() { load.Show(shown, w, l.Stats()) })
	done.Go(func() { keepStocked(ctx, c) })
	var trouble error
	var broken sync.WaitGroup
	broken.Go(func() { trouble = monkey.run(ctx) })
	l.Run(ctx)
	broken.Wait()
	stopShowing()
	done.Wait()
	return trouble
}

// keepStocked brings new packets and agents: less than is wanted, so that orders are
// refused, too.
func keepStocked(ctx context.Context, c *city.City) {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			_ = c.Restock(ctx, restock) // or a service is down
		case <-ctx.Done():
			return
		}
	}
}

// conclude lets everything come to its end and audits the books.
func conclude(ctx context.Context, w io.Writer, c *city.City, l *load.Load, report *Report) error {
	if err := c.Healthy(ctx, wellWithin); err != nil {
		return fmt.Errorf("chaos: all is mended, and yet: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, wellWithin)
	defer cancel()
	if err := l.AskAll(asking); err != nil {
		return fmt.Errorf("chaos: all is mended, and yet: %w", err)
	}
	report.Orders = l.Stats().Total()
	_, _ = fmt.Fprintln(w, report)
	shelf, err := audit.Open(ctx, c.Database(city.Order), c.Database(store.Name), c.Database(delivery.Name))
	if err != nil {
		return err
	}
	defer shelf.Close()
	return audit.Run(ctx, w, shelf, l.Told(), settleWithin)
}

// Report is what was done, and what came of it.
type Report struct {
	Killed, Crashed, Spoiled map[string]int
	Orders                   load.Summary
}

// String returns the report as a few lines.
func (r Report) String() string {
	return fmt.Sprintf("killed %v, databases crashed %v, networks spoiled %v\norders: %v", r.Killed, r.Crashed, r.Spoiled, r.Orders)
}

// deck deals its cards in random order, each before any comes again.
type deck[T any] struct {
	random *rand.Rand
	cards  []T
	left   []T
}

func (d *deck[T]) deal() T {
	if len(d.left) == 0 {
		d.left = append(d.left, d.cards...)
		d.random.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	card := d.left[0]
	d.left = d.left[1:]
	return card
}
