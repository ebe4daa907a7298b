package postgres

import (
	"fmt"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// Query is what a request wants of a [Pool].
//
// Where and OrderBy are SQL of the service's author over the columns id and
// attributes (jsonb) of what is free, and never text that somebody sent: that
// belongs in Args, which are bound to $1, $2 and so on.
//
//	postgres.Query{
//		Kind:    "Indiranagar",
//		Where:   `attributes ->> 'vehicle' = $1::text`,
//		OrderBy: `abs((attributes ->> 'at')::int - $2::int)`,
//		Args:    []any{payload.Vehicle, payload.At},
//	}
//
// Casts tell which types the arguments have. What is first in the order may be had
// by somebody else at the same moment; then it is what comes next.
type Query struct {
	Kind string
	// Count is how many resources are wanted, all or none; 0 is 1.
	Count   int
	Where   string
	OrderBy string
	Args    []any
}

// For lets payloads be of a type of one's own: query says what one asks for. It must
// not depend on anything but the payload. A payload that is no JSON of T is refused.
// By default payloads are [pool.Want].
func For[T any](query func(payload T) Query) PoolOption {
	return poolOption(func(c *entryConfig) {
		if query == nil {
			c.fail("For is given nil: give it a function from the payload to a Query")
			return
		}
		c.wanted = func(req twophase.Request) (Query, error) {
			payload, err := twophase.PayloadOf[T](req)
			if err != nil {
				return Query{}, err
			}
			return query(payload), nil
		}
	})
}

func queryOfWant(w pool.Want) Query { return Query{Kind: w.Kind, Count: w.Count} }

// wantedBy returns what a request asks for, and a refusal if that makes no sense.
func wantedBy(wanted func(twophase.Request) (Query, error), req twophase.Request) (Query, error) {
	query, err := wanted(req)
	if err != nil {
		return Query{}, err
	}
	if query.Count == 0 {
		query.Count = 1
	}
	if query.Count < 1 || query.Count > pool.MaxCount {
		return Query{}, refused(req.Key, query, fmt.Sprintf("a count is from 1 to %d", pool.MaxCount))
	}
	if err := checkName("kind", query.Kind); err != nil {
		return Query{}, refused(req.Key, query, err.Error())
	}
	return query, checkHold(req)
}

// plain reports whether any resource of the kind will do.
func (q Query) plain() bool { return q.Where == "" && q.OrderBy == "" }

// refused is the error of a request that cannot be met.
func refused(key twophase.Key, query Query, reason string) error {
	return fmt.Errorf("%w: %s wants %d of %q: %s", twophase.ErrRefused, key, query.Count, query.Kind, reason)
}

// checkName refuses what cannot be the id or the kind of a resource.
func checkName(what, name string) error {
	if name == "" || len(name) > twophase.MaxIDLength || !storable(name) {
		return fmt.Errorf("%w: the %s %q: 1 to %d bytes of UTF-8 are needed, none of them 0",
			twophase.ErrInvalid, what, name, twophase.MaxIDLength)
	}
	return nil
}
