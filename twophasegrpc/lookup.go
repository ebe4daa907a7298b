package twophasegrpc

import (
	"context"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Holding is what a participant has under a key.
type Holding struct {
	State twophase.EntryState
	// Reservation is what the key holds; it may be empty once released or
	// expired.
	Reservation twophase.Reservation
}

// Lookup returns what a participant has under a key, and whether it has
// anything. It changes nothing.
type Lookup func(ctx context.Context, key twophase.Key) (Holding, bool, error)

// lookupOf returns how a participant tells what it has, and nil if it cannot.
func lookupOf(p twophase.Participant) Lookup {
	switch p := p.(type) {
	case interface {
		Lookup(ctx context.Context, key twophase.Key) (Holding, bool, error)
	}:
		return p.Lookup
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
