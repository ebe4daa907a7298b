package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// side is a place where a coordinator runs: one process after another.
type side struct {
	world   *world
	name    string
	starts  int
	process *process // nil while it is down
}

// process is one life of a coordinator. It can be killed, with all that it knows,
// or frozen for a while, as by a virtual machine that is moved.
type process struct {
	side        *side
	world       *world
	name        string
	coordinator *twophase.Coordinator
	dead        chan struct{} // closed when it is killed

	// The world's lock is held for these.
	gone   bool
	frozen chan struct{} // closed when it thaws; nil if it is not frozen
	naps   int           // how often it was frozen
}

// errGone is what a killed coordinator gets.
var errGone = neverAgain(errors.New("the process is gone"))

// neverAgain asks for so much patience that nothing is done in the instant that
// is left to a coordinator, or to a call.
func neverAgain(err error) error { return &twophase.RetryAfterError{After: time.Hour, Err: err} }

// start opens a coordinator on the side, unless there is one.
func (s *side) start() {
	w := s.world
	w.mu.Lock()
	if s.process != nil || w.closing {
		w.mu.Unlock()
		return
	}
	s.starts++
	p := &process{side: s, world: w, name: s.name, dead: make(chan struct{})}
	if s.starts > 1 {
		p.name = fmt.Sprintf("%s%d", s.name, s.starts)
	}
	s.process = p
	w.mu.Unlock()

	options := []twophase.Option{
		twophase.WithPolicy(w.plan.policy), twophase.WithTimeout(w.plan.timeout),
		twophase.WithLease(w.plan.lease), twophase.WithRetention(w.plan.retention),
		twophase.WithRecoveryLimit(everything), twophase.WithObserver(p),
	}
	for _, service := range w.services {
		options = append(options, twophase.WithParticipant(service.name, &remoteParticipant{p, service}))
	}
	c, err := twophase.NewCoordinator(&remoteJournal{p, w.journal}, options...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.violate("the coordinator does not start: %v", err)
		return
	}
	p.coordinator = c
	w.note(p.name+" starts", 0, "")
}

// running returns the process of the side, or nil if it is down.
func (s *side) running() *process {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	if s.process == nil || s.process.coordinator == nil {
		return nil
	}
	return s.process
}

// kill ends a process wherever it stands. Another one starts on its side later.
func (p *process) kill(down time.Duration) {
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.gone || p.coordinator == nil {
		return
	}
	w.coverage.killed(p)
	p.gone = true
	close(p.dead)
	if p.side.process == p {
		p.side.process = nil
	}
	w.note(p.name+" is killed", 0, "")
	w.work.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.coordinator.Close(ctx) // it hands nothing over: nobody hears it any more
	})
	w.after(down, p.side.start)
}

// close ends a process in good order, as for an update: what is not at its end in
// time is handed over. Another one starts on its side then.
func (p *process) close(patience time.Duration) {
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.gone || p.side.process != p || w.healed {
		return
	}
	p.side.process = nil
	w.note(p.name+" closes", 0, "")
	w.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = p.coordinator.Close(ctx) // it may hand something over
		if p.awake(time.Millisecond) == nil {
			p.side.start()
		}
	})
}

// freeze stops a process for a while: nothing passes to it or from it.
func (p *process) freeze(lasts time.Duration) {
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.gone || p.frozen != nil || w.healed {
		return
	}
	p.frozen = make(chan struct{})
	p.naps++
	w.quiet = max(w.quiet, w.now()+lasts)
	w.note(p.name+" freezes", 0, "")
	w.coverage.froze(p)
	w.after(lasts, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.note(p.name+" thaws", 0, "")
		close(p.frozen)
		p.frozen = nil
	})
}

// awake waits until something may pass to the process or from it. Some time goes
// by after a thaw, so that what has waited does not all pass in one instant.
func (p *process) awake(after time.Duration) error {
	for {
		p.world.mu.Lock()
		gone, frozen := p.gone, p.frozen
		p.world.mu.Unlock()
		switch {
		case gone:
			return errGone
		case frozen == nil:
			return nil
		}
		select {
		case <-frozen:
			time.Sleep(after)
		case <-p.dead:
			return errGone
		}
	}
}

// Observe implements [twophase.Observer].
func (p *process) Observe(_ context.Context, e twophase.Event) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if !p.gone {
		p.world.coverage.observed(e)
	}
}
