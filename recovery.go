package twophase

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Recovery is what one pass of [Coordinator.Recover] came to.
type Recovery struct {
	// Finished is how many transactions have nothing left to do.
	Finished int
	// Stuck is how many could not be finished. They are tried again later;
	// [Journal.List] has them with their last trouble.
	Stuck int
}

// Recover claims what was left in the journal by coordinators whose lease has
// run out, and finishes it: undecided transactions in time go forward, late
// ones are released, and releases are repeated. It returns when nothing is left
// to claim or ctx ends. What it could not finish is tried again by a later
// pass, after a delay that grows, for ever.
func (c *Coordinator) Recover(ctx context.Context) (Recovery, error) {
	var recovery Recovery
	for {
		runs, aside, more, err := c.claim(ctx, c.config.recoveryLimit)
		if err != nil {
			return recovery, fmt.Errorf("twophase: recover: %w", err)
		}
		recovery.Stuck += aside
		for _, r := range runs {
			select {
			case <-r.over:
			case <-ctx.Done():
				return recovery, fmt.Errorf("twophase: recover: %w", context.Cause(ctx))
			}
			if r.isStuck() {
				recovery.Stuck++
			} else {
				recovery.Finished++
			}
		}
		if !more {
			return recovery, nil
		}
	}
}

// claim claims up to limit transactions and takes them up. It sets aside those
// that cannot even be tried here, and says how many.
func (c *Coordinator) claim(ctx context.Context, limit int) (runs []*run, aside int, more bool, err error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, 0, false, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, journalRetry.Attempt)
	defer cancel()
	records, err := c.journal.Claim(ctx, c.owner, c.config.lease, limit)
	if err != nil {
		return nil, 0, false, err
	}
	for i, record := range records {
		if reason := c.untriable(record); reason != nil {
			c.yield(ctx, record, max(c.config.lease, recoveryDelay(record.Attempts)), reason)
			aside++
			continue
		}
		r, err := c.takeUp(ctx, record)
		if err != nil { // closed meanwhile: what is left is for others, at once
			ids := make([]string, 0, len(records)-i)
			for _, left := range records[i:] {
				ids = append(ids, left.ID)
			}
			return runs, aside, false, errors.Join(err, c.handOver(ctx, ids))
		}
		if r != nil {
			runs = append(runs, r)
		}
	}
	return runs, aside, len(records) == limit, nil
}

// untriable says why a record is better left to another coordinator.
func (c *Coordinator) untriable(record Record) error {
	if record.Version > RecordVersion {
		return fmt.Errorf("the record has version %d, newer than %d that this library knows", record.Version, RecordVersion)
	}
	if record.State != StateBegun || record.Deadline <= 0 {
		return nil // what is known can be released, whatever is not
	}
	for _, step := range record.Steps {
		if _, known := c.participants[step.Participant]; !known {
			return errNoParticipant(step.Participant)
		}
	}
	return nil
}

// yield gives a claim back to the journal, and tells that it is stuck.
func (c *Coordinator) yield(ctx context.Context, record Record, delay time.Duration, trouble error) {
	c.observe(ctx, Event{Kind: EventStuck, Transaction: record.ID, State: record.State, Attempt: record.Attempts + 1, Err: trouble})
	err := c.journal.Yield(ctx, record.ID, c.owner, record.Epoch, delay, trouble.Error())
	if err != nil {
		// The lease runs out by itself.
		c.observe(ctx, Event{Kind: EventJournal, Transaction: record.ID, Err: err})
	}
}

// takeUp drives a claimed transaction, in the run that waits for it if there
// is one. It returns nil if this coordinator drives it already.
func (c *Coordinator) takeUp(ctx context.Context, record Record) (*run, error) {
	c.mu.Lock()
	r, ok := c.running[record.ID]
	if !ok {
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		r = c.register(ctx, record)
	}
	c.mu.Unlock()
	c.observe(ctx, Event{Kind: EventRecovering, Transaction: record.ID, State: record.State, Attempt: record.Attempts + 1})
	if !r.resume(record, !ok) {
		return nil, nil
	}
	return r, nil
}

// resume drives a claimed transaction from its record. A run that was driving
// it all along only learns its new epoch.
func (r *run) resume(record Record, fresh bool) bool {
	r.mu.Lock()
	if r.ended || !fresh && r.machine.phase != watching {
		r.record.Epoch = record.Epoch
		r.mu.Unlock()
		return false
	}
	r.claimed = true
	r.machine = machine{}
	r.over = make(chan struct{})
	r.calls.end() // a watch has nothing to wait for any more
	r.calls = &lazyContext{parent: &r.life}
	r.load(record)
	r.standing = record.Decision()
	r.mu.Unlock()
	r.c.mu.Lock()
	r.c.claims++
	r.c.mu.Unlock()

	ev := event{kind: evResume, state: record.State}
	if record.Deadline <= 0 {
		ev.failure = &failure{step: noStep, err: errLate}
	} else if record.State == StateBegun {
		r.setTimer(record.Deadline)
	}
	r.spawn(r.on(ev))
	return true
}

