package simulation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// What the world checks at every step, and at the end. The lock is held.

// state returns what is durable of a transaction, or was before it was pruned.
func (w *world) state(id string) (twophase.Record, bool) {
	if o, ok := w.orders[id]; ok && o.standing.State != 0 {
		return o.standing, true
	}
	return twophase.Record{}, false
}

// dropped reports whether a step was tried and not kept.
func dropped(r twophase.Record, step string) bool {
	return slices.ContainsFunc(r.Steps, func(s twophase.StepRecord) bool { return s.Name == step && s.Dropped })
}

// sendsReserve, sendsAssign and sendsRelease check what is about to be sent.
func (w *world) sendsReserve(p *process, key twophase.Key) {
	w.sends(p, key.Transaction, phaseReserving)
}

func (w *world) sendsAssign(p *process, key twophase.Key) {
	w.sends(p, key.Transaction, phaseAssigning)
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, begun := w.state(key.Transaction); !begun && !p.gone {
		w.violate("I7: %s assigns %s before begun is durable", p.name, key)
	}
}

func (w *world) sendsRelease(p *process, key twophase.Key) {
	w.sends(p, key.Transaction, phaseSettling)
	w.mu.Lock()
	defer w.mu.Unlock()
	r, _ := w.state(key.Transaction)
	switch {
	case p.gone || r.State == twophase.StateReleasing || r.State == twophase.StateReleased:
	case r.State == twophase.StateAssigned && dropped(r, key.Step):
		w.coverage.reach(notKeptFault)
	default:
		w.violate("I7: %s releases %s, which is %s", p.name, key, stateOf(r))
	}
}

// assignedOn is called when a participant has assigned.
func (w *world) assignedOn(key twophase.Key) {
	if _, begun := w.state(key.Transaction); !begun {
		w.violate("I5: %s is assigned, and no record leads to it", key)
	}
}

// releasedOn is called when a participant has released.
func (w *world) releasedOn(key twophase.Key) {
	o := w.orders[key.Transaction]
	if o != nil && o.placed != nil && !dropped(o.standing, key.Step) {
		w.violate("I1: %s was told placed, and is released", key)
	}
}

// recordChanged is called with what a call on the journal has made of a record.
func (w *world) recordChanged(id string, before, after twophase.Record) {
	o := w.orders[id]
	if o == nil || before.State == after.State && before.Epoch == after.Epoch && released(before) == released(after) {
		return
	}
	allowed := map[twophase.State][]twophase.State{
		0:                       {twophase.StateBegun, twophase.StateReleasing},
		twophase.StateBegun:     {twophase.StateAssigned, twophase.StateReleasing},
		twophase.StateAssigned:  {twophase.StateAssigned},
		twophase.StateReleasing: {twophase.StateReleasing, twophase.StateReleased},
	}[before.State]
	if !slices.Contains(allowed, after.State) {
		w.violate("I2: %s was %s, and becomes %s", id, stateOf(before), stateOf(after))
	}
	if before.State == 0 {
		o.leased = w.now() + w.plan.lease
	}
	o.standing = after
	for _, step := range after.Steps {
		if step.Released {
			w.mustBeReleased(id, step)
		}
	}
}

func released(r twophase.Record) (n int) {
	for _, step := range r.Steps {
		if step.Released {
			n++
		}
	}
	return n
}

// mustBeReleased: what is on record as released was released.
func (w *world) mustBeReleased(id string, step twophase.StepRecord) {
	key := twophase.Key{Transaction: id, Step: step.Name}
	for _, s := range w.services {
		if s.name == step.Participant && s.ledger.promises[key].state != twophase.EntryReleased {
			w.violate("I4: %s is on record as released, and is not", key)
		}
	}
}

// claimed is called with a record that a process was leased.
func (w *world) claimed(p *process, r twophase.Record) {
	o := w.orders[r.ID]
	if o == nil {
		return
	}
	if r.Epoch != o.standing.Epoch+1 {
		w.violate("lease: %s is claimed in epoch %d after epoch %d", r.ID, r.Epoch, o.standing.Epoch)
	}
	if w.now() < o.leased {
		w.violate("lease: %s is claimed %v before its lease runs out", r.ID, o.leased-w.now())
	}
	o.standing, o.leased = r, w.now()+w.plan.lease
	w.coverage.journal(orIf(r.Deadline <= 0, opClaimLate, opClaim), r)
	for _, s := range w.sides {
		if other := s.process; other != nil && other != p {
			w.coverage.sees(other, r.ID, evLost)
		}
	}
	w.coverage.enters(p, r.ID, orIf(r.State == twophase.StateBegun && r.Deadline > 0, phaseReserving, phaseDeciding))
	w.coverage.sees(p, r.ID, evClaimed)
}

func (w *world) renewed(id, owner string, lease time.Duration) {
	o := w.orders[id]
	if o == nil {
		return
	}
	r := w.journal.record(id)
	w.coverage.journal(opRenew, r)
	if r.Owner == owner && !r.Finished() {
		o.leased = w.now() + lease
	}
}

