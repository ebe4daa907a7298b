package pool

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/queue"
)

// The errors of [Pool.Restock] and [Pool.Withdraw], besides
// [twophase.ErrInvalid]. Nothing was touched.
var (
	// ErrExists says that the pool has a resource of that id.
	ErrExists = errors.New("already in the pool")
	// ErrNotFound says that the pool has no resource of that id.
	ErrNotFound = errors.New("not in the pool")
	// ErrHeld says that a resource is reserved or assigned.
	ErrHeld = errors.New("held")
)

// Resource is one thing that the pool can give to one transaction only.
type Resource struct {
	ID    string
	Kind  string
	State State
	// Key holds the resource, unless it is free.
	Key twophase.Key
	// TimeLeft is how long it stays reserved. It is zero in other states.
	TimeLeft time.Duration
}

// State is the state of a resource.
type State uint8

// The states of a resource.
const (
	Free State = iota
	Reserved
	Assigned
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Free:
		return "free"
	case Reserved:
		return "reserved"
	case Assigned:
		return "assigned"
	}
	return fmt.Sprintf("%d", uint8(s))
}

// Counts are how many resources of a kind are in each state.
type Counts struct{ Free, Reserved, Assigned int }

// Holding is what the pool has under a key.
type Holding struct {
	State twophase.EntryState
	// Kind and Resources are what the key holds, or held when it was consumed;
	// they are empty once it is released or expired.
	Kind      string
	Resources []string
	// TimeLeft is how long it stays reserved. It is zero in other states.
	TimeLeft time.Duration
}

// Restock adds free resources of a kind, or none of them if it returns an
// error. Ids are unique in the whole pool: [ErrExists] says that one is not.
func (p *Pool) Restock(kind string, ids ...string) error {
	if kind == "" {
		return fmt.Errorf("pool: %w: Restock of an empty kind", twophase.ErrInvalid)
	}
	if err := checkIDs(ids); err != nil {
		return fmt.Errorf("pool: Restock of %q: %w", kind, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if r, ok := p.resources[id]; ok {
			return fmt.Errorf("pool: Restock of %q: %w: %q, as %q", kind, ErrExists, id, r.kind.name)
		}
	}
	for _, id := range ids {
		p.add(kind, id)
	}
	return nil
}

// Withdraw takes free resources out of the pool, or none of them if it returns
// an error: [ErrNotFound] or [ErrHeld].
func (p *Pool) Withdraw(ids ...string) error {
	if err := checkIDs(ids); err != nil {
		return fmt.Errorf("pool: Withdraw: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		r, ok := p.resources[id]
		if !ok {
			return fmt.Errorf("pool: Withdraw: %w: %q", ErrNotFound, id)
		}
		if e := r.holder; e != nil && !p.expire(e, now) {
			return fmt.Errorf("pool: Withdraw: %w: %q is %v for %s", ErrHeld, id, e.State, e.key)
		}
	}
	for _, id := range ids {
		p.remove(p.resources[id])
	}
	return nil
}

// List returns the resources of the kinds that are named, or of all kinds, by
// name, if none is. Within a kind the free ones come first, in the order in
// which they will be given; then those that are reserved, then those assigned.
// It is a consistent picture, taken under the pool's lock.
func (p *Pool) List(kinds ...string) []Resource {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if len(kinds) == 0 {
		kinds = p.names()
	}
	var all []Resource
	for _, name := range kinds {
		if k := p.current(name, now); k != nil {
			all = k.appendTo(all, now)
		}
	}
	return all
}

// Count returns how many resources of a kind are in each state.
func (p *Pool) Count(kind string) Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.current(kind, time.Now())
	if k == nil {
		return Counts{}
	}
	return Counts{
		Free:     k.shelves[Free].Len(),
		Reserved: k.shelves[Reserved].Len(),
		Assigned: k.shelves[Assigned].Len(),
	}
}

// Kinds returns the names of the kinds that have resources, in order.
func (p *Pool) Kinds() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names()
}

// Lookup returns what the pool has under a key, and whether it has anything:
// with it the pool's books can be compared with the coordinator's.
func (p *Pool) Lookup(key twophase.Key) (Holding, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.entries[key]
	if !ok {
		return Holding{}, false
	}
	now := time.Now()
	p.expire(e, now)
	holding := Holding{State: e.State, TimeLeft: e.TimeLeft(now)}
	if e.Holds() {
		holding.Kind, holding.Resources = e.kind.name, e.ids()
	}
	return holding, true
}

// kind is the stock of one kind.
type kind struct {
	name     string
	shelves  [Assigned + 1]queue.Queue[resource] // by their state; the free ones in the order in which they became so
	expiries expiries
}

// resource is in the shelf of its state.
type resource struct {
	id     string
	kind   *kind
	holder *entry // nil if it is free
	place  queue.Place[resource]
}

func (p *Pool) add(name, id string) {
	k, ok := p.kinds[name]
	if !ok {
		k = &kind{name: name}
		p.kinds[name] = k
	}
	r := &resource{id: id, kind: k}
	k.shelves[Free].Add(r, &r.place)
	p.resources[id] = r
}

func (p *Pool) remove(r *resource) {
	r.place.Leave()
	delete(p.resources, r.id)
	if r.kind.empty() {
		delete(p.kinds, r.kind.name)
	}
}

func (p *Pool) names() []string { return slices.Sorted(maps.Keys(p.kinds)) }

// current returns a kind with everything free that has run out, or nil if
// there is no such kind.
func (p *Pool) current(name string, now time.Time) *kind {
	k, ok := p.kinds[name]
	if !ok {
		return nil
	}
	p.takeBack(k, math.MaxInt, now)
	return k
}

func (k *kind) empty() bool {
	return k.shelves[Free].Len()+k.shelves[Reserved].Len()+k.shelves[Assigned].Len() == 0
}

// appendTo appends what the kind has to a listing.
func (k *kind) appendTo(all []Resource, now time.Time) []Resource {
	for state := Free; state <= Assigned; state++ {
		for r := k.shelves[state].First(); r != nil; r = r.place.Next() {
			listed := Resource{ID: r.id, Kind: k.name, State: state}
			if r.holder != nil {
				listed.Key, listed.TimeLeft = r.holder.key, r.holder.TimeLeft(now)
			}
			all = append(all, listed)
		}
	}
	return all
}

// checkIDs refuses ids that cannot be right, whatever is in the pool.
func checkIDs(ids []string) error {
	seen := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		if id == "" {
			return fmt.Errorf("%w: an id is empty", twophase.ErrInvalid)
		}
		if _, twice := seen[id]; twice {
			return fmt.Errorf("%w: %q is given twice", twophase.ErrInvalid, id)
		}
		seen[id] = struct{}{}
	}
	return nil
}
