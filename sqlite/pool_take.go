package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/ncruces/go-sqlite3"

	"github.com/seed-bcc3c603/twophase"
)

// resource is one that is free, in a session.
type resource struct {
	number     int64
	id         string
	attributes sql.NullString
}

const (
	takeResource = `UPDATE twophase_resources SET entry = ?2 WHERE number = ?1 AND entry IS NULL`

	freeResource = `UPDATE twophase_resources SET entry = NULL, since = ?4
		WHERE participant = ?1 AND id = ?2 AND entry = ?3`
)

// poolStatements are prepared when a pool is opened.
var poolStatements = []string{firstFree, takeResource, freeResource}

// take gives e what is wanted, all or nothing.
func (s *session) take(ctx context.Context, e *entry, v twophase.Verdict, q Query) error {
	found, err := s.find(ctx, e.key, q)
	if err != nil {
		return err
	}
	e.kind, e.content = q.Kind, contentOf(found)
	if err := s.store(ctx, e, v); err != nil {
		return err
	}
	for _, r := range found {
		n, err := s.exec(ctx, takeResource, r.number, e.number)
		if err == nil && n != 1 {
			err = fmt.Errorf("%q is not free any more", r.id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// find returns the free resources that are to be given. Where it does not
// matter which, what has run out is taken back only as far as it is needed.
func (s *session) find(ctx context.Context, key twophase.Key, q Query) ([]resource, error) {
	if q.selects() {
		if _, err := s.takeBack(ctx, q.Kind, math.MaxInt); err != nil {
			return nil, err
		}
	}
	found, err := s.free(ctx, q)
	if missing := q.Count - len(found); err == nil && missing > 0 && !q.selects() {
		var back takenBack
		if back, err = s.takeBack(ctx, q.Kind, missing); err == nil && back.resources > 0 {
			found, err = s.free(ctx, q)
		}
	}
	switch {
	case q.selects() && ofAuthor(err):
		return nil, q.refused(key, fmt.Sprintf("its SQL fails: %v", err))
	case err != nil:
		return nil, err
	case len(found) < q.Count:
		return nil, q.refused(key, fmt.Sprintf("%d free", len(found)))
	}
	return found, nil
}

// ofAuthor reports whether an error is that of somebody's SQL, or of its
// arguments, and will be the same the next time.
func ofAuthor(err error) bool {
	for _, code := range []sqlite3.ErrorCode{sqlite3.ERROR, sqlite3.MISMATCH, sqlite3.RANGE, sqlite3.TOOBIG} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// free returns resources that are free, as many as are wanted or fewer.
func (s *session) free(ctx context.Context, q Query) (found []resource, err error) {
	args := append([]any{s.number, q.Kind}, q.Args...)
	if !q.selects() {
		args = args[:2]
	}
	err = s.each(ctx, func(rows *sql.Rows) error {
		var r resource
		err := rows.Scan(&r.number, &r.id, &r.attributes)
		found = append(found, r)
		return err
	}, q.statement(), append(args, q.Count)...)
	return found, err
}

// contentOf is the answer to who is given resources.
func contentOf(found []resource) content {
	c := content{Resources: make([]string, len(found))}
	attributes, any := make([]json.RawMessage, len(found)), false
	for i, r := range found {
		c.Resources[i] = r.id
		attributes[i] = json.RawMessage("null")
		if r.attributes.Valid {
			attributes[i], any = json.RawMessage(r.attributes.String), true
		}
	}
	if any {
		c.Details, _ = json.Marshal(attributes) // they were JSON when they came
	}
	return c
}

// settle makes a verdict on e the state of things, and returns its answer.
func (s *session) settle(ctx context.Context, e *entry, v twophase.Verdict) error {
	if v.Free {
		for _, id := range e.content.Resources {
			n, err := s.exec(ctx, freeResource, s.number, id, e.number, s.now.UnixNano())
			if err == nil && n != 1 && !e.done {
				err = fmt.Errorf("%w: %q is not held by %s, which has it", ErrDamaged, id, e.key)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := s.store(ctx, e, v); err != nil {
		return err
	}
	return turnedAway(e.key, v)
}

// takenBack says how much was.
type takenBack struct{ entries, resources int }

// takeBack frees what has run out of a kind, until so many resources are free
// that were not.
func (s *session) takeBack(ctx context.Context, kind string, enough int) (back takenBack, err error) {
	for back.resources < enough {
		step := min(keeperStep, enough-back.resources)
		due, err := s.due(ctx, kind, first, step)
		if err != nil {
			return back, err
		}
		for _, e := range due {
			if err := s.settle(ctx, e, e.Expire(s.now)); err != nil {
				return back, err
			}
			back.entries++
			back.resources += len(e.content.Resources)
		}
		if len(due) < step {
			break
		}
	}
	return back, nil
}
