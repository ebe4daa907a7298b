package twophasetest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// notebook is a minimal journal: a lock and the pages by id. Each of its steps
// may be broken.
type notebook struct {
	mu    sync.Mutex
	pages map[string]*page
	begun int

	standing func(id string) *page
	enter    func(record twophase.Record) twophase.Record
	created  func(standing, record twophase.Record) bool
	decide   func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision)
	released func(record twophase.Record, steps []string) twophase.Record
	gone     func(id string) error
	open     func(p *page) bool
	overdue  func(p *page, now time.Time) bool
	order    func(a, b *page) int
	limit    func(limit, n int) int
	claim    func(p *page, owner string, until time.Time)
	renews   func(p *page, owner string) bool
	yields   func(p *page, owner string, epoch int64) bool
	yield    func(p *page, until time.Time, trouble string)
	read     func(p *page, now time.Time) twophase.Record
	oldest   func(a, b *page) int
	matches  func(f twophase.Filter, r twophase.Record) bool
	give     func(ctx context.Context, records []twophase.Record, yield func(twophase.Record, error) bool)
	prunes   func(p *page, age time.Duration, now time.Time) bool
	refuse   func(ctx context.Context) error
	between  func(call twophase.Call) // what a call found, and what it makes of it
	keeps    func(p *page) *page      // for the next instance; nil for nothing
}

type page struct {
	record                            twophase.Record
	number                            int
	begun, deadline, leased, finished time.Time
}

func openNotebook(testing.TB) twophase.Journal { return newNotebook() }

// reopenNotebook returns the next instance on the pages of the last.
func reopenNotebook(_ testing.TB, journal twophase.Journal) twophase.Journal {
	n := journal.(*notebook)
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, p := range n.pages {
		if n.pages[id] = n.keeps(p); n.pages[id] == nil {
			delete(n.pages, id)
		}
	}
	return n
}

func newNotebook() *notebook {
	n := &notebook{
		pages: map[string]*page{},
		enter: func(record twophase.Record) twophase.Record { return record },
		created: func(standing, record twophase.Record) bool {
			same := func(a, b twophase.StepRecord) bool {
				return a.Name == b.Name && a.Participant == b.Participant && string(a.Payload) == string(b.Payload)
			}
			return standing.Owner == record.Owner && slices.EqualFunc(standing.Steps, record.Steps, same)
		},
		decide: func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision) {
			record = record.Decided(d)
			return record, record.Decision()
		},
		released: twophase.Record.WithReleased,
		gone:     func(id string) error { return fmt.Errorf("%s: %w", id, twophase.ErrGone) },
		open:     func(p *page) bool { return !p.record.Finished() },
		overdue:  func(p *page, now time.Time) bool { return !now.Before(p.leased) },
		order:    func(a, b *page) int { return a.leased.Compare(b.leased) },
		limit:    func(limit, n int) int { return min(limit, n) },
		claim: func(p *page, owner string, until time.Time) {
			p.record.Owner, p.leased = owner, until
			p.record.Epoch++
		},
		renews: func(p *page, owner string) bool { return p.record.Owner == owner },
		yields: func(p *page, owner string, epoch int64) bool {
			return p.record.Owner == owner && p.record.Epoch == epoch
		},
		yield: func(p *page, until time.Time, trouble string) {
			p.record.Owner, p.record.Trouble, p.leased = "", trouble, until
			p.record.Attempts++
		},
		read: func(p *page, now time.Time) twophase.Record {
			record := p.record
			record.Deadline, record.Lease, record.Age = p.deadline.Sub(now), p.leased.Sub(now), now.Sub(p.begun)
			return record
		},
		oldest:  func(a, b *page) int { return cmp.Compare(a.number, b.number) },
		matches: twophase.Filter.Match,
		give: func(ctx context.Context, records []twophase.Record, yield func(twophase.Record, error) bool) {
			for _, record := range records {
				if ctx.Err() != nil {
					yield(twophase.Record{}, ctx.Err())
					return
				}
				if !yield(record, nil) {
					return
				}
			}
		},
		prunes: func(p *page, age time.Duration, now time.Time) bool {
			return p.record.Finished() && now.Sub(p.finished) > age
		},
		refuse: func(ctx context.Context) error {
			if ctx.Err() != nil {
				return fmt.Errorf("%w: %w", twophase.ErrUnavailable, ctx.Err())
			}
			return nil
		},
		between: func(twophase.Call) {},
		keeps:   func(p *page) *page { return p },
	}
	n.standing = func(id string) *page { return n.pages[id] }
	return n
}

