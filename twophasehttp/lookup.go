package twophasehttp

import (
	"context"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/lookup"
)

// Holding is what a participant has under a key.
type Holding struct {
	State twophase.EntryState
	// Reservation is what the key holds; it may be empty once released or
	// expired.
	Reservation twophase.Reservation
}

// Lookup returns what a participant has under a key, and whether it has
// anything.
type Lookup func(ctx context.Context, key twophase.Key) (Holding, bool, error)

// lookupOf returns how a participant tells what it has, and nil if it cannot.
func lookupOf(p twophase.Participant) Lookup {
	if own, ok := p.(interface {
		Lookup(ctx context.Context, key twophase.Key) (Holding, bool, error)
	}); ok {
		return own.Lookup
	}
	ofPool := lookup.OfPool(p)
	if ofPool == nil {
		return nil
	}
	return func(ctx context.Context, key twophase.Key) (Holding, bool, error) {
		holding, found, err := ofPool(ctx, key)
		return Holding(holding), found, err
	}
}