func (r *run) isStuck() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stuck
}

// recoveryDelay is how long a transaction that could not be finished is left
// alone: a second at first, and up to five minutes, give or take a quarter.
func recoveryDelay(attempts int) time.Duration {
	delay := min(time.Second<<min(attempts, 20), 5*time.Minute)
	return delay*3/4 + rand.N(delay/2)
}

// participantOf returns the participant of a recorded step.
func (c *Coordinator) participantOf(step StepRecord) *participant {
	if p, known := c.participants[step.Participant]; known {
		return p
	}
	return &participant{
		Participant: missing(step.Participant), name: step.Participant,
		policy: defaultPolicy, budget: newRetryBudget(defaultPolicy.Budget),
	}
}

// missing stands for a participant that only the journal knows.
type missing string

func (m missing) Reserve(context.Context, Request) (Reservation, error) {
	return Reservation{}, errNoParticipant(string(m))
}
func (m missing) Assign(context.Context, Key) error  { return errNoParticipant(string(m)) }
func (m missing) Release(context.Context, Key) error { return errNoParticipant(string(m)) }

func errNoParticipant(name string) error {
	return fmt.Errorf("there is no participant %q on this coordinator: give WithParticipant", name)
}

// keeper is the coordinator's one goroutine of its own: it renews the leases of
// what takes long, claims what others left, and prunes what is over.
type keeper struct {
	stop  context.CancelFunc
	done  sync.WaitGroup
	freed chan struct{} // a recovery has ended
}

func (k *keeper) wake() {
	select {
	case k.freed <- struct{}{}:
	default:
	}
}

// pruneBatch is how much is pruned at a time.
const pruneBatch = 1000

func (c *Coordinator) startKeeper() {
	ctx, cancel := context.WithCancel(context.Background())
	c.keeper.stop = cancel
	c.keeper.freed = make(chan struct{}, 1)
	c.keeper.done.Go(func() { c.keep(ctx) })
}

func (c *Coordinator) stopKeeper() {
	c.keeper.stop()
	c.keeper.done.Wait()
}

// keep does its rounds three times a lease, and goes on recovering in between
// while there is more than the limit allows at a time.
func (c *Coordinator) keep(ctx context.Context) {
	rounds := time.NewTicker(c.config.lease / 3)
	defer rounds.Stop()
	more := c.config.background && c.recoverSome(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.keeper.freed:
			more = more && c.recoverSome(ctx)
		case <-rounds.C:
			c.renew(ctx)
			if c.config.background {
				more = c.recoverSome(ctx)
				c.prune(ctx)
			}
		}
	}
}

// recoverSome takes up as much as the limit allows, and reports whether there
// may be more.
func (c *Coordinator) recoverSome(ctx context.Context) (more bool) {
	limit := c.config.recoveryLimit
	c.mu.Lock()
	free, closed := limit-c.claims, c.closed
	c.mu.Unlock()
	if closed {
		return false
	}
	if free <= limit/2 {
		return true // one claim for many, rather than one for each that ends
	}
	_, _, more, err := c.claim(ctx, free)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		c.observe(ctx, Event{Kind: EventJournal, Err: fmt.Errorf("claim: %w", err)})
	}
	return more
}

// renew keeps the leases of what has been under way for a while.
func (c *Coordinator) renew(ctx context.Context) {
	var ids []string
	c.mu.Lock()
	for id, r := range c.running {
		if time.Since(r.started) >= c.config.lease/3 {
			ids = append(ids, id)
		}
	}
	c.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, journalRetry.Attempt)
	defer cancel()
	if err := c.journal.Renew(ctx, c.owner, c.config.lease, ids); err != nil && ctx.Err() == nil {
		c.observe(ctx, Event{Kind: EventJournal, Err: fmt.Errorf("renew leases: %w", err)})
	}
}

// prune forgets what finished long ago.
func (c *Coordinator) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, journalRetry.Attempt)
	defer cancel()
	for {
		n, err := c.journal.Prune(ctx, c.config.retention, pruneBatch)
		if err != nil && ctx.Err() == nil {
			c.observe(ctx, Event{Kind: EventJournal, Err: fmt.Errorf("prune: %w", err)})
		}
		if err != nil || n < pruneBatch {
			return
		}
	}
}