// yielded: only who holds a claim can give it back.
func (w *world) yielded(p *process, before, after twophase.Record, owner string, epoch int64) {
	o := w.orders[before.ID]
	if o == nil {
		return
	}
	w.coverage.journal(opYield, before)
	if changed := before.Attempts != after.Attempts; changed {
		if before.Owner != owner || before.Epoch != epoch {
			w.violate("lease: %s is yielded by %s in epoch %d, which does not hold it", before.ID, p.name, epoch)
		}
		o.leased = w.now() + after.Lease
	}
	o.standing = after
}

// pruned is called when the journal has forgotten something.
func (w *world) pruned() {
	for id, o := range w.orders {
		if o.standing.State == 0 || o.pruned || w.journal.record(id).State != 0 {
			continue
		}
		o.pruned = true
		if !o.standing.Finished() {
			w.violate("I5: %s is forgotten, and not finished", id)
		}
		// Whose coordinator was killed before it could say that there is nothing
		// to release: its function had failed before its first step.
		if o.standing.State == twophase.StateReleasing && len(o.standing.Steps) > 0 {
			w.violate("I4: %s is forgotten as releasing", id)
		}
		w.coverage.journal(opPrune, o.standing)
	}
}

// told checks what a caller is told against what others were told, and against
// all that is durable.
func (w *world) told(o *order, result twophase.Result, err error) {
	switch {
	case err == nil:
		w.toldPlaced(o, result)
	case errors.Is(err, twophase.ErrNotPlaced):
		o.refused = err
		if s := o.standing.State; s != twophase.StateReleasing && s != twophase.StateReleased {
			w.violate("I7: %s is told not placed, and is %s", o.plan.id, stateOf(o.standing))
		}
	}
	if o.placed != nil && o.refused != nil {
		w.violate("I2: %s is told placed, and not placed: %v", o.plan.id, o.refused)
	}
}

func (w *world) toldPlaced(o *order, result twophase.Result) {
	if o.standing.State != twophase.StateAssigned {
		w.violate("I7: %s is told placed, and is %s", o.plan.id, stateOf(o.standing))
	}
	if o.placed == nil {
		o.placed = &result
	}
	for _, step := range result.Steps {
		s := w.service(step.Participant)
		key := twophase.Key{Transaction: o.plan.id, Step: step.Name}
		state, held := s.books.look(key)
		switch {
		case o.betrayed || s.ledger.promises[key].forgotten:
		case state != twophase.EntryAssigned:
			w.violate("I1: %s is told placed, and %s has %s", key, s.name, state)
		case !slices.Equal(held, step.Reservation.Resources):
			w.violate("I1: %s is told %v, and %s has %v", key, step.Reservation.Resources, s.name, held)
		case !slices.Equal(step.Reservation.Resources, o.placed.Reservation(step.Name).Resources):
			w.violate("I2: %s is told %v, and %v before", key, step.Reservation.Resources, o.placed.Reservation(step.Name).Resources)
		}
	}
	if len(result.Steps) < len(o.plan.steps) {
		w.violate("I1: %s is told placed with %d of %d steps", o.plan.id, len(result.Steps), len(o.plan.steps))
	}
}

// toldOf checks that who ran a transaction is given what that asks for: another one
// may have the same id.
func (w *world) toldOf(tx twophase.Transaction, result twophase.Result) {
	for _, step := range tx.Steps {
		want, ok := step.Payload.(pool.Want)
		given := slices.Concat(result.Reservation(step.Name).Resources, result.Reservation(step.Name+instead).Resources)
		if !ok || len(given) != want.Count {
			w.violate("I1: %s/%s asks for %+v, and is given %v", tx.ID, step.Name, step.Payload, given)
		}
	}
}

func (w *world) service(name string) *service {
	for _, s := range w.services {
		if s.name == name {
			return s
		}
	}
	return nil
}

// forgot reports whether a participant was made to forget something of an order.
func (w *world) forgot(id string) bool {
	o := w.orders[id]
	if o == nil || o.betrayed {
		return true
	}
	for _, s := range w.services {
		for _, step := range o.standing.Steps {
			if s.ledger.promises[twophase.Key{Transaction: id, Step: step.Name}].forgotten {
				return true
			}
		}
	}
	return false
}

// auditPlacedAt checks that a service still has what callers were told.
func (w *world) auditPlacedAt(s *service) {
	for _, id := range slices.Sorted(maps.Keys(w.orders)) {
		o := w.orders[id]
		if o.placed == nil {
			continue
		}
		for _, step := range o.placed.Steps {
			key := twophase.Key{Transaction: id, Step: step.Name}
			if step.Participant != s.name || o.betrayed || s.ledger.promises[key].forgotten {
				continue
			}
			if state, held := s.books.look(key); state != twophase.EntryAssigned || !slices.Equal(held, step.Reservation.Resources) {
				w.violate("I1: %s was told placed with %v, and %s has %s %v", key, step.Reservation.Resources, s.name, state, held)
			}
		}
	}
}

