package sqlite_test

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/sqlite"
)

// BenchmarkPool is Reserve and Assign on one hot kind, half of which is taken
// already, and the Release that keeps it so: three calls, durable each.
//
//	go test -run '^$' -bench Pool ./sqlite
func BenchmarkPool(b *testing.B) {
	for _, resources := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("resources=%d", resources), func(b *testing.B) {
			p := halfTaken(b, resources)
			var orders atomic.Int64
			for _, callers := range []int{1, 64, 256} {
				b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
					drive(b, callers, func() error { return order(b, p, orders.Add(1)) })
				})
			}
		})
	}
}

// BenchmarkPoolSoldOut is a Reserve of a kind that has nothing left.
func BenchmarkPoolSoldOut(b *testing.B) {
	p := halfTaken(b, 1000)
	var orders atomic.Int64
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			drive(b, callers, func() error {
				_, err := p.Reserve(b.Context(), wants("none-"+strconv.FormatInt(orders.Add(1), 36), "idli", 1))
				if twophase.IsFinal(err) {
					return nil
				}
				return fmt.Errorf("not refused: %w", err)
			})
		})
	}
}

// BenchmarkFence is the same as BenchmarkPool with tables of the service's own.
func BenchmarkFence(b *testing.B) {
	db := newKitchen(b, 1000)
	f := openKitchen(b, db, kitchen)
	var orders atomic.Int64
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			drive(b, callers, func() error { return order(b, f, orders.Add(1)) })
		})
	}
}

// order reserves, assigns and gives back.
func order(b *testing.B, p twophase.Participant, n int64) error {
	req := wants("order-"+strconv.FormatInt(n, 36), dosa, 1)
	if _, err := p.Reserve(b.Context(), req); err != nil {
		return err
	}
	if err := p.Assign(b.Context(), req.Key); err != nil {
		return err
	}
	return p.Release(b.Context(), req.Key)
}

// drive shares b.N operations among callers.
func drive(b *testing.B, callers int, op func() error) {
	b.Helper()
	b.ReportAllocs()
	var begun atomic.Int64
	var done sync.WaitGroup
	b.ResetTimer()
	for range callers {
		done.Go(func() {
			for begun.Add(1) <= int64(b.N) {
				if err := op(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
}

// halfTaken returns a pool with resources of one kind, half of them reserved.
func halfTaken(b *testing.B, resources int) *sqlite.Pool {
	b.Helper()
	path := newFile(b)
	p := openPool(b, path)
	const portion = 10_000
	for from := 0; from < resources; from += portion {
		ids := make([]string, min(portion, resources-from))
		for i := range ids {
			ids[i] = "packet-" + strconv.Itoa(from+i)
		}
		require.NoError(b, p.Restock(b.Context(), dosa, ids...))
	}
	const each = pool.MaxCount
	var takers sync.WaitGroup
	for n := range max(1, resources/2/each) {
		takers.Go(func() {
			req := wants("taken-"+strconv.Itoa(n), dosa, min(each, resources/2))
			req.Hold = 24 * time.Hour
			if _, err := p.Reserve(b.Context(), req); err != nil {
				b.Error(err)
			}
		})
	}
	takers.Wait()
	return p
}
