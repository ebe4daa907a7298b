package twophasehttp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// The store and the delivery service are servers of their own; the coordinator
// knows nothing but where they are.
func Example() {
	ctx := context.Background()
	store := startService("masala dosa", "packet-1", "packet-2")
	defer store.Close()
	delivery := startService("Indiranagar", "agent-7")
	defer delivery.Close()

	options := make([]twophase.Option, 0, 2)
	for name, url := range map[string]string{"store": store.URL, "delivery": delivery.URL} {
		participant, err := twophasehttp.NewParticipant(url)
		if err != nil {
			log.Fatal(err)
		}
		defer participant.CloseIdleConnections()
		options = append(options, twophase.WithParticipant(name, participant))
	}
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(), options...)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(ctx) }()

	for _, id := range []string{"order-1001", "order-1002"} {
		result, err := coordinator.Run(ctx, twophase.Transaction{
			ID: id,
			Steps: []twophase.Step{
				{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}},
				{Participant: "delivery", Payload: pool.Want{Kind: "Indiranagar"}},
			},
		})
		if problem, ok := errors.AsType[*twophasehttp.Problem](err); ok {
			fmt.Println(id, "is not placed:", problem)
			continue
		}
		fmt.Println(id, "gets", result.Reservation("store").Resource(), "by", result.Reservation("delivery").Resource())
	}
	// Output:
	// order-1001 gets packet-1 by agent-7
	// order-1002 is not placed: refused: order-1002/delivery wants 1 of "Indiranagar": 0 free
}

// startService serves a pool with resources of one kind.
func startService(kind string, resources ...string) *httptest.Server {
	p := newExamplePool(kind, resources...)
	handler, err := twophasehttp.NewHandler(p)
	if err != nil {
		log.Fatal(err)
	}
	return httptest.NewServer(handler)
}

func newExamplePool(kind string, resources ...string) *pool.Pool {
	p, err := pool.New()
	if err != nil {
		log.Fatal(err)
	}
	if err := p.Restock(kind, resources...); err != nil {
		log.Fatal(err)
	}
	return p
}

// A service with its own paths, and a participant below one of them. The server
// bounds what comes before the handler and after it.
func ExampleNewHandler() {
	handler, err := twophasehttp.NewHandler(newExamplePool("masala dosa", "packet-1"),
		twophasehttp.WithCallTimeout(5*time.Second), // what the database may take
		twophasehttp.WithMaxCalls(200),
	)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/store/", http.StripPrefix("/store", handler))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	server := &http.Server{
		Addr:              ":8081",
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	fmt.Println("clients call http://store" + server.Addr + "/store/")
	// Output: clients call http://store:8081/store/
}

// Tokens, and a propagator of OpenTelemetry, set headers from the context of the
// call.
func ExampleWithHeaders() {
	service := startService("masala dosa", "packet-1")
	defer service.Close()
	store, err := twophasehttp.NewParticipant(service.URL,
		twophasehttp.WithHeaders(func(_ context.Context, h http.Header) {
			h.Set("Authorization", "Bearer "+"token of the hour")
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer store.CloseIdleConnections()
	fmt.Println(store.Release(context.Background(), twophase.Key{Transaction: "order-1001", Step: "store"}))
	// Output: <nil>
}

// What a service has on record is for comparing its books with the
// coordinator's.
func ExampleParticipant_Lookup() {
	ctx := context.Background()
	service := startService("masala dosa", "packet-1")
	defer service.Close()
	store, err := twophasehttp.NewParticipant(service.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer store.CloseIdleConnections()
	key := twophase.Key{Transaction: "order-1001", Step: "store"}
	_, err = store.Reserve(ctx, twophase.Request{Key: key, Payload: []byte(`{"kind":"masala dosa"}`), Hold: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	holding, found, err := store.Lookup(ctx, key)
	fmt.Println(holding.State, holding.Reservation.Resources, found, err)
	// Output: reserved [packet-1] true <nil>
}

// A participant that tells what it has in its own way.
func ExampleWithLookup() {
	books := map[twophase.Key]twophasehttp.Holding{}
	_, err := twophasehttp.NewHandler(newExamplePool("masala dosa", "packet-1"),
		twophasehttp.WithLookup(func(_ context.Context, key twophase.Key) (twophasehttp.Holding, bool, error) {
			holding, found := books[key]
			return holding, found, nil
		}),
	)
	fmt.Println(err)
	// Output: <nil>
}

// A trace that came with a request goes on with the calls that follow from it.
func ExampleContextWithTrace() {
	ctx := twophasehttp.ContextWithTrace(context.Background(), twophasehttp.Trace{
		Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	trace, found := twophasehttp.TraceFromContext(ctx) // as the participant does
	fmt.Println(trace.Parent, found)
	// Output: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 true
}
