package twophasetest

import (
	"testing"
	"time"
)

func TestParticipantPasses(t *testing.T) {
	TestParticipant(t, openShelf)
}

func TestParticipantPassesWithSeveralInstances(t *testing.T) {
	TestParticipant(t, func(_ testing.TB, free int) Subject {
		s := newShelf(free)
		return subjectOf(s, s, s)
	})
}

func TestParticipantPassesWithSingleResource(t *testing.T) {
	TestParticipant(t, func(_ testing.TB, free int) Subject {
		subject := subjectOf(newShelf(free))
		subject.Several = nil
		return subject
	}, SingleResource())
}

func TestParticipantPassesInRealTime(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a second")
	}
	TestParticipant(t, openShelf, RealTime(200*time.Millisecond))
}

// Lost and repeated messages are what the contract is made for, so a suite that
// repeats its calls does not see them.
func TestParticipantPassesBehindFaultyNetwork(t *testing.T) {
	TestParticipant(t, func(_ testing.TB, free int) Subject {
		subject := subjectOf(newShelf(free))
		plan := Seeded(1, Rates{LoseRequest: 0.2, LoseReply: 0.2, Repeat: 0.2})
		subject.Participant = NewFaultyParticipant(subject.Participant, plan)
		return subject
	})
}
