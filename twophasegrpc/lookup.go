package twophasegrpc

import (
	"context"

	"github.com/seed-bcc3c603/twophase"
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
