package twophase

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/internal/queue"
)

// MemoryJournal is a [Journal] that lives as long as the process. What it
// holds is lost with it; reservations then expire by themselves, but what was
// assigned by undecided transactions stays so. Several coordinators may share
// one. Make it with [NewMemoryJournal].
type MemoryJournal struct {
	mu       sync.Mutex
	entries  map[string]*memoryEntry
	open     queue.Queue[memoryEntry] // those not finished
	finished queue.Queue[memoryEntry] // the others, in the order in which they finished
	begun    int64                    // how many ever, for the order of List
	opened   time.Time
}

type memoryEntry struct {
	record Record // its durations are set when it is read
	number int64

	// When, counted from the opening of the journal.
	begun, deadline, leased, finished time.Duration

	place queue.Place[memoryEntry] // open or finished
}

// NewMemoryJournal returns an empty journal.
func NewMemoryJournal() *MemoryJournal {
	return &MemoryJournal{entries: map[string]*memoryEntry{}, opened: time.Now()}
}

// Begin implements [Journal].
func (j *MemoryJournal) Begin(ctx context.Context, record Record) (Record, bool, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, false, unavailable(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
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
		deadline: later(now, record.Deadline),
		leased:   later(now, record.Lease),
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
	now := j.now()
	var overdue []*memoryEntry
	for entry := j.open.First(); entry != nil; entry = entry.place.Next() {
		if entry.leased <= now {
			overdue = append(overdue, entry)
		}
	}
	slices.SortFunc(overdue, func(a, b *memoryEntry) int {
		return cmp.Or(cmp.Compare(a.leased, b.leased), cmp.Compare(a.number, b.number))
	})
	overdue = overdue[:min(max(limit, 0), len(overdue))]
	claimed := make([]Record, len(overdue))
	for i, entry := range overdue {
		entry.record.Owner = owner
		entry.record.Epoch++
		entry.leased = later(now, lease)
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
	now := j.now()
	for _, id := range ids {
		if entry, ok := j.entries[id]; ok && j.open.Has(&entry.place) && entry.record.Owner == owner {
			entry.leased = later(now, lease)
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
	if !ok || !j.open.Has(&entry.place) || entry.record.Owner != owner || entry.record.Epoch != epoch {
		return nil
	}
	entry.record.Owner = ""
	entry.record.Attempts++
	entry.record.Trouble = trouble
	entry.leased = later(j.now(), delay)
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
	return entry.read(j.now()), nil
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
	now, n := j.now(), 0
	for entry := j.finished.First(); entry != nil && n < limit && now-entry.finished > age; entry = j.finished.First() {
		entry.place.Leave()
		delete(j.entries, entry.record.ID)
		n++
	}
	return n, nil
}

// now is the journal's clock. Durations tell all that it needs, and cost half.
func (j *MemoryJournal) now() time.Duration { return time.Since(j.opened) }

// later adds, and stops at what is endless.
func later(now, d time.Duration) time.Duration { return now + min(d, endless-now) }

func (j *MemoryJournal) snapshot(filter Filter) []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
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
	j.file(entry, j.now())
	return nil
}

// file puts an entry where it belongs: with the open ones or the finished.
func (j *MemoryJournal) file(entry *memoryEntry, now time.Duration) {
	switch finished := entry.record.Finished(); {
	case finished && !j.finished.Has(&entry.place):
		entry.finished = now
		j.finished.Add(entry, &entry.place)
	case !finished && !j.open.Has(&entry.place):
		j.open.Add(entry, &entry.place)
	}
}

// read returns the record with its durations as of now. What it shares with
// the entry is never written again.
func (e *memoryEntry) read(now time.Duration) Record {
	record := e.record
	record.Deadline = e.deadline - now
	record.Lease = e.leased - now
	record.Age = now - e.begun
	return record
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

func gone(id string) error { return fmt.Errorf("twophase: %s: %w", id, ErrGone) }
