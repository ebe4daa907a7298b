package main

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// verify is the command.
func verify(ctx context.Context, args []string, stdout, _ io.Writer) (int, error) {
	s, err := parse(args, stdout)
	if err != nil {
		return exitUsage, err
	}
	if s.list {
		return exitKept, list(stdout, s)
	}
	v, err := newVerifier(s)
	if err != nil {
		return exitUsage, err
	}
	defer v.close()
	r := newReport(stdout, s)
	if err := v.open(ctx); err != nil {
		return v.endEarly(ctx, r, err)
	}
	r.begin(v)
	for result := range v.results(ctx) {
		r.add(result)
	}
	missing, err := v.audit(ctx)
	v.giveBack(ctx)
	return r.end(append(missing, v.leftBehind()...), v.ended(ctx, err))
}

// endEarly ends a run in which no check can be made.
func (v *verifier) endEarly(ctx context.Context, r *report, err error) (int, error) {
	if isBroken(err) {
		r.add(v.brokenBefore(err))
		v.giveBack(ctx)
		return r.end(v.leftBehind(), nil)
	}
	if ctx.Err() != nil {
		err = errors.New(interrupted)
	} else {
		err = v.explain(err)
	}
	v.giveBack(ctx)
	return exitUsage, errors.Join(append([]error{err}, v.leftBehind()...)...)
}

// result is what became of a check.
type result struct {
	twophasetest.Check
	verdict  verdict
	reason   string   // why it was skipped or not checked
	found    []string // what is not as it should be
	doubtful bool     // calls took so long that this alone may be why
	calls    []exchange
	took     time.Duration
}

// verdict is the outcome of a check.
type verdict string

// The verdicts.
const (
	kept       verdict = "kept"
	brokenBy   verdict = "broken"
	skipped    verdict = "skipped"
	notChecked verdict = "not checked"
)

// verifier runs checks on a service.
type verifier struct {
	settings *settings
	clients  []twophase.Participant
	closers  []func()
	stocks   []*stock
	checks   []twophasetest.Check
	run      string // names this run's keys
	started  atomic.Int64

	mu    sync.Mutex
	fatal error // why checks are no longer run
}

func newVerifier(s *settings) (*verifier, error) {
	v := &verifier{settings: s, checks: s.checks(), run: newRunName()}
	for _, target := range s.targets {
		client, closeClient, err := target.dial(s.header, s.tls)
		if err != nil {
			v.close()
			return nil, err
		}
		v.clients = append(v.clients, client)
		v.closers = append(v.closers, closeClient)
	}
	for i, kind := range s.kinds {
		t := &transcript{}
		v.stocks = append(v.stocks, &stock{
			kind: kind, payload: s.payload.fill(kind, 1), hold: s.long, transcript: t,
			run:   fmt.Sprintf("%s-%d", v.run, i+1),
			calls: &recorded{participant: v.clients[0], prefix: "verify-", timeout: s.timeout, transcript: t},
		})
	}
	return v, nil
}

func (v *verifier) close() {
	for _, closeClient := range v.closers {
		closeClient()
	}
}

// newRunName returns what no other run is named.
func newRunName() string {
	random := make([]byte, 5)
	_, _ = rand.Read(random) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(random))
}

// open takes all that is free, and finds out whether it is enough, and whether
// the service is quick enough for the holds.
func (v *verifier) open(ctx context.Context) error {
	var took []time.Duration
	for _, s := range v.stocks {
		t, err := s.open(ctx)
		if short, ok := errors.AsType[*shortage](err); ok {
			short.needed = needed(v.checks)
		}
		if err != nil {
			return err
		}
		took = append(took, t...)
		if n := needed(v.checks); len(s.held) < n {
			return &shortage{kind: s.kind, free: len(s.held), needed: n}
		}
	}
	return v.quickEnough(took)
}

// callsInHold is how many calls must find time in a hold that is to run out.
const callsInHold = 16

func (v *verifier) quickEnough(took []time.Duration) error {
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	usual := took[len(took)/2]
	if least := callsInHold * usual; v.settings.hold < least {
		return unfit("a call takes %v, so what runs out after %v cannot be told from what is late: give -hold %v, or more",
			usual.Round(time.Millisecond), v.settings.hold, least.Truncate(time.Second)+time.Second)
	}
	return nil
}

// results runs the checks, one at a time on each kind, and returns them as they
// end. When ctx ends, so do they.
func (v *verifier) results(ctx context.Context) iter.Seq[result] {
	return func(yield func(result) bool) {
		ctx, cancel := context.WithCancel(ctx)
		queue := make(chan twophasetest.Check, len(v.checks))
		for _, check := range v.checks {
			queue <- check
		}
		close(queue)
		results := make(chan result)
		var working sync.WaitGroup
		for _, s := range v.stocks {
			working.Go(func() {
				for check := range queue {
					results <- v.check(ctx, s, check)
				}
			})
		}
		go func() { working.Wait(); close(results) }()
		defer func() {
			cancel()
			for range results { // whoever is under way must not wait
			}
		}()
		for r := range results {
			if !yield(r) {
				return
			}
		}
	}
}

// check runs one check on the resources of one kind, and with more time if calls
// took so long that its verdict is in doubt.
func (v *verifier) check(ctx context.Context, s *stock, check twophasetest.Check) result {
	began := time.Now()
	for {
		r := v.once(ctx, s, check)
		longer, possible := check.Longer()
		if !r.doubtful || !possible {
			r.took = time.Since(began)
			return r
		}
		check = longer
	}
}

