package twophase_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// world is participants and a journal that a test can see into and break, and
// that watch over the invariants while it runs.
type world struct {
	t       testing.TB
	report  assert.TestingT // is told what breaks an invariant: t, unless something is broken on purpose
	start   time.Time
	journal *watchedJournal
	stocks  map[string]*stock
	built   func(*world) // breaks it on purpose, when it is built

	mu    sync.Mutex
	trace []traced
	told  map[string][]error // what callers were told of each transaction
}

type traced struct {
	at   time.Time
	text string
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, report: t, start: time.Now(), stocks: map[string]*stock{}, told: map[string][]error{}}
	w.journal = &watchedJournal{Journal: twophase.NewMemoryJournal(), world: w}
	return w
}

// stock adds a participant with resources.
func (w *world) stock(name string, resources ...string) *stock {
	s := &stock{
		world: w, name: name, free: slices.Clone(resources),
		entries: map[twophase.Key]*stockEntry{}, faults: map[twophase.Call][]fault{},
	}
	w.stocks[name] = s
	return s
}

// coordinator returns one that works on the world, closed with the test.
func (w *world) coordinator(options ...twophase.Option) *twophase.Coordinator {
	w.t.Helper()
	return w.coordinatorOn(w.journal, options...)
}

func (w *world) coordinatorOn(journal twophase.Journal, options ...twophase.Option) *twophase.Coordinator {
	w.t.Helper()
	all := []twophase.Option{twophase.WithPolicy(quick), twophase.WithoutBackgroundRecovery()}
	for _, name := range slices.Sorted(maps.Keys(w.stocks)) {
		all = append(all, twophase.WithParticipant(name, w.stocks[name]))
	}
	c, err := twophase.NewCoordinator(journal, append(all, options...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = c.Close(ended(w.t.Context())) })
	return c
}

// quick repeats without waiting, so that traces do not depend on jitter.
var quick = twophase.Policy{
	Reserve: twophase.Retry{First: 2, Max: 2},
	Assign:  twophase.Retry{First: 2, Max: 2},
	Release: twophase.Retry{First: 2, Max: 2},
}

// run runs a transaction of steps at participants, and keeps what was told.
func (w *world) run(ctx context.Context, c *twophase.Coordinator, id string, participants ...string) (twophase.Result, error) {
	tx := twophase.Transaction{ID: id}
	for _, name := range participants {
		tx.Steps = append(tx.Steps, twophase.Step{Participant: name})
	}
	result, err := c.Run(ctx, tx)
	w.tell(id, err)
	return result, err
}

// tell keeps what a caller was told, which must not contradict what was told
// before, nor what is durable.
func (w *world) tell(id string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, before := range w.told[id] {
		if (before == nil && errors.Is(err, twophase.ErrNotPlaced)) || (err == nil && errors.Is(before, twophase.ErrNotPlaced)) {
			assert.Fail(w.report, "I2: told both placed and not placed", "%s: %v, and %v", id, before, err)
		}
	}
	w.told[id] = append(w.told[id], err)
	if state := w.journal.state(id); err == nil && state != twophase.StateAssigned {
		assert.Fail(w.report, "I7: told placed before assigned is durable", "%s is %v", id, state)
	}
}

// heal ends all faults that are planned.
func (w *world) heal() {
	for _, s := range w.stocks {
		for _, call := range calls {
			s.heal(call)
		}
	}
	w.journal.heal()
}

var calls = []twophase.Call{twophase.CallReserve, twophase.CallAssign, twophase.CallRelease}

// settle heals the world and lets recovery finish everything in it, for as long
// as reservations may live.
func (w *world) settle() {
	w.t.Helper()
	w.heal()
	c := w.coordinator()
	for range 100 {
		_, err := c.Recover(w.t.Context())
		require.NoError(w.t, err)
		time.Sleep(10 * time.Minute)
		if len(w.unfinished()) == 0 {
			break
		}
	}
	assert.Empty(w.t, w.unfinished(), "recovery finishes everything")
	require.NoError(w.t, c.Close(w.t.Context()))
}

func (w *world) unfinished() (ids []string) {
	for record, err := range w.journal.List(w.t.Context(), twophase.Filter{Unfinished: true}) {
		require.NoError(w.t, err)
		ids = append(ids, record.ID)
	}
	return ids
}

// answers returns how many callers were told of a transaction.
func (w *world) answers(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.told[id])
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, traced{time.Now(), fmt.Sprintf(format, args...)})
}

