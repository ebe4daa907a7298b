package twophase_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// TestRandomFaults runs transactions on two coordinators that crash and freeze,
// among participants and a journal that fail as a seed says, lets a third
// coordinator recover what is left, asks everybody again, and audits all books.
func TestRandomFaults(t *testing.T) {
	t.Parallel()
	seeds := uint64(500)
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				shakeSeed(newWorld(t), seed)
			})
		})
	}
}

// shaking is a world in which chance breaks things.
type shaking struct {
	*world
	random  *rand.Rand
	lines   []*line
	sides   []*twophase.Coordinator
	callers sync.WaitGroup
}

// FuzzFaults does the same as the bytes of its input say, one for each choice,
// so that the fuzzer can change one fault and keep the others.
func FuzzFaults(f *testing.F) {
	for seed := range uint64(4) {
		choices := make([]byte, 400)
		for i, random := 0, rand.New(rand.NewPCG(seed, 1)); i < len(choices); i++ {
			choices[i] = byte(random.Uint32())
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		synctest.Test(t, func(t *testing.T) {
			shake(newWorld(t), rand.New(&choice{left: choices, after: rand.NewPCG(0, 0)}))
		})
	})
}

// choice is a source of randomness that takes a byte for each choice, and goes
// on by itself when none is left.
type choice struct {
	left  []byte
	after rand.Source
}

// Uint64 repeats the byte, because some choices look at the first bits and some
// at the last.
func (c *choice) Uint64() uint64 {
	if len(c.left) == 0 {
		return c.after.Uint64()
	}
	b := c.left[0]
	c.left = c.left[1:]
	return 0x0101010101010101 * uint64(b)
}

func shakeSeed(w *world, seed uint64) {
	shake(w, rand.New(rand.NewPCG(seed, 0)))
	if w.t.Failed() {
		w.t.Logf("seed %d", seed)
	}
}

// shake does to a world what chance says, and audits it.
func shake(w *world, random *rand.Rand) {
	s := &shaking{world: w, random: random}
	s.build()
	if w.built != nil {
		w.built(w)
	}
	s.open()
	for i := range 8 {
		s.ask(fmt.Sprintf("order-%d", i))
	}
	s.breakLines()
	s.callers.Wait()
	s.closeAll()
	w.settle()
	time.Sleep(3 * time.Hour) // for what is late, and for what expires
	s.askAgain()
	w.audit()
	if w.t.Failed() {
		w.t.Logf("what happened:\n%s", w.traceSince(w.start))
	}
}

// build adds participants with more or less to give, and what goes wrong.
func (s *shaking) build() {
	s.journal.latency = s.upTo(5 * time.Millisecond)
	for i := range 2 + s.random.IntN(2) {
		stock := s.stock([]string{"store", "delivery", "kitchen"}[i])
		for n := range 3 + s.random.IntN(7) {
			stock.free = append(stock.free, fmt.Sprintf("%s-%d", stock.name, n))
		}
		stock.latency = s.upTo(10 * time.Millisecond)
		for _, call := range calls {
			stock.fail(call, s.faults()...)
		}
	}
	for _, method := range []string{"begin", "decide", "released", "yield"} {
		s.journal.fail(method, s.journalFaults()...)
	}
}

// open opens two coordinators.
func (s *shaking) open() {
	for range 2 {
		l := newLine()
		s.lines = append(s.lines, l)
		options := []twophase.Option{
			twophase.WithPolicy(twophase.Policy{Hold: time.Minute}),
			twophase.WithTimeout(40 * time.Second),
			twophase.WithLease(10 * time.Second),
		}
		for name, stock := range s.stocks {
			options = append(options, twophase.WithParticipant(name, lineParticipant{l, stock}))
		}
		c, err := twophase.NewCoordinator(lineJournal{s.journal, l}, options...)
		require.NoError(s.t, err)
		s.sides = append(s.sides, c)
	}
}

func (s *shaking) upTo(d time.Duration) time.Duration {
	return time.Duration(s.random.Int64N(int64(d))) + 1
}