// once runs a check once, if it may run.
func (v *verifier) once(ctx context.Context, s *stock, check twophasetest.Check) result {
	r := result{Check: check}
	switch {
	case check.Skip != "":
		r.verdict, r.reason = skipped, check.Skip
		return r
	case ctx.Err() != nil:
		r.verdict, r.reason = notChecked, interrupted
		return r
	case v.stopped() != nil:
		r.verdict, r.reason = notChecked, "the service no longer answers"
		return r
	}
	if err := s.lend(ctx, check.Free); err != nil {
		v.unready(ctx, &r, s, err)
		return r
	}
	v.runOn(ctx, s, &r)
	return r
}

const interrupted = "interrupted"

// unready says what became of a check that could not have what it needs.
func (v *verifier) unready(ctx context.Context, r *result, s *stock, err error) {
	_, short := errors.AsType[*shortage](err)
	switch {
	case isBroken(err):
		r.verdict, r.found, r.calls = brokenBy, []string{err.Error()}, s.transcript.until(time.Now())
	case short:
		r.verdict = notChecked
		r.reason = fmt.Sprintf("it needs %s that is free, and of %d only %d have come back",
			numberOf(r.Free, "resource"), len(s.first), len(s.held))
	case ctx.Err() != nil:
		r.verdict, r.reason = notChecked, interrupted
	default:
		v.stop(err)
		r.verdict, r.reason = notChecked, "the service no longer answers"
	}
}

// runOn runs a check on what it is lent, and releases what it leaves behind.
func (v *verifier) runOn(ctx context.Context, s *stock, r *result) {
	t := &transcript{}
	prefix := fmt.Sprintf("verify-%s-%d:", v.run, v.started.Add(1))
	instances := make([]twophase.Participant, len(v.clients))
	for i, client := range v.clients {
		instances[i] = &recorded{participant: client, prefix: prefix, timeout: v.settings.timeout, transcript: t}
	}
	subject := twophasetest.Subject{
		Participant: instances[0],
		Others:      instances[1:],
		Payload:     v.settings.payload.fill(s.kind, 1),
		Different:   v.settings.differentFor(s.kind),
	}
	if v.settings.several != "" {
		subject.Several = func(n int) any { return v.settings.several.fill(s.kind, n) }
	}
	err := r.Run(ctx, subject)
	failure, failed := errors.AsType[*twophasetest.Failure](err)
	switch {
	case failed:
		r.verdict, r.found, r.calls, r.doubtful = brokenBy, failure.Findings, t.until(failure.At), failure.Doubtful
	case err != nil:
		r.verdict, r.reason = notChecked, interrupted
	default:
		r.verdict = kept
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	cleaner := &recorded{participant: v.clients[0], timeout: v.settings.timeout, transcript: &transcript{}}
	s.cleanUp(ctx, cleaner, t.touched())
}

// lasting returns a context for giving back what is held, when the caller's has
// ended, too.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

func (v *verifier) stop(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fatal == nil {
		v.fatal = err
	}
}

func (v *verifier) stopped() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fatal
}

// audit returns what is wrong with the books after the checks.
func (v *verifier) audit(ctx context.Context) (problems []error, err error) {
	if halted := ctx.Err() != nil || v.stopped() != nil; halted {
		return nil, nil
	}
	for _, s := range v.stocks {
		missing, err := s.missing(ctx)
		if err != nil {
			return problems, err
		}
		if len(missing) > 0 {
			problems = append(problems, fmt.Errorf("of %s of kind %q, %d did not come back when all keys were released: %s",
				numberOf(len(s.first), "resource"), s.kind, len(missing), strings.Join(missing, ", ")))
		}
	}
	return problems, nil
}

// giveBack releases what the stocks hold.
func (v *verifier) giveBack(ctx context.Context) {
	ctx, cancel := lasting(ctx)
	defer cancel()
	for _, s := range v.stocks {
		_ = s.empty(ctx) // told by leftBehind
	}
}

// leftBehind names the keys that could not be released.
func (v *verifier) leftBehind() (problems []error) {
	for _, s := range v.stocks {
		for key, err := range s.stuck {
			problems = append(problems, fmt.Errorf("transaction %q, step %q could not be released, do it by hand: %w",
				key.Transaction, key.Step, rootOf(err)))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

// ended returns why the checks did not come to an end, if they did not.
func (v *verifier) ended(ctx context.Context, err error) error {
	if err == nil {
		err = v.stopped()
	}
	switch {
	case ctx.Err() != nil:
		return errors.New(interrupted)
	case err != nil:
		return v.explain(err)
	}
	return nil
}

// brokenBefore is the result of a service that breaks the contract before any check.
func (v *verifier) brokenBefore(err error) result {
	r := result{verdict: brokenBy, found: []string{err.Error()}}
	r.Name = "Reserve gives each key a resource of its own, until none is free"
	r.Demand = "Reserve of new keys, one after the other, succeeds with one resource each, all different, and is refused when none is free."
	r.Why = "two customers are promised the same packet."
	for _, s := range v.stocks {
		r.calls = append(r.calls, s.transcript.until(time.Now())...)
	}
	return r
}
