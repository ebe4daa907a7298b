package twophase

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

// MemoryJournal is a [Journal] that lives as long as the process. What it
// holds is lost with it; reservations then expire by themselves, but what was
// assigned by undecided transactions stays so. Several coordinators may share
// one. Make it with [NewMemoryJournal].
type MemoryJournal struct {
	mu       sync.Mutex
	entries  map[string]*memoryEntry
	open     list.List      // those not finished, of *memoryEntry
	finished []*memoryEntry // the others, in the order in which they finished
	begun    int64          // how many ever, for the order of List
}

type memoryEntry struct {
	record   Record // its durations are set when it is read
	number   int64
	begun    time.Time
	deadline time.Time
	leased   time.Time
	finished time.Time
	place    *list.Element // in open, until it is finished
}

// NewMemoryJournal returns an empty journal.
func NewMemoryJournal() *MemoryJournal {
	return &MemoryJournal{entries: map[string]*memoryEntry{}}
}

// Begin implements [Journal].
func (j *MemoryJournal) Begin(ctx context.Context, record Record) (Record, bool, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, false, unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	if entry, ok := j.entries[record.ID]; ok {
		standing := entry.read(now)
		return standing, standing.BegunAs(record), nil
	}
	record.Epoch = 1
	j.begun++
	entry := &memoryEntry{
		record:   record,
		number:   j.begun,
		begun:    now,
		deadline: now.Add(record.Deadline),
		leased:   now.Add(record.Lease),
	}
	j.entries[record.ID] = entry
	j.file(entry, now)
	return record, true, nil
}

// Decide implements [Journal].
func (j *MemoryJournal) Decide(ctx context.Context, id string, decision Decision) (Decision, error) {
	var standing Decision
	err := j.update(ctx, id, func(record Record) Record {
		if record.State == StateBegun {
			standing = decision
			return record.Decided(decision)
		}
		standing = record.Decision()
		return record
	})
	return standing, err
}

// Released implements [Journal].
func (j *MemoryJournal) Released(ctx context.Context, id string, steps []string) error {
	return j.update(ctx, id, func(record Record) Record { return record.WithReleased(steps) })
}

// Claim implements [Journal].
func (j *MemoryJournal) Claim(ctx context.Context, owner string, lease time.Duration, limit int) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	var overdue []*memoryEntry
	for place := j.open.Front(); place != nil; place = place.Next() {
		entry := place.Value.(*memoryEntry)
		if !entry.leased.After(now) {
			overdue = append(overdue, entry)
		}
	}
	slices.SortFunc(overdue, func(a, b *memoryEntry) int {
		return cmp.Or(a.leased.Compare(b.leased), cmp.Compare(a.number, b.number))
	})
	overdue = overdue[:min(max(limit, 0), len(overdue))]
	claimed := make([]Record, len(overdue))
	for i, entry := range overdue {
		entry.record.Owner = owner
		entry.record.Epoch++
		entry.leased = now.Add(lease)
		claimed[i] = entry.read(now)
	}
	return claimed, nil
}

// Renew implements [Journal].
func (j *MemoryJournal) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		if entry, ok := j.entries[id]; ok && entry.place != nil && entry.record.Owner == owner {
			entry.leased = now.Add(lease)
		}
	}
	return nil
}

// Yield implements [Journal].
func (j *MemoryJournal) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	entry, ok := j.entries[id]
	if !ok || entry.place == nil || entry.record.Owner != owner || entry.record.Epoch != epoch {
		return nil
	}
	entry.record.Owner = ""
	entry.record.Attempts++
	entry.record.Trouble = trouble
	entry.leased = time.Now().Add(delay)
	return nil
}

// Get implements [Journal].
func (j *MemoryJournal) Get(ctx context.Context, id string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	entry, ok := j.entries[id]
	if !ok {
		return Record{}, gone(id)
	}
	return entry.read(time.Now()), nil
}

// List implements [Journal].
func (j *MemoryJournal) List(ctx context.Context, filter Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, record := range j.snapshot(filter) {
			if err := ctx.Err(); err != nil {
				yield(Record{}, unavailable(err))
				return
			}
			if !yield(record, nil) {
				return
			}
		}
	}
}

// Prune implements [Journal].
func (j *MemoryJournal) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now, n := time.Now(), 0
	for n < min(limit, len(j.finished)) && now.Sub(j.finished[n].finished) > age {
		delete(j.entries, j.finished[n].record.ID)
		j.finished[n] = nil
		n++
	}
	j.finished = j.finished[n:]
	return n, nil
}

func (j *MemoryJournal) snapshot(filter Filter) []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	var matching []*memoryEntry
	for _, entry := range j.entries {
		if filter.Match(entry.record) {
			matching = append(matching, entry)
		}
	}
	slices.SortFunc(matching, func(a, b *memoryEntry) int { return cmp.Compare(a.number, b.number) })
	records := make([]Record, len(matching))
	for i, entry := range matching {
		records[i] = entry.read(now)
	}
	return records
}

// update replaces the record of a transaction.
func (j *MemoryJournal) update(ctx context.Context, id string, change func(Record) Record) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	entry, ok := j.entries[id]
	if !ok {
		return gone(id)
	}
	entry.record = change(entry.record)
	j.file(entry, time.Now())
	return nil
}

// file puts an entry where it belongs: with the open ones or the finished.
func (j *MemoryJournal) file(entry *memoryEntry, now time.Time) {
	switch finished := entry.record.Finished(); {
	case finished && entry.finished.IsZero():
		entry.finished = now
		j.finished = append(j.finished, entry)
		if entry.place != nil {
			j.open.Remove(entry.place)
			entry.place = nil
		}
	case !finished && entry.place == nil:
		entry.place = j.open.PushBack(entry)
	}
}

// read returns the record with its durations as of now. What it shares with
// the entry is never written again.
func (e *memoryEntry) read(now time.Time) Record {
	record := e.record
	record.Deadline = e.deadline.Sub(now)
	record.Lease = e.leased.Sub(now)
	record.Age = now.Sub(e.begun)
	return record
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

func gone(id string) error { return fmt.Errorf("twophase: %s: %w", id, ErrGone) }
