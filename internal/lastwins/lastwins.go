// Package lastwins breaks a journal in one way, for the tests of those who must
// notice: it decides without compare-and-set.
package lastwins

import (
	"context"
	"sync"

	"github.com/seed-bcc3c603/twophase"
)

// Journal is one in which the last decision wins. Make it with [New].
type Journal struct {
	twophase.Journal
	mu        sync.Mutex
	decisions map[string]twophase.Decision
}

// New breaks a journal.
func New(journal twophase.Journal) *Journal {
	return &Journal{Journal: journal, decisions: map[string]twophase.Decision{}}
}

// Decide tells everybody that it is as they want it.
func (j *Journal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	if _, err := j.Journal.Decide(ctx, id, d); err != nil {
		return twophase.Decision{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decisions[id] = d
	return d, nil
}

// Get returns a record as the last decision left it.
func (j *Journal) Get(ctx context.Context, id string) (twophase.Record, error) {
	record, err := j.Journal.Get(ctx, id)
	j.mu.Lock()
	defer j.mu.Unlock()
	if d, ok := j.decisions[id]; ok && err == nil && record.State != twophase.StateReleased {
		record.State = twophase.StateBegun
		record = record.Decided(d)
	}
	return record, err
}
