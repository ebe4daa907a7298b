package main

import (
	"context"
	"sync"

	"github.com/seed-bcc3c603/twophase"
)

// memory keeps journals in the heap.
type memory struct {
	mu       sync.Mutex
	journals map[string]*twophase.MemoryJournal
}

func newMemory() *memory { return &memory{journals: map[string]*twophase.MemoryJournal{}} }

func (*memory) kind() string { return "memory" }

func (*memory) about() string { return "the heap of this process; nothing is durable" }

func (m *memory) journal(name string) *twophase.MemoryJournal {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, ok := m.journals[name]
	if !ok {
		j = twophase.NewMemoryJournal()
		m.journals[name] = j
	}
	return j
}

func (m *memory) open(_ context.Context, name string) (*opened, error) {
	return &opened{
		Journal: m.journal(name),
		spent:   func(context.Context) (spent, error) { return spent{}, nil },
		size:    func(context.Context) (int64, error) { return 0, nil },
		close:   func() error { return nil },
	}, nil
}

func (m *memory) fill(ctx context.Context, name string, finished bool, n int) error {
	ids := newIDs(randomIDs)
	for range n {
		if err := leave(ctx, m.journal(name), ids.take(), finished); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) remove(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.journals, name)
	return nil
}

func (*memory) baselines(context.Context, int, func() float64) ([]*subject, error) { return nil, nil }

func (*memory) Close() error { return nil }
