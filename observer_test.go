package twophase_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// events is an observer that remembers.
type events struct {
	mu   sync.Mutex
	list []twophase.Event
}

func (o *events) Observe(_ context.Context, e twophase.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, e)
}

func (o *events) all() []twophase.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]twophase.Event(nil), o.list...)
}

// errorList returns the errors of one kind of event.
func (o *events) errorList(kind twophase.EventKind) (list []string) {
	for _, e := range o.all() {
		if e.Kind == kind && e.Err != nil {
			list = append(list, e.Err.Error())
		}
	}
	return list
}

func (o *events) errors(kind twophase.EventKind) string { return strings.Join(o.errorList(kind), "\n") }

// lines returns one line for each event.
func (o *events) lines() (lines []string) {
	for _, e := range o.all() {
		line := string(e.Kind)
		for _, part := range []string{string(e.Call), e.Step, e.State.String()} {
			if part != "" {
				line += " " + part
			}
		}
		if e.Attempt > 0 {
			line += fmt.Sprintf(" #%d", e.Attempt)
		}
		if e.Err != nil {
			line += ": " + e.Err.Error()
		}
		lines = append(lines, line)
	}
	return lines
}

func TestObserversAreToldOfAWholeRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		plan func(w *world)
		want []string // in some order where things happen side by side
	}{
		{"placed", func(*world) {}, []string{
			"begun #1", "call reserve store #1", "call reserve delivery #1", "call assign store #1", "call assign delivery #1",
			"decided assigned",
		}},
		{"placed after a retry", func(w *world) {
			w.stocks["store"].fail(twophase.CallAssign, fault{err: errDown})
			w.journal.fail("decide", fault{loseReply: true})
		}, []string{
			"begun #1", "call reserve store #1", "call reserve delivery #1", "call assign store #1: down", "call assign store #2",
			"call assign delivery #1", "journal #1: connection reset", "decided assigned",
		}},
		{"not placed", refuseReserve, []string{
			"begun #1", "call reserve store #1", "call reserve delivery #1: refused",
			"decided releasing: twophase: order-1 not placed: reserve delivery: refused",
			"call release store #1", "call release delivery #1", "finished",
		}},
		{"forgotten", func(w *world) { w.stocks["store"].fail(twophase.CallAssign, fault{forget: true}) }, []string{
			"begun #1", "call reserve store #1", "call reserve delivery #1", "call assign delivery #1: context canceled",
			"call assign store #1: unknown reservation", "contradiction assign store: unknown reservation",
			"decided releasing: twophase: order-1 not placed: assign store: unknown reservation",
			"call release store #1", "call release delivery #1", "finished",
		}},
		{"stuck", func(w *world) {
			refuseReserve(w)
			w.stocks["store"].fail(twophase.CallRelease, fault{panics: true})
		}, []string{
			"begun #1", "call reserve store #1", "call reserve delivery #1: refused",
			"decided releasing: twophase: order-1 not placed: reserve delivery: refused",
			"call release store #1: participant panicked: out of paper", "call release delivery #1",
			"stuck begun #1: release store: participant panicked: out of paper",
		}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T, w *world) {
			w.stockAll(2)
			w.stocks["store"].latency, w.stocks["delivery"].latency = 3*time.Millisecond, 5*time.Millisecond
			test.plan(w)
			first, second := &events{}, &events{}
			c := w.coordinator(twophase.WithObserver(first), twophase.WithObserver(second))
			_, _ = w.run(t.Context(), c, "order-1", "store", "delivery")
			time.Sleep(time.Second)
			assert.ElementsMatch(t, test.want, first.lines())
			assert.ElementsMatch(t, first.all(), second.all(), "every observer is told")
			for _, e := range first.all() {
				assert.Equal(t, "order-1", e.Transaction)
				if e.Kind == twophase.EventCall {
					assert.Equal(t, e.Step, e.Participant)
					assert.False(t, e.Start.IsZero())
					assert.Equal(t, e.Call == twophase.CallAssign, e.TimeLeft > time.Minute, "%v had %v left", e.Call, e.TimeLeft)
				}
			}
			w.settle()
			w.audit()
		})
	}
}

