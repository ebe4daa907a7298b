package twophasetest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/shelf"
)

func checkNamed(t *testing.T, name string, options ...Option) Check {
	t.Helper()
	for _, c := range ParticipantChecks(options...) {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "there is no such check", name)
	return Check{}
}

func TestChecksPassOutsideOfATest(t *testing.T) {
	t.Parallel()
	for _, check := range ParticipantChecks() {
		synctest.Test(t, func(t *testing.T) {
			assert.NoError(t, check.Run(t.Context(), subjectOf(newShelf(check.Free))), check.Name)
		})
	}
}

func TestChecksSayWhatTheyDemandAndWhy(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, check := range ParticipantChecks() {
		assert.False(t, names[check.Name], check.Name)
		names[check.Name] = true
		assert.Regexp(t, `^[A-Z0-9].*\.$`, check.Demand, check.Name)
		assert.Regexp(t, `^[a-z].*\.$`, check.Why, check.Name)
		assert.Positive(t, check.Free, check.Name)
		assert.Empty(t, check.Skip, check.Name)
	}
}

func TestChecksThatDoNotApplySaySo(t *testing.T) {
	t.Parallel()
	const several = "several resources are taken together"
	assert.Contains(t, checkNamed(t, several, SingleResource()).Skip, "SingleResource")
	assert.Empty(t, checkNamed(t, "a tombstone is kept", SingleResource()).Skip)
}

func TestBrokenParticipantsFailChecksOutsideOfATest(t *testing.T) {
	t.Parallel()
	for _, broken := range brokenParticipants {
		for _, name := range broken.Caught {
			check := checkNamed(t, name)
			synctest.Test(t, func(t *testing.T) {
				s := newShelf(check.Free)
				broken.Do(s)
				var failure *Failure
				require.ErrorAs(t, check.Run(t.Context(), subjectOf(s)), &failure, "%s: %s", broken.Name, name)
				assert.NotEmpty(t, failure.Error())
				for _, finding := range failure.Findings {
					assert.NotContains(t, finding, "Error Trace", "%s: %s", broken.Name, name)
				}
			})
		}
	}
}

func TestFailureSaysWhatWasFoundAndWhen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(1)
		s.JudgeAssign = func(e *shelf.Held, _ time.Time) twophase.Verdict {
			return twophase.Verdict{Entry: e.Entry, Err: twophase.ErrReleased}
		}
		began := time.Now()
		err := checkNamed(t, "Assign of an expired key is turned away").Run(t.Context(), subjectOf(s))
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, []string{`assign is to be answered "expired", and is answered "released"`}, failure.Findings)
		assert.Equal(t, time.Minute, failure.At.Sub(began), "when the hold had passed")
	})
}

func TestSubjectThatIsIncompleteFailsTheCheck(t *testing.T) {
	t.Parallel()
	subject := subjectOf(newShelf(1))
	subject.Different = subject.Payload
	var failure *Failure
	require.ErrorAs(t, checkNamed(t, "a tombstone is kept").Run(t.Context(), subject), &failure)
	assert.Contains(t, failure.Error(), "Subject.Payload and Subject.Different")
}

func TestCheckWhoseContextEndsHasNoVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := checkNamed(t, "Reserve of an expired key is turned away").Run(ctx, subjectOf(newShelf(1)))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestServiceThatAsksForPatienceGetsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := Fault{LoseRequest: true, Err: &twophase.RetryAfterError{After: 2 * time.Second, Err: ErrLost}}
		subject := subjectOf(newShelf(1))
		subject.Participant = NewFaultyParticipant(subject.Participant, Script(
			Rule{On: Delivery{Call: twophase.CallRelease, Key: mine, Attempt: 1}, Fault: busy},
		))
		began := time.Now()
		check := checkNamed(t, "Release of a new key leaves a tombstone", RealTime(time.Second), LongHold(time.Minute))
		require.NoError(t, check.Run(t.Context(), subject))
		assert.Equal(t, 2*time.Second, time.Since(began))
	})
}

func TestLongHoldIsAskedForWhatIsNotToRunOut(t *testing.T) {
	t.Parallel()
	longest := func(options ...Option) (longest time.Duration) {
		s := newShelf(1)
		reserve := s.JudgeReserve
		s.JudgeReserve = func(e *shelf.Held, f twophase.Fingerprint, hold time.Duration, now time.Time) twophase.Verdict {
			longest = max(longest, hold)
			return reserve(e, f, hold, now)
		}
		require.NoError(t, checkNamed(t, "a repeated Assign is ok after the old expiry", options...).Run(t.Context(), subjectOf(s)))
		return longest
	}
	assert.Equal(t, time.Minute, longest(RealTime(10*time.Millisecond), LongHold(time.Minute)))
	assert.Equal(t, time.Hour, longest(RealTime(10*time.Millisecond)))
}
