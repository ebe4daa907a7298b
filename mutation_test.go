package twophase_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/lastwins"
)

// TestMutations breaks one rule of the protocol at a time, and expects the audit
// to find what that leads to: an audit that cannot fail proves nothing.
func TestMutations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		mutate func(*world)
		breaks []string // the invariants that this is found to break
	}{
		{
			"deciding without compare-and-set",
			func(w *world) { w.journal.Journal = lastwins.New(w.journal.Journal) },
			[]string{"I1", "I2"},
		},
		{
			"releasing before the decision is durable",
			func(w *world) { w.journal.Journal = &hastyJournal{Journal: w.journal.Journal, decide: true} },
			[]string{"I7"},
		},
		{
			"assigning before begun is durable",
			func(w *world) { w.journal.Journal = &hastyJournal{Journal: w.journal.Journal, begin: true} },
			[]string{"I7", "I5"},
		},
		{
			"no tombstone",
			func(w *world) {
				for _, s := range w.stocks {
					s.noTombstones = true
				}
			},
			[]string{"I4"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := map[string]uint64{}
			for seed := uint64(0); seed < 300 && len(found) < len(test.breaks); seed++ {
				for _, violation := range shakeMutant(t, seed, test.mutate) {
					for _, invariant := range test.breaks {
						if _, ok := found[invariant]; !ok && strings.Contains(violation, invariant+":") {
							found[invariant] = seed
						}
					}
				}
			}
			for _, invariant := range test.breaks {
				assert.Contains(t, found, invariant, "found to be broken, and by which seed: %v", found)
			}
			t.Logf("broken, by seed: %v", found)
		})
	}
}

// shakeMutant shakes a world that is broken on purpose, and returns what the
// audit found.
func shakeMutant(t *testing.T, seed uint64, mutate func(*world)) []string {
	t.Helper()
	found := &violations{}
	t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.report, w.built = found, mutate
			shakeSeed(w, seed)
		})
	})
	return found.all()
}

// violations are what an audit reports of a world that is broken on purpose.
type violations struct {
	mu   sync.Mutex
	list []string
}

func (v *violations) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.list = append(v.list, fmt.Sprintf(format, args...))
}

func (v *violations) all() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.list)
}

// hastyJournal acknowledges what is not durable yet; what it still has to write
// may never be.
type hastyJournal struct {
	twophase.Journal
	begin, decide bool
	writes        int
	mu            sync.Mutex
}

// later makes durable what was acknowledged, or loses it every third time.
func (j *hastyJournal) later(write func(context.Context)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writes++
	if j.writes%3 != 0 {
		time.AfterFunc(20*time.Second, func() { write(context.Background()) })
	}
}

func (j *hastyJournal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	if _, err := j.Get(ctx, record.ID); !j.begin || err == nil {
		return j.Journal.Begin(ctx, record)
	}
	j.later(func(ctx context.Context) { _, _, _ = j.Journal.Begin(ctx, record) })
	record.Epoch = 1
	return record, true, nil
}

func (j *hastyJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	if !j.decide || d.State != twophase.StateReleasing {
		return j.Journal.Decide(ctx, id, d)
	}
	record, err := j.Get(ctx, id)
	if err != nil || record.State != twophase.StateBegun {
		return record.Decision(), err
	}
	j.later(func(ctx context.Context) { _, _ = j.Journal.Decide(ctx, id, d) })
	return d, nil
}
