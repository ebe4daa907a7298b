package twophase_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// A food order is placed only if both a packet and an agent are given to it.
func Example() {
	store, _ := pool.New()
	delivery, _ := pool.New()
	_ = store.Restock("masala dosa", "packet-1", "packet-2")
	_ = delivery.Restock("Indiranagar", "agent-7")

	ctx := context.Background()
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("store", store), twophase.WithParticipant("delivery", delivery))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(ctx) }()

	result, err := coordinator.Run(ctx, twophase.Transaction{ID: "order-1001", Steps: []twophase.Step{
		{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}},
		{Participant: "delivery", Payload: pool.Want{Kind: "Indiranagar"}},
	}})
	fmt.Println(result.Reservation("store").Resource(), result.Reservation("delivery").Resource(), err)
	// Output: packet-1 agent-7 <nil>
}

// What came of a transaction is in the error, and only there.
func ExampleCoordinator_Run() {
	coordinator := newFoodCoordinator()
	defer func() { _ = coordinator.Close(context.Background()) }()

	for _, id := range []string{"order-1001", "order-1002", "order-1003"} {
		result, err := coordinator.Run(context.Background(), order(id))
		switch {
		case err == nil:
			fmt.Println(id, "placed:", result.Reservation("store").Resource(), "by", result.Reservation("delivery").Resource())
		case errors.Is(err, twophase.ErrNotPlaced):
			fmt.Println("Order Not Placed:", err)
		case errors.Is(err, twophase.ErrInDoubt):
			fmt.Println("ask again with the same id:", err)
		default:
			fmt.Println("nothing was begun:", err)
		}
	}
	// Output:
	// order-1001 placed: packet-1 by agent-1
	// order-1002 placed: packet-2 by agent-2
	// Order Not Placed: twophase: order-1003 not placed: reserve delivery: refused: order-1003/delivery wants 1 of "Indiranagar": 0 free
}

// Running the same transaction again returns the same outcome, so a caller who
// has lost the answer simply asks again.
func ExampleCoordinator_Run_sameIDAgain() {
	coordinator := newFoodCoordinator()
	defer func() { _ = coordinator.Close(context.Background()) }()

	for range 2 {
		result, err := coordinator.Run(context.Background(), order("order-1001"))
		fmt.Println(result.Reservation("store").Resource(), err)
	}
	other := order("order-1001")
	other.Steps = other.Steps[:1]
	_, err := coordinator.Run(context.Background(), other)
	fmt.Println(errors.Is(err, twophase.ErrMismatch), err)
	// Output:
	// packet-1 <nil>
	// packet-1 <nil>
	// true twophase: order-1001: the id was used before with other contents
}

// The second reservation depends on the first, and has something to fall back
// on: if no agent is free near the store, one who is farther away will do.
func ExampleCoordinator_RunFunc() {
	coordinator := newFoodCoordinator()
	defer func() { _ = coordinator.Close(context.Background()) }()

	result, err := coordinator.RunFunc(context.Background(), "order-1001", func(ctx context.Context, tx *twophase.Tx) error {
		packet, err := tx.Reserve(ctx, "store", pool.Want{Kind: "masala dosa"})
		if err != nil {
			return err // everything that is reserved so far is released
		}
		fmt.Println("reserved", packet.Resource())
		for _, area := range []string{"Domlur", "Indiranagar"} {
			_, err = tx.ReserveStep(ctx, twophase.Step{
				Participant: "delivery", Name: "agent in " + area, Payload: pool.Want{Kind: area},
			})
			if err == nil {
				break
			}
			fmt.Println(err)
		}
		return err // nil: assign all
	})
	for _, step := range result.Steps {
		fmt.Println(step.Name, "gives", step.Reservation.Resource())
	}
	fmt.Println(err)
	// Output:
	// reserved packet-1
	// twophase: order-1001: reserve agent in Domlur at delivery: refused: order-1001/agent in Domlur wants 1 of "Domlur": there is no such kind
	// store gives packet-1
	// agent in Indiranagar gives agent-1
	// <nil>
}

