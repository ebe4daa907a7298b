package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

func openBench(b *testing.B, options ...Option) *Journal {
	b.Helper()
	j, err := Open(b.Context(), filepath.Join(b.TempDir(), "journal.db"), options...)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, j.Close()) })
	return j
}

// BenchmarkPairs measures the two writes of a placed transaction, Begin and
// Decide, by so many callers at a time.
func BenchmarkPairs(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			benchPairs(b, openBench(b), callers)
		})
	}
}

// BenchmarkPairsOnFinished measures the same with so many transactions on
// record already.
func BenchmarkPairsOnFinished(b *testing.B) {
	for _, finished := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("finished=%d", finished), func(b *testing.B) {
			j := openBench(b)
			steps, _, err := encodeSteps("order", order("order").Steps)
			require.NoError(b, err)
			reservations, err := encodeReservations("order", given().Reservations)
			require.NoError(b, err)
			_, err = write(b.Context(), j, func(w *writer) (int, error) {
				return 0, w.statement(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
					INSERT INTO transactions
					(id, version, state, epoch, dropped, begun, deadline, leased, finished, owner, reservations, steps)
					SELECT format('earlier-%08d', i), 1, 2, 1, 0, ?2, ?2, ?2, ?2, ?3, ?4, ?5 FROM n WHERE ?1 > 0`).
					integer(int64(finished)).integer(w.now).text(order("").Owner).json(reservations).json(steps).exec()
			})
			require.NoError(b, err)
			benchPairs(b, j, 256)
			if info, err := os.Stat(j.path); err == nil && finished > 0 {
				b.ReportMetric(float64(info.Size())/float64(finished+b.N), "bytes/row")
			}
		})
	}
}

func benchPairs(b *testing.B, j *Journal, callers int) {
	b.Helper()
	b.ReportAllocs()
	drive(b, callers, func(n int64) {
		id := fmt.Sprintf("order-%08d", n)
		if _, _, err := j.Begin(b.Context(), order(id)); err != nil {
			b.Error(err)
		}
		if _, err := j.Decide(b.Context(), id, given()); err != nil {
			b.Error(err)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
}

// drive has callers do it b.N times.
func drive(b *testing.B, callers int, do func(n int64)) {
	b.Helper()
	var next atomic.Int64
	var done sync.WaitGroup
	b.ResetTimer()
	for range callers {
		done.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				do(n)
			}
		})
	}
	done.Wait()
	b.StopTimer()
}

// BenchmarkBaseline is what the driver can do at most: one goroutine runs the
// same statements on the same data, encoded beforehand, in transactions of so
// many writes.
func BenchmarkBaseline(b *testing.B) {
	for _, size := range []int{1, 32, 64, 128, 256} {
		b.Run(fmt.Sprintf("writes=%d", size), func(b *testing.B) {
			j := openBench(b)
			record := order("order")
			steps, _, err := encodeSteps("order", record.Steps)
			require.NoError(b, err)
			given, err := encodeReservations("order", given().Reservations)
			require.NoError(b, err)
			j.group.Close() // the writer is ours
			w := j.writer
			b.ReportAllocs()
			b.ResetTimer()
			for from := 0; from < b.N; from += size {
				n := min(size, b.N-from)
				for _, write := range []func(id string) error{
					func(id string) error {
						record.ID = id
						_, err := w.insert(record, steps, nil, 0)
						return err
					},
					func(id string) error {
						_, err := w.decide(id, twophase.StateAssigned, given, nil)
						return err
					},
				} {
					err := w.transaction(func() error {
						w.now = w.clock.now()
						for i := range n {
							if err := write(fmt.Sprintf("order-%08d", from+i)); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
		})
	}
}
