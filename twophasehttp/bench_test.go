package twophasehttp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// BenchmarkOrder is a food order at two services over the loopback interface:
// through a coordinator, and as the same four requests sent by hand, two by two,
// with nothing but a client of net/http. The services are in the same process.
//
//	go test -run '^$' -bench Order ./twophasehttp
func BenchmarkOrder(b *testing.B) {
	for _, callers := range []int{1, 4, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d/by=coordinator", callers), func(b *testing.B) {
			benchmarkOrders(b, callers, byCoordinator)
		})
		b.Run(fmt.Sprintf("callers=%d/by=hand", callers), func(b *testing.B) {
			benchmarkOrders(b, callers, byHand)
		})
	}
}

// services are the base URLs of the store and of the delivery service.
type services [2]string

// benchmarkOrders shares b.N orders among callers, and reports how long they
// take.
func benchmarkOrders(b *testing.B, callers int, by func(*testing.B, services) func(id string) error) {
	b.ReportAllocs()
	var at services
	for i := range at {
		at[i] = serve(b, newHandler(b, newPool(b, b.N)))
	}
	order := by(b, at)
	latencies := make([]time.Duration, b.N)
	var begun atomic.Int64
	var done sync.WaitGroup
	b.ResetTimer()
	for range callers {
		done.Go(func() {
			for n := begun.Add(1); n <= int64(b.N); n = begun.Add(1) {
				start := time.Now()
				if err := order("order-" + strconv.FormatInt(n, 10)); err != nil {
					b.Error(err)
					return
				}
				latencies[n-1] = time.Since(start)
			}
		})
	}
	done.Wait()
	b.StopTimer()
	slices.Sort(latencies)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
	b.ReportMetric(float64(latencies[b.N/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(latencies[b.N*99/100].Microseconds())/1000, "p99-ms")
}

func byCoordinator(b *testing.B, at services) func(id string) error {
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("store", newClient(b, at[0])),
		twophase.WithParticipant("delivery", newClient(b, at[1])))
	require.NoError(b, err)
	b.Cleanup(func() { _ = coordinator.Close(b.Context()) })
	steps := []twophase.Step{
		{Participant: "store", Payload: pool.Want{Kind: dosa}},
		{Participant: "delivery", Payload: pool.Want{Kind: dosa}},
	}
	return func(id string) error {
		_, err := coordinator.Run(b.Context(), twophase.Transaction{ID: id, Steps: steps})
		return err
	}
}

func byHand(b *testing.B, at services) func(id string) error {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	body := []byte(`{"payload":{"kind":"masala dosa"},"hold_ms":120000}`)
	one := func(method, url string, body []byte, state string) error {
		r, err := http.NewRequestWithContext(b.Context(), method, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		var reply struct{ State string }
		text, err := io.ReadAll(resp.Body)
		if err == nil {
			err = json.Unmarshal(text, &reply)
		}
		if err == nil && reply.State != state {
			err = errors.New(string(text))
		}
		return err
	}
	both := func(call func(base string) error) error {
		other := make(chan error, 1)
		go func() { other <- call(at[1]) }()
		return errors.Join(call(at[0]), <-other)
	}
	return func(id string) error {
		path := "/reservations/" + id + "/step"
		err := both(func(base string) error { return one(http.MethodPut, base+path, body, "reserved") })
		if err != nil {
			return err
		}
		return both(func(base string) error { return one(http.MethodPost, base+path+"/assignment", nil, "assigned") })
	}
}

// BenchmarkHandler is the handler alone, with a participant that does nothing.
func BenchmarkHandler(b *testing.B) {
	handler := newHandler(b, &stub{reservation: reserved})
	for _, call := range []struct{ method, path, body string }{
		{http.MethodPut, onePath, oneBody}, {http.MethodPost, assignmentPath, ""}, {http.MethodDelete, onePath, ""},
	} {
		b.Run(call.method, func(b *testing.B) {
			b.ReportAllocs()
			r := request(b, call.method, call.path, call.body, "Idempotency-Key", `"order-1/store"`, "Request-Timeout", "5")
			w := &discard{header: http.Header{}}
			for b.Loop() {
				r.Body = io.NopCloser(strings.NewReader(call.body))
				handler.ServeHTTP(w, r)
			}
		})
	}
}

// discard is a reply that nobody reads.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkParticipant is the client alone, with a network that does nothing.
func BenchmarkParticipant(b *testing.B) {
	client := newClient(b, "http://store/", twophasehttp.WithRoundTripper(roundTrip(func(*http.Request) (*http.Response, error) {
		return reply(200, `{"state":"reserved","resources":["packet-1"],"time_left_ms":1999}`), nil
	})))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Reserve(b.Context(), oneRequest); err != nil {
			b.Fatal(err)
		}
	}
}
