package twophase

import (
	"context"
	"log/slog"
	"time"
)

// Observer is told of every step of every transaction. Observe is called where
// the work is done and from many goroutines at once, so it must be quick and
// must not call the coordinator.
type Observer interface {
	Observe(ctx context.Context, event Event)
}

// Event is something that happened to a transaction. Which fields are set
// depends on its Kind.
type Event struct {
	Kind        EventKind
	Transaction string

	// Of EventCall: one attempt of a call on a participant. Attempt counts
	// from 1; TimeLeft is what the reservation had left when an Assign was
	// sent, seen from the coordinator.
	Step        string
	Participant string
	Call        Call
	Attempt     int
	TimeLeft    time.Duration

	// Start is when it began and Duration how long it took: one attempt of
	// EventCall, one write of EventBegun, and the time since the transaction
	// was taken up for EventDecided and EventFinished.
	Start    time.Time
	Duration time.Duration

	// State is the decision, of EventDecided, and the state that recovery
	// found, of EventRecovering.
	State State

	// Err is the error of a call or a write, the cause of a decision that is
	// not placed, or the trouble of what is stuck.
	Err error
}

// EventKind tells events apart.
type EventKind string

// The kinds of events.
const (
	// EventCall is one attempt of a call on a participant.
	EventCall EventKind = "call"
	// EventBegun is a record written, or the attempt to write it.
	EventBegun EventKind = "begun"
	// EventDecided is the decision that stands, known to be durable.
	EventDecided EventKind = "decided"
	// EventFinished is a transaction whose releases are all acknowledged. One that
	// had none to make is finished with its EventDecided.
	EventFinished EventKind = "finished"
	// EventRecovering is a transaction claimed from its former owner.
	EventRecovering EventKind = "recovering"
	// EventStuck is a transaction that could not be finished for now. It is
	// tried again at a slow pace, and listed by Filter.Stuck meanwhile.
	EventStuck EventKind = "stuck"
	// EventContradiction is a participant that does not know any more what it
	// had acknowledged: its books were lost, or restored from a backup.
	EventContradiction EventKind = "contradiction"
	// EventJournal is an error of the journal that is being retried.
	EventJournal EventKind = "journal"
)

// NewLogObserver returns an observer that logs to logger: attempts at level
// debug, outcomes at info, what is stuck and failing writes at warn,
// contradictions at error.
func NewLogObserver(logger *slog.Logger) Observer { return logObserver{logger} }

type logObserver struct{ logger *slog.Logger }

func (o logObserver) Observe(ctx context.Context, e Event) {
	level := e.level()
	if !o.logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	add := func(set bool, attr slog.Attr) {
		if set {
			attrs = append(attrs, attr)
		}
	}
	add(e.Transaction != "", slog.String("transaction", e.Transaction))
	add(e.Step != "", slog.String("step", e.Step))
	add(e.Participant != "", slog.String("participant", e.Participant))
	add(e.Call != "", slog.String("call", string(e.Call)))
	add(e.Attempt > 0, slog.Int("attempt", e.Attempt))
	add(e.TimeLeft > 0 && e.TimeLeft != endless, slog.Duration("time_left", e.TimeLeft))
	add(e.Duration > 0, slog.Duration("duration", e.Duration))
	add(e.State != 0, slog.String("state", e.State.String()))
	add(e.Err != nil, slog.Any("error", e.Err))
	o.logger.LogAttrs(ctx, level, "twophase "+string(e.Kind), attrs...)
}

func (e Event) level() slog.Level {
	switch e.Kind {
	case EventDecided:
		return slog.LevelInfo
	case EventStuck, EventJournal:
		return slog.LevelWarn
	case EventContradiction:
		return slog.LevelError
	}
	return slog.LevelDebug
}