func TestObserversAreToldOfRecovery(t *testing.T) {
	t.Parallel()
	bubble(t, "and of the state that it found", func(t *testing.T, w *world) {
		w.stockAll(1)
		w.leave(twophase.Record{ID: "order-1", Deadline: time.Minute}, "store")
		seen := &events{}
		_, err := w.coordinator(twophase.WithObserver(seen)).Recover(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{
			"recovering begun #1", "call reserve store #1", "call assign store #1", "decided assigned",
		}, seen.lines())
	})
}

// What has failed before it began is decided as it begins.
func TestObserversAreToldOfDecisionsThatComeWithTheRecord(t *testing.T) {
	t.Parallel()
	bubble(t, "of a function that fails", func(t *testing.T, w *world) {
		w.stockAll(1)
		seen := &events{}
		_, err := w.runFunc(t.Context(), w.coordinator(twophase.WithObserver(seen)), "order-1",
			func(context.Context, *twophase.Tx) error { return errDown })
		require.ErrorIs(t, err, twophase.ErrNotPlaced)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"begun #1", "decided releasing: twophase: order-1 not placed: down", "finished"}, seen.lines())
		w.audit()
	})
}

func TestLogObserver(t *testing.T) {
	t.Parallel()
	failed := errors.New("down")
	tests := []struct {
		event twophase.Event
		level slog.Level
		want  string
	}{
		{
			twophase.Event{Kind: twophase.EventCall, Transaction: "order-1", Step: "store", Participant: "store", Call: twophase.CallAssign, Attempt: 2, TimeLeft: time.Minute, Duration: time.Second, Err: failed},
			slog.LevelDebug,
			`level=DEBUG msg="twophase call" transaction=order-1 step=store participant=store call=assign attempt=2 time_left=1m0s duration=1s error=down`,
		},
		{twophase.Event{Kind: twophase.EventBegun, Transaction: "order-1", Attempt: 1}, slog.LevelDebug, `level=DEBUG msg="twophase begun" transaction=order-1 attempt=1`},
		{twophase.Event{Kind: twophase.EventDecided, Transaction: "order-1", State: twophase.StateAssigned}, slog.LevelInfo, `level=INFO msg="twophase decided" transaction=order-1 state=assigned`},
		{twophase.Event{Kind: twophase.EventFinished, Transaction: "order-1"}, slog.LevelDebug, `level=DEBUG msg="twophase finished" transaction=order-1`},
		{twophase.Event{Kind: twophase.EventStuck, Transaction: "order-1", Err: failed}, slog.LevelWarn, `level=WARN msg="twophase stuck" transaction=order-1 error=down`},
		{twophase.Event{Kind: twophase.EventJournal, Err: failed}, slog.LevelWarn, `level=WARN msg="twophase journal" error=down`},
		{twophase.Event{Kind: twophase.EventContradiction, Transaction: "order-1", Err: failed}, slog.LevelError, `level=ERROR msg="twophase contradiction" transaction=order-1 error=down`},
		{twophase.Event{Kind: twophase.EventRecovering, Transaction: "order-1", State: twophase.StateBegun}, slog.LevelDebug, `level=DEBUG msg="twophase recovering" transaction=order-1 state=begun`},
	}
	for _, test := range tests {
		t.Run(string(test.event.Kind), func(t *testing.T) {
			t.Parallel()
			for _, enabled := range []bool{true, false} {
				var out bytes.Buffer
				level := test.level
				if !enabled {
					level++
				}
				logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
				twophase.NewLogObserver(logger).Observe(t.Context(), test.event)
				if !enabled {
					assert.Empty(t, out.String(), "what is not wanted costs nothing")
					continue
				}
				assert.Equal(t, test.want+"\n", regexp.MustCompile(`^time=\S+ `).ReplaceAllString(out.String(), ""))
			}
		})
	}
}
