package twophasetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Fault is what happens to one call on its way. The zero value is nothing;
// faults may be combined.
type Fault struct {
	// Delay is how long the request is on its way. If the caller's context
	// ends before, it is not delivered, and the caller gets the context's
	// error.
	Delay time.Duration
	// LoseRequest keeps the request from being delivered. The caller gets Err.
	LoseRequest bool
	// Repeat delivers the request twice, and the caller gets the second
	// answer.
	Repeat bool
	// ReplyDelay is how long the reply is on its way. If the caller's context
	// ends before, the caller gets the context's error, though the request was
	// delivered.
	ReplyDelay time.Duration
	// LoseReply keeps the answer to a delivered request from the caller, who
	// gets Err.
	LoseReply bool
	// Late delivers the request once more, so long after the caller got an
	// answer. After LoseRequest it is the first time that it arrives.
	Late time.Duration
	// Err is what the caller gets for what was lost; nil is ErrLost.
	Err error
}

// ErrLost is the transient error of a message that was lost. It leaves open
// whether the request was delivered.
var ErrLost = errors.New("message lost")

func (f Fault) err() error {
	if f.Err != nil {
		return f.Err
	}
	return ErrLost
}

// Delivery names a call that somebody makes on a participant or a journal.
type Delivery struct {
	// Call is one of the calls on a participant or on a journal.
	Call twophase.Call
	// Key is that of a participant's call. A call on a journal has the
	// transaction's id, if it has one, and no step.
	Key twophase.Key
	// Attempt counts the calls with that Call and Key, from 1.
	Attempt int
}

// The calls on a journal, as a Delivery names them. Claim, renew, list and
// prune have no key.
const (
	CallBegin    twophase.Call = "begin"
	CallDecide   twophase.Call = "decide"
	CallReleased twophase.Call = "released"
	CallClaim    twophase.Call = "claim"
	CallRenew    twophase.Call = "renew"
	CallYield    twophase.Call = "yield"
	CallGet      twophase.Call = "get"
	CallList     twophase.Call = "list"
	CallPrune    twophase.Call = "prune"
)

// Plan decides the fault of each call. It may be called concurrently.
type Plan func(Delivery) Fault

// Rule is one line of a [Script].
type Rule struct {
	// On says which calls are meant. What is left zero matches all.
	On Delivery
	// Fault is what happens to them.
	Fault Fault
}

func (r Rule) matches(d Delivery) bool {
	return (r.On.Call == "" || r.On.Call == d.Call) &&
		(r.On.Key.Transaction == "" || r.On.Key.Transaction == d.Key.Transaction) &&
		(r.On.Key.Step == "" || r.On.Key.Step == d.Key.Step) &&
		(r.On.Attempt == 0 || r.On.Attempt == d.Attempt)
}

// Script is a plan of rules. The first that matches a call is followed; what
// none matches is delivered as it is.
func Script(rules ...Rule) Plan {
	return func(d Delivery) Fault {
		for _, rule := range rules {
			if rule.matches(d) {
				return rule.Fault
			}
		}
		return Fault{}
	}
}

// Rates are how often faults happen: each is a share of all calls, from 0 to 1.
// They are independent of one another, but for Unavailable.
type Rates struct {
	LoseRequest float64
	LoseReply   float64
	Repeat      float64
	// Delay is how often a request is delayed, and how often a reply.
	Delay float64
	// Late is how often a request is delivered once more, later.
	Late float64
	// Unavailable is how often a request is lost for certain: it is not
	// delivered, nor is anything else done to it, and the error is
	// twophase.ErrUnavailable.
	Unavailable float64
	// Longest bounds each delay, and how late Late is. Zero is a second.
	Longest time.Duration
}

// Seeded is a plan of random faults. The fault of a call depends on nothing but
// the seed and the Delivery, so a run may be repeated by its seed, in whatever
// order goroutines call.
func Seeded(seed uint64, rates Rates) Plan {
	if rates.Longest <= 0 {
		rates.Longest = time.Second
	}
	return func(d Delivery) Fault {
		identity := fmt.Appendf(nil, "%d %q %q %q %d", seed, d.Call, d.Key.Transaction, d.Key.Step, d.Attempt)
		return rates.draw(rand.New(rand.NewChaCha8(sha256.Sum256(identity))))
	}
}

func (r Rates) draw(random *rand.Rand) Fault {
	happens := func(rate float64) bool { return random.Float64() < rate }
	some := func(rate float64) time.Duration {
		d := time.Duration(random.Int64N(int64(r.Longest))) + 1
		if !happens(rate) {
			return 0
		}
		return d
	}
	if happens(r.Unavailable) {
		return Fault{LoseRequest: true, Err: twophase.ErrUnavailable}
	}
	return Fault{
		LoseRequest: happens(r.LoseRequest),
		LoseReply:   happens(r.LoseReply),
		Repeat:      happens(r.Repeat),
		Delay:       some(r.Delay),
		ReplyDelay:  some(r.Delay),
		Late:        some(r.Late),
	}
}

// wire delivers calls, with the faults of a plan.
type wire struct {
	plan Plan
	life context.Context // of late deliveries
	stop context.CancelFunc

	mu       sync.Mutex
	attempts map[Delivery]int
	late     int // deliveries that are still to come, or under way
	arrived  sync.Cond
}

func newWire(plan Plan) *wire {
	w := &wire{plan: plan, attempts: map[Delivery]int{}}
	w.life, w.stop = context.WithCancel(context.Background())
	w.arrived.L = &w.mu
	return w
}

// send makes a call, with the fault that the plan has for it. The call may be
// made several times, also later, so do must not share what it writes to.
func send[T any](
	ctx context.Context, w *wire, call twophase.Call, key twophase.Key, do func(context.Context) (T, error),
) (T, error) {
	var none T
	fault := w.faultOf(Delivery{Call: call, Key: key})
	if fault.Late > 0 {
		defer w.sendLater(fault.Late, func(ctx context.Context) { _, _ = do(ctx) })
	}
	if err := wait(ctx, fault.Delay); err != nil {
		return none, err
	}
	if fault.LoseRequest {
		return none, fault.err()
	}
	if fault.Repeat {
		_, _ = do(ctx)
	}
	answer, err := do(ctx)
	if (fault.Repeat || fault.Late > 0) && errors.Is(err, twophase.ErrUnavailable) {
		// Another delivery may have written, or may still: the error is no longer
		// that nothing was written.
		err = fmt.Errorf("%w: %s", ErrLost, err.Error())
	}
	if err := wait(ctx, fault.ReplyDelay); err != nil {
		return none, err
	}
	if fault.LoseReply {
		return none, fault.err()
	}
	return answer, err
}

// faultOf counts the attempt and asks the plan.
func (w *wire) faultOf(d Delivery) Fault {
	w.mu.Lock()
	w.attempts[d]++
	d.Attempt = w.attempts[d]
	w.mu.Unlock()
	return w.plan(d)
}

func (w *wire) sendLater(after time.Duration, do func(context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.life.Err() != nil {
		return
	}
	w.late++
	go func() {
		defer w.arrive()
		if wait(w.life, after) == nil {
			do(w.life)
		}
	}()
}

func (w *wire) arrive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late--
	w.arrived.Broadcast()
}

// settle waits until no late delivery is left.
func (w *wire) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.late > 0 {
		w.arrived.Wait()
	}
}

// end abandons late deliveries, and waits for those under way.
func (w *wire) end() {
	w.mu.Lock()
	w.stop()
	w.mu.Unlock()
	w.settle()
}

// wait lets time pass, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nothing is the answer of a call that only has an error.
type nothing = struct{}
