package pool_test

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// BenchmarkRelease is Reserve and Release.
//
//	go test -run '^$' -bench . ./pool/
func BenchmarkRelease(b *testing.B) {
	benchmark(b, func(b *testing.B, p *pool.Pool, key twophase.Key) error {
		if _, err := p.Reserve(b.Context(), benchRequest(key)); err != nil {
			return err
		}
		return p.Release(b.Context(), key)
	})
}

// BenchmarkAssign is Reserve, Assign, and the Release that makes room for the
// next: what Assign costs is the difference to BenchmarkRelease.
func BenchmarkAssign(b *testing.B) {
	benchmark(b, func(b *testing.B, p *pool.Pool, key twophase.Key) error {
		if _, err := p.Reserve(b.Context(), benchRequest(key)); err != nil {
			return err
		}
		if err := p.Assign(b.Context(), key); err != nil {
			return err
		}
		return p.Release(b.Context(), key)
	})
}

// BenchmarkFinishedKey tells how much memory a key takes during its retention.
func BenchmarkFinishedKey(b *testing.B) {
	b.ReportAllocs()
	p := newPool(b)
	before := heapInUse()
	for i := range b.N {
		require.NoError(b, p.Release(b.Context(), twophase.Key{Transaction: "order-" + strconv.Itoa(i), Step: "store"}))
	}
	b.ReportMetric((heapInUse()-before)/float64(b.N), "B/key")
	runtime.KeepAlive(p)
}

func heapInUse() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

func benchRequest(key twophase.Key) twophase.Request {
	return twophase.Request{Key: key, Payload: benchPayload, Hold: time.Minute}
}

var benchPayload = []byte(`{"kind":"masala dosa"}`)

// benchmark runs op side by side on stocks of several sizes, half of which are
// reserved by others.
func benchmark(b *testing.B, op func(*testing.B, *pool.Pool, twophase.Key) error) {
	for _, size := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("resources=%d", size), func(b *testing.B) {
			p := halfTaken(b, size)
			var orders atomic.Int64
			for _, callers := range []int{1, 64} {
				b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
					benchmarkOn(b, callers, func() error {
						id := strconv.FormatInt(orders.Add(1), 36)
						return op(b, p, twophase.Key{Transaction: id, Step: "store"})
					})
				})
			}
		})
	}
}

// benchmarkOn shares b.N operations among callers, and reports how many were
// refused: on a single resource, callers get in each other's way.
func benchmarkOn(b *testing.B, callers int, op func() error) {
	b.ReportAllocs()
	var begun, refused atomic.Int64
	var done sync.WaitGroup
	for range callers {
		done.Go(func() {
			for begun.Add(1) <= int64(b.N) {
				switch err := op(); {
				case errors.Is(err, twophase.ErrRefused):
					refused.Add(1)
				case err != nil:
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	b.ReportMetric(float64(refused.Load())/float64(b.N), "refused/op")
}

// halfTaken returns a pool with resources of one kind, half of them reserved.
// It forgets early, so that the benchmark is not about the growth of a map.
func halfTaken(b *testing.B, size int) *pool.Pool {
	b.Helper()
	p := newPool(b, pool.WithRetention(10*time.Millisecond))
	ids := make([]string, size)
	for i := range ids {
		ids[i] = "packet-" + strconv.Itoa(i)
	}
	require.NoError(b, p.Restock("masala dosa", ids...))
	for i := range size / 2 {
		req := benchRequest(twophase.Key{Transaction: "taken-" + strconv.Itoa(i), Step: "store"})
		req.Hold = time.Hour
		_, err := p.Reserve(b.Context(), req)
		require.NoError(b, err)
	}
	return p
}
