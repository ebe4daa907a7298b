package explore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing/synctest"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// transaction is the id of the only one that there is.
const transaction = "order-1"

// play is a world while one schedule is played in it. It lives in a bubble.
type play struct {
	world  World
	wire   *wire
	ledger *ledger
	shops  []*shop
	// doors are what coordinators call: the shops, or what replaces them.
	doors []twophase.Participant
	sides []*side
	log   []string // nil unless somebody reads it
	logs  bool
	logMu sync.Mutex

	mu     sync.Mutex
	told   []verdict
	broken string // the first breach

	crashes, repeats, expiries, rivals, giveUps, deadlines int
}

// verdict is what a caller was told.
type verdict struct {
	side *side
	err  error
	// steps are those that were placed.
	steps []twophase.StepResult
}

// timeout is that of the transaction; pause is longer than the first waits
// before a call is repeated or a journal is looked at again.
const (
	timeout = 3 * time.Second
	pause   = 25 * time.Millisecond
)

// newPlay builds the world.
func newPlay(w World, logs bool) *play {
	p := &play{
		world: w, logs: logs, wire: newWire(), shops: []*shop{newShop("store"), newShop("delivery")},
		crashes: w.Crashes, repeats: w.Repeats, expiries: w.Expiries,
		rivals: w.Rivals, giveUps: w.GiveUps, deadlines: w.Deadlines,
	}
	journal := twophase.Journal(twophase.NewMemoryJournal())
	if w.Journal != nil {
		journal = w.Journal(journal)
	}
	if w.Empty {
		p.shops[0].rival("rival-before")
	}
	for _, s := range p.shops {
		door := twophase.Participant(s)
		if w.Participant != nil {
			door = w.Participant(door)
		}
		p.doors = append(p.doors, door)
	}
	p.ledger = &ledger{Journal: journal, breach: p.breach}
	p.wire.trace, p.wire.inbound = p.note, p.inbound
	return p
}

// begin asks the coordinators to do what they do in this world.
func (p *play) begin() *play {
	a := p.newSide("A")
	if p.world.Function {
		p.ask(a, a.runFunc)
	} else {
		p.ask(a, a.run("dosa"))
	}
	if p.world.FirstRecovers {
		p.recover(a)
	}
	if p.world.Second == Idles {
		return p.settled()
	}
	switch b := p.newSide("B"); p.world.Second {
	case Recovers:
		p.recover(b)
	case RunsTheSame:
		p.ask(b, b.run("dosa"))
	case RunsAnother:
		p.ask(b, b.run("idli"))
	}
	return p.settled()
}

// runFunc runs a function that reserves at the store, does without if that
// refuses, and then at the delivery.
func (s *side) runFunc(ctx context.Context) (twophase.Result, error) {
	return s.coordinator.RunFunc(ctx, transaction, func(ctx context.Context, tx *twophase.Tx) error {
		_, _ = tx.Reserve(ctx, "store", "dosa")
		_, err := tx.Reserve(ctx, "delivery", "dosa")
		return err
	})
}

// run returns a call of Run for the transaction with that payload.
func (s *side) run(payload string) func(context.Context) (twophase.Result, error) {
	s.asked = fmt.Sprintf("%q", payload)
	return func(ctx context.Context) (twophase.Result, error) {
		return s.coordinator.Run(ctx, twophase.Transaction{ID: transaction, Steps: []twophase.Step{
			{Participant: "store", Payload: payload}, {Participant: "delivery", Payload: payload},
		}})
	}
}

func (p *play) newSide(name string) *side {
	s := &side{name: name, wire: p.wire, answers: map[string]string{}}
	quick := twophase.Retry{First: 2, Max: 2, Attempt: time.Hour}
	options := []twophase.Option{
		twophase.WithoutBackgroundRecovery(),
		twophase.WithLease(24 * time.Hour),
		twophase.WithTimeout(timeout),
		twophase.WithPolicy(twophase.Policy{
			Hold: hold, ReserveFor: time.Second, AssignFor: time.Second,
			Reserve: quick, Assign: quick, Release: quick,
		}),
	}
	for i, shop := range p.shops {
		options = append(options, twophase.WithParticipant(shop.name, farParticipant{p.doors[i], s, shop.name}))
	}
	c, err := twophase.NewCoordinator(farJournal{p.ledger, s}, options...)
	if err != nil {
		p.breach("the world cannot be built: %v", err)
		return s
	}
	s.coordinator = c
	p.sides = append(p.sides, s)
	return s
}

// ask lets a caller ask a coordinator, and keeps what he is told.
func (p *play) ask(s *side, run func(context.Context) (twophase.Result, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	s.giveUp = cancel
	s.ends = append(s.ends, cancel)
	s.waiting++
	go func() {
		defer cancel()
		result, err := run(ctx)
		p.wire.mu.Lock()
		s.waiting--
		crashed := s.crashed
		p.wire.mu.Unlock()
		if !crashed {
			p.tell(verdict{side: s, err: err, steps: result.Steps})
		}
	}()
}

// recover lets a coordinator claim what is unfinished.
func (p *play) recover(s *side) {
	ctx, cancel := context.WithCancel(context.Background())
	s.ends = append(s.ends, cancel)
	s.waiting++
	go func() {
		defer cancel()
		_, _ = s.coordinator.Recover(ctx)
		p.wire.mu.Lock()
		defer p.wire.mu.Unlock()
		s.waiting--
	}()
}

// settled lets the coordinators come to where they wait.
func (p *play) settled() *play {
	synctest.Wait()
	return p
}

// sleep lets time pass for the coordinators.
func (p *play) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// close ends the coordinators where they stand.
func (p *play) close() {
	for _, s := range p.sides {
		p.crash(s)
	}
}

func (p *play) crash(s *side) {
	p.wire.cut(s)
	for _, end := range s.ends {
		end()
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.coordinator.Close(ended)
}

func (p *play) note(format string, args ...any) {
	if p.logs {
		p.logMu.Lock()
		defer p.logMu.Unlock()
		p.log = append(p.log, fmt.Sprintf(format, args...))
	}
}

// String returns the verdict in words.
func (v verdict) String() string {
	switch {
	case v.err == nil:
		return "placed"
	case errors.Is(v.err, twophase.ErrNotPlaced):
		return "not placed"
	case errors.Is(v.err, twophase.ErrInDoubt):
		return "in doubt"
	case errors.Is(v.err, twophase.ErrMismatch):
		return "mismatch"
	}
	return "not begun"
}
