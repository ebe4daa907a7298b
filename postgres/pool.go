package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// Pool is a [twophase.Participant] that owns granular resources, grouped by kind:
// packets by food, agents by area. Its books are in PostgreSQL, where any number of
// instances may share them. Make it with [NewPool].
//
// # What is guaranteed
//
//   - A resource is held by one key at most, whoever asks where. Who wants several
//     gets all or none.
//   - A reservation that is not assigned ends at the instant that it was promised to,
//     by the database's clock. Whoever takes finds it free at once; [Pool.Sweep] only
//     tidies.
//   - Who is refused was refused rightly: at one moment during the call there was not
//     enough, counting what had run out.
//   - What was answered is answered again, as [twophase.Participant] demands, for as
//     long as [WithRetention] says.
//
// Which free resource is given is left to chance, so that those who want the same
// kind do not meet; [For] gives filters and an order.
//
// # What it costs
//
// Calls that come at the same time share a transaction and its round trip; a call
// alone does not wait for others. One transaction that takes is under way at a time,
// one that assigns and one that releases, unless [WithCommits] says otherwise: the more
// there are, the smaller each is, and the more often they meet. A Reserve with a filter or an order, or of more
// than 16, is a transaction of its own. A call takes the same time however many
// resources and reservations there are, and a kind that is sold out is refused by a
// look at what has been freed since it was; what a filter costs depends on it and on the
// indexes that it has:
//
//	CREATE INDEX ON twophase_resources ((attributes ->> 'baked')) WHERE transaction IS NULL
//
// What is assigned stays on the books until it is released, or until the service says
// that it has done its work: see [Pool.Consume].
type Pool struct {
	*entryStore
	name   string
	wanted func(twophase.Request) (Query, error)
	taking takingStatement
	stock  stockStatements

	takes    *groupcommit.Group[*taking]
	assigns  *groupcommit.Group[*asked]
	releases *groupcommit.Group[*asked]
	soldOut  soldOut
	keeper   *keeper
	closed   atomic.Bool
}

var _ twophase.Participant = (*Pool)(nil)

// NewPool returns the pool of that name in the database, after bringing the tables
// up to date (see [Migrate]). It has no resources at first: see [Pool.Restock]. The
// error is [twophase.ErrInvalid] if an option cannot be right.
//
// The database's pool stays the caller's, who closes it after this one.
func NewPool(ctx context.Context, db *pgxpool.Pool, name string, options ...PoolOption) (*Pool, error) {
	c := newEntryConfig(name)
	For(queryOfWant).applyToPool(c)
	for i, option := range options {
		if option == nil {
			c.fail("option %d is nil", i+1)
			continue
		}
		option.applyToPool(c)
	}
	store, err := openEntryStore(ctx, db, name, "pool", c)
	if err != nil {
		return nil, err
	}
	p := &Pool{
		entryStore: store, name: name, wanted: c.wanted,
		taking: newTakingStatement(store.names), stock: newStockStatements(store.names),
	}
	p.takes = groupcommit.New(p.takeAll, groupcommit.Options{MaxBatch: maxBatch, Parallel: c.commits})
	p.assigns = groupcommit.New(p.assignAll, groupcommit.Options{MaxBatch: maxBatch, Parallel: c.commits})
	p.releases = groupcommit.New(p.answerAll, groupcommit.Options{MaxBatch: maxBatch, Parallel: c.commits})
	if !c.withoutBackground {
		p.keeper = startKeeper(p.Sweep, p.Prune, c.logger.With(slog.String("participant", name)))
	}
	return p, nil
}

const (
	// maxBatch is how many calls share a transaction at most.
	maxBatch = 128
	// togetherMost is how often a call tries again together with others, before it
	// waits for what they have locked.
	togetherMost = 10
)

// Close ends what is done in the background, commits what is under way and refuses
// what comes later. It leaves the database's pool open.
func (p *Pool) Close() {
	p.closed.Store(true)
	p.keeper.close()
	p.takes.Close()
	p.assigns.Close()
	p.releases.Close()
}

