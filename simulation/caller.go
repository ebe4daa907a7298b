package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

func (w *world) planCallers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.plan.orders {
		o, ok := w.orders[p.id]
		if !ok {
			continue
		}
		for _, c := range p.callers {
			if w.strikes(c.name) {
				w.work.Go(func() { w.call(o, c) })
			}
		}
	}
}

// call lets somebody ask for an order until there is an answer that does not have
// to be doubted, or patience ends.
func (w *world) call(o *order, c callerPlan) {
	d := newDice(w.seed, c.name, 0)
	time.Sleep(c.at)
	at := c.side
	for range c.tries {
		if p := w.sides[at%len(w.sides)].running(); p != nil {
			if w.ask(o, c, p, d.upTo(100*time.Microsecond)) {
				return
			}
		}
		at += d.below(2)
		time.Sleep(d.upTo(c.pause))
	}
}

// ask asks once, and reports whether there is an answer.
func (w *world) ask(o *order, c callerPlan, p *process, moment time.Duration) (answered bool) {
	ctx, cancel := context.WithTimeout(context.Background(), c.patience)
	defer cancel()
	w.mu.Lock()
	naps, asleep, asked := p.naps, p.frozen != nil, time.Now()
	w.note(c.name+" asks "+p.name, 0, "")
	w.mu.Unlock()

	var result twophase.Result
	var err error
	switch {
	case c.onlyAsks:
		result, err = p.coordinator.Wait(ctx, o.plan.id)
	case o.plan.byFunction:
		result, err = p.coordinator.RunFunc(ctx, o.plan.id, o.reserve)
	default:
		result, err = p.coordinator.Run(ctx, o.transaction(c.otherSteps))
	}
	w.mu.Lock()
	w.answeredBy(o, p, err)
	if took := time.Since(asked); took > c.patience+patienceLimit && p.naps == naps && !asleep && !p.gone {
		w.violate("stuck: %s has waited %v, and wanted to wait %v", c.name, took, c.patience)
	}
	w.mu.Unlock()
	if p.awake(moment) != nil {
		return false // nobody is left to hear it
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(c.name+" is told", 0, verdict(err))
	w.told(o, result, err)
	if err == nil && !c.onlyAsks {
		w.toldOf(o.transaction(c.otherSteps), result)
	}
	return err == nil || errors.Is(err, twophase.ErrNotPlaced) || errors.Is(err, twophase.ErrMismatch)
}

// patienceLimit is how much longer than its context a call may take: what it
// waits for notices a little later.
const patienceLimit = 100 * time.Millisecond

// verdict is a short word for what a caller is told.
func verdict(err error) string {
	for _, known := range []error{
		twophase.ErrNotPlaced, twophase.ErrInDoubt, twophase.ErrMismatch, twophase.ErrGone, twophase.ErrUnavailable,
		twophase.ErrClosed, twophase.ErrInvalid,
	} {
		if errors.Is(err, known) {
			if found, ok := errors.AsType[*twophase.Error](err); ok && found.Call != "" {
				return fmt.Sprintf("%v: %s %s: %s", known, found.Call, found.Step, outcome(found.Err))
			}
			return known.Error()
		}
	}
	if err != nil {
		return err.Error()
	}
	return "placed"
}

// order is a transaction of the world, and what is known of it.
type order struct {
	plan     orderPlan
	standing twophase.Record // what was last durable
	leased   time.Duration   // until when it belongs to its owner
	pruned   bool            // the journal has forgotten it
	placed   *twophase.Result
	refused  error // what was told to whoever heard that it is not placed
	betrayed bool  // in the end a participant was made to forget what it had assigned
	exposed  bool  // and that was found out
}

// transaction returns what is to be run. With other steps it is another one, which
// has the same id by mistake.
func (o *order) transaction(otherSteps bool) twophase.Transaction {
	tx := twophase.Transaction{ID: o.plan.id, Steps: o.plan.steps, Timeout: o.plan.timeout}
	if otherSteps {
		tx.Steps = append([]twophase.Step(nil), tx.Steps...)
		last := &tx.Steps[len(tx.Steps)-1]
		want := last.Payload.(pool.Want)
		want.Count++
		last.Payload = want
	}
	return tx
}

// instead is added to the name of a step that another one was not kept for.
const instead = "-instead"

// reserve reserves one step after another. Where one cannot be had it goes on with
// something else, once.
func (o *order) reserve(ctx context.Context, tx *twophase.Tx) error {
	// If the order's time is over already, as after a long sleep, that comes first.
	d := newDice(0, o.plan.id, 0)
	time.Sleep(d.upTo(time.Millisecond))
	spared := false
	for _, step := range o.plan.steps {
		_, err := tx.ReserveStep(ctx, step)
		if err != nil && !spared {
			spared = true
			step.Name += instead
			_, err = tx.ReserveStep(ctx, step)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