// traceSince returns the trace from a moment on, in the order of time; what
// happens at the same instant is ordered by its text.
func (w *world) traceSince(start time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.trace, func(a, b traced) int {
		if c := a.at.Round(time.Millisecond).Compare(b.at.Round(time.Millisecond)); c != 0 {
			return c
		}
		return strings.Compare(a.text, b.text)
	})
	var b strings.Builder
	for _, line := range w.trace {
		fmt.Fprintf(&b, "%-6v %s\n", line.at.Sub(start).Round(time.Millisecond), line.text)
	}
	w.trace = nil
	return b.String()
}

// audit compares what callers were told with all books. It is for the end,
// when everything is settled.
func (w *world) audit() {
	w.t.Helper()
	for id, told := range w.told {
		for _, err := range told {
			if err == nil {
				w.auditPlaced(id)
			}
			if errors.Is(err, twophase.ErrNotPlaced) {
				for name, s := range w.stocks {
					assert.Empty(w.report, s.held(id), "I4: %s is not placed, yet %s holds something for it", id, name)
				}
			}
		}
	}
	for name, s := range w.stocks {
		s.audit(name)
	}
}

func (w *world) auditPlaced(id string) {
	record, err := w.journal.Get(context.Background(), id)
	if !assert.NoError(w.report, err, "I1: %s was told placed, and there is no record of it", id) {
		return
	}
	for _, step := range record.Steps {
		state := w.stocks[step.Participant].state(twophase.Key{Transaction: id, Step: step.Name})
		if step.Dropped {
			assert.NotEqual(w.report, twophase.EntryAssigned, state, "I4: %s: step %s was not kept", id, step.Name)
			continue
		}
		assert.Equal(w.report, twophase.EntryAssigned, state, "I1: %s was told placed: step %s", id, step.Name)
	}
}

// fault is what goes wrong with one attempt of a call.
type fault struct {
	loseRequest bool
	loseReply   bool
	lost        error         // what a lost reply looks like; errLost if nil
	err         error         // the answer, without anything done
	delay       time.Duration // before it arrives
	panics      bool
	forget      bool // the participant's books are lost first
	expire      bool // what the key holds runs out first
	hang        bool // until the context ends, and then nothing was done
	// late: the request arrives that much later, and nobody hears the answer.
	late time.Duration
}

var errLost = errors.New("connection reset")

// stock is a participant on the reservation's state machine, with faults.
type stock struct {
	world   *world
	name    string
	latency time.Duration

	mu      sync.Mutex
	free    []string
	entries map[twophase.Key]*stockEntry
	faults  map[twophase.Call][]fault // for the next attempts, in their order
	calls   map[twophase.Call]int
	// noTombstones breaks the contract: a Release leaves nothing behind.
	noTombstones bool
}

type stockEntry struct {
	twophase.Entry
	resources []string
}

func (s *stock) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	var reservation twophase.Reservation
	err := s.serve(ctx, twophase.CallReserve, req.Key, func() (string, error) {
		entry := s.entry(req.Key)
		v := entry.Reserve(twophase.FingerprintOf(req.Payload), req.Hold, time.Now())
		if v.Take {
			s.world.journal.mustNotHaveReleased(req.Key)
			s.takeBack()
			want := 1
			if len(req.Payload) > 0 {
				_ = json.Unmarshal(req.Payload, &want)
			}
			if len(s.free) < want {
				return "", fmt.Errorf("%w: nothing free", twophase.ErrRefused)
			}
			entry.resources, s.free = s.free[:want:want], s.free[want:]
		}
		s.store(req.Key, entry, v)
		if v.Err == nil {
			reservation = twophase.Reservation{
				Resources: entry.resources,
				TimeLeft:  v.Entry.TimeLeft(time.Now()),
				Assigned:  v.Entry.State == twophase.EntryAssigned,
			}
		}
		return strings.Join(entry.resources, ","), v.Err
	})
	if err != nil {
		return twophase.Reservation{}, err
	}
	return reservation, nil
}

func (s *stock) Assign(ctx context.Context, key twophase.Key) error {
	s.world.journal.mustHaveBegun(key)
	return s.serve(ctx, twophase.CallAssign, key, func() (string, error) {
		entry := s.entry(key)
		v := entry.Assign(time.Now())
		s.store(key, entry, v)
		return "ok", v.Err
	})
}

func (s *stock) Release(ctx context.Context, key twophase.Key) error {
	s.world.journal.mustOweRelease(key)
	return s.serve(ctx, twophase.CallRelease, key, func() (string, error) {
		entry := s.entry(key)
		v := entry.Release()
		s.store(key, entry, v)
		if s.noTombstones {
			delete(s.entries, key)
		}
		return "ok", v.Err
	})
}

