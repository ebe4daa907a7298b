package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Item is a resource with attributes of the service's own.
type Item struct {
	ID string
	// Attributes are stored as JSON; nil is none. A [Query] selects by them.
	Attributes any
}

const (
	addResource = `INSERT INTO twophase_resources (participant, id, kind, since, attributes)
		VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING`

	loadResource = `SELECT number, kind, entry FROM twophase_resources WHERE participant = ?1 AND id = ?2`

	loadHolder = `SELECT ` + entryColumns + ` FROM twophase_entries AS e WHERE number = ?1`

	dropResource = `DELETE FROM twophase_resources WHERE number = ?1 AND entry IS NULL`

	changeAttributes = `UPDATE twophase_resources SET attributes = ?3 WHERE participant = ?1 AND id = ?2`
)

// Restock adds free resources of a kind, or none of them if it returns an
// error. Ids are unique in the whole pool: [pool.ErrExists] says that one is
// not. Nobody else writes meanwhile, so a very large stock is better added in
// portions of some thousands.
func (p *Pool) Restock(ctx context.Context, kind string, ids ...string) error {
	items := make([]Item, len(ids))
	for i, id := range ids {
		items[i].ID = id
	}
	return p.RestockWith(ctx, kind, items...)
}

// RestockWith is [Pool.Restock] of resources with attributes.
func (p *Pool) RestockWith(ctx context.Context, kind string, items ...Item) error {
	if kind == "" || len(kind) > maxNameLength {
		return p.invalid("Restock of a kind of %d bytes: give it 1 to %d", len(kind), maxNameLength)
	}
	attributes, err := p.checkItems("Restock", items)
	if err != nil || len(items) == 0 {
		return err
	}
	return p.write(ctx, func(ctx context.Context, s *session) error {
		for i, item := range items {
			n, err := s.exec(ctx, addResource, s.number, item.ID, kind, s.now.UnixNano(), attributes[i])
			if err != nil {
				return err
			}
			if n == 0 {
				_, r, err := s.resource(ctx, item.ID)
				if err != nil {
					return err
				}
				return fmt.Errorf("Restock of %q: %w: %q, as %q", kind, pool.ErrExists, item.ID, r.kind)
			}
		}
		return nil
	})
}

// SetAttributes changes the attributes of resources, whoever holds them, or of
// none of them if it returns an error: [pool.ErrNotFound]. What a reservation
// was answered with stays as it was.
func (p *Pool) SetAttributes(ctx context.Context, items ...Item) error {
	attributes, err := p.checkItems("SetAttributes", items)
	if err != nil || len(items) == 0 {
		return err
	}
	return p.write(ctx, func(ctx context.Context, s *session) error {
		for i, item := range items {
			n, err := s.exec(ctx, changeAttributes, s.number, item.ID, attributes[i])
			if err == nil && n == 0 {
				err = fmt.Errorf("SetAttributes: %w: %q", pool.ErrNotFound, item.ID)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Withdraw takes free resources out of the pool, or none of them if it returns
// an error: [pool.ErrNotFound] or [pool.ErrHeld].
func (p *Pool) Withdraw(ctx context.Context, ids ...string) error {
	items := make([]Item, len(ids))
	for i, id := range ids {
		items[i].ID = id
	}
	if _, err := p.checkItems("Withdraw", items); err != nil || len(ids) == 0 {
		return err
	}
	return p.write(ctx, func(ctx context.Context, s *session) error {
		for _, id := range ids {
			found, r, err := s.resource(ctx, id)
			switch {
			case err != nil:
				return err
			case !found:
				return fmt.Errorf("Withdraw: %w: %q", pool.ErrNotFound, id)
			case r.entry.Valid:
				if err := s.takeBackFrom(ctx, r.entry.Int64, id); err != nil {
					return err
				}
			}
			if _, err := s.exec(ctx, dropResource, r.number); err != nil {
				return err
			}
		}
		return nil
	})
}

// takeBackFrom frees what an entry holds if its time has run out, and else the
// error is [pool.ErrHeld].
func (s *session) takeBackFrom(ctx context.Context, number int64, id string) error {
	holder := &entry{}
	row, err := s.row(ctx, loadHolder, number)
	if err != nil {
		return err
	}
	if err := holder.read(row); err != nil {
		return err
	}
	v := holder.Expire(s.now)
	if !v.Free {
		return fmt.Errorf("Withdraw: %w: %q is %v for %s", pool.ErrHeld, id, holder.State, holder.key)
	}
	return s.settle(ctx, holder, v)
}

// stocked is the row of a resource.
type stocked struct {
	number int64
	kind   string
	entry  sql.NullInt64
}

func (s *session) resource(ctx context.Context, id string) (found bool, r stocked, err error) {
	row, err := s.row(ctx, loadResource, s.number, id)
	if err != nil {
		return false, r, err
	}
	err = row.Scan(&r.number, &r.kind, &r.entry)
	if errors.Is(err, sql.ErrNoRows) {
		return false, r, nil
	}
	return err == nil, r, err
}

// write makes changes to the stock in a transaction of their own.
func (p *Pool) write(ctx context.Context, do func(ctx context.Context, s *session) error) error {
	if p.books.isClosed() {
		return p.books.closedError()
	}
	err := immediately(ctx, p.books.db, func(tx *sql.Tx) error {
		s := p.books.session(tx)
		s.now = p.books.clock()
		return do(ctx, s)
	})
	if err != nil {
		return p.books.failed(ctx, err)
	}
	return nil
}

// checkItems refuses ids and attributes that cannot be right, whatever is in the
// pool, and returns the attributes as they are stored.
func (p *Pool) checkItems(call string, items []Item) ([]sql.NullString, error) {
	attributes := make([]sql.NullString, len(items))
	seen := make(map[string]struct{}, len(items))
	for i, item := range items {
		if item.ID == "" || len(item.ID) > twophase.MaxIDLength {
			return nil, p.invalid("%s: an id has %d bytes: give it 1 to %d", call, len(item.ID), twophase.MaxIDLength)
		}
		if !utf8.ValidString(item.ID) {
			return nil, p.invalid("%s: the id %q is not UTF-8", call, item.ID) // JSON would change it
		}
		if _, twice := seen[item.ID]; twice {
			return nil, p.invalid("%s: %q is given twice", call, item.ID)
		}
		seen[item.ID] = struct{}{}
		if item.Attributes == nil {
			continue
		}
		encoded, err := json.Marshal(item.Attributes)
		if err != nil {
			return nil, p.invalid("%s: the attributes of %q: %v", call, item.ID, err)
		}
		if len(encoded) > maxAttributes {
			return nil, p.invalid("%s: the attributes of %q have %d bytes of JSON: %d are the most",
				call, item.ID, len(encoded), maxAttributes)
		}
		attributes[i] = sql.NullString{String: string(encoded), Valid: true}
	}
	return attributes, nil
}

// maxAttributes bounds the attributes of one resource.
const maxAttributes = 64 << 10

func (p *Pool) invalid(format string, args ...any) error {
	return invalid(p.books.name, format, args...)
}
