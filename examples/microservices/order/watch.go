package order

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
)

// Watch tells those who watch what changes: orders, stock, and what is broken. It
// looks only while somebody watches. Make it with [NewWatch], and let [Watch.Run]
// run.
type Watch struct {
	orders  *Service
	stock   *stockroom
	breaks  func(ctx context.Context) (api.Breaks, error)
	log     *slog.Logger
	stream  *stream
	mu      sync.Mutex
	seen    api.Stock  // the last that was seen
	broken  api.Breaks // likewise
	packets []byte     // seen, in JSON
	faults  []byte     // broken, in JSON
}

const (
	ordersEvery = 200 * time.Millisecond
	stockEvery  = 500 * time.Millisecond
	// stockShare is how much of the time may go into reading the stock.
	stockShare  = 0.1
	shownOrders = 50 // in a snapshot
	newOrders   = 20 // in an event
)

// NewWatch returns a watch over a service's orders and the stock of the services at
// the URLs. Breaks, if not nil, returns what is broken on purpose.
func NewWatch(
	orders *Service, client *http.Client, storeURL, deliveryURL string,
	breaks func(ctx context.Context) (api.Breaks, error), log *slog.Logger,
) *Watch {
	return &Watch{
		orders: orders, stock: newStockroom(client, storeURL, deliveryURL), breaks: breaks, log: log, stream: newStream(),
	}
}

// Run tells of changes until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	var done sync.WaitGroup
	done.Go(func() { w.runOrders(ctx) })
	done.Go(func() { w.runStock(ctx) })
	done.Wait()
	w.stream.close()
}

// runOrders tells of orders, coalesced.
func (w *Watch) runOrders(ctx context.Context) {
	ticks := time.NewTicker(ordersEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		w.identify(ctx)
		if !w.stream.watched() {
			w.orders.latest.Forget()
			continue
		}
		if changed, any := w.orders.latest.Changed(newOrders); any {
			w.publish("orders", changed)
		}
	}
}

// identify looks into the journal for the orders that were taken up here.
func (w *Watch) identify(ctx context.Context) {
	for _, id := range w.orders.latest.takeStrange() {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		answer, err := w.orders.Ask(ctx, id)
		cancel()
		if err != nil { // it is shown without what it is for
			w.log.Debug("identify a recovered order", slog.String("order", id), slog.Any("error", err))
			return
		}
		w.orders.latest.identify(answer)
	}
}

// runStock tells of the stock and of what is broken. The more the stock takes to
// read, the less often it is read.
func (w *Watch) runStock(ctx context.Context) {
	pause := time.NewTimer(stockEvery)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		began := time.Now()
		if w.stream.watched() {
			w.look(ctx)
		}
		pause.Reset(max(stockEvery, time.Duration(float64(time.Since(began))/stockShare)))
	}
}

// look tells of the stock and of what is broken if they have changed.
func (w *Watch) look(ctx context.Context) {
	stock := w.stock.read(ctx)
	w.mu.Lock()
	w.seen = stock
	w.mu.Unlock()
	w.changed("stock", stock, &w.packets)
	if w.breaks == nil {
		return
	}
	breaks, err := w.breaks(ctx)
	if err != nil {
		w.log.Debug("ask what is broken", slog.Any("error", err))
		return
	}
	w.mu.Lock()
	w.broken = breaks
	w.mu.Unlock()
	w.changed("breaks", breaks, &w.faults)
}

// changed publishes what differs from the last.
func (w *Watch) changed(event string, v any, last *[]byte) {
	encoded, err := json.Marshal(v)
	if err != nil || bytes.Equal(encoded, *last) {
		return
	}
	*last = encoded
	w.stream.publish(event, encoded)
}

func (w *Watch) publish(event string, v any) {
	encoded, err := json.Marshal(v)
	if err != nil {
		w.log.Error("encode an event", slog.String("event", event), slog.Any("error", err))
		return
	}
	w.stream.publish(event, encoded)
}

// Stock returns what the services have now.
func (w *Watch) Stock(ctx context.Context) api.Stock { return w.stock.read(ctx) }

// snapshot is what a watcher is told first.
type snapshot struct {
	Boot   string      `json:"boot"`
	Demo   bool        `json:"demo"`
	Stock  api.Stock   `json:"stock"`
	Breaks []api.Break `json:"breaks"`
	api.Orders
}

func (w *Watch) snapshot(ctx context.Context) ([]byte, error) {
	w.mu.Lock()
	seen, broken := w.seen, w.broken
	w.mu.Unlock()
	if seen.Services == nil {
		seen = w.stock.read(ctx)
	}
	s := snapshot{
		Boot: w.stream.boot, Demo: w.breaks != nil, Stock: seen, Breaks: broken.Breaks,
		Orders: w.orders.latest.Orders(shownOrders),
	}
	if s.Breaks == nil {
		s.Breaks = []api.Break{}
	}
	encoded, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the snapshot: %w", err)
	}
	return encoded, nil
}
