package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/shelf"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// Services that break the contract in one way each, and the promises that the
// report must say are broken.

// shortHold is that of what is to run out, most of it is its larger part, and so
// is mostOfLong of it and of the longer ones of checks that are run again.
const (
	shortHold  = 500 * time.Millisecond
	mostOf     = shortHold * 2 / 3
	mostOfLong = 4 * mostOf
)

func TestBrokenServicesAreReported(t *testing.T) {
	t.Parallel()
	for _, service := range shelf.Breaks {
		t.Run(service.Name, func(t *testing.T) {
			t.Parallel()
			kinds := eightKinds[:len(service.Caught)]
			s := shelf.New(24, kinds...)
			s.Off, s.Tombstone = mostOfLong, mostOf
			service.Do(s)
			requireReported(t, s, kinds, service.Caught)
		})
	}
}

const lostWhenCutOff = "calls whose context ends under way lose nothing"

func TestServiceThatLosesWhatIsCutOffIsReported(t *testing.T) {
	t.Parallel()
	requireReported(t, shelf.Leaky{Shelf: shelf.New(24, "a")}, []string{"a"}, []string{lostWhenCutOff})
}

// requireReported verifies a service, and checks that those promises are reported
// as broken. What breaks by chance may not do so at a moment when the machine is
// busy, so it is tried three times.
func requireReported(t *testing.T, p twophase.Participant, kinds, caught []string) {
	t.Helper()
	var quoted []string
	for _, name := range caught {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	args := append([]string{
		"verify", "-hold", shortHold.String(), "-run", "^(" + strings.Join(quoted, "|") + ")$", serveHTTP(t, p),
	}, kindFlags(kinds...)...)
	var status int
	var stdout, stderr string
	for try := 0; try < 3 && strings.Count(stdout, "BROKEN ") < len(caught); try++ {
		status, stdout, stderr = twophaseCommand(t, args...)
	}
	assert.Equal(t, exitBroken, status, stdout)
	assert.Empty(t, stderr)
	for _, name := range caught {
		assert.Contains(t, stdout, "BROKEN   "+name+"\n")
		assert.Contains(t, stdout, "  broken   "+name+"\n")
	}
}

func TestEveryPromiseIsReportedWhenItIsBroken(t *testing.T) {
	t.Parallel()
	caught := []string{lostWhenCutOff}
	for _, service := range shelf.Breaks {
		caught = append(caught, service.Caught...)
	}
	for _, check := range twophasetest.ParticipantChecks() {
		if strings.HasSuffix(check.Name, "with an ended context loses nothing") {
			continue // such a call is not sent, so no service can break it
		}
		assert.Contains(t, caught, check.Name, "no broken service is caught by it")
	}
}
