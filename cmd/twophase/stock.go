package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// stock is all that is free of one kind. It is held under keys of the stock's
// own, but for what a check is lent: so exactly that is free.
type stock struct {
	kind       string
	payload    json.RawMessage // asks for one
	hold       time.Duration
	calls      *recorded
	transcript *transcript // of the last lend or fill
	run        string      // names the keys

	lots     int // keys so far
	held     []lot
	doubtful []twophase.Key // may hold something, too
	first    []string       // the resources that were there in the beginning
	stuck    map[twophase.Key]error
}

// lot is one resource that a stock holds.
type lot struct {
	key      twophase.Key
	resource string
	since    time.Time
}

// maxStock is how many resources of a kind may be free. Each is held by a key of
// its own, so that a check can be lent any number.
const maxStock = 1000

// open takes all that is free, and returns how long the calls took.
func (s *stock) open(ctx context.Context) (took []time.Duration, err error) {
	began := time.Now()
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	for _, l := range s.held {
		took = append(took, l.since.Sub(began))
		began = l.since
		s.first = append(s.first, l.resource)
	}
	return took, nil
}

// lend makes exactly n resources free.
func (s *stock) lend(ctx context.Context, n int) error {
	s.transcript.reset()
	if err := s.renew(ctx); err != nil {
		return err
	}
	if err := s.fill(ctx); err != nil {
		return err
	}
	if len(s.held) < n {
		return &shortage{kind: s.kind, free: len(s.held), needed: n}
	}
	for range n {
		if err := s.release(ctx); err != nil {
			return err
		}
	}
	return nil
}

// renew gives back what the stock has held for so long that it may run out in
// the next check.
func (s *stock) renew(ctx context.Context) error {
	for _, l := range s.held {
		if time.Since(l.since) > s.hold/2 {
			return s.empty(ctx)
		}
	}
	return nil
}

// fill takes what is free, one by one, until it is refused.
func (s *stock) fill(ctx context.Context) error {
	for {
		key := twophase.Key{Transaction: fmt.Sprintf("stock-%s-%d", s.run, s.lots+1), Step: "stock"}
		s.lots++
		since := time.Now()
		var r twophase.Reservation
		err := persist(ctx, s.patience(), func() (err error) {
			r, err = s.calls.Reserve(ctx, twophase.Request{Key: key, Payload: s.payload, Hold: s.hold})
			return err
		})
		switch {
		case errors.Is(err, twophase.ErrRefused):
			return s.refused(err)
		case twophase.IsFinal(err):
			return &broken{fmt.Sprintf("Reserve of a new key succeeds, or is refused: it answered %v", err)}
		case err != nil:
			s.doubt(key, err)
			return err
		}
		held := lot{key: key, resource: r.Resource(), since: since}
		problem := s.judge(r)
		s.held = append(s.held, held)
		if problem != nil {
			return problem
		}
	}
}

// doubt notes a key that may hold something, though nobody said so.
func (s *stock) doubt(key twophase.Key, err error) {
	if s.lots > 1 || errors.Is(err, context.DeadlineExceeded) {
		s.doubtful = append(s.doubtful, key)
	}
}

// refused tells a kind of which nothing is free from a payload that is wrong.
func (s *stock) refused(err error) error {
	if len(s.held) == 0 && len(s.first) == 0 {
		return &shortage{kind: s.kind, why: err}
	}
	return nil
}

// judge says what is wrong with a reservation of one resource.
func (s *stock) judge(r twophase.Reservation) error {
	if len(r.Resources) != 1 || r.Resources[0] == "" {
		return &broken{fmt.Sprintf("the payload %s asks for one resource: %q were given", s.payload, r.Resources)}
	}
	for _, l := range s.held {
		if l.resource == r.Resource() {
			return &broken{fmt.Sprintf("a resource is held by one key at most: %q is given to a second key while %s holds it",
				r.Resource(), prefixed(s.calls.prefix, l.key))}
		}
	}
	if len(s.held) >= maxStock {
		return unfit("more than %d of kind %q are free: use a kind of fewer, as each has to be held", maxStock, s.kind)
	}
	return nil
}