// An Error has the step, the participant, the call and the cause.
func ExampleError() {
	coordinator := newFoodCoordinator()
	defer func() { _ = coordinator.Close(context.Background()) }()

	tx := order("order-1001")
	tx.Steps[0].Payload = pool.Want{Kind: "idli"}
	_, err := coordinator.Run(context.Background(), tx)
	if failed, ok := errors.AsType[*twophase.Error](err); ok {
		fmt.Println(failed.ID, failed.Verdict)
		fmt.Println(failed.Participant, failed.Call, errors.Is(err, twophase.ErrRefused))
	}
	// Output:
	// order-1001 not placed
	// store reserve true
}

// A caller who cannot wait is told that the transaction is in doubt, never a
// guess.
func ExampleCoordinator_Wait() {
	store, delivery := newFoodPools()
	slow := newSlowAssign(store)
	coordinator := newCoordinatorOf(slow, delivery)
	defer func() { _ = coordinator.Close(context.Background()) }()

	running := make(chan error, 1)
	go func() {
		_, err := coordinator.Run(context.Background(), order("order-1001"))
		running <- err
	}()
	<-slow.arrived
	_, err := coordinator.Lookup(context.Background(), "order-1001")
	fmt.Println(errors.Is(err, twophase.ErrInDoubt), err)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = coordinator.Run(ctx, order("order-1001"))
	fmt.Println(err)

	close(slow.answer)
	result, err := coordinator.Wait(context.Background(), "order-1001")
	fmt.Println(result.Reservation("store").Resource(), err, <-running)
	// Output:
	// true twophase: order-1001 in doubt: it is under way
	// twophase: order-1001 not begun: context canceled
	// packet-1 <nil> <nil>
}

// Lookup does not wait.
func ExampleCoordinator_Lookup() {
	coordinator := newFoodCoordinator()
	defer func() { _ = coordinator.Close(context.Background()) }()

	_, err := coordinator.Lookup(context.Background(), "order-1001")
	fmt.Println(errors.Is(err, twophase.ErrGone), err)

	_, _ = coordinator.Run(context.Background(), order("order-1001"))
	result, err := coordinator.Lookup(context.Background(), "order-1001")
	fmt.Println(result.Reservation("delivery").Resource(), err)
	// Output:
	// true twophase: look up order-1001: twophase: order-1001: no record of it: never begun, or forgotten
	// agent-1 <nil>
}

// The store answers within a second or not at all; delivery people may be hard
// to reach for minutes.
func ExampleWithPolicyFor() {
	store, delivery := newFoodPools()
	_, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("store", store),
		twophase.WithParticipant("delivery", delivery),
		twophase.WithPolicyFor("store", twophase.Policy{ReserveFor: time.Second}),
		twophase.WithPolicyFor("delivery", twophase.Policy{AssignFor: 5 * time.Minute}),
	)
	fmt.Println(err)

	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("store", store),
		twophase.WithParticipant("delivery", delivery),
		twophase.WithPolicyFor("store", twophase.Policy{ReserveFor: time.Second}),
		twophase.WithPolicyFor("delivery", twophase.Policy{AssignFor: 5 * time.Minute}),
		twophase.WithPolicy(twophase.Policy{Hold: 10 * time.Minute}),
		twophase.WithTimeout(10*time.Minute),
	)
	fmt.Println(err)
	_ = coordinator.Close(context.Background())
	// Output:
	// twophase: policy for participant "delivery": invalid: Hold is 2m0s, shorter than ReserveFor 3s + AssignFor 5m0s + Margin 1s = 5m4s: a reservation would run out while it is still to be assigned; raise Hold, or lower them
	// <nil>
}

