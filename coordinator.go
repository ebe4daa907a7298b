package twophase

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/internal/names"
)

// Coordinator runs transactions: it reserves on all participants, assigns on
// all, and releases on all if anything fails. It is safe for concurrent use.
// Make it with [NewCoordinator] and end it with [Coordinator.Close].
type Coordinator struct {
	journal      Journal
	participants map[string]*participant
	config       *config
	owner        string // this coordinator's name in the journal

	mu      sync.Mutex
	running map[string]*run
	closed  bool
	claims  int // how many of those running recovery has claimed

	work    sync.WaitGroup  // runs, and the goroutines that work for them
	drained chan struct{}   // closed when a closed coordinator has no work left
	life    context.Context // ends when what is under way is abandoned
	die     context.CancelFunc
	keeper  keeper
	workers *workers
	// deadlines are of the runs that have the configured timeout.
	deadlines deadlines
}

// participant is a Participant with what the coordinator knows of it.
type participant struct {
	Participant
	name   string
	policy Policy
	budget *retryBudget
}

// NewCoordinator returns a coordinator on a journal. It checks all options at
// once; the error is [ErrInvalid] and names each that cannot be right, with
// what would be. Unless told otherwise it begins at once, in the background, to
// finish what earlier coordinators left in the journal.
func NewCoordinator(journal Journal, options ...Option) (*Coordinator, error) {
	config, err := newConfig(options)
	if journal == nil {
		err = errors.Join(fmt.Errorf("twophase: %w: the journal is nil: give NewMemoryJournal at least", ErrInvalid), err)
	}
	if err != nil {
		return nil, err
	}
	c := &Coordinator{
		journal:      journal,
		participants: make(map[string]*participant, len(config.participants)),
		config:       config,
		owner:        newOwner(),
		running:      map[string]*run{},
		drained:      make(chan struct{}),
		workers:      newWorkers(),
		deadlines:    deadlines{timeout: config.timeout},
	}
	c.life, c.die = context.WithCancel(context.Background())
	for name, p := range config.participants {
		policy := config.policyFor(name)
		c.participants[name] = &participant{
			Participant: p, name: name, policy: policy, budget: newRetryBudget(policy.Budget),
		}
	}
	c.startKeeper()
	return c, nil
}

// newOwner returns a name that no other coordinator has, and that tells an
// operator where to look.
func newOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text())
}

// Run runs a transaction and returns what each step was given. The error is
// nil only if it was placed: every participant has assigned its resource to it.
// Otherwise it is, by [errors.Is],
//
//   - [ErrNotPlaced]: it was decided so, durably. [Error] has the step, the
//     call and the cause. Every participant has been told once to release; one
//     that did not acknowledge is told again, in the background.
//   - [ErrInDoubt]: ctx ended first, the coordinator was closed, or the journal
//     does not answer. If ctx ended while it was undecided and nobody else
//     waits for it, the transaction is released in the background.
//   - [ErrMismatch]: the id was used before for other steps. Nothing of that
//     transaction is touched.
//   - [ErrUnavailable], [ErrInvalid], [ErrClosed] or that of an ended ctx:
//     this call has begun nothing. If the id was run before, that may stand:
//     ask again.
//
// Running the same transaction again, here or on another coordinator, at once
// or later, returns the same outcome, for as long as the journal keeps it.
func (c *Coordinator) Run(ctx context.Context, tx Transaction) (Result, error) {
	record, err := c.newRecord(tx)
	if err != nil {
		return Result{}, err
	}
	r, mine, err := c.join(ctx, record)
	if err != nil {
		return Result{}, err
	}
	if mine {
		r.start()
	} else if !r.runs(record) {
		r.leave(errNobody)
		return Result{}, mismatch(tx.ID)
	}
	result, err := r.wait(ctx)
	if !r.runs(record) { // it joined somebody who only knew the id
		return Result{}, mismatch(tx.ID)
	}
	return result, err
}

