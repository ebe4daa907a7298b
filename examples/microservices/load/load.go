// Package load places orders as many customers at once, each of whom asks again
// until there is an answer, and remembers what they were told.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
)

// Config says who orders what.
type Config struct {
	Client  *Client
	Callers int
	// Prefix begins the ids of the orders, which are never used again.
	Prefix string
	// Foods and Areas are what the orders are for.
	Foods, Areas []string
	// Pause is how long a caller waits between orders, at most.
	Pause time.Duration
	// Patience is how long a caller asks again before the order stays in doubt.
	Patience time.Duration
	Seed     uint64
}

// Told is what one customer was told.
type Told struct {
	Order api.Order
	// Answer is the last; its status is [api.InDoubt] if there was none.
	Answer api.Answer
	// Other is another answer to the same question, which must not be.
	Other *api.Answer
	// Asked is how often it was asked.
	Asked int
	// Trouble is the last error on the way.
	Trouble error
}

// Load is a load under way. Make it with [New].
type Load struct {
	config Config
	number atomic.Int64
	stats  *Stats

	mu   sync.Mutex
	told []*Told
}

// New returns a load that has not begun.
func New(config Config) *Load { return &Load{config: config, stats: newStats()} }

// Stats returns what can be shown of it at any time.
func (l *Load) Stats() *Stats { return l.stats }

// Told returns what the customers were told, once nobody orders any more.
func (l *Load) Told() []*Told {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told
}

// againShare is how many of the customers ask again though they have an answer.
const againShare = 0.05

// Run places orders until ctx ends, and then waits for the answers.
func (l *Load) Run(ctx context.Context) {
	var callers sync.WaitGroup
	for n := range l.config.Callers {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(l.config.Seed, uint64(n)))
			for ctx.Err() == nil {
				l.place(context.WithoutCancel(ctx), random)
				l.pause(ctx, random)
			}
		})
	}
	callers.Wait()
}

func (l *Load) pause(ctx context.Context, random *rand.Rand) {
	if l.config.Pause <= 0 {
		return
	}
	select {
	case <-time.After(time.Duration(random.Int64N(int64(l.config.Pause)))):
	case <-ctx.Done():
	}
}

// place places one order, and asks until there is an answer.
func (l *Load) place(ctx context.Context, random *rand.Rand) {
	told := &Told{Order: api.Order{
		ID:   fmt.Sprintf("%s-%d", l.config.Prefix, l.number.Add(1)),
		Food: l.config.Foods[random.IntN(len(l.config.Foods))],
		Area: l.config.Areas[random.IntN(len(l.config.Areas))],
	}}
	told.Answer = api.Answer{ID: told.Order.ID, Status: api.InDoubt}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.config.Patience)
	defer cancel()
	l.ask(ctx, told, random)
	l.stats.answered(told.Answer, time.Since(began))
	if random.Float64() < againShare {
		l.askAgain(ctx, told)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, told)
}

// ask asks until there is an answer, or ctx ends.
func (l *Load) ask(ctx context.Context, told *Told, random *rand.Rand) {
	wait := 50 * time.Millisecond
	for {
		told.Asked++
		answer, err := l.config.Client.Place(ctx, told.Order)
		if err == nil && answer.Status != api.InDoubt {
			told.Answer = answer
			return
		}
		told.Trouble = err
		l.stats.askedAgain()
		select {
		case <-time.After(wait/2 + time.Duration(random.Int64N(int64(wait)))):
			wait = min(2*wait, time.Second)
		case <-ctx.Done():
			return
		}
	}
}

// askAgain compares what is told when somebody asks once more.
func (l *Load) askAgain(ctx context.Context, told *Told) {
	answer, err := l.config.Client.Place(ctx, told.Order)
	if err == nil {
		told.compare(answer)
	}
}

// compare takes in another answer. Only one that is in doubt may be followed by
// another.
func (t *Told) compare(answer api.Answer) {
	switch {
	case answer.Status == api.InDoubt:
	case t.Answer.Status == api.InDoubt:
		t.Answer = answer
	case !same(t.Answer, answer):
		t.Other = &answer
	}
}

// same reports whether two answers are. The words of why not may differ: the
// process that saw it happen knows more than the journal.
func same(a, b api.Answer) bool {
	return a.Status == b.Status && a.Packet == b.Packet && a.Agent == b.Agent
}

// AskAll asks once more about every order that is in doubt, and about some of the
// others, when all trouble is over.
func (l *Load) AskAll(ctx context.Context) error {
	for i, told := range l.Told() {
		inDoubt := told.Answer.Status == api.InDoubt
		if !inDoubt && i%10 != 0 {
			continue
		}
		answer, err := l.askOnce(ctx, told.Order.ID)
		switch {
		case errors.Is(err, ErrNoOrder) && inDoubt:
			continue // it never began
		case errors.Is(err, ErrNoOrder):
			told.Other = &api.Answer{ID: told.Order.ID, Detail: "there is no such order"}
		case err != nil:
			return fmt.Errorf("ask about %s: %w", told.Order.ID, err)
		default:
			told.compare(answer)
		}
	}
	return nil
}

// askOnce asks until there is an answer of some kind.
func (l *Load) askOnce(ctx context.Context, id string) (api.Answer, error) {
	for {
		answer, err := l.config.Client.Ask(ctx, id)
		if err == nil && answer.Status != api.InDoubt || errors.Is(err, ErrNoOrder) {
			return answer, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return answer, errors.Join(err, context.Cause(ctx))
		}
	}
}
