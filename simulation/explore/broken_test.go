package explore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/lastwins"
	"github.com/seed-bcc3c603/twophase/simulation/explore"
)

// TestABrokenContractIsFound breaks a promise of the journal or of the
// participants at a time: a search that cannot find anything proves nothing.
func TestABrokenContractIsFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		world  explore.World
		breaks string
	}{
		{
			"a journal decides without compare-and-set",
			explore.World{Second: explore.Recovers, Deadlines: 1, Journal: overwriting},
			"I2",
		},
		{
			"a journal acknowledges a begin that is not durable",
			explore.World{Second: explore.Recovers, Journal: hasty(true, false)},
			"I7",
		},
		{
			"a journal acknowledges a decision that is not durable",
			explore.World{Second: explore.Recovers, Rivals: 1, Journal: hasty(false, true)},
			"I7",
		},
		{
			"a journal hands out a claim twice",
			explore.World{Second: explore.Recovers, FirstRecovers: true, Journal: withoutEpochs},
			"a claim is not told from the one before",
		},
		{
			"a journal never finishes",
			explore.World{Rivals: 1, Journal: neverReleased},
			"stuck",
		},
		{
			"a participant leaves no tombstone",
			explore.World{Rivals: 1, Participant: withoutTombstone},
			"I4",
		},
		{
			"a participant acknowledges an assign that it does not keep",
			explore.World{Participant: withoutAssign},
			"I1",
		},
		{
			"a participant acknowledges a release that it does not keep",
			explore.World{Rivals: 1, Participant: withoutRelease},
			"I4",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			report := explore.Explore(t, test.world)
			t.Log(report)
			assert.LessOrEqual(t, len(report.Schedule), 40, "it is shortened")
			require.NotEmpty(t, report.Schedule)
			assert.Contains(t, report.Breach, test.breaks+":")
		})
	}
}

// overwriting returns a journal in which the last decision wins.
func overwriting(journal twophase.Journal) twophase.Journal { return lastwins.New(journal) }

// hasty returns a journal that acknowledges what it never writes.
func hasty(begin, decide bool) func(twophase.Journal) twophase.Journal {
	return func(journal twophase.Journal) twophase.Journal {
		return &hastyJournal{Journal: journal, begin: begin, decide: decide}
	}
}

type hastyJournal struct {
	twophase.Journal
	begin, decide bool
}

func (j *hastyJournal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	if !j.begin {
		return j.Journal.Begin(ctx, record)
	}
	record.Epoch = 1
	return record, true, nil
}

func (j *hastyJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	if !j.decide || d.State != twophase.StateReleasing {
		return j.Journal.Decide(ctx, id, d)
	}
	return d, nil
}

// withoutEpochs returns a journal whose claims cannot be told apart.
func withoutEpochs(journal twophase.Journal) twophase.Journal { return sameEpoch{journal} }

type sameEpoch struct{ twophase.Journal }

func (j sameEpoch) Claim(ctx context.Context, owner string, lease time.Duration, limit int) ([]twophase.Record, error) {
	records, err := j.Journal.Claim(ctx, owner, lease, limit)
	for i := range records {
		records[i].Epoch = 1
	}
	return records, err
}

// neverReleased returns a journal that forgets which releases were acknowledged.
func neverReleased(journal twophase.Journal) twophase.Journal { return forgetsReleases{journal} }

type forgetsReleases struct{ twophase.Journal }

func (forgetsReleases) Released(context.Context, string, []string) error { return nil }

// withoutTombstone returns a participant that keeps nothing for a Release that
// finds nothing.
func withoutTombstone(p twophase.Participant) twophase.Participant {
	return &noTombstone{Participant: p, known: map[twophase.Key]bool{}}
}

type noTombstone struct {
	twophase.Participant
	mu    sync.Mutex
	known map[twophase.Key]bool
}

func (p *noTombstone) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := p.Participant.Reserve(ctx, req)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[req.Key] = p.known[req.Key] || err == nil
	return r, err
}

func (p *noTombstone) Release(ctx context.Context, key twophase.Key) error {
	p.mu.Lock()
	known := p.known[key]
	p.mu.Unlock()
	if !known {
		return nil
	}
	return p.Participant.Release(ctx, key)
}

// withoutAssign returns a participant that assigns nothing.
func withoutAssign(p twophase.Participant) twophase.Participant { return noAssign{p} }

type noAssign struct{ twophase.Participant }

func (noAssign) Assign(context.Context, twophase.Key) error { return nil }

// withoutRelease returns a participant that releases nothing.
func withoutRelease(p twophase.Participant) twophase.Participant { return noRelease{p} }

type noRelease struct{ twophase.Participant }

func (noRelease) Release(context.Context, twophase.Key) error { return nil }
