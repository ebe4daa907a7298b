// Package bench measures orders per second through the three services, beside the
// same four requests to the store and delivery with no coordinator.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/load"
	"github.com/seed-bcc3c603/twophase/examples/microservices/order"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// Config says what to measure.
type Config struct {
	Command   func(args ...string) *exec.Cmd
	Output    func(service string) io.Writer
	Transport string
	// Callers are the numbers of customers at once.
	Callers []int
	// For is how long each measurement takes, and Rounds how often it is repeated,
	// the two kinds in turn; the sums are reported.
	For    time.Duration
	Rounds int
}

// Row is what was measured with one number of callers.
type Row struct {
	Callers        int
	ByHand, Orders Measured
}

// Measured is one kind's.
type Measured struct {
	PerSecond float64
	P50, P99  time.Duration
}

// Ratio is the rate of orders as a share of the rate by hand.
func (r Row) Ratio() float64 { return r.Orders.PerSecond / r.ByHand.PerSecond }

const stock = 4000 // of each kind: at first, and again before each measurement

// Run measures, and tells w of each row as it is known.
func Run(ctx context.Context, w io.Writer, config Config) (rows []Row, err error) {
	c, err := city.Start(ctx, city.Config{
		Command: config.Command, Output: config.Output, Transport: config.Transport,
		Stock: stock, Lives: order.DefaultLifetimes(), ByHand: true, OneServer: true,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, callers := range config.Callers {
		row, err := measure(ctx, c, config, callers)
		if err != nil {
			return rows, fmt.Errorf("bench: %d callers: %w", callers, err)
		}
		rows = append(rows, row)
		_, _ = fmt.Fprintf(w, "%s, %d callers: by hand %.0f/s, orders %.0f/s\n",
			config.Transport, callers, row.ByHand.PerSecond, row.Orders.PerSecond)
	}
	return rows, nil
}

// measure measures the two kinds in turn, so that both meet the same machine.
func measure(ctx context.Context, c *city.City, config Config, callers int) (Row, error) {
	client := load.NewClient(c.URL(city.Order), callers)
	defer client.Close()
	kinds := [2]*kind{
		{name: "hand", place: client.PlaceByHand, callers: callers},
		{name: "order", place: client.Place, callers: callers},
	}
	for _, k := range kinds {
		k.latency = hdrhistogram.New(1, 60_000_000, 3)
		if err := k.run(ctx, config.For/10); err != nil { // connections, plans
			return Row{}, err
		}
		k.reset()
	}
	for range config.Rounds {
		for _, k := range kinds {
			if err := c.Restock(ctx, stock); err != nil {
				return Row{}, err
			}
			if err := k.run(ctx, config.For); err != nil {
				return Row{}, err
			}
		}
	}
	return Row{Callers: callers, ByHand: kinds[0].measured(), Orders: kinds[1].measured()}, nil
}

// kind is one way to get a packet and an agent.
type kind struct {
	name    string
	callers int
	place   func(context.Context, api.Order) (api.Answer, error)
	number  atomic.Int64

	mu      sync.Mutex
	latency *hdrhistogram.Histogram // in microseconds
	placed  int64
	spent   time.Duration
}

// run places as many orders as it can for a while.
func (k *kind) run(ctx context.Context, span time.Duration) error {
	errs := make([]error, k.callers)
	began := time.Now()
	var all sync.WaitGroup
	for i := range k.callers {
		all.Go(func() {
			for errs[i] == nil && time.Since(began) < span && ctx.Err() == nil {
				errs[i] = k.one(ctx)
			}
		})
	}
	all.Wait()
	k.spent += time.Since(began)
	return errors.Join(append(errs, ctx.Err())...)
}

var foods, areas = store.Foods(), delivery.Areas()

func (k *kind) one(ctx context.Context) error {
	n := int(k.number.Add(1))
	o := api.Order{
		ID:   fmt.Sprintf("%s-%d-%d", k.name, k.callers, n),
		Food: foods[n%len(foods)], Area: areas[n%len(areas)],
	}
	began := time.Now()
	answer, err := k.place(ctx, o)
	if err == nil && answer.Status != api.Placed {
		err = fmt.Errorf("%s: %s: %s", o.ID, answer.Status, answer.Detail)
	}
	if err != nil {
		return err
	}
	took := time.Since(began)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.placed++
	return k.latency.RecordValue(max(1, took.Microseconds()))
}

func (k *kind) reset() {
	k.latency.Reset()
	k.placed, k.spent = 0, 0
}

func (k *kind) measured() Measured {
	quantile := func(q float64) time.Duration {
		return time.Duration(k.latency.ValueAtQuantile(q)) * time.Microsecond
	}
	return Measured{PerSecond: float64(k.placed) / k.spent.Seconds(), P50: quantile(50), P99: quantile(99)}
}

// Table writes the rows.
func Table(w io.Writer, transport string, rows []Row) error {
	var cells bytes.Buffer
	fmt.Fprintf(&cells, "%s\tby hand\tp50\tp99\torders\tp50\tp99\tratio\t\n", transport)
	for _, r := range rows {
		fmt.Fprintf(&cells, "%d callers\t%.0f/s\t%s\t%s\t%.0f/s\t%s\t%s\t%.0f %%\t\n", r.Callers,
			r.ByHand.PerSecond, load.Round(r.ByHand.P50), load.Round(r.ByHand.P99),
			r.Orders.PerSecond, load.Round(r.Orders.P50), load.Round(r.Orders.P99), 100*r.Ratio())
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := cells.WriteTo(t); err != nil {
		return err
	}
	return t.Flush()
}
