//go:build unix

package crashtest

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// slow is a journal on a slow disk, or far away: it leaves time to be killed
// before a write is done, and before it is known to be.
type slow struct{ twophase.Journal }

const slowest = 30 * time.Millisecond

// linger takes some time now and then.
func (slow) linger() {
	if rand.N(4) == 0 {
		time.Sleep(rand.N(slowest))
	}
}

func (s slow) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	s.linger()
	defer s.linger()
	return s.Journal.Begin(ctx, record)
}

func (s slow) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	s.linger()
	defer s.linger()
	return s.Journal.Decide(ctx, id, d)
}

func (s slow) Released(ctx context.Context, id string, steps []string) error {
	s.linger()
	defer s.linger()
	return s.Journal.Released(ctx, id, steps)
}

func (s slow) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) ([]twophase.Record, error) {
	defer s.linger()
	return s.Journal.Claim(ctx, owner, lease, limit)
}
