package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
)

// monkey breaks things: on one hand it kills services, on another it crashes
// databases, on a third it spoils networks.
type monkey struct {
	city *city.City
	seed uint64

	mu   sync.Mutex
	done Report
}

func newMonkey(c *city.City, seed uint64) *monkey {
	return &monkey{city: c, seed: seed, done: Report{
		Killed: map[string]int{}, Crashed: map[string]int{}, Spoiled: map[string]int{},
	}}
}

func (m *monkey) report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done
}

func (m *monkey) note(what map[string]int, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what[name]++
}

// hand is what one hand does, and how long it rests and lets things be broken, at
// most.
type hand struct {
	rest, broken time.Duration
	do           func(random *rand.Rand, name string) (mend func(ctx context.Context) error, err error)
}

// run breaks things until ctx ends, and returns when all is mended.
func (m *monkey) run(ctx context.Context) error {
	hands := []hand{
		{rest: 3 * time.Second, broken: 1500 * time.Millisecond, do: m.kill},
		{rest: 4 * time.Second, broken: time.Second, do: m.crash},
		{rest: 2 * time.Second, broken: 1500 * time.Millisecond, do: m.spoil},
	}
	errs := make([]error, len(hands))
	var all sync.WaitGroup
	for i, h := range hands {
		random := rand.New(rand.NewPCG(m.seed, uint64(i)))
		all.Go(func() { errs[i] = h.run(ctx, random) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (h hand) run(ctx context.Context, random *rand.Rand) error {
	names := deck[string]{random: random, cards: city.Services()}
	for {
		if !pause(ctx, random, h.rest) {
			return nil
		}
		mend, err := h.do(random, names.deal())
		if err != nil {
			return fmt.Errorf("chaos: %w", err)
		}
		pause(ctx, random, h.broken)
		if err := mend(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("chaos: mend: %w", err)
		}
	}
}

// pause waits for a time up to longest, and reports whether ctx goes on.
func pause(ctx context.Context, random *rand.Rand, longest time.Duration) bool {
	select {
	case <-time.After(time.Duration(random.Int64N(int64(longest)))):
		return true
	case <-ctx.Done():
		return false
	}
}

func (m *monkey) kill(_ *rand.Rand, service string) (func(context.Context) error, error) {
	if err := m.city.Kill(service); err != nil {
		return nil, err
	}
	m.note(m.done.Killed, service)
	return func(context.Context) error { return m.city.StartService(service) }, nil
}

func (m *monkey) crash(random *rand.Rand, service string) (func(context.Context) error, error) {
	inOrder := random.IntN(3) == 0
	if err := m.city.CrashDatabase(service, inOrder); err != nil {
		return nil, err
	}
	m.note(m.done.Crashed, service)
	return func(ctx context.Context) error { return m.city.StartDatabase(ctx, service) }, nil
}

// spoil does one of the things that networks do.
func (m *monkey) spoil(random *rand.Rand, service string) (func(context.Context) error, error) {
	slow := time.Duration(random.Int64N(int64(700 * time.Millisecond)))
	ways := []struct {
		name   string
		faults city.Faults
	}{
		{"cut", city.Faults{Down: true}},
		{"silent", city.Faults{Silent: true}},
		{"slow", city.Faults{DelayRequest: slow / 2, DelayReply: slow}},
		{"replies lost", city.Faults{CutReply: 0.4}},
	}
	way := ways[random.IntN(len(ways))]
	proxy := m.city.Proxy(service)
	proxy.Change(func(f *city.Faults) { *f = way.faults })
	m.note(m.done.Spoiled, way.name+" to "+service)
	return func(context.Context) error {
		proxy.Change(func(f *city.Faults) { *f = city.Faults{} })
		return nil
	}, nil
}
