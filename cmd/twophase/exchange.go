package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/seed-bcc3c603/twophase"
)

// exchange is one call on the service: what was sent, and what was answered.
type exchange struct {
	Call     twophase.Call `json:"call"`
	Key      twophase.Key  `json:"key"`
	Sent     string        `json:"sent"`
	Answered string        `json:"answered"`

	began time.Time
}

// wire is what a client puts down of the call that it makes: the text of what
// it sent and got. It is empty if nothing was sent.
type wire struct{ sent, answered string }

type wireKey struct{}

// wireOf returns where to put down the call that is made with ctx. It is never
// nil.
func wireOf(ctx context.Context) *wire {
	if w, ok := ctx.Value(wireKey{}).(*wire); ok {
		return w
	}
	return &wire{}
}

// transcript is what was called, and by which keys. It is safe for concurrent
// use.
type transcript struct {
	mu        sync.Mutex
	exchanges []exchange
	keys      map[twophase.Key]bool
}

// maxExchanges bounds a transcript: the first are dropped.
const maxExchanges = 4096

func (t *transcript) add(e exchange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.exchanges) == maxExchanges {
		t.exchanges = append(t.exchanges[:0], t.exchanges[maxExchanges/2:]...)
	}
	t.exchanges = append(t.exchanges, e)
}

// touch notes that a key is about to be called.
func (t *transcript) touch(key twophase.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys == nil {
		t.keys = map[twophase.Key]bool{}
	}
	t.keys[key] = true
}

// touched returns all keys that were called.
func (t *transcript) touched() (keys []twophase.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.keys {
		keys = append(keys, key)
	}
	return keys
}

// reset begins a new transcript.
func (t *transcript) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exchanges, t.keys = nil, nil
}

// until returns what began before a time.
func (t *transcript) until(at time.Time) (before []exchange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.exchanges {
		if e.began.Before(at) {
			before = append(before, e)
		}
	}
	return before
}

// recorded is a participant whose calls are put down in a transcript, under
// keys that are prefixed so that no other check, and no other run, has them.
type recorded struct {
	participant twophase.Participant
	prefix      string
	timeout     time.Duration
	transcript  *transcript
}

var _ twophase.Participant = (*recorded)(nil)

// Reserve implements [twophase.Participant].
func (r *recorded) Reserve(ctx context.Context, req twophase.Request) (reservation twophase.Reservation, err error) {
	req.Key = prefixed(r.prefix, req.Key)
	err = r.call(ctx, twophase.CallReserve, req.Key, func(ctx context.Context) (err error) {
		reservation, err = r.participant.Reserve(ctx, req)
		return err
	})
	return reservation, err
}

// Assign implements [twophase.Participant].
func (r *recorded) Assign(ctx context.Context, key twophase.Key) error {
	key = prefixed(r.prefix, key)
	return r.call(ctx, twophase.CallAssign, key, func(ctx context.Context) error {
		return r.participant.Assign(ctx, key)
	})
}

// Release implements [twophase.Participant].
func (r *recorded) Release(ctx context.Context, key twophase.Key) error {
	key = prefixed(r.prefix, key)
	return r.call(ctx, twophase.CallRelease, key, func(ctx context.Context) error {
		return r.participant.Release(ctx, key)
	})
}

func (r *recorded) call(ctx context.Context, call twophase.Call, key twophase.Key, do func(context.Context) error) error {
	r.transcript.touch(key)
	e := exchange{Call: call, Key: key, began: time.Now()}
	w := &wire{}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, wireKey{}, w), r.timeout)
	defer cancel()
	err := do(ctx)
	e.Sent, e.Answered = w.sent, w.answered
	if w.sent == "" {
		e.Sent = string(call) + " " + key.String() + " (not sent)"
	}
	if w.answered == "" && err != nil {
		e.Answered = r.noAnswer(err)
	}
	r.transcript.add(e)
	return err
}

func (r *recorded) noAnswer(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", r.timeout)
	}
	return "no answer: " + cut(rootOf(err).Error())
}

// rootOf returns the innermost of errors that wrap one another.
func rootOf(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// prefixed returns a key of this check only. What is too long for an id then
// loses its beginning, as the suite tells long ids apart by their ends.
func prefixed(prefix string, key twophase.Key) twophase.Key {
	id := key.Transaction
	for len(id) > 0 && len(prefix)+len(id) > twophase.MaxIDLength {
		_, size := utf8.DecodeRuneInString(id)
		id = id[size:]
	}
	key.Transaction = prefix + id
	return key
}

// maxShown is how much of what was sent and answered is kept.
const maxShown = 1 << 10

// cut makes a stranger's text fit for a report: of one line, and short.
func cut(text string) string {
	shown := make([]rune, 0, min(len(text), maxShown))
	for _, r := range text {
		if len(shown) == maxShown {
			return string(shown) + "…"
		}
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			r = ' '
		}
		shown = append(shown, r)
	}
	return string(shown)
}
