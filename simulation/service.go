package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// service is a participant as the world has it: books that can be looked into, a
// ledger that checks them, and a life that can be disturbed.
type service struct {
	endpoint
	world  *world
	books  keeper
	store  *store // of the books, unless they are a pool
	ledger *ledger
	fsync  time.Duration
	stock  int
}

func newService(w *world, p servicePlan) (*service, error) {
	s := &service{
		endpoint: endpoint{name: p.name, refusal: errRefused, outages: w.outagesOf(p.name)},
		world:    w, fsync: p.fsync, ledger: newLedger(w, p.name),
	}
	for _, n := range p.stock {
		s.stock += n
	}
	if p.pool {
		books, err := newPooled(p)
		s.books = books
		return s, err
	}
	if off := p.clock; off != right && !w.strikes(fmt.Sprintf("the clock of %s is off by %v, and runs at %v", p.name, off.offset, off.rate)) {
		p.clock = right
	}
	s.store = newStore(p)
	s.books = s.store
	s.ledger.loses = true
	return s, nil
}

// now reads the service's clock.
func (s *service) now() time.Time {
	if s.store == nil {
		return time.Now()
	}
	return s.store.clock.now()
}

// disturbed lets a message bring trouble, and reports whether it is not served
// for that. The world's lock is held, here and in all that follows.
func (s *service) disturbed(m *message, key twophase.Key) (vain bool) {
	if s.store == nil {
		return false
	}
	switch m.fault {
	case runningOut:
		if entry := s.store.entry(key); entry.State == twophase.EntryReserved {
			s.store.clock.jump(entry.TimeLeft(s.now()))
		}
	case clockJumping:
		by := m.dice.upTo(2*time.Hour) - time.Hour
		if m.dice.chance(0.5) {
			by /= 360
		}
		s.store.clock.jump(by)
	case forgetting:
		if state, _ := s.books.look(key); state == twophase.EntryReserved {
			s.store.forget(key)
			s.ledger.forget(key)
		}
	case restartedBefore:
		s.restart(m.dice.upTo(longestDown))
		return true
	}
	return false
}

// restart loses what is not durable. Once all is healed, a late message may still
// bring it about, but nobody stays away.
func (s *service) restart(down time.Duration) {
	if s.world.healed {
		down = time.Millisecond
	}
	s.life++
	s.down = true
	s.store.restart()
	s.ledger.restart()
	s.world.auditPlacedAt(s)
	s.world.after(down, func() {
		s.world.mu.Lock()
		defer s.world.mu.Unlock()
		s.down = false
	})
}

// serve does a call and says how it becomes durable.
func serve[T any](s *service, m *message, key twophase.Key, call twophase.Call, do func() (T, error)) served[T] {
	w := s.world
	if s.disturbed(m, key) {
		return served[T]{err: m.refuse(errReset)}
	}
	cell := s.cellOf(call, key)
	value, err := guarded(s, key, do)
	w.note(m.label, m.n, outcome(err))
	w.coverage.call(cell, err, m)
	if s.store == nil {
		return served[T]{value: value, err: err}
	}
	writes, life := s.store.written(), s.life
	s.ledger.at(writes)
	if m.fault == restartedAfter {
		s.restart(m.dice.upTo(longestDown))
	}
	return served[T]{value: value, err: err, fsync: m.dice.upTo(s.fsync), durable: func() bool {
		if s.life != life {
			return false
		}
		s.store.sync(writes)
		s.ledger.sync(writes)
		return true
	}}
}

// guarded turns a panic of the participant into a violation: it is never right.
func guarded[T any](s *service, key twophase.Key, do func() (T, error)) (value T, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.world.violate("%s: panic: %s: %v", s.name, key, cause)
			err = errRefused
		}
	}()
	return do()
}

// outcome is a short word for what a call came to.
func outcome(err error) string {
	for _, final := range []error{
		twophase.ErrRefused, twophase.ErrExpired, twophase.ErrReleased, twophase.ErrUnknown, twophase.ErrMismatch,
	} {
		if errors.Is(err, final) {
			return final.Error()
		}
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// remoteParticipant is a service as one process reaches it.
type remoteParticipant struct {
	process *process
	service *service
}

func (r *remoteParticipant) label(call twophase.Call, key twophase.Key) string {
	return fmt.Sprintf("%s %s %s", r.process.name, call, key)
}

// Reserve implements [twophase.Participant].
func (r *remoteParticipant) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	s := r.service
	s.world.sendsReserve(r.process, req.Key)
	reservation, err := send(ctx, r.process, &s.endpoint, r.label(twophase.CallReserve, req.Key), callFaults,
		func(m *message) served[twophase.Reservation] {
			return serve(s, m, req.Key, twophase.CallReserve, func() (twophase.Reservation, error) {
				reservation, err := s.books.reserve(req)
				s.ledger.reserved(req, reservation, err, s.now())
				return reservation, err
			})
		})
	s.world.heard(r.process, req.Key.Transaction, twophase.CallReserve, err)
	return reservation, err
}

// Assign implements [twophase.Participant].
func (r *remoteParticipant) Assign(ctx context.Context, key twophase.Key) error {
	s := r.service
	s.world.sendsAssign(r.process, key)
	_, err := send(ctx, r.process, &s.endpoint, r.label(twophase.CallAssign, key), callFaults,
		func(m *message) served[struct{}] {
			return serve(s, m, key, twophase.CallAssign, func() (none struct{}, err error) {
				err = s.books.assign(key)
				s.ledger.assigned(key, err, s.now())
				return none, err
			})
		})
	s.world.heard(r.process, key.Transaction, twophase.CallAssign, err)
	return err
}

// Release implements [twophase.Participant].
func (r *remoteParticipant) Release(ctx context.Context, key twophase.Key) error {
	s := r.service
	s.world.sendsRelease(r.process, key)
	_, err := send(ctx, r.process, &s.endpoint, r.label(twophase.CallRelease, key), callFaults,
		func(m *message) served[struct{}] {
			return serve(s, m, key, twophase.CallRelease, func() (none struct{}, err error) {
				err = s.books.release(key)
				s.ledger.released(key, err)
				return none, err
			})
		})
	s.world.heard(r.process, key.Transaction, twophase.CallRelease, err)
	return err
}
