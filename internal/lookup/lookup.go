// Package lookup asks pools what they have under a key, for transports that tell it.
package lookup

import (
	"context"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Holding is what a participant has under a key.
type Holding struct {
	State       twophase.EntryState
	Reservation twophase.Reservation
}

// OfPool returns how p tells what it has if it does so as the pools of this library
// do, in memory or in a database, and nil if it does not.
func OfPool(p twophase.Participant) func(ctx context.Context, key twophase.Key) (Holding, bool, error) {
	switch p := p.(type) {
	case interface {
		Lookup(ctx context.Context, key twophase.Key) (pool.Holding, bool, error)
	}:
		return func(ctx context.Context, key twophase.Key) (Holding, bool, error) {
			holding, found, err := p.Lookup(ctx, key)
			return ofPool(holding), found, err
		}
	case interface {
		Lookup(key twophase.Key) (pool.Holding, bool)
	}:
		return func(_ context.Context, key twophase.Key) (Holding, bool, error) {
			holding, found := p.Lookup(key)
			return ofPool(holding), found, nil
		}
	}
	return nil
}

func ofPool(h pool.Holding) Holding {
	return Holding{State: h.State, Reservation: twophase.Reservation{
		Resources: h.Resources, TimeLeft: h.TimeLeft, Assigned: h.State == twophase.EntryAssigned,
	}}
}
