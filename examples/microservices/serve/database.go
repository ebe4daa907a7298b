package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
)

const (
	dialWithin = 2 * time.Second
	startFor   = time.Minute
)

// OpenDatabase returns connections to the database that url names, and then what
// open makes of them. One that is away at the start is waited for, for a minute: it
// may be starting, too.
func OpenDatabase(
	ctx context.Context, log *slog.Logger, url string, conns int, open func(ctx context.Context, db *pgxpool.Pool) error,
) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("-database: %w", err)
	}
	config.MaxConns = int32(conns)
	config.ConnConfig.ConnectTimeout = dialWithin
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	patient, cancel := context.WithTimeout(ctx, startFor)
	defer cancel()
	for {
		if err = open(patient, db); err == nil {
			return db, nil
		}
		if errors.Is(err, twophase.ErrInvalid) {
			db.Close()
			return nil, err
		}
		log.Warn("the database is not ready", slog.Any("error", err))
		select {
		case <-time.After(200 * time.Millisecond):
		case <-patient.Done():
			db.Close()
			return nil, fmt.Errorf("open the database: %w", err)
		}
	}
}
