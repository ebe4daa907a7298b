package sqlite

import (
	"context"
	"fmt"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

const (
	consumeResource = `DELETE FROM twophase_resources WHERE participant = ?1 AND id = ?2 AND entry = ?3`

	finishEntry = `UPDATE twophase_entries SET finished = ?2 WHERE number = ?1`
)

// Consume takes what is assigned to keys out of the pool for good, because it
// has done its work: the packet is eaten. It is all of them, or none if it
// returns an error: [pool.ErrNotAssigned]. Repeated, it is ok and does nothing.
//
// Call it for transactions that were placed. Late messages of the key are
// answered as before, until it is pruned: then the retention has passed since
// Consume (see [WithRetention]). Assign is ok, Reserve gets the same
// reservation, and a Release gives nothing back. The ids are free to be added
// again, by [Pool.Restock]: the agent is back.
func (p *Pool) Consume(ctx context.Context, keys ...twophase.Key) error {
	if len(keys) == 0 {
		return nil
	}
	return p.write(ctx, func(ctx context.Context, s *session) error {
		for _, key := range keys {
			e, err := s.load(ctx, key)
			if err == nil && e.State != twophase.EntryAssigned {
				err = fmt.Errorf("Consume: %w: %s", pool.ErrNotAssigned, key)
			}
			if err == nil && !e.done {
				err = s.consume(ctx, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// consume removes what e holds, and lets e be pruned when its time has come.
func (s *session) consume(ctx context.Context, e *entry) error {
	for _, id := range e.content.Resources {
		if _, err := s.exec(ctx, consumeResource, s.number, id, e.number); err != nil {
			return err
		}
	}
	_, err := s.exec(ctx, finishEntry, e.number, s.now.UnixNano())
	return err
}
