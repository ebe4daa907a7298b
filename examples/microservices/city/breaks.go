package city

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// Breaker breaks things in a city that has proxies, for those who want to see what
// happens. Make it with [NewBreaker], and close it before the city.
type Breaker struct {
	city  *City
	life  context.Context
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu    sync.Mutex
	until map[string]time.Time // what is under way
}

const (
	breakFor  = 10 * time.Second
	slowBy    = 800 * time.Millisecond
	lostShare = 0.5
	restockBy = 5
)

// The ways to break things, in the order in which they are shown.
var breaks = []api.Break{
	{Name: "stop-store", Title: "Stop the store for ten seconds"},
	{Name: "stop-delivery", Title: "Stop delivery for ten seconds"},
	{Name: "drop-replies", Title: "Lose half of all replies for ten seconds"},
	{Name: "slow-delivery", Title: "Make delivery slow for ten seconds"},
	{Name: "empty-food", Title: "Sell out a food", NeedsKind: true},
	{Name: "restock", Title: "Restock"},
}

// NewBreaker returns a breaker of the city.
func NewBreaker(c *City) *Breaker {
	b := &Breaker{city: c, until: map[string]time.Time{}}
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// Close mends what is broken.
func (b *Breaker) Close() {
	b.end()
	b.tasks.Wait()
}

// Register serves the breaker on mux: GET /breaks and POST /break/{name}.
func (b *Breaker) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /breaks", func(w http.ResponseWriter, _ *http.Request) {
		serve.JSON(w, http.StatusOK, b.list())
	})
	mux.HandleFunc("POST /break/{name}", b.serve)
}

func (b *Breaker) list() api.Breaks {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := api.Breaks{Breaks: make([]api.Break, len(breaks))}
	copy(list.Breaks, breaks)
	for i := range list.Breaks {
		if left := time.Until(b.until[list.Breaks[i].Name]); left > 0 {
			list.Breaks[i].Active, list.Breaks[i].TimeLeft = true, left.Milliseconds()
		}
	}
	return list
}

// errBusy says that it is broken already.
var errBusy = errors.New("it is under way already")

func (b *Breaker) serve(w http.ResponseWriter, r *http.Request) {
	var which api.Empty
	if r.ContentLength != 0 && !serve.Decode(w, r, &which) {
		return
	}
	if which.Kind != "" {
		if err := api.CheckName("kind", which.Kind); err != nil {
			serve.Problem(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	do, known := b.actions(which.Kind)[r.PathValue("name")]
	if !known {
		serve.Problem(w, http.StatusNotFound, "there is no such way to break things: GET /breaks lists them")
		return
	}
	switch err := do(r.Context()); {
	case errors.Is(err, errBusy), errors.Is(err, errNotRunning):
		serve.Problem(w, http.StatusConflict, err.Error())
	case errors.Is(err, errNoKind):
		serve.Problem(w, http.StatusBadRequest, err.Error())
	case err != nil:
		serve.Problem(w, http.StatusBadGateway, err.Error())
	default:
		serve.JSON(w, http.StatusOK, b.list())
	}
}

func (b *Breaker) actions(kind string) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"stop-store":    func(context.Context) error { return b.stop("stop-store", store.Name) },
		"stop-delivery": func(context.Context) error { return b.stop("stop-delivery", delivery.Name) },
		"drop-replies": func(context.Context) error {
			return b.spoil("drop-replies", func(f *Faults, on bool) { f.CutReply = share(on) }, store.Name, delivery.Name)
		},
		"slow-delivery": func(context.Context) error {
			return b.spoil("slow-delivery", func(f *Faults, on bool) { f.DelayReply = delay(on) }, delivery.Name)
		},
		"empty-food": func(ctx context.Context) error { return b.empty(ctx, kind) },
		"restock":    func(ctx context.Context) error { return b.restock(ctx, kind) },
	}
}

func share(on bool) float64 {
	if on {
		return lostShare
	}
	return 0
}

func delay(on bool) time.Duration {
	if on {
		return slowBy
	}
	return 0
}

// forAWhile does one thing now and another later, unless it is under way.
func (b *Breaker) forAWhile(name string, now func() error, later func()) error {
	b.mu.Lock()
	if time.Now().Before(b.until[name]) {
		b.mu.Unlock()
		return fmt.Errorf("%s: %w", name, errBusy)
	}
	b.until[name] = time.Now().Add(breakFor)
	b.mu.Unlock()
	if err := now(); err != nil {
		b.mu.Lock()
		delete(b.until, name)
		b.mu.Unlock()
		return err
	}
	b.tasks.Go(func() {
		select {
		case <-time.After(breakFor):
		case <-b.life.Done():
		}
		later()
	})
	return nil
}

// stop kills a service and starts it again later.
func (b *Breaker) stop(name, service string) error {
	return b.forAWhile(name,
		func() error { return b.city.Kill(service) },
		func() { _ = b.city.StartService(service) }) // or it runs again already
}

// spoil changes the network to services, and back later.
func (b *Breaker) spoil(name string, change func(f *Faults, on bool), services ...string) error {
	set := func(on bool) {
		for _, service := range services {
			b.city.Proxy(service).Change(func(f *Faults) { change(f, on) })
		}
	}
	return b.forAWhile(name, func() error { set(true); return nil }, func() { set(false) })
}

var errNoKind = errors.New(`name a kind that there is: {"kind":"masala dosa"}`)

func (b *Breaker) empty(ctx context.Context, kind string) error {
	if kind == "" {
		return errNoKind
	}
	return post(ctx, b.city.URL(store.Name)+"/empty", api.Empty{Kind: kind})
}

// restock adds some of a kind, or of every kind.
func (b *Breaker) restock(ctx context.Context, kind string) error {
	switch {
	case kind == "":
		return b.city.Restock(ctx, restockBy)
	case slices.Contains(store.Foods(), kind):
		return restock(ctx, b.city.URL(store.Name), restockBy, kind)
	case slices.Contains(delivery.Areas(), kind):
		return restock(ctx, b.city.URL(delivery.Name), restockBy, kind)
	}
	return fmt.Errorf("%w: there is no food and no area %q", errNoKind, kind)
}
