// Package lookup asks participants what they have under a key, for transports that tell
// it.
package lookup

import (
	"context"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// holding is what a participant has under a key.
type holding struct {
	State       twophase.EntryState
	Reservation twophase.Reservation
}

// Of returns how p tells what it has, as a transport's own Holding H: by a method of
// its own, or as the pools of this library do. It is nil if p cannot.
func Of[H ~struct {
	State       twophase.EntryState
	Reservation twophase.Reservation
}](p twophase.Participant) func(ctx context.Context, key twophase.Key) (H, bool, error) {
	if own, ok := p.(interface {
		Lookup(ctx context.Context, key twophase.Key) (H, bool, error)
	}); ok {
		return own.Lookup
	}
	ask := inPool(p)
	if ask == nil {
		return nil
	}
	return func(ctx context.Context, key twophase.Key) (H, bool, error) {
		held, found, err := ask(ctx, key)
		return H(held), found, err
	}
}

// inPool returns how p tells what it has if it does so as the pools of this library
// do, in memory or in a database, and nil if it does not.
func inPool(p twophase.Participant) func(ctx context.Context, key twophase.Key) (holding, bool, error) {
	switch p := p.(type) {
	case interface {
		Lookup(ctx context.Context, key twophase.Key) (pool.Holding, bool, error)
	}:
		return func(ctx context.Context, key twophase.Key) (holding, bool, error) {
			held, found, err := p.Lookup(ctx, key)
			return ofPool(held), found, err
		}
	case interface {
		Lookup(key twophase.Key) (pool.Holding, bool)
	}:
		return func(_ context.Context, key twophase.Key) (holding, bool, error) {
			held, found := p.Lookup(key)
			return ofPool(held), found, nil
		}
	}
	return nil
}

func ofPool(h pool.Holding) holding {
	return holding{State: h.State, Reservation: twophase.Reservation{
		Resources: h.Resources, TimeLeft: h.TimeLeft, Assigned: h.State == twophase.EntryAssigned,
	}}
}
