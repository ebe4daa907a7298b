package postgres

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// keeper does the housekeeping of a participant in the background.
type keeper struct {
	stop func()
	done sync.WaitGroup
}

// The paces of the keeper. Nothing depends on them but how tidy the tables are.
const (
	sweepPace = time.Second
	prunePace = time.Minute
	sweepStep = 200  // reservations that run out, a transaction
	keepMost  = 5000 // in one go
)

// startKeeper begins to call sweep and prune now and then, until close. What fails is
// tried again the next time.
func startKeeper(sweep, prune func(ctx context.Context, limit int) (int, error), logger *slog.Logger) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{stop: cancel}
	for pace, work := range map[time.Duration]func(context.Context, int) (int, error){sweepPace: sweep, prunePace: prune} {
		k.done.Go(func() { k.repeat(ctx, pace, work, logger) })
	}
	return k
}

func (k *keeper) repeat(
	ctx context.Context, pace time.Duration, work func(context.Context, int) (int, error), logger *slog.Logger,
) {
	for {
		// Instances that were started together spread.
		timer := time.NewTimer(pace/2 + rand.N(pace))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if _, err := work(ctx, keepMost); err != nil && ctx.Err() == nil {
			logger.LogAttrs(ctx, slog.LevelWarn, "twophase/postgres: housekeeping failed and is tried again",
				slog.Any("error", err))
		}
	}
}

func (k *keeper) close() {
	if k == nil {
		return
	}
	k.stop()
	k.done.Wait()
}
