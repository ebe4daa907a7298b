package twophase_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
)

func TestEachTransactionTimesOutAtItsOwnTime(t *testing.T) {
	t.Parallel()
	bubble(t, "among others that are placed, or have a timeout of their own", func(t *testing.T, w *world) {
		var resources []string
		for i := range 20 {
			resources = append(resources, fmt.Sprintf("resource-%d", i))
		}
		w.stock("store", resources...)
		w.stock("delivery", resources...).fail(twophase.CallAssign, forEver(fault{hang: true})...)
		c := w.coordinator(twophase.WithTimeout(time.Minute))
		var running sync.WaitGroup
		for i := range 20 {
			time.Sleep(time.Second)
			tx := twophase.Transaction{ID: fmt.Sprintf("order-%d", i), Steps: []twophase.Step{{Participant: "delivery"}}}
			want := time.Minute
			switch i % 4 {
			case 1:
				tx.Steps[0].Participant, want = "store", 0
			case 2:
				tx.Timeout, want = 45*time.Second, 45*time.Second
			}
			running.Go(func() {
				start := time.Now()
				_, err := c.Run(t.Context(), tx)
				w.tell(tx.ID, err)
				assert.Equal(t, want, time.Since(start), tx.ID)
				if want > 0 {
					assert.ErrorContains(t, err, "undecided at its timeout", tx.ID)
				}
			})
		}
		running.Wait()
		w.settle()
		w.audit()
	})
}
