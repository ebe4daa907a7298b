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

// slowly is a participant whose Assign takes its time.
type slowly struct {
	twophase.Participant
	takes time.Duration
}

func (p slowly) Assign(ctx context.Context, key twophase.Key) error {
	time.Sleep(p.takes)
	return p.Participant.Assign(ctx, key)
}

func suiteCheck(t *testing.T, checks []check, name string) check {
	t.Helper()
	for _, c := range checks {
		if c.name == name {
			return c
		}
	}
	require.Fail(t, "there is no such check", name)
	return check{}
}

func TestCheckIsRunAgainWhenItsCallsTookTooLong(t *testing.T) {
	t.Parallel()
	const inTime, racing = "Assign just before the expiry is in time", "Assign and Release of one key at once end released"
	for name, test := range map[string]struct {
		check  string
		takes  []time.Duration // of each run, the last one's for all that follow
		broken bool
		opened int
		passes bool
	}{
		"quick":                          {check: inTime, takes: []time.Duration{0}, opened: 1, passes: true},
		"slow, but in time":              {check: inTime, takes: []time.Duration{100 * time.Millisecond}, opened: 1, passes: true},
		"slow at first":                  {check: inTime, takes: []time.Duration{time.Second, 0}, opened: 2, passes: true},
		"slow":                           {check: inTime, takes: []time.Duration{1500 * time.Millisecond}, opened: 3, passes: true},
		"too slow":                       {check: inTime, takes: []time.Duration{time.Minute}, opened: 3},
		"quick and broken":               {check: inTime, takes: []time.Duration{0}, broken: true, opened: 1},
		"slow and broken":                {check: inTime, takes: []time.Duration{time.Minute, 0}, broken: true, opened: 2},
		"what fails by chance counts":    {check: racing, takes: []time.Duration{time.Minute}, broken: true, opened: 1},
		"what does not wait may be slow": {check: racing, takes: []time.Duration{time.Minute}, opened: 1, passes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				opened, closed := 0, 0
				suite := participantSuite(newConfig([]Option{RealTime(time.Second)}), func(tb testing.TB, free int) Subject {
					assert.Equal(t, opened, closed, "what was opened for an earlier run is closed")
					tb.Cleanup(func() { closed++ })
					s := newShelf(free)
					if test.broken {
						s.JudgeAssign = func(e *shelf.Held, _ time.Time) twophase.Verdict {
							return twophase.Verdict{Entry: e.Entry, Err: twophase.ErrRefused}
						}
					}
					takes := test.takes[min(opened, len(test.takes)-1)]
					opened++
					return subjectOf(slowly{s, takes})
				})
				judged := newAttempt(t, realClock(time.Second))
				suiteCheck(t, suite, test.check).try(judged, realClock(time.Second))
				assert.Equal(t, test.passes, !judged.Failed(), judged.texts)
				assert.Equal(t, test.opened, opened)
				assert.Equal(t, test.opened, closed)
			})
		})
	}
}

func TestFailureThatIsInDoubtSaysSo(t *testing.T) {
	t.Parallel()
	const inTime = "Assign just before the expiry is in time"
	synctest.Test(t, func(t *testing.T) {
		check := checkNamed(t, inTime, RealTime(time.Second))
		var doubtful []bool
		for possible := true; possible; check, possible = check.Longer() {
			var failure *Failure
			require.ErrorAs(t, check.Run(t.Context(), subjectOf(slowly{newShelf(check.Free), time.Minute})), &failure)
			doubtful = append(doubtful, failure.Doubtful)
		}
		assert.Equal(t, []bool{true, true, true}, doubtful)
	})
	for name, options := range map[string][]Option{
		"in a bubble":                     nil,
		"when what is long would run out": {RealTime(time.Second), LongHold(20 * time.Second)},
	} {
		_, possible := checkNamed(t, inTime, options...).Longer()
		assert.False(t, possible, name)
	}
}