// release gives back the lot that was taken last.
func (s *stock) release(ctx context.Context) error {
	last := s.held[len(s.held)-1]
	err := persist(ctx, repetitions, func() error { return s.calls.Release(ctx, last.key) })
	if err != nil && !twophase.IsFinal(err) {
		return err
	}
	s.held = s.held[:len(s.held)-1]
	if err != nil {
		return &broken{fmt.Sprintf("Release of a reserved key succeeds: it answered %v", err)}
	}
	return nil
}

// empty gives back all that the stock holds.
func (s *stock) empty(ctx context.Context) (err error) {
	for len(s.held) > 0 && err == nil {
		key := s.held[len(s.held)-1].key
		if err = s.release(ctx); isBroken(err) {
			s.stick(prefixed(s.calls.prefix, key), err)
			err = nil
		}
	}
	for _, l := range s.held {
		s.stick(prefixed(s.calls.prefix, l.key), err)
	}
	s.cleanUp(ctx, s.calls, s.doubtful)
	return err
}

// cleanUp releases the keys of a check, whatever their state. If one cannot be
// released the others are tried once each.
func (s *stock) cleanUp(ctx context.Context, p *recorded, keys []twophase.Key) {
	times := repetitions
	for _, key := range keys {
		err := persist(ctx, times, func() error { return p.Release(ctx, key) })
		if err != nil && !errors.Is(err, twophase.ErrReleased) && !errors.Is(err, twophase.ErrExpired) {
			s.stick(prefixed(p.prefix, key), err)
			times = 1
		}
	}
}

// stick notes a key that could not be released.
func (s *stock) stick(key twophase.Key, err error) {
	if s.stuck == nil {
		s.stuck = map[twophase.Key]error{}
	}
	s.stuck[key] = err
}

// missing returns the resources that were there in the beginning and are not
// any more. All checks must be over.
func (s *stock) missing(ctx context.Context) ([]string, error) {
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	var missing []string
	for _, resource := range s.first {
		if !slices.ContainsFunc(s.held, func(l lot) bool { return l.resource == resource }) {
			missing = append(missing, resource)
		}
	}
	return missing, nil
}

// shortage is the error of a kind of which too few are free.
type shortage struct {
	kind         string
	free, needed int
	why          error // the service's refusal, if nothing is free
}

// Error says how many are free, and how many are needed.
func (e *shortage) Error() string {
	if e.why != nil {
		return fmt.Sprintf("nothing is free of kind %q, and at least %d are needed: "+
			"add some, or check -kind and -payload; the service says: %s", e.kind, e.needed, cut(rootMessage(e.why)))
	}
	return fmt.Sprintf("only %d of kind %q are free, and at least %d are needed: add %d",
		e.free, e.kind, e.needed, e.needed-e.free)
}

// broken is the error of a service that breaks the contract before a check has
// begun.
type broken struct{ what string }

// Error says what the contract demands, and what was.
func (e *broken) Error() string { return e.what }

func isBroken(err error) bool {
	_, ok := errors.AsType[*broken](err)
	return ok
}

// rootMessage returns what a service says, without what its client adds.
func rootMessage(err error) string {
	message := err.Error()
	if _, said, found := strings.Cut(message, "refused: "); found {
		return said
	}
	return message
}

// patience is how often a Reserve is repeated: less if the service has not
// answered yet, as it is likely to be down or another.
func (s *stock) patience() int {
	if s.lots == 1 {
		return 3
	}
	return repetitions
}

// repetitions take two and a half seconds, if each call fails at once.
const repetitions = 8

// persist repeats a call until its answer is a success or final.
func persist(ctx context.Context, times int, do func() error) (err error) {
	for n := range times {
		if err = do(); err == nil || twophase.IsFinal(err) || ctx.Err() != nil || n == times-1 {
			return err
		}
		wait := min(time.Second, 20*time.Millisecond<<n)
		if later, ok := errors.AsType[*twophase.RetryAfterError](err); ok {
			wait = min(later.After, 5*time.Second)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
	return err
}