// Reserve implements [twophase.Participant]: it holds what the payload wants. The
// details of the reservation are the attributes of what is held, a JSON array in
// the order of the resources, if any has some.
func (p *Pool) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if err := checkKey(req.Key); err != nil {
		return twophase.Reservation{}, err
	}
	if p.closed.Load() {
		return twophase.Reservation{}, failed(req.Key, groupcommit.ErrClosed)
	}
	t := &taking{key: req.Key, fingerprint: twophase.FingerprintOf(req.Payload), hold: req.Hold}
	var refusal error
	if t.query, refusal = wantedBy(p.wanted, req); refusal != nil {
		return p.reserveKnown(ctx, t, refusal)
	}
	err := p.take(ctx, t)
	for n := 0; err == nil; n++ {
		switch {
		case t.taken:
			return t.entry.reservation(), nil
		case t.known:
			a := &asked{call: callReserve, key: t.key, fingerprint: t.fingerprint}
			if err := p.ask(ctx, a); err != nil || a.found {
				return answered(a, err)
			}
		case !t.contended:
			return twophase.Reservation{}, refused(t.key, t.query, "there are not so many free")
		default:
			if err := pause(ctx, n); err != nil {
				return twophase.Reservation{}, failed(t.key, err)
			}
		}
		if n < togetherMost && t.query.plain() {
			err = p.take(ctx, t) // together, or those who wait hold up each other
		} else {
			err = p.takeAlone(ctx, t, true)
		}
	}
	return twophase.Reservation{}, failed(t.key, err)
}

// reserveKnown answers a request that makes no sense. Only for a key that has no
// entry does that matter.
func (p *Pool) reserveKnown(ctx context.Context, t *taking, refusal error) (twophase.Reservation, error) {
	a := &asked{call: callReserve, key: t.key, fingerprint: t.fingerprint}
	err := p.ask(ctx, a)
	if err == nil && !a.found {
		return twophase.Reservation{}, refusal
	}
	return answered(a, err)
}

func answered(a *asked, err error) (twophase.Reservation, error) {
	if err == nil {
		err = answerOf(a.key, a.verdict)
	}
	if err != nil {
		return twophase.Reservation{}, failed(a.key, err)
	}
	return a.entry.reservation(), nil
}

// Assign implements [twophase.Participant].
func (p *Pool) Assign(ctx context.Context, key twophase.Key) error {
	if !storableKey(key) {
		return fmt.Errorf("%w: %s", twophase.ErrUnknown, key) // it was never reserved
	}
	a := &asked{call: callAssign, key: key}
	if err := p.assigns.Do(ctx, a); err != nil {
		return failed(key, err)
	}
	if a.err == nil && !a.found {
		a.verdict = twophase.Entry{}.Assign(a.entry.now)
	}
	return a.answer()
}

// Release implements [twophase.Participant].
func (p *Pool) Release(ctx context.Context, key twophase.Key) error {
	if !storableKey(key) {
		return nil // a Reserve of it is turned away for ever
	}
	for {
		a := &asked{call: callRelease, key: key}
		if err := p.releases.Do(ctx, a); err != nil {
			return failed(key, err)
		}
		if a.err != nil || a.found {
			return a.answer()
		}
	}
}

func (a *asked) answer() error {
	if a.err != nil {
		return failed(a.key, a.err)
	}
	return answerOf(a.key, a.verdict)
}

// answerAll answers a batch of calls on any keys.
func (p *Pool) answerAll(ctx context.Context, batch []*asked) error {
	for _, round := range rounds(batch, func(a *asked) twophase.Key { return a.key }) {
		if err := p.askAll(ctx, round); err != nil {
			for _, a := range round {
				a.err = err
			}
		}
	}
	return nil
}

// Sweep takes back what has run out, up to limit reservations in small steps, and
// returns how many it was. Unless [WithoutBackground] is given it is done about
// every second.
func (p *Pool) Sweep(ctx context.Context, limit int) (int, error) {
	n, err := inSteps(limit, sweepStep, func(step int) (int, error) { return p.sweepStep(ctx, step) })
	if err != nil {
		return n, fmt.Errorf("postgres: sweep %s: %w", p.name, err)
	}
	return n, nil
}

// Prune forgets keys that were released, have expired or were consumed before the
// retention (see [WithRetention]), up to limit in small steps, and returns how many it was. Unless
// [WithoutBackground] is given it is done about every minute.
func (p *Pool) Prune(ctx context.Context, limit int) (int, error) {
	n, err := p.prune(ctx, limit)
	if err != nil {
		return n, fmt.Errorf("postgres: prune %s: %w", p.name, err)
	}
	return n, nil
}