// Wait returns the outcome of a transaction that was run before, as
// [Coordinator.Run] returns it, and waits if it is under way, here or
// elsewhere. If there is no record of it, the error is [ErrGone].
func (c *Coordinator) Wait(ctx context.Context, id string) (Result, error) {
	if err := checkID(id); err != nil {
		return Result{}, err
	}
	if !c.runs(id) {
		// Who runs the same id now must not join somebody who finds no record.
		if _, err := c.journal.Get(ctx, id); err != nil {
			return Result{}, fmt.Errorf("twophase: wait for %s: %w", id, err)
		}
	}
	r, mine, err := c.join(ctx, Record{ID: id})
	if err != nil {
		return Result{}, err
	}
	if mine {
		r.spawn([]action{{kind: actLook}}) // for whoever waits: not with this caller's context
	}
	return r.wait(ctx)
}

// Lookup returns the outcome of a transaction that was run before, as
// [Coordinator.Run] returns it, without waiting: while it is under way, the
// error is [ErrInDoubt]. If there is no record of it, the error is [ErrGone].
func (c *Coordinator) Lookup(ctx context.Context, id string) (Result, error) {
	record, err := c.journal.Get(ctx, id)
	if err != nil {
		return Result{}, fmt.Errorf("twophase: look up %s: %w", id, err)
	}
	if record.State == StateBegun {
		return Result{}, inDoubt(id, errUnderWay)
	}
	return record.outcome(record.Decision())
}

var errUnderWay = errors.New("it is under way")

// Close ends the coordinator: it takes no new transactions, and waits for those
// under way until ctx ends. What is not at its end by then is left to recovery:
// the callers who wait are told that it is in doubt, its leases are handed
// over, and the error says how many there are. Close returns when no goroutine
// of the coordinator is left; a participant that ignores its context delays it.
func (c *Coordinator) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if first {
		go func() {
			c.work.Wait()
			c.workers.close()
			close(c.drained)
		}()
	}
	var left []string
	select {
	case <-c.drained:
	case <-ctx.Done():
		left = c.abandon()
		<-c.drained
	}
	c.stopKeeper()
	c.deadlines.close()
	c.die()
	if len(left) == 0 {
		return nil
	}
	err := fmt.Errorf("twophase: closed with %d transactions left to recovery: %w", len(left), context.Cause(ctx))
	return errors.Join(err, c.handOver(ctx, left))
}

// abandon stops all that is under way where it stands, and returns the ids.
func (c *Coordinator) abandon() []string {
	c.mu.Lock()
	runs := make([]*run, 0, len(c.running))
	for _, r := range c.running {
		runs = append(runs, r)
	}
	c.mu.Unlock()
	c.die()
	ids := make([]string, len(runs))
	for i, r := range runs {
		ids[i] = r.id
		r.end()
	}
	return ids
}

// handOver gives up the leases of what is left, so that another coordinator
// need not wait for them to run out.
func (c *Coordinator) handOver(ctx context.Context, ids []string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalRetry.Attempt)
	defer cancel()
	if err := c.journal.Renew(ctx, c.owner, 0, ids); err != nil {
		return fmt.Errorf("twophase: hand over leases: %w", err)
	}
	return nil
}