// A coordinator dies in the middle of a transaction; another one on the same
// journal finishes it. In a service this happens by itself, in the background.
func ExampleCoordinator_Recover() {
	journal := twophase.NewMemoryJournal()
	store, delivery := newFoodPools()
	slow := newSlowAssign(store)
	dying := newCoordinatorOn(journal, slow, delivery)
	told := make(chan error)
	go func() {
		_, err := dying.Run(context.Background(), order("order-1001"))
		told <- err
	}()
	<-slow.arrived
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	closed := dying.Close(ctx)
	fmt.Println(closed)
	fmt.Println(<-told)

	coordinator := newCoordinatorOn(journal, store, delivery)
	defer func() { _ = coordinator.Close(context.Background()) }()
	recovery, err := coordinator.Recover(context.Background())
	fmt.Println(recovery.Finished, "finished,", recovery.Stuck, "stuck,", err)
	result, err := coordinator.Lookup(context.Background(), "order-1001")
	fmt.Println(result.Reservation("store").Resource(), err)
	// Output:
	// twophase: closed with 1 transactions left to recovery: context canceled
	// twophase: order-1001 in doubt: coordinator closed
	// 1 finished, 0 stuck, <nil>
	// packet-1 <nil>
}

// The store gave a packet away that it had assigned. No protocol can prevent
// that; comparing the books finds it.
func ExampleCoordinator_Reconcile() {
	store, delivery := newFoodPools()
	coordinator := newCoordinatorOf(store, delivery)
	defer func() { _ = coordinator.Close(context.Background()) }()
	_, _ = coordinator.Run(context.Background(), order("order-1001"))

	_ = store.Release(context.Background(), twophase.Key{Transaction: "order-1001", Step: "store"})
	for err := range coordinator.Reconcile(context.Background(), 24*time.Hour) {
		fmt.Println(err)
	}
	// Output: twophase: order-1001 was given [packet-1] by step store at store, which no longer stands by it: released: order-1001/store
}

// Outcomes are logged at level info, attempts at debug, what needs somebody's
// attention above.
func ExampleNewLogObserver() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey || attr.Key == "duration" {
				return slog.Attr{} // differs each time
			}
			return attr
		},
	}))
	store, delivery := newFoodPools()
	coordinator := newCoordinatorOf(store, delivery, twophase.WithObserver(twophase.NewLogObserver(logger)))
	for _, id := range []string{"order-1001", "order-1002", "order-1003"} {
		_, _ = coordinator.Run(context.Background(), order(id))
	}
	_ = coordinator.Close(context.Background())
	// Output:
	// level=INFO msg="twophase decided" transaction=order-1001 state=assigned
	// level=INFO msg="twophase decided" transaction=order-1002 state=assigned
	// level=INFO msg="twophase decided" transaction=order-1003 state=releasing error="twophase: order-1003 not placed: reserve delivery: refused: order-1003/delivery wants 1 of \"Indiranagar\": 0 free"
}

func ExamplePayloadOf() {
	type Party struct {
		People int `json:"people"`
	}
	key := twophase.Key{Transaction: "dinner-1", Step: "tables"}
	party, err := twophase.PayloadOf[Party](twophase.Request{Key: key, Payload: []byte(`{"people":2}`)})
	fmt.Println(party.People, err)
	_, err = twophase.PayloadOf[Party](twophase.Request{Key: key, Payload: []byte(`"two"`)})
	fmt.Println(errors.Is(err, twophase.ErrRefused), twophase.IsFinal(err))
	// Output:
	// 2 <nil>
	// true true
}

func ExampleDetailsOf() {
	type Seat struct {
		Floor string `json:"floor"`
	}
	seat, err := twophase.DetailsOf[Seat](twophase.Reservation{Resources: []string{"table-4"}, Details: []byte(`{"floor":"terrace"}`)})
	fmt.Println(seat.Floor, err)
	// Output: terrace <nil>
}

// What each call does to a key, and what it answers.
func ExampleEntry() {
	now := time.Date(2026, 1, 2, 20, 0, 0, 0, time.UTC)
	payload := twophase.FingerprintOf([]byte(`{"people":2}`))
	var e twophase.Entry

	verdict := e.Reserve(payload, time.Minute, now)
	fmt.Println(verdict.Entry.State, verdict.Take, verdict.Err)
	e = verdict.Entry
	verdict = e.Assign(now.Add(time.Minute)) // too late
	fmt.Println(verdict.Entry.State, verdict.Free, verdict.Err)
	verdict = e.Assign(now.Add(time.Second))
	fmt.Println(verdict.Entry.State, verdict.Free, verdict.Err)
	e = verdict.Entry
	verdict = e.Release()
	fmt.Println(verdict.Entry.State, verdict.Free, verdict.Err)
	// Output:
	// reserved true <nil>
	// expired true expired
	// assigned false <nil>
	// released true <nil>
}

