package twophasetest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Check is one promise of the contract of [twophase.Participant], to be checked
// outside of "go test": for a service in another language, say, that is called
// over a network. [TestParticipant] runs the same checks.
type Check struct {
	// Name is the promise, in a sentence.
	Name string
	// Demand is what the participant has to answer, and what that leaves.
	Demand string
	// Why says what goes wrong, for whoever uses the service, if it does not.
	Why string
	// Free is how many resources the check needs to be free.
	Free int
	// Skip says why the check does not apply; empty if it does.
	Skip string

	several bool // needs Subject.Several
	racing  bool // fails by chance, if at all: no failure is excused
	run     func(t tester, s *service)
	config  config
}

// ParticipantChecks returns the checks of [TestParticipant], in its order. Time
// is that of a [synctest] bubble, unless there is [RealTime].
func ParticipantChecks(options ...Option) []Check {
	return participantChecks(newConfig(options))
}

// Run checks the promise on a subject that has exactly Free free resources, and
// that has never seen the keys of an earlier check. It returns nil if the
// promise is kept, a [*Failure] if it is broken, and the error of ctx if that
// ended first. What is held then stays so: the caller gives it back.
//
// Several checks may run at once, on different subjects.
func (c Check) Run(ctx context.Context, subject Subject) error {
	c.config.clock = c.config.restarted()
	f := &findings{ctx: ctx, clock: c.config.clock}
	done := make(chan struct{})
	go func() { // ended by FailNow
		defer close(done)
		c.check(f, subject)
	}()
	<-done
	if err := ctx.Err(); err != nil {
		return err
	}
	if failure := f.failure(); failure != nil {
		failure.Doubtful = failure.Doubtful && !c.racing
		return failure
	}
	return nil
}

// Longer returns the check with twice the time for its calls, and true. It
// returns false without [RealTime], at the third time, and if what is not to run
// out might then do so: see [LongHold].
func (c Check) Longer() (Check, bool) {
	var possible bool
	c.config.clock, possible = c.config.longer()
	return c, possible
}

// check checks a subject as part of a test.
func (c Check) check(t tester, subject Subject) {
	t.Helper()
	c.run(t, newService(t, c.config, subject))
}

// Failure is a promise that is broken.
type Failure struct {
	// Findings say what is not as it should be, in the order in which that was
	// found.
	Findings []string
	// At is when the first was found. Calls that were made later did not lead
	// to it.
	At time.Time
	// Doubtful says that calls took longer, until then, than what is to run out
	// allows, so that this alone may have led to it: run [Check.Longer].
	Doubtful bool
}

// Error returns the findings, one after the other.
func (f *Failure) Error() string { return strings.Join(f.Findings, "\n") }

// tester is what a check needs of a test. A [testing.TB] is one.
type tester interface {
	Context() context.Context
	Errorf(format string, args ...any)
	FailNow()
	Helper()
	Logf(format string, args ...any)
}

// findings are a tester that remembers what is wrong.
type findings struct {
	ctx   context.Context
	clock clock

	mu       sync.Mutex
	failed   bool
	texts    []string  // as they were given
	at       time.Time // when it failed
	doubtful bool      // see [clock.doubtful]
}

func (f *findings) Helper() {}

func (f *findings) Logf(string, ...any) {}

func (f *findings) Context() context.Context { return f.ctx }

// Errorf adds a finding.
func (f *findings) Errorf(format string, args ...any) {
	f.Fail()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}

func (f *findings) Fail() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.failed {
		f.failed, f.at, f.doubtful = true, time.Now(), f.clock.doubtful()
	}
}

func (f *findings) FailNow() {
	f.Fail()
	runtime.Goexit()
}

func (f *findings) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// failure returns what is wrong, or nil.
func (f *findings) failure() *Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.failed {
		return nil
	}
	failure := &Failure{At: f.at, Doubtful: f.doubtful}
	for _, text := range f.texts {
		failure.Findings = append(failure.Findings, finding(text))
	}
	return failure
}

// finding returns what a failed assertion says, without where in the suite it
// stands: a table of labels, each with lines of text, as testify prints it.
func finding(message string) string {
	sections := map[string][]string{}
	label := ""
	for line := range strings.Lines(message) {
		margin, text, found := strings.Cut(strings.TrimPrefix(strings.TrimRight(line, "\n"), "\t"), "\t")
		if !found {
			continue
		}
		if name := strings.TrimSpace(margin); name != "" {
			label = name
		}
		if text = strings.TrimSpace(text); text != "" {
			sections[label] = append(sections[label], text)
		}
	}
	if len(sections["Error:"]) == 0 {
		return strings.TrimSpace(message)
	}
	return strings.Join(append(sections["Messages:"], sections["Error:"]...), "\n")
}