// serve does one call with the fault that is planned for it.
func (s *stock) serve(ctx context.Context, call twophase.Call, key twophase.Key, do func() (string, error)) error {
	f := s.nextFault(call)
	if f.late > 0 {
		time.AfterFunc(f.late, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			_, _ = do()
		})
		return errLost
	}
	if !pause(ctx, s.latency+f.delay) || f.hang {
		<-ctx.Done()
		s.world.note("%s.%s %s: no answer", s.name, call, key)
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case f.panics:
		s.world.note("%s.%s %s: panic", s.name, call, key)
		panic("out of paper")
	case f.err != nil:
		s.world.note("%s.%s %s: %v", s.name, call, key, f.err)
		return f.err
	case f.loseRequest:
		s.world.note("%s.%s %s: request lost", s.name, call, key)
		return errLost
	case f.forget:
		clear(s.entries)
	case f.expire:
		s.entry(key).Expires = time.Now()
	}
	answer, err := do()
	if err != nil {
		answer = err.Error()
	}
	if f.loseReply {
		s.world.note("%s.%s %s: %s, reply lost", s.name, call, key, answer)
		return cmp.Or(f.lost, errLost)
	}
	s.world.note("%s.%s %s: %s", s.name, call, key, answer)
	return err
}

func (s *stock) nextFault(call twophase.Call) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[twophase.Call]int{}
	}
	s.calls[call]++
	planned := s.faults[call]
	if len(planned) == 0 {
		return fault{}
	}
	s.faults[call] = planned[1:]
	return planned[0]
}

// fail plans faults for the next attempts of a call.
func (s *stock) fail(call twophase.Call, faults ...fault) *stock {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[call] = append(s.faults[call], faults...)
	return s
}

// attempts returns how often a call arrived.
func (s *stock) attempts(call twophase.Call) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

// giveAway forgets what was promised to a key: it is as if never asked.
func (s *stock) giveAway(key twophase.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, s.entry(key).resources...)
	delete(s.entries, key)
}

// heal ends the faults that are planned for a call.
func (s *stock) heal(call twophase.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.faults, call)
}

func (s *stock) entry(key twophase.Key) *stockEntry {
	if entry, ok := s.entries[key]; ok {
		return entry
	}
	return &stockEntry{}
}

func (s *stock) store(key twophase.Key, entry *stockEntry, v twophase.Verdict) {
	if v.Free {
		s.free = append(s.free, entry.resources...)
		entry.resources = nil
	}
	entry.Entry = v.Entry
	s.entries[key] = entry
}

// takeBack frees what has run out.
func (s *stock) takeBack() {
	for key, entry := range s.entries {
		if v := entry.Expire(time.Now()); v.Free {
			s.store(key, entry, v)
		}
	}
}

func (s *stock) state(key twophase.Key) twophase.EntryState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry(key).State
}

// held returns what is held for a transaction now.
func (s *stock) held(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeBack()
	var held []string
	for key, entry := range s.entries {
		if key.Transaction == id && entry.Holds() {
			held = append(held, entry.resources...)
		}
	}
	return held
}

func (s *stock) audit(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeBack()
	holders := map[string]twophase.Key{}
	for key, entry := range s.entries {
		if !entry.Holds() {
			continue
		}
		for _, resource := range entry.resources {
			if other, twice := holders[resource]; twice {
				assert.Fail(s.world.report, "I3: a resource is held twice", "%s: %s by %s and %s", name, resource, key, other)
			}
			holders[resource] = key
		}
		assert.NotEqual(s.world.report, twophase.EntryReserved, entry.State, "I6: %s is still reserved at %s", key, name)
		if state := s.world.journal.state(key.Transaction); state != twophase.StateAssigned {
			assert.Fail(s.world.report, "I5: an assigned resource without a decision that leads to it", "%s at %s: %v", key, name, state)
		}
	}
}

// books returns who holds what, for traces.
func (s *stock) books() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeBack()
	lines := []string{}
	for key, entry := range s.entries {
		line := fmt.Sprintf("%s: %s %s", s.name, key, entry.State)
		if len(entry.resources) > 0 {
			line += " " + strings.Join(entry.resources, ",")
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	free := slices.Clone(s.free)
	slices.Sort(free)
	lines = append(lines, fmt.Sprintf("%s: free: %s", s.name, strings.Join(free, " ")))
	return strings.Join(lines, "\n")
}

// watchedJournal is a journal that knows what is durable, and can fail.
type watchedJournal struct {
	twophase.Journal
	world   *world
	latency time.Duration

	mu     sync.Mutex
	faults map[string][]fault // by method
	calls  map[string]int
}

func (j *watchedJournal) fail(method string, faults ...fault) *watchedJournal {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.faults == nil {
		j.faults = map[string][]fault{}
	}
	j.faults[method] = append(j.faults[method], faults...)
	return j
}

// asked returns how often a method was called.
func (j *watchedJournal) asked(method string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.calls[method]
}

func (j *watchedJournal) heal() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.faults)
}