// join returns the run of a transaction that is under way, or a new one that
// is the caller's to start, and counts the caller in.
func (c *Coordinator) join(ctx context.Context, record Record) (r *run, mine bool, err error) {
	if err := checkID(record.ID); err != nil {
		return nil, false, err
	}
	if ctx.Err() != nil {
		return nil, false, fmt.Errorf("twophase: %s not begun: %w", record.ID, context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.running[record.ID]
	if ok {
		r.callers.Add(1)
		return r, false, nil
	}
	if c.closed {
		return nil, false, fmt.Errorf("twophase: %s not begun: %w", record.ID, ErrClosed)
	}
	r = c.register(ctx, record)
	r.callers.Add(1)
	return r, true, nil
}

// runs reports whether a transaction is under way here.
func (c *Coordinator) runs(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.running[id]
	return ok
}

// register makes a run known, until it ends. The lock is held.
func (c *Coordinator) register(ctx context.Context, record Record) *run {
	r := newRun(ctx, c, record)
	c.running[record.ID] = r
	c.work.Add(1)
	return r
}

// unregister forgets a run that has ended.
func (c *Coordinator) unregister(id string, claimed bool) {
	c.mu.Lock()
	delete(c.running, id)
	if claimed {
		c.claims--
		c.keeper.wake()
	}
	c.mu.Unlock()
	c.work.Done()
}

// newRecord checks a transaction and returns the record to begin it with.
func (c *Coordinator) newRecord(tx Transaction) (Record, error) {
	invalid := func(format string, args ...any) (Record, error) {
		return Record{}, fmt.Errorf("twophase: %w: transaction %q: "+format, append([]any{ErrInvalid, tx.ID}, args...)...)
	}
	switch {
	case len(tx.Steps) == 0:
		return invalid("it has no steps")
	case len(tx.Steps) > MaxSteps:
		return invalid("it has %d steps: at most %d are allowed", len(tx.Steps), MaxSteps)
	case tx.Timeout < 0 || tx.Timeout > c.config.retention:
		return invalid("its Timeout is %v: it must be between 0 and the retention of %v", tx.Timeout, c.config.retention)
	}
	record := c.emptyRecord(tx.ID, orElse(tx.Timeout, c.config.timeout))
	record.Steps = make([]StepRecord, 0, len(tx.Steps))
	for _, step := range tx.Steps {
		added, err := c.newStep(record.Steps, step)
		if err != nil {
			return invalid("%w", err)
		}
		record.Steps = append(record.Steps, added)
	}
	return record, nil
}

func (c *Coordinator) emptyRecord(id string, timeout time.Duration) Record {
	return Record{
		Version: RecordVersion, ID: id, State: StateBegun,
		Deadline: timeout, Owner: c.owner, Lease: c.config.lease,
	}
}

// newStep checks a step that comes after others and returns its record.
func (c *Coordinator) newStep(before []StepRecord, step Step) (StepRecord, error) {
	p, ok := c.participants[step.Participant]
	if !ok {
		return StepRecord{}, fmt.Errorf("there is no participant %q: name one of WithParticipant", step.Participant)
	}
	name, err := stepName(before, step)
	if err != nil {
		return StepRecord{}, err
	}
	if step.Hold != 0 {
		if err := p.policy.checkHold(step.Hold); err != nil {
			return StepRecord{}, fmt.Errorf("step %s: %w", name, err)
		}
	}
	payload, err := encodePayload(step.Payload)
	if err != nil {
		return StepRecord{}, fmt.Errorf("payload of step %s: %w", name, err)
	}
	return StepRecord{
		Name: name, Participant: step.Participant, Payload: payload, Hold: orElse(step.Hold, p.policy.Hold),
	}, nil
}

func checkID(id string) error {
	if reason := names.Bad(id, MaxIDLength); reason != "" {
		return fmt.Errorf("twophase: %w: the transaction's id %q %s", ErrInvalid, id, reason)
	}
	return nil
}

// stepName returns the name that a step was given, or the next free one that
// its participant's name leads to.
func stepName(before []StepRecord, step Step) (string, error) {
	taken := func(name string) bool {
		for i := range before {
			if before[i].Name == name {
				return true
			}
		}
		return false
	}
	if step.Name != "" {
		if reason := names.Bad(step.Name, MaxIDLength); reason != "" {
			return "", fmt.Errorf("the step's name %q %s", step.Name, reason)
		}
		if taken(step.Name) {
			return "", fmt.Errorf("there are two steps named %q", step.Name)
		}
		return step.Name, nil
	}
	name := step.Participant
	for n := 2; taken(name); n++ {
		name = fmt.Sprintf("%s-%d", step.Participant, n)
	}
	return name, nil
}

func (c *Coordinator) observed() bool { return len(c.config.observers) > 0 }

func (c *Coordinator) observe(ctx context.Context, e Event) {
	for _, o := range c.config.observers {
		o.Observe(ctx, e)
	}
}

func mismatch(id string) error { return fmt.Errorf("twophase: %s: the id was %w", id, ErrMismatch) }
