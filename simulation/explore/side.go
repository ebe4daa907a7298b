package explore

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// side is one coordinator with its end of the wire, and the callers who asked
// it.
type side struct {
	name        string
	wire        *wire
	coordinator *twophase.Coordinator
	owner       string // the coordinator's name in the journal
	asked       string // the payload that its caller asked for, in JSON
	crashed     bool
	waiting     int // callers, and recoveries
	giveUp      context.CancelFunc
	ends        []context.CancelFunc // of whoever waits for it in its process
	// answers are those that it was given: the last of each call.
	answers map[string]string
	history []string // all of them, in their order
}

// remember keeps the answer of a call, for the state's key. An error that is
// repeated leaves nothing behind. The wire's lock is held.
func (s *side) remember(c *call, err error) {
	s.history = append(s.history, fmt.Sprintf("%s %s=%s %t", s.name, c.name, c.answer, err == nil))
	if err == nil || twophase.IsFinal(err) {
		s.answers[c.what] = c.answer
	}
}

// isCalled keeps the coordinator's name in the journal.
func (s *side) isCalled(owner string) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.owner = owner
}

// state adds all that the coordinator's behaviour depends on. One for which
// nobody waits, and that waits for nothing, is like one that was never asked.
// The wire's lock is held.
func (s *side) state(lines []string, parked []*call) []string {
	if s.crashed {
		return append(lines, s.name+" crashed")
	}
	lines = append(lines, fmt.Sprintf("%s %d", s.name, s.waiting))
	idle := s.waiting == 0
	for _, c := range parked {
		if c.from == s {
			idle = false
			lines = append(lines, fmt.Sprintf("%s waits for %s %t %s", s.name, c.what, c.served, c.answer))
		}
	}
	if idle {
		return lines
	}
	deciding := s.decides(parked)
	for what, answer := range s.answers {
		if !deciding || !isReserveOrAssign(what) {
			lines = append(lines, s.name+" "+what+"="+answer)
		}
	}
	return lines
}

// decides reports whether the coordinator has asked for a decision. What it
// does from then on depends on the decision that stands, no longer on what
// was reserved and assigned.
func (s *side) decides(parked []*call) bool {
	for what := range s.answers {
		if strings.HasPrefix(what, "decide ") {
			return true
		}
	}
	return slices.ContainsFunc(parked, func(c *call) bool { return c.from == s && strings.HasPrefix(c.what, "decide ") })
}

func isReserveOrAssign(what string) bool {
	return strings.HasPrefix(what, "reserve ") || strings.HasPrefix(what, "assign ")
}

// farParticipant is a participant at the other end of the wire.
type farParticipant struct {
	twophase.Participant
	side *side
	name string
}

func (p farParticipant) Reserve(ctx context.Context, req twophase.Request) (r twophase.Reservation, err error) {
	what := fmt.Sprintf("reserve %s at %s for %s", req.Key.Step, p.name, req.Payload)
	err = p.side.wire.send(ctx, p.side, what, func() (string, error) {
		r, err = p.Participant.Reserve(context.Background(), req)
		return answerOf(fmt.Sprint(r.Resources), err)
	})
	if err != nil {
		return twophase.Reservation{}, err
	}
	return r, nil
}

func (p farParticipant) Assign(ctx context.Context, key twophase.Key) error {
	return p.side.wire.send(ctx, p.side, fmt.Sprintf("assign %s at %s", key.Step, p.name), func() (string, error) {
		return answerOf("ok", p.Participant.Assign(context.Background(), key))
	})
}

func (p farParticipant) Release(ctx context.Context, key twophase.Key) error {
	return p.side.wire.send(ctx, p.side, fmt.Sprintf("release %s at %s", key.Step, p.name), func() (string, error) {
		return answerOf("ok", p.Participant.Release(context.Background(), key))
	})
}

func answerOf(answer string, err error) (string, error) {
	if err != nil {
		return err.Error(), err
	}
	return answer, nil
}

// farJournal is the journal at the other end of the wire. Leases are over at
// once: safety must not depend on them.
type farJournal struct {
	near *ledger
	side *side
}

func (j farJournal) send(ctx context.Context, what string, serve func(ctx context.Context) (string, error)) error {
	return j.side.wire.send(ctx, j.side, what, func() (string, error) {
		answer, err := serve(context.Background())
		return answerOf(answer, err)
	})
}

func (j farJournal) Begin(ctx context.Context, record twophase.Record) (standing twophase.Record, created bool, err error) {
	j.side.isCalled(record.Owner)
	record.Lease = 0
	err = j.send(ctx, "begin as "+work(record), func(ctx context.Context) (string, error) {
		standing, created, err = j.near.Begin(ctx, record)
		return fmt.Sprintf("%v, created %t", standing.State, created), err
	})
	return standing, created, err
}

// work returns what a record asks for, and how it stands.
func work(r twophase.Record) string {
	steps := make([]string, len(r.Steps))
	for i, step := range r.Steps {
		steps[i] = fmt.Sprintf("%s:%s", step.Name, step.Payload)
		if step.Dropped {
			steps[i] += ":dropped"
		}
		if step.Released {
			steps[i] += ":released"
		}
	}
	return fmt.Sprintf("%v {%s}", r.State, strings.Join(steps, " "))
}

func (j farJournal) Decide(ctx context.Context, id string, d twophase.Decision) (standing twophase.Decision, err error) {
	err = j.send(ctx, "decide "+d.State.String(), func(ctx context.Context) (string, error) {
		standing, err = j.near.Decide(ctx, id, d)
		return "stands " + standing.State.String(), err
	})
	return standing, err
}

func (j farJournal) Released(ctx context.Context, id string, steps []string) error {
	return j.send(ctx, "released {"+strings.Join(steps, " ")+"}", func(ctx context.Context) (string, error) {
		return "ok", j.near.Released(ctx, id, steps)
	})
}

func (j farJournal) Claim(ctx context.Context, owner string, _ time.Duration, limit int) (records []twophase.Record, err error) {
	j.side.isCalled(owner)
	err = j.send(ctx, "claim", func(ctx context.Context) (string, error) {
		records, err = j.near.Claim(ctx, owner, 0, limit)
		answer := "nothing"
		for _, r := range records {
			answer = fmt.Sprintf("%s, epoch %d, late %t", work(r), r.Epoch, r.Deadline <= 0)
		}
		return answer, err
	})
	return records, err
}

func (j farJournal) Renew(ctx context.Context, owner string, _ time.Duration, ids []string) error {
	return j.send(ctx, "renew", func(ctx context.Context) (string, error) { return "ok", j.near.Renew(ctx, owner, 0, ids) })
}

func (j farJournal) Yield(
	ctx context.Context, id, owner string, epoch int64, delay time.Duration, trouble string,
) error {
	return j.send(ctx, fmt.Sprintf("yield epoch %d", epoch), func(ctx context.Context) (string, error) {
		return "ok", j.near.Yield(ctx, id, owner, epoch, delay, trouble)
	})
}

func (j farJournal) Get(ctx context.Context, id string) (record twophase.Record, err error) {
	err = j.send(ctx, "get "+id, func(ctx context.Context) (string, error) {
		record, err = j.near.Get(ctx, id)
		return record.State.String(), err
	})
	return record, err
}

func (j farJournal) List(ctx context.Context, f twophase.Filter) iter.Seq2[twophase.Record, error] {
	return j.near.List(ctx, f)
}

func (j farJournal) Prune(ctx context.Context, age time.Duration, limit int) (int, error) {
	return j.near.Prune(ctx, age, limit)
}