// askAgain asks every coordinator what became of everything.
func (w *world) askAgain() {
	for i, id := range slices.Sorted(maps.Keys(w.orders)) {
		o := w.orders[id]
		for range 2 {
			p := w.sides[i%len(w.sides)].running()
			i++
			if p == nil {
				continue
			}
			result, err := p.coordinator.Lookup(context.Background(), id)
			w.mu.Lock()
			w.note("in the end "+id, 0, verdict(err))
			if errors.Is(err, twophase.ErrInDoubt) {
				w.violate("stuck: %s is in doubt in the end", id)
			}
			if errors.Is(err, twophase.ErrGone) && w.journal.record(id).State != 0 {
				w.violate("I2: %s is told to be gone, and is not", id)
			}
			w.told(o, result, err)
			w.mu.Unlock()
		}
	}
}

// audit compares all books with one another, when all is over.
func (w *world) audit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.services {
		w.auditPlacedAt(s)
		w.auditService(s)
	}
	for _, id := range w.unfinished() {
		w.violate("stuck: %s is not finished", id)
	}
}

func (w *world) auditService(s *service) {
	assigned := 0
	for _, key := range slices.SortedFunc(maps.Keys(s.ledger.promises), compareKeys) {
		state, held := s.books.look(key)
		r, _ := w.state(key.Transaction)
		kept := r.State == twophase.StateAssigned && !dropped(r, key.Step)
		switch {
		case state == twophase.EntryAssigned && !kept && r.State == 0:
			w.violate("I5: %s is assigned, and no record leads to it", key)
		case state == twophase.EntryAssigned && !kept:
			w.violate("I4: %s is %s, and still assigned", key, stateOf(r))
		case state == twophase.EntryAssigned:
			assigned += len(held)
		}
	}
	if free := s.books.free(); free+assigned != s.stock {
		w.violate("I6: %s has %d resources, of which %d are assigned and %d are free", s.name, s.stock, assigned, free)
	}
}

func compareKeys(a, b twophase.Key) int {
	if c := strings.Compare(a.Transaction, b.Transaction); c != 0 {
		return c
	}
	return strings.Compare(a.Step, b.Step)
}

// What follows only counts what was met, for the tables of coverage.

func (w *world) sends(p *process, id string, at phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := view{p, id}
	if p.gone || w.coverage.paused {
		return
	}
	before, ok := w.coverage.views[v]
	if again := before == phaseSettled && at == phaseReserving; !ok || again || before < at && before != phaseWatching {
		w.coverage.views[v] = at
	}
}

func (w *world) sendsDecide(p *process, id string, d twophase.Decision) {
	w.mu.Lock()
	if d.Cause != nil && d.Cause.Reason == "deadline" && d.Cause.Call == "" {
		w.coverage.sees(p, id, evTimeOut)
	}
	for v, at := range w.coverage.views {
		if v.id == id && v.process != p && !v.process.gone && (at == phaseAssigning || at == phaseDeciding) {
			w.coverage.reach(twoDriveFault)
		}
	}
	w.mu.Unlock()
	w.sends(p, id, phaseDeciding)
}

func (w *world) heard(p *process, id string, call twophase.Call, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ok, failed := evReserved, evReserveFailed
	switch call {
	case twophase.CallAssign:
		ok, failed = evAssigned, evAssignFailed
	case twophase.CallRelease:
		ok, failed = evReleased, evReleaseFailed
	}
	w.coverage.sees(p, id, orIf(err == nil, ok, failed))
	if err != nil && !twophase.IsFinal(err) {
		switch call {
		case twophase.CallReserve:
			w.coverage.reach(downInReserveFault)
		case twophase.CallAssign:
			w.coverage.reach(downInAssignFault)
		}
	}
}

func (w *world) heardBegin(p *process, id string, b begun, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.coverage.sees(p, id, evNotBegun)
	case b.created && b.standing.State == twophase.StateBegun:
		w.coverage.sees(p, id, evBegun)
	case b.created:
		w.coverage.sees(p, id, evDecidedReleasing)
	default:
		w.coverage.sees(p, id, evForeign)
		if b.standing.State == twophase.StateBegun {
			w.coverage.enters(p, id, phaseWatching)
		}
	}
}

func (w *world) heardGet(p *process, id string, r twophase.Record, err error) {
	if err != nil || r.State == twophase.StateBegun {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.coverage.sees(p, id, orIf(r.State == twophase.StateAssigned, evDecidedAssigned, evDecidedReleasing))
}

func (w *world) heardDecision(p *process, id string, d twophase.Decision, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		return
	}
	w.coverage.sees(p, id, orIf(d.State == twophase.StateAssigned, evDecidedAssigned, evDecidedReleasing))
}

// answeredBy: a caller has left a process.
func (w *world) answeredBy(o *order, p *process, err error) {
	if errors.Is(err, twophase.ErrInDoubt) {
		w.coverage.sees(p, o.plan.id, evLeft)
		w.coverage.reach(callerAwayFault)
	}
	if at, ok := w.coverage.views[view{p, o.plan.id}]; ok && err == nil && at < phaseSettling {
		w.coverage.enters(p, o.plan.id, phaseSettled)
	}
}

// heardReleased: the last releases of a process are on record.
func (w *world) heardReleased(p *process, id string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.coverage.enters(p, id, phaseSettled)
	}
}