// faults are those of the next attempts of a call, most of which do well.
func (s *shaking) faults() []fault {
	faults := make([]fault, 24)
	for i := range faults {
		switch s.random.IntN(20) {
		case 0:
			faults[i].loseRequest = true
		case 1:
			faults[i].loseReply = true
		case 2:
			faults[i].late = s.upTo(3 * time.Minute)
		case 3:
			faults[i].delay = s.upTo(10 * time.Second)
		case 4:
			faults[i].err = errors.New("down")
		case 5:
			faults[i].err = &twophase.RetryAfterError{After: s.upTo(40 * time.Second), Err: errors.New("busy")}
		case 6:
			faults[i].hang = true
		case 7:
			faults[i].expire = true
		case 8:
			faults[i].panics = s.random.IntN(4) == 0
		}
	}
	return faults
}

func (s *shaking) journalFaults() []fault {
	faults := make([]fault, 12)
	for i := range faults {
		switch s.random.IntN(16) {
		case 0:
			faults[i].loseRequest = true
		case 1:
			faults[i].loseReply = true
		case 2:
			faults[i].delay = s.upTo(30 * time.Second)
		case 3:
			faults[i].err = twophase.ErrUnavailable
		case 4:
			faults[i].hang = true
		}
	}
	return faults
}

// ask lets some callers run one transaction, here or there, sooner or later;
// some of them do not wait for the end.
func (s *shaking) ask(id string) {
	byFunction := s.random.IntN(3) == 0
	names := make([]string, 0, len(s.stocks))
	for _, name := range []string{"store", "delivery", "kitchen"} {
		if _, ok := s.stocks[name]; ok && (len(names) == 0 || s.random.IntN(4) > 0) {
			names = append(names, name)
		}
	}
	for range 1 + s.random.IntN(3) {
		side := s.random.IntN(len(s.sides))
		after, patience := s.upTo(40*time.Second), s.upTo(4*time.Minute)
		s.callers.Go(func() {
			time.Sleep(after)
			ctx, cancel := context.WithTimeout(s.t.Context(), patience)
			defer cancel()
			if byFunction {
				_, err := s.sides[side].RunFunc(ctx, id, reserveOrElse(names))
				s.tell(id, err)
				return
			}
			_, _ = s.run(ctx, s.sides[side], id, names...)
		})
	}
}

// reserveOrElse reserves at all participants but the first, which may fail, and
// at two steps of the last instead.
func reserveOrElse(names []string) func(context.Context, *twophase.Tx) error {
	return func(ctx context.Context, tx *twophase.Tx) error {
		if _, err := tx.Reserve(ctx, names[0], nil); err == nil {
			return nil
		}
		for range 2 {
			if _, err := tx.Reserve(ctx, names[len(names)-1], nil); err != nil {
				return err
			}
		}
		return nil
	}
}

// breakLines crashes and freezes coordinators, as the seed says.
func (s *shaking) breakLines() {
	for side, l := range s.lines {
		at, lasts := s.upTo(45*time.Second), s.upTo(2*time.Minute)
		switch s.random.IntN(4) {
		case 0:
			s.callers.Go(func() {
				time.Sleep(at)
				l.cut()
				_ = s.sides[side].Close(ended(s.t.Context()))
			})
		case 1, 2:
			s.callers.Go(func() {
				time.Sleep(at)
				l.freeze()
				time.Sleep(lasts)
				l.thaw()
			})
		}
	}
}

// closeAll ends the coordinators, one by waiting and one by abandoning.
func (s *shaking) closeAll() {
	for side, c := range s.sides {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Duration(side)*time.Minute+1)
		_ = c.Close(ctx)
		cancel()
	}
}

// askAgain asks what became of everything, when all is over.
func (s *shaking) askAgain() {
	c := s.coordinator()
	for id := range s.told {
		_, err := c.Wait(s.t.Context(), id)
		assert.NotErrorIs(s.report, err, twophase.ErrInDoubt, "nothing is in doubt in the end")
		s.tell(id, err)
	}
}
