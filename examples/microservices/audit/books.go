package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
	"github.com/seed-bcc3c603/twophase/postgres"
)

// Books are those of the three services.
type Books struct {
	Journal         []twophase.Record
	Packets, Agents []Line
	// PacketKeys and AgentKeys are what the participants keep of each key.
	PacketKeys, AgentKeys []Key
}

// Line is a packet or an agent in the books.
type Line struct {
	Kind, ID, State string
	// Key is whose it is.
	Key twophase.Key
}

// Key is what a participant keeps of a reservation.
type Key struct {
	twophase.Key
	State     twophase.EntryState
	Resources []string
	// Live says that it is reserved, and has not run out.
	Live bool
}

// Shelf opens the books of the services.
type Shelf struct {
	orders, packets, agents *pgxpool.Pool
	journal                 *postgres.Journal
}

// Open opens the books in the databases that the URLs name.
func Open(ctx context.Context, orders, packets, agents string) (*Shelf, error) {
	s := &Shelf{}
	for _, open := range []struct {
		pool **pgxpool.Pool
		url  string
	}{{&s.orders, orders}, {&s.packets, packets}, {&s.agents, agents}} {
		db, err := pgxpool.New(ctx, open.url)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("audit: open the books: %w", err)
		}
		*open.pool = db
	}
	journal, err := postgres.NewJournal(ctx, s.orders, postgres.WithoutMigration())
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("audit: open the books: %w", err)
	}
	s.journal = journal
	return s, nil
}

// Close closes the books.
func (s *Shelf) Close() {
	if s.journal != nil {
		s.journal.Close()
	}
	for _, db := range []*pgxpool.Pool{s.orders, s.packets, s.agents} {
		if db != nil {
			db.Close()
		}
	}
}

// Read reads the books. While somebody writes in them, they need not agree.
func (s *Shelf) Read(ctx context.Context) (b Books, err error) {
	for record, err := range s.journal.List(ctx, twophase.Filter{}) {
		if err != nil {
			return b, fmt.Errorf("audit: read the journal: %w", err)
		}
		b.Journal = append(b.Journal, record)
	}
	var errs [4]error
	b.Packets, errs[0] = readLines(ctx, s.packets)
	b.Agents, errs[1] = readLines(ctx, s.agents)
	b.PacketKeys, errs[2] = readKeys(ctx, s.packets, store.Name)
	b.AgentKeys, errs[3] = readKeys(ctx, s.agents, delivery.Name)
	if err := errors.Join(errs[:]...); err != nil {
		return b, fmt.Errorf("audit: read the books: %w", err)
	}
	return b, nil
}

func readLines(ctx context.Context, db *pgxpool.Pool) ([]Line, error) {
	rows, err := db.Query(ctx, `SELECT kind, id, state, transaction, step FROM stock`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Line, err error) {
		return l, row.Scan(&l.Kind, &l.ID, &l.State, &l.Key.Transaction, &l.Key.Step)
	})
}

func readKeys(ctx context.Context, db *pgxpool.Pool, participant string) ([]Key, error) {
	rows, err := db.Query(ctx, `SELECT transaction, step, state, resources, state = 1 AND expires_at > clock_timestamp()
		FROM twophase_reservations
		WHERE participant = (SELECT id FROM twophase_participants WHERE name = $1)`, participant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k Key, err error) {
		var state int64
		err = row.Scan(&k.Transaction, &k.Step, &state, &k.Resources, &k.Live)
		k.State = twophase.EntryState(state)
		return k, err
	})
}

// Settled waits until no order is unfinished and nothing is reserved any more, but
// not for longer than within, and reports whether it came to that.
func (s *Shelf) Settled(ctx context.Context, within time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		settled, err := s.settled(ctx)
		if err == nil && settled {
			return true, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(err, context.DeadlineExceeded) {
				err = nil
			}
			return false, err
		}
	}
}

func (s *Shelf) settled(ctx context.Context) (bool, error) {
	for _, err := range s.journal.List(ctx, twophase.Filter{Unfinished: true}) {
		return false, err // there is one, or it cannot be read
	}
	for _, db := range []*pgxpool.Pool{s.packets, s.agents} {
		var reserved bool
		err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM twophase_reservations WHERE state = 1)`).Scan(&reserved)
		if err != nil || reserved {
			return false, err
		}
	}
	return true, nil
}