// serve does one write with the fault that is planned for it.
func (j *watchedJournal) serve(ctx context.Context, method, what string, do func() (string, error)) error {
	f := j.nextFault(method)
	if !pause(ctx, j.latency+f.delay) || f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	switch {
	case f.err != nil:
		j.world.note("journal.%s %s: %v", method, what, f.err)
		return f.err
	case f.loseRequest:
		j.world.note("journal.%s %s: request lost", method, what)
		return errLost
	}
	answer, err := do()
	if err != nil {
		answer = err.Error()
	}
	if f.loseReply {
		j.world.note("journal.%s %s: %s, reply lost", method, what, answer)
		return cmp.Or(f.lost, errLost)
	}
	j.world.note("journal.%s %s: %s", method, what, answer)
	return err
}

func (j *watchedJournal) nextFault(method string) fault {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.calls == nil {
		j.calls = map[string]int{}
	}
	j.calls[method]++
	planned := j.faults[method]
	if len(planned) == 0 {
		return fault{}
	}
	j.faults[method] = planned[1:]
	return planned[0]
}

func (j *watchedJournal) Begin(ctx context.Context, record twophase.Record) (standing twophase.Record, created bool, err error) {
	what := record.ID
	if record.State != twophase.StateBegun {
		what += " as " + record.State.String()
	}
	err = j.serve(ctx, "begin", what, func() (string, error) {
		standing, created, err = j.Journal.Begin(ctx, record)
		if !created {
			return "stands " + standing.State.String(), err
		}
		return "ok", err
	})
	return standing, created, err
}

func (j *watchedJournal) Decide(ctx context.Context, id string, d twophase.Decision) (standing twophase.Decision, err error) {
	err = j.serve(ctx, "decide", fmt.Sprintf("%s %s", id, d.State), func() (string, error) {
		standing, err = j.Journal.Decide(ctx, id, d)
		if standing.State != d.State {
			return "stands " + standing.State.String(), err
		}
		return "ok", err
	})
	return standing, err
}

func (j *watchedJournal) Released(ctx context.Context, id string, steps []string) error {
	return j.serve(ctx, "released", fmt.Sprintf("%s %s", id, strings.Join(steps, ",")), func() (string, error) {
		return "ok", j.Journal.Released(ctx, id, steps)
	})
}

func (j *watchedJournal) Yield(ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string) error {
	return j.serve(ctx, "yield", fmt.Sprintf("%s epoch %d: %s", id, epoch, strings.ReplaceAll(trouble, "\n", "; ")), func() (string, error) {
		return "ok", j.Journal.Yield(ctx, id, owner, epoch, delay, trouble)
	})
}

// state returns what is durable of a transaction; 0 if nothing is.
func (j *watchedJournal) state(id string) twophase.State {
	record, err := j.Get(context.Background(), id)
	if err != nil {
		return 0
	}
	return record.State
}

func (j *watchedJournal) mustHaveBegun(key twophase.Key) {
	if j.state(key.Transaction) == 0 {
		assert.Fail(j.world.report, "I7: an Assign before begun is durable", "%s", key)
	}
}

func (j *watchedJournal) mustOweRelease(key twophase.Key) {
	switch j.state(key.Transaction) {
	case twophase.StateReleasing, twophase.StateReleased:
		return
	case twophase.StateAssigned:
		record, err := j.Get(context.Background(), key.Transaction)
		if err == nil && slices.ContainsFunc(record.Steps, func(s twophase.StepRecord) bool { return s.Name == key.Step && s.Dropped }) {
			return
		}
	}
	assert.Fail(j.world.report, "I7: a Release before releasing is durable", "%s", key)
}

// mustNotHaveReleased: what has acknowledged its Release takes nothing any more.
func (j *watchedJournal) mustNotHaveReleased(key twophase.Key) {
	record, err := j.Get(context.Background(), key.Transaction)
	if err != nil {
		return
	}
	for _, step := range record.Steps {
		if step.Name == key.Step && step.Released {
			assert.Fail(j.world.report, "I4: a late Reserve takes what was released", "%s", key)
		}
	}
}

// pause waits, and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended returns a context that has ended.
func ended(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
