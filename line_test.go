package twophase_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// line is what one coordinator has to the rest of the world: it can be cut, as
// when the coordinator's process is killed, or frozen and thawed.
type line struct {
	mu   sync.Mutex
	open chan struct{} // closed while messages pass
	dead chan struct{} // closed when the line is cut
	once sync.Once
}

func newLine() *line {
	l := &line{open: make(chan struct{}), dead: make(chan struct{})}
	close(l.open)
	return l
}

func (l *line) cut() { l.once.Do(func() { close(l.dead) }) }

func (l *line) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = make(chan struct{})
}

func (l *line) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.open)
}

var errCut = errors.New("the process is gone")

// pass waits until a message may pass. A message on a frozen line waits for as
// long as it takes: nobody is awake to give up.
func (l *line) pass() error {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	select {
	case <-l.dead:
		return errCut
	default:
	}
	select {
	case <-open:
		return nil
	case <-l.dead:
		return errCut
	}
}

// across sends a request and brings back the answer.
func across[T any](l *line, do func() (T, error)) (answer T, err error) {
	if err := l.pass(); err != nil {
		return answer, err
	}
	answer, err = do()
	if cut := l.pass(); cut != nil {
		return answer, cut
	}
	return answer, err
}

type lineParticipant struct {
	line *line
	twophase.Participant
}

func (p lineParticipant) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	return across(p.line, func() (twophase.Reservation, error) { return p.Participant.Reserve(ctx, req) })
}

func (p lineParticipant) Assign(ctx context.Context, key twophase.Key) error {
	_, err := across(p.line, func() (any, error) { return nil, p.Participant.Assign(ctx, key) })
	return err
}

func (p lineParticipant) Release(ctx context.Context, key twophase.Key) error {
	_, err := across(p.line, func() (any, error) { return nil, p.Participant.Release(ctx, key) })
	return err
}

type lineJournal struct {
	twophase.Journal
	line *line
}

func (j lineJournal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	type begun struct {
		standing twophase.Record
		created  bool
	}
	b, err := across(j.line, func() (b begun, err error) {
		b.standing, b.created, err = j.Journal.Begin(ctx, record)
		return b, err
	})
	return b.standing, b.created, err
}

func (j lineJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	return across(j.line, func() (twophase.Decision, error) { return j.Journal.Decide(ctx, id, d) })
}

func (j lineJournal) Released(ctx context.Context, id string, steps []string) error {
	_, err := across(j.line, func() (any, error) { return nil, j.Journal.Released(ctx, id, steps) })
	return err
}

func (j lineJournal) Get(ctx context.Context, id string) (twophase.Record, error) {
	return across(j.line, func() (twophase.Record, error) { return j.Journal.Get(ctx, id) })
}

func (j lineJournal) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	_, err := across(j.line, func() (any, error) { return nil, j.Journal.Renew(ctx, owner, lease, ids) })
	return err
}
