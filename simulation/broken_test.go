package simulation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/simulation"
)

// A journal that breaks its contract breaks an invariant within a few seeds: a
// simulation that cannot fail proves nothing.
func TestBrokenJournalsAreCaught(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		broken func(twophase.Journal) twophase.Journal
		breaks string
	}{
		{"whoever decides is told to have won", func(j twophase.Journal) twophase.Journal { return winning{j} }, "I7"},
		{"a decision to release is not written", func(j twophase.Journal) twophase.Journal { return hasty{j} }, "I7"},
		{"what is begun is not written", func(j twophase.Journal) twophase.Journal { return forgetful{j} }, "I7"},
		{"a lease is for nothing", func(j twophase.Journal) twophase.Journal { return generous{j} }, "lease"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(50) {
				r := simulation.Run(t, seed, simulation.WithJournal(test.broken))
				for _, violation := range r.Violations {
					if strings.Contains(violation, test.breaks+":") {
						t.Logf("seed %d: %s", seed, violation)
						return
					}
				}
			}
			assert.Fail(t, "it is not caught")
		})
	}
}

func TestAFailureIsShrunk(t *testing.T) {
	t.Parallel()
	broken := simulation.WithJournal(func(j twophase.Journal) twophase.Journal { return winning{j} })
	for seed := range uint64(50) {
		whole := simulation.Run(t, seed, broken)
		if len(whole.Violations) == 0 || len(whole.Struck) < 30 {
			continue
		}
		small := simulation.Shrink(t, seed, broken)
		require.NotEmpty(t, small.Violations)
		assert.Less(t, len(small.Struck), 12, "of %d", len(whole.Struck))
		assert.Contains(t, small.Trace, "VIOLATION: "+small.Violations[0])
		assert.Less(t, small.Transactions, 3)
		return
	}
	assert.Fail(t, "no seed fails")
}

// winning decides without telling who lost.
type winning struct{ twophase.Journal }

func (j winning) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	if _, err := j.Journal.Decide(ctx, id, d); err != nil {
		return twophase.Decision{}, err
	}
	return d, nil
}

// hasty acknowledges a decision to release that is not durable.
type hasty struct{ twophase.Journal }

func (j hasty) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	if d.State == twophase.StateReleasing {
		return d, nil
	}
	return j.Journal.Decide(ctx, id, d)
}

// forgetful acknowledges a Begin that is not durable.
type forgetful struct{ twophase.Journal }

func (j forgetful) Begin(_ context.Context, record twophase.Record) (twophase.Record, bool, error) {
	record.Epoch = 1
	return record, true, nil
}

func (j forgetful) Decide(_ context.Context, _ string, d twophase.Decision) (twophase.Decision, error) {
	return d, nil
}

// generous lets a transaction be claimed in spite of its lease.
type generous struct{ twophase.Journal }

func (j generous) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	record.Lease = 0
	standing, created, err := j.Journal.Begin(ctx, record)
	if err != nil {
		return standing, created, fmt.Errorf("begin: %w", err)
	}
	return standing, created, nil
}
