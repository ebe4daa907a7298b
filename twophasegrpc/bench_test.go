package twophasegrpc_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// BenchmarkOrders is orders of a packet and an agent from two services by TCP
// on one machine, placed by a coordinator with the journal in memory; and in
// turns with it, the same four calls by hand with the generated client, which
// have no journal, no retries and no guarantee. One op is one order of each.
//
//	go test -run '^$' -bench Orders .
func BenchmarkOrders(b *testing.B) {
	for _, callers := range []int{1, 4, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			store, delivery := newShop(b), newShop(b)
			coordinator := newCoordinatorOf(b, store, delivery)
			var placed, byHand samples
			b.ReportAllocs()
			b.ResetTimer()
			for part := range parts {
				orders := b.N/parts + min(1, max(0, b.N%parts-part))
				placed.measure(b, callers, orders, func(ctx context.Context, id string) error {
					_, err := coordinator.Run(ctx, twophase.Transaction{ID: id, Steps: []twophase.Step{
						{Participant: "store", Payload: pool.Want{Kind: dosa}},
						{Participant: "delivery", Payload: pool.Want{Kind: dosa}},
					}})
					return err
				})
				byHand.measure(b, callers, orders, func(ctx context.Context, id string) error {
					return orderByHand(ctx, id+"-by-hand", store.client, delivery.client)
				})
			}
			b.StopTimer()
			require.NoError(b, coordinator.Close(b.Context()))
			placed.report(b, "")
			byHand.report(b, "by-hand-")
			b.ReportMetric(100*placed.rate()/byHand.rate(), "%-of-by-hand")
		})
	}
}

// parts is how often the two take turns, so that both meet the same machine.
const parts = 10

// shop is a service with enough of everything, and two kinds of client.
type shop struct {
	participant twophase.Participant
	client      twophasev1.ParticipantServiceClient
}

func newShop(b *testing.B) shop {
	b.Helper()
	listener, dial := byTCP(b)
	start(b, listener, func(server *grpc.Server) {
		require.NoError(b, twophasegrpc.Register(server, newPool(b, 2*b.N)))
	})
	conn := dialTarget(b, "passthrough:///shop", grpc.WithContextDialer(
		func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	return shop{participant: newParticipant(b, conn), client: twophasev1.NewParticipantServiceClient(conn)}
}

func newCoordinatorOf(b *testing.B, store, delivery shop) *twophase.Coordinator {
	b.Helper()
	coordinator, err := twophase.NewCoordinator(&forgetful{MemoryJournal: twophase.NewMemoryJournal()},
		twophase.WithParticipant("store", store.participant), twophase.WithParticipant("delivery", delivery.participant))
	require.NoError(b, err)
	return coordinator
}

// forgetful is a journal in memory that keeps few records, so that what is
// measured does not depend on how long it is measured.
type forgetful struct {
	*twophase.MemoryJournal
	decided atomic.Int64
}

func (j *forgetful) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	const many = 32
	if j.decided.Add(1)%many == 0 {
		_, _ = j.Prune(ctx, -1, many)
	}
	return j.MemoryJournal.Decide(ctx, id, d)
}

// orderByHand reserves at both, side by side, and then assigns at both.
func orderByHand(ctx context.Context, id string, store, delivery twophasev1.ParticipantServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := both(
		func() error { return reserveByHand(ctx, store, id, "store") },
		func() error { return reserveByHand(ctx, delivery, id, "delivery") })
	if err != nil {
		return err
	}
	return both(
		func() error { return assignByHand(ctx, store, id, "store") },
		func() error { return assignByHand(ctx, delivery, id, "delivery") })
}

func reserveByHand(ctx context.Context, client twophasev1.ParticipantServiceClient, id, step string) error {
	_, err := client.Reserve(ctx, &twophasev1.ReserveRequest{
		Transaction: id, Step: step, Payload: []byte(`{"kind":"masala dosa"}`), Hold: durationpb.New(2 * time.Minute),
	})
	return err
}

func assignByHand(ctx context.Context, client twophasev1.ParticipantServiceClient, id, step string) error {
	_, err := client.Assign(ctx, &twophasev1.AssignRequest{Transaction: id, Step: step})
	return err
}

// both does two things side by side.
func both(one, other func() error) error {
	var otherErr error
	var done sync.WaitGroup
	done.Go(func() { otherErr = other() })
	err := one()
	done.Wait()
	if err != nil {
		return err
	}
	return otherErr
}

// samples are how long orders took.
type samples struct {
	latencies []time.Duration
	took      time.Duration
}

// measure has so many orders made by callers side by side.
func (s *samples) measure(b *testing.B, callers, orders int, order func(ctx context.Context, id string) error) {
	b.Helper()
	first := len(s.latencies)
	s.latencies = append(s.latencies, make([]time.Duration, orders)...)
	latencies := s.latencies[first:]
	var next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range callers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < orders; i = int(next.Add(1)) - 1 {
				sent := time.Now()
				if err := order(b.Context(), "order-"+strconv.Itoa(first+i)); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(sent)
			}
		})
	}
	all.Wait()
	s.took += time.Since(began)
}

func (s *samples) rate() float64 { return float64(len(s.latencies)) / s.took.Seconds() }

func (s *samples) report(b *testing.B, prefix string) {
	b.Helper()
	slices.Sort(s.latencies)
	at := func(share float64) float64 {
		return float64(s.latencies[int(share*float64(len(s.latencies)-1))]) / float64(time.Millisecond)
	}
	b.ReportMetric(s.rate(), prefix+"orders/s")
	b.ReportMetric(at(0.5), prefix+"p50-ms")
	b.ReportMetric(at(0.99), prefix+"p99-ms")
}

// BenchmarkCall is calls one after the other, each answered from what is on
// record.
func BenchmarkCall(b *testing.B) {
	for _, name := range []twophase.Call{twophase.CallReserve, twophase.CallAssign, twophase.CallRelease} {
		b.Run(string(name), func(b *testing.B) {
			p := newShop(b).participant
			_, err := p.Reserve(b.Context(), request(mine))
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if err := calls[name](b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
