package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Query is what a request asks for: resources of one kind, all or none.
type Query struct {
	Kind string
	// Count is how many; 0 is 1.
	Count int
	// Where is a condition in SQL, and OrderBy the terms of an order; both may
	// be empty. They see the columns id and attributes of each free resource,
	// and must be constants of the service: whatever comes from a payload
	// belongs into Args.
	//
	//	Where:   "attributes ->> 'veg' AND attributes ->> 'cooked' > ?",
	//	OrderBy: "attributes ->> 'cooked'",
	//
	// With either, a Reserve looks at all free resources of the kind.
	Where, OrderBy string
	// Args are the values of each ? in Where and then in OrderBy.
	Args []any
}

// For lets payloads be of a type of one's own: query says what one asks for. It
// must not depend on anything but the payload. A payload that is no JSON of T is
// refused. Without it the payload is a [pool.Want].
func For[T any](query func(payload T) Query) PoolOption {
	return poolOption(func(c *poolConfig) {
		if query == nil {
			c.fail("For is given nil: give it a function from the payload to a Query")
			return
		}
		c.want = func(req twophase.Request) (Query, error) {
			payload, err := twophase.PayloadOf[T](req)
			if err != nil {
				return Query{}, err
			}
			return query(payload), nil
		}
	})
}

type poolOption func(*poolConfig)

func (o poolOption) configurePool(c *poolConfig) { o(c) }

// poolConfig is what the options of a pool add up to.
type poolConfig struct {
	participantConfig
	want func(twophase.Request) (Query, error)
}

func newPoolConfig(options []PoolOption) *poolConfig {
	c := &poolConfig{participantConfig: newParticipantConfig()}
	For(func(w pool.Want) Query { return Query{Kind: w.Kind, Count: w.Count} }).configurePool(c)
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option.configurePool(c)
	}
	return c
}

// wanted returns what a request asks for, and an error if that makes no sense.
func (p *Pool) wanted(ctx context.Context, req twophase.Request) (Query, error) {
	q, err := p.want(req)
	if err != nil {
		return Query{}, err
	}
	if q.Count == 0 {
		q.Count = 1
	}
	reason := q.check()
	if reason == "" {
		reason = checkHold(req.Hold)
	}
	if reason != "" {
		return Query{}, q.refused(req.Key, reason)
	}
	err = p.books.prepare(ctx, q.statement())
	if q.selects() && ofAuthor(err) {
		return Query{}, q.refused(req.Key, fmt.Sprintf("its SQL is wrong: %v", err))
	}
	return q, err
}

// check says what is wrong with a query, and "" if nothing is.
func (q Query) check() string {
	switch {
	case q.Kind == "":
		return "the kind is empty"
	case len(q.Kind) > maxNameLength:
		return fmt.Sprintf("a kind has %d bytes at most", maxNameLength)
	case q.Count < 1 || q.Count > pool.MaxCount:
		return fmt.Sprintf("a count is from 1 to %d", pool.MaxCount)
	}
	return ""
}

// refused is the error of a request that cannot be met.
func (q Query) refused(key twophase.Key, reason string) error {
	return fmt.Errorf("%w: %s wants %d of %.100q: %s", twophase.ErrRefused, key, q.Count, q.Kind, reason)
}

// selects reports whether it matters which resources are given.
func (q Query) selects() bool { return q.Where != "" || q.OrderBy != "" }

// statement finds what is to be given.
func (q Query) statement() string {
	if !q.selects() {
		return firstFree
	}
	var b strings.Builder
	b.WriteString(`SELECT number, id, attributes FROM twophase_resources
		WHERE participant = ?1 AND kind = ?2 AND entry IS NULL`)
	if q.Where != "" {
		fmt.Fprintf(&b, " AND (%s\n)", q.Where)
	}
	b.WriteString(" ORDER BY ")
	if q.OrderBy != "" {
		fmt.Fprintf(&b, "%s\n, ", q.OrderBy)
	}
	b.WriteString("since, number LIMIT ?")
	return b.String()
}

const firstFree = `SELECT number, id, attributes FROM twophase_resources
	WHERE participant = ?1 AND kind = ?2 AND entry IS NULL ORDER BY since, number LIMIT ?3`