func (n *notebook) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	if err := n.refuse(ctx); err != nil {
		return twophase.Record{}, false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	standing := n.standing(record.ID)
	n.between(CallBegin)
	if standing != nil {
		return n.read(standing, now), n.created(standing.record, record), nil
	}
	n.begun++
	record.Epoch = 1
	p := &page{
		record: n.enter(record), number: n.begun,
		begun: now, deadline: now.Add(record.Deadline), leased: now.Add(record.Lease),
	}
	n.pages[record.ID] = p
	return n.read(p, now), true, nil
}

// turn changes the record of a transaction.
func (n *notebook) turn(
	ctx context.Context, call twophase.Call, id string, change func(record twophase.Record) twophase.Record,
) error {
	if err := n.refuse(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.pages[id]
	if !ok {
		return n.gone(id)
	}
	record := p.record
	n.between(call)
	p.record = change(record)
	if p.finished.IsZero() && p.record.Finished() {
		p.finished = time.Now()
	}
	return nil
}

func (n *notebook) Decide(ctx context.Context, id string, d twophase.Decision) (standing twophase.Decision, err error) {
	err = n.turn(ctx, CallDecide, id, func(record twophase.Record) twophase.Record {
		record, standing = n.decide(record, d)
		return record
	})
	return standing, err
}

func (n *notebook) Released(ctx context.Context, id string, steps []string) error {
	return n.turn(ctx, CallReleased, id, func(record twophase.Record) twophase.Record { return n.released(record, steps) })
}

func (n *notebook) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) (claimed []twophase.Record, err error) {
	if err := n.refuse(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	found := n.sorted(n.order, func(p *page) bool { return n.open(p) && n.overdue(p, now) })
	n.between(CallClaim)
	for _, p := range found[:n.limit(limit, len(found))] {
		n.claim(p, owner, now.Add(lease))
		claimed = append(claimed, n.read(p, now))
	}
	return claimed, nil
}

func (n *notebook) sorted(by func(a, b *page) int, selects func(p *page) bool) (found []*page) {
	for _, p := range n.pages {
		if selects(p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, by)
	return found
}

func (n *notebook) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	if err := n.refuse(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		if p, ok := n.pages[id]; ok && n.open(p) && n.renews(p, owner) {
			n.between(CallRenew)
			p.leased = time.Now().Add(lease)
		}
	}
	return nil
}

func (n *notebook) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	if err := n.refuse(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := n.pages[id]; ok && n.open(p) && n.yields(p, owner, epoch) {
		n.yield(p, time.Now().Add(delay), trouble)
	}
	return nil
}

func (n *notebook) Get(ctx context.Context, id string) (twophase.Record, error) {
	if err := n.refuse(ctx); err != nil {
		return twophase.Record{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.pages[id]
	if !ok {
		return twophase.Record{}, n.gone(id)
	}
	return n.read(p, time.Now()), nil
}

func (n *notebook) List(ctx context.Context, filter twophase.Filter) iter.Seq2[twophase.Record, error] {
	return func(yield func(twophase.Record, error) bool) { n.give(ctx, n.snapshot(filter), yield) }
}

func (n *notebook) snapshot(filter twophase.Filter) (records []twophase.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.sorted(n.oldest, func(p *page) bool { return n.matches(filter, p.record) }) {
		records = append(records, n.read(p, time.Now()))
	}
	return records
}

func (n *notebook) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	if err := n.refuse(ctx); err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	found := n.sorted(n.oldest, func(p *page) bool { return n.prunes(p, age, now) })
	found = found[:n.limit(limit, len(found))]
	for _, p := range found {
		delete(n.pages, p.record.ID)
	}
	return len(found), nil
}