// A participant that knows when it will be ready says so, and is left in peace
// until then.
func ExampleRetryAfterError() {
	err := error(&twophase.RetryAfterError{After: 30 * time.Second, Err: errors.New("the kitchen is being cleaned")})
	fmt.Println(err, twophase.IsFinal(err))
	// Output: the kitchen is being cleaned (retry after 30s) false
}

// What recovery could not finish for now is on record with its last trouble.
func ExampleFilter() {
	journal := twophase.NewMemoryJournal()
	_, delivery := newFoodPools()
	record := twophase.Record{
		Version: twophase.RecordVersion, ID: "order-1001", State: twophase.StateReleasing,
		Steps: []twophase.StepRecord{{Name: "store", Participant: "old store"}},
	}
	if _, _, err := journal.Begin(context.Background(), record); err != nil {
		log.Fatal(err)
	}
	coordinator, err := twophase.NewCoordinator(journal,
		twophase.WithParticipant("delivery", delivery), twophase.WithoutBackgroundRecovery())
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = coordinator.Close(context.Background()) }()
	_, _ = coordinator.Recover(context.Background())
	for record, err := range journal.List(context.Background(), twophase.Filter{Stuck: true}) {
		fmt.Println(record.ID, record.State, record.Trouble, err)
	}
	// Output: order-1001 releasing release store: there is no participant "old store" on this coordinator: give WithParticipant <nil>
}

func order(id string) twophase.Transaction {
	return twophase.Transaction{ID: id, Steps: []twophase.Step{
		{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}},
		{Participant: "delivery", Payload: pool.Want{Kind: "Indiranagar"}},
	}}
}

// newFoodPools returns a store with three packets, and two people to deliver.
func newFoodPools() (store, delivery *pool.Pool) {
	store, err := pool.New()
	if err != nil {
		log.Fatal(err)
	}
	delivery, err = pool.New()
	if err != nil {
		log.Fatal(err)
	}
	err = errors.Join(
		store.Restock("masala dosa", "packet-1", "packet-2", "packet-3"),
		delivery.Restock("Indiranagar", "agent-1", "agent-2"),
	)
	if err != nil {
		log.Fatal(err)
	}
	return store, delivery
}

func newFoodCoordinator() *twophase.Coordinator { return newCoordinatorOf(newFoodPools()) }

func newCoordinatorOf(store, delivery twophase.Participant, options ...twophase.Option) *twophase.Coordinator {
	return newCoordinatorOn(twophase.NewMemoryJournal(), store, delivery, options...)
}

func newCoordinatorOn(journal twophase.Journal, store, delivery twophase.Participant, options ...twophase.Option) *twophase.Coordinator {
	coordinator, err := twophase.NewCoordinator(journal, append([]twophase.Option{
		twophase.WithParticipant("store", store),
		twophase.WithParticipant("delivery", delivery),
		twophase.WithoutBackgroundRecovery(),
	}, options...)...)
	if err != nil {
		log.Fatal(err)
	}
	return coordinator
}

// slowAssign is a participant that assigns when it is told to.
type slowAssign struct {
	twophase.Participant
	arrived chan struct{} // closed when it has been asked
	answer  chan struct{} // closed when it may answer
	once    sync.Once
}

func newSlowAssign(p twophase.Participant) *slowAssign {
	return &slowAssign{Participant: p, arrived: make(chan struct{}), answer: make(chan struct{})}
}

func (p *slowAssign) Assign(ctx context.Context, key twophase.Key) error {
	p.once.Do(func() { close(p.arrived) })
	select {
	case <-p.answer:
		return p.Participant.Assign(ctx, key)
	case <-ctx.Done():
		return ctx.Err()
	}
}
