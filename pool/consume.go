package pool

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// ErrNotAssigned says that nothing is assigned to a key: it was never assigned, or it
// was released. See [Pool.Consume].
var ErrNotAssigned = errors.New("not assigned")

// Consume takes what is assigned to keys out of the pool for good, because it has done
// its work: the packet is eaten. It is all of them, or none if it returns an error:
// [ErrNotAssigned]. Repeated, it is ok and does nothing.
//
// Call it for transactions that were placed. Late messages of the key are answered as
// before, until it is forgotten: then the retention has passed since Consume (see
// [WithRetention]). Assign is ok, Reserve gets the same reservation, and a Release
// gives nothing back. The ids are free to be added again, by [Pool.Restock]: the agent
// is back.
func (p *Pool) Consume(keys ...twophase.Key) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		if e, ok := p.entries[key]; !ok || e.State != twophase.EntryAssigned {
			return fmt.Errorf("pool: Consume: %w: %s", ErrNotAssigned, key)
		}
	}
	now := time.Now()
	for _, key := range keys {
		if e := p.entries[key]; e.consumed == nil {
			p.consume(e, now)
		}
	}
	return nil
}

// consume removes what e holds, and lets it be forgotten.
func (p *Pool) consume(e *entry, now time.Time) {
	e.consumed = e.ids()
	for _, r := range e.resources {
		p.remove(r)
	}
	e.resources, e.finished = nil, now
	p.finished.Add(e, &e.place)
}
