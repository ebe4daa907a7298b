package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// growth measures whether finished transactions on record make new ones slower:
// a journal with none and one with many take turns.
func (b *bench) growth(ctx context.Context, s store) error {
	n := b.finished
	if s.kind() == "memory" {
		n = min(n, mostInMemory)
	}
	if n == 0 {
		return nil
	}
	t := &table{
		title:   fmt.Sprintf("With finished transactions on record, %d callers", b.usual()),
		columns: []string{">on record", ">opened in", ">per second", ">p50", ">p99", ">on disk for a million"},
	}
	var journals []*grown
	for _, g := range []*grown{{name: "none", n: 0}, {name: "many", n: n}} {
		b.say("%s: %d finished transactions on record", s.kind(), g.n)
		if err := g.open(ctx, s, b.usual(), b.ids); err != nil {
			return errors.Join(err, closeGrown(journals))
		}
		journals = append(journals, g)
	}
	err := takeTurns(ctx, b.duration, journals[0].subject, journals[1].subject)
	if err := errors.Join(err, closeGrown(journals)); err != nil {
		return err
	}
	for _, g := range journals {
		r := &g.subject.series
		t.add(count(float64(g.n)), length(g.opened), count(r.perSecond()),
			length(percentile(r.took, 0.50)), length(percentile(r.took, 0.99)),
			size(float64(g.size)/float64(g.n+r.all)*1e6))
	}
	t.write(b.out, b.markdown)
	none, many := journals[0].subject.series.perSecond(), journals[1].subject.series.perSecond()
	b.goals = append(b.goals, goal{
		journal: s.kind(), what: fmt.Sprintf("rate with %s finished on record ÷ with none", count(float64(n))),
		measured: many / none, wanted: 0.9, atLeast: true,
	})
	return nil
}

// mostInMemory is how much a journal in the heap is filled with.
const mostInMemory = 1_000_000

// grown is a journal with n finished transactions on record.
type grown struct {
	name    string
	n       int
	store   store
	journal *opened
	opened  time.Duration
	subject *subject
	size    int64
}

// open fills and opens the journal. On an error there is nothing to close.
func (g *grown) open(ctx context.Context, s store, callers int, order idOrder) error {
	g.store = s
	if err := s.fill(ctx, g.name, true, g.n); err != nil {
		return errors.Join(err, g.remove())
	}
	made, err := s.open(ctx, g.name) // to make an empty one is not what is measured
	if err == nil {
		err = made.close()
	}
	if err != nil {
		return errors.Join(err, g.remove())
	}
	start := time.Now()
	j, err := s.open(ctx, g.name)
	if err != nil {
		return errors.Join(err, g.remove())
	}
	g.journal, g.opened = j, time.Since(start)
	if g.subject, err = placing(g.name, callers, j, order); err != nil {
		return errors.Join(err, j.close(), g.remove())
	}
	return nil
}

func (g *grown) remove() error { return g.store.remove(context.Background(), g.name) }

// closeGrown closes the journals, after looking how large they are.
func closeGrown(journals []*grown) error {
	var errs []error
	for _, g := range journals {
		var err error
		g.size, err = g.journal.size(context.Background())
		errs = append(errs, err, g.subject.close(), g.remove())
	}
	return errors.Join(errs...)
}
