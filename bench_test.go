package twophase_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// idle is a participant that says yes and does nothing.
type idle struct{ reservation twophase.Reservation }

func newIdle(resource string) idle {
	return idle{twophase.Reservation{Resources: []string{resource}, TimeLeft: 2 * time.Minute}}
}

func (p idle) Reserve(context.Context, twophase.Request) (twophase.Reservation, error) {
	return p.reservation, nil
}
func (idle) Assign(context.Context, twophase.Key) error  { return nil }
func (idle) Release(context.Context, twophase.Key) error { return nil }

// forgetful is a journal in memory that keeps few records, so that what is
// measured does not depend on how long the benchmark runs. It forgets many at a
// time, as a coordinator does.
type forgetful struct {
	*twophase.MemoryJournal
	decided *atomic.Int64
}

func newForgetful() forgetful {
	return forgetful{twophase.NewMemoryJournal(), new(atomic.Int64)}
}

func (j forgetful) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	const many = 32
	if j.decided.Add(1)%many == 0 {
		_, _ = j.Prune(ctx, -1, many)
	}
	return j.MemoryJournal.Decide(ctx, id, d)
}

// BenchmarkRun is one transaction with two participants that do nothing, and
// the journal in memory. Compare it with BenchmarkErrgroup.
func BenchmarkRun(b *testing.B) {
	c := newIdleCoordinator(b)
	steps := []twophase.Step{{Participant: "store"}, {Participant: "delivery"}}
	ids := newIDs(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Run(b.Context(), twophase.Transaction{ID: ids(), Steps: steps}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRunParallel is many transactions side by side.
func BenchmarkRunParallel(b *testing.B) {
	c := newIdleCoordinator(b)
	steps := []twophase.Step{{Participant: "store"}, {Participant: "delivery"}}
	ids := newIDs(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Run(b.Context(), twophase.Transaction{ID: ids(), Steps: steps}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkRunFunc reserves one after the other.
func BenchmarkRunFunc(b *testing.B) {
	c := newIdleCoordinator(b)
	ids := newIDs(b)
	b.ReportAllocs()
	for b.Loop() {
		_, err := c.RunFunc(b.Context(), ids(), func(ctx context.Context, tx *twophase.Tx) error {
			if _, err := tx.Reserve(ctx, "store", nil); err != nil {
				return err
			}
			_, err := tx.Reserve(ctx, "delivery", nil)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkErrgroup is what one would write by hand: the same four calls, two
// and two side by side, without a journal, retries, or any guarantee.
func BenchmarkErrgroup(b *testing.B) {
	store, delivery := newIdle("packet-1"), newIdle("agent-1")
	ids := newIDs(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := byHand(b.Context(), ids(), store, delivery); err != nil {
			b.Fatal(err)
		}
	}
}

func byHand(ctx context.Context, id string, store, delivery twophase.Participant) error {
	reserve, reserving := withGroup(ctx)
	assign := func(p twophase.Participant, step string) func() error {
		return func() error { return p.Assign(reserving, twophase.Key{Transaction: id, Step: step}) }
	}
	reservation := func(p twophase.Participant, step string) func() error {
		return func() error {
			_, err := p.Reserve(reserving, twophase.Request{Key: twophase.Key{Transaction: id, Step: step}, Hold: 2 * time.Minute})
			return err
		}
	}
	reserve.Go(reservation(store, "store"))
	reserve.Go(reservation(delivery, "delivery"))
	if err := reserve.Wait(); err != nil {
		return err
	}
	var assigned *group
	assigned, reserving = withGroup(ctx)
	assigned.Go(assign(store, "store"))
	assigned.Go(assign(delivery, "delivery"))
	return assigned.Wait()
}

// group does what golang.org/x/sync/errgroup.Group does, in the same way; the
// module is not worth a dependency for a benchmark.
type group struct {
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

func withGroup(ctx context.Context) (*group, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	return &group{cancel: cancel}, ctx
}

func (g *group) Go(f func() error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		if err := f(); err != nil {
			g.once.Do(func() {
				g.err = err
				g.cancel(g.err)
			})
		}
	}()
}

func (g *group) Wait() error {
	g.wg.Wait()
	g.cancel(g.err)
	return g.err
}

func newIdleCoordinator(b *testing.B) *twophase.Coordinator {
	b.Helper()
	c, err := twophase.NewCoordinator(newForgetful(),
		twophase.WithParticipant("store", newIdle("packet-1")),
		twophase.WithParticipant("delivery", newIdle("agent-1")),
	)
	require.NoError(b, err)
	b.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// newIDs returns a source of ids that are ready before anything is measured.
func newIDs(b *testing.B) func() string {
	b.Helper()
	const many = 1 << 10
	ids := make([]string, many)
	for i := range ids {
		ids[i] = fmt.Sprintf("order-%d", i)
	}
	var mu sync.Mutex
	n := -1
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return ids[n%many]
	}
}
