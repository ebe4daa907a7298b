package twophase_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// TestScenarios plays the scripts in testdata/scenarios: one for each row of
// the protocol's table of faults, and some more. Each line of a trace is the
// time since its command, and what was answered. Rewrite them with
// go test -run TestScenarios -rewrite, and review the difference.
func TestScenarios(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/scenarios/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &scenario{world: newWorld(t), coordinators: map[string]*twophase.Coordinator{}}
				s.world.journal.latency = time.Millisecond
				datadriven.RunTest(t, script, s.command)
				if !s.brokenPromise {
					s.world.audit()
				}
			})
		})
	}
}

// scenario is the state of a script.
type scenario struct {
	world        *world
	coordinators map[string]*twophase.Coordinator
	lines        map[string]*line // of each coordinator to the world
	policy       twophase.Policy
	waiting      sync.WaitGroup
	// brokenPromise: no protocol can keep the invariants now.
	brokenPromise bool
}

func (s *scenario) command(t *testing.T, d *datadriven.TestData) string {
	start := time.Now()
	commands := map[string]func(*testing.T, *datadriven.TestData) string{
		"participant": s.participant,
		"policy":      s.setPolicy,
		"fault":       s.fault,
		"run":         s.run,
		"fallback":    s.fallback,
		"wait":        s.wait,
		"lookup":      s.lookup,
		"sleep":       s.sleep,
		"crash":       s.crash,
		"freeze":      s.freeze,
		"thaw":        s.thaw,
		"recover":     s.recover,
		"heal":        s.heal,
		"give-away":   s.giveAway,
		"reconcile":   s.reconcile,
		"late":        s.late,
		"stuck":       s.stuck,
		"books":       s.books,
	}
	command, known := commands[d.Cmd]
	if !known {
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	answer := command(t, d)
	synctest.Wait()
	trace := s.world.traceSince(start)
	if d.HasArg("untimed") { // where the time is up to jitter
		trace = regexp.MustCompile(`(?m)^\S+ +`).ReplaceAllString(trace, "")
	}
	return trace + answer
}

// participant NAME resources=(a,b) latency=2ms
func (s *scenario) participant(t *testing.T, d *datadriven.TestData) string {
	stock := s.world.stock(d.CmdArgs[0].Key, values(d, "resources")...)
	stock.latency = duration(t, d, "latency", 2*time.Millisecond)
	return ""
}

// policy hold=2m margin=1s ...
func (s *scenario) setPolicy(t *testing.T, d *datadriven.TestData) string {
	s.policy = twophase.Policy{
		Hold:       duration(t, d, "hold", 0),
		Margin:     duration(t, d, "margin", 0),
		ReserveFor: duration(t, d, "reserve-for", 0),
		AssignFor:  duration(t, d, "assign-for", 0),
		ReleaseFor: duration(t, d, "release-for", 0),
	}
	return ""
}

// fault TARGET CALL lose-request|lose-reply|hang|panic|forget|error=text|retry-after=2s|delay=3s times=2
func (s *scenario) fault(t *testing.T, d *datadriven.TestData) string {
	f := fault{
		loseRequest: d.HasArg("lose-request"),
		loseReply:   d.HasArg("lose-reply"),
		hang:        d.HasArg("hang"),
		panics:      d.HasArg("panic"),
		forget:      d.HasArg("forget"),
		delay:       duration(t, d, "delay", 0),
	}
	if text := values(d, "error"); len(text) > 0 {
		f.err = errors.New(strings.Join(text, " "))
	}
	if after := duration(t, d, "retry-after", 0); after > 0 && f.loseReply {
		f.lost = &twophase.RetryAfterError{After: after, Err: errLost}
	} else if after > 0 {
		f.err = &twophase.RetryAfterError{After: after, Err: errors.New("down")}
	}
	if d.HasArg("away") {
		f.err = twophase.ErrUnavailable
	}
	faults := slices.Repeat([]fault{f}, max(1, number(t, d, "times")))
	target, call := d.CmdArgs[0].Key, d.CmdArgs[1].Key
	if target == "journal" {
		s.world.journal.fail(call, faults...)
	} else {
		s.world.stocks[target].fail(twophase.Call(call), faults...)
	}
	return ""
}

// heal TARGET CALL ends what was planned by fault.
func (s *scenario) heal(_ *testing.T, d *datadriven.TestData) string {
	s.world.stocks[d.CmdArgs[0].Key].heal(twophase.Call(d.CmdArgs[1].Key))
	return ""
}

// run ID PARTICIPANT... on=NAME timeout=1m cancel-after=5ms background
func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	tx := twophase.Transaction{ID: d.CmdArgs[0].Key, Timeout: duration(t, d, "timeout", 0)}
	for _, name := range values(d, "steps") {
		tx.Steps = append(tx.Steps, twophase.Step{Participant: name})
	}
	return s.ask(t, d, tx.ID, func(ctx context.Context, c *twophase.Coordinator) (twophase.Result, error) {
		return c.Run(ctx, tx)
	})
}

// fallback ID PARTICIPANT... reserves at the first that has something.
func (s *scenario) fallback(t *testing.T, d *datadriven.TestData) string {
	return s.ask(t, d, d.CmdArgs[0].Key, func(ctx context.Context, c *twophase.Coordinator) (twophase.Result, error) {
		return c.RunFunc(ctx, d.CmdArgs[0].Key, func(ctx context.Context, tx *twophase.Tx) (err error) {
			for _, name := range values(d, "steps") {
				if _, err = tx.Reserve(ctx, name, nil); err == nil {
					return nil
				}
			}
			return err
		})
	})
}

// wait ID on=NAME
func (s *scenario) wait(t *testing.T, d *datadriven.TestData) string {
	return s.ask(t, d, d.CmdArgs[0].Key, func(ctx context.Context, c *twophase.Coordinator) (twophase.Result, error) {
		return c.Wait(ctx, d.CmdArgs[0].Key)
	})
}

// lookup ID on=NAME
func (s *scenario) lookup(t *testing.T, d *datadriven.TestData) string {
	return s.ask(t, d, d.CmdArgs[0].Key, func(ctx context.Context, c *twophase.Coordinator) (twophase.Result, error) {
		return c.Lookup(ctx, d.CmdArgs[0].Key)
	})
}

// ask asks a coordinator for an outcome and notes what it tells.
func (s *scenario) ask(
	t *testing.T, d *datadriven.TestData, id string,
	call func(context.Context, *twophase.Coordinator) (twophase.Result, error),
) string {
	c := s.coordinator(t, d)
	ctx := t.Context()
	if after := duration(t, d, "cancel-after", 0); after > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, after)
		defer func() { time.AfterFunc(time.Hour, cancel) }()
	}
	s.waiting.Go(func() {
		result, err := call(ctx, c)
		s.world.tell(id, err)
		s.world.note("==> %s", told(result, err))
	})
	if !d.HasArg("background") {
		s.waiting.Wait()
		time.Sleep(20 * time.Millisecond) // for what follows the answer
	}
	return ""
}

// told is what a caller would say of an answer.
func told(result twophase.Result, err error) string {
	if err != nil {
		return err.Error()
	}
	given := []string{}
	for _, step := range result.Steps {
		given = append(given, step.Name+"="+strings.Join(step.Reservation.Resources, ","))
	}
	return fmt.Sprintf("%s placed: %s", result.ID, strings.Join(given, " "))
}

// sleep lets time pass.
func (s *scenario) sleep(t *testing.T, d *datadriven.TestData) string {
	time.Sleep(duration(t, d, "for", 0))
	return ""
}

// crash NAME: what it sends from now on never arrives, and it is gone.
func (s *scenario) crash(t *testing.T, d *datadriven.TestData) string {
	name := d.CmdArgs[0].Key
	s.lines[name].cut()
	_ = s.coordinators[name].Close(ended(t.Context()))
	delete(s.coordinators, name)
	delete(s.lines, name)
	return ""
}

// freeze NAME: what it sends waits until it is thawed.
func (s *scenario) freeze(_ *testing.T, d *datadriven.TestData) string {
	s.lines[d.CmdArgs[0].Key].freeze()
	return ""
}

func (s *scenario) thaw(_ *testing.T, d *datadriven.TestData) string {
	s.lines[d.CmdArgs[0].Key].thaw()
	return ""
}

// recover on=NAME does one pass.
func (s *scenario) recover(t *testing.T, d *datadriven.TestData) string {
	recovery, err := s.coordinator(t, d).Recover(t.Context())
	require.NoError(t, err)
	return fmt.Sprintf("finished %d, stuck %d\n", recovery.Finished, recovery.Stuck)
}

// late CALL PARTICIPANT TRANSACTION/STEP: a message arrives that was sent long
// ago, and nobody hears the answer.
func (s *scenario) late(t *testing.T, d *datadriven.TestData) string {
	call, stock := twophase.Call(d.CmdArgs[0].Key), s.world.stocks[d.CmdArgs[1].Key]
	transaction, step, _ := strings.Cut(d.CmdArgs[2].Key, "/")
	key := twophase.Key{Transaction: transaction, Step: step}
	stock.heal(call)
	switch call {
	case twophase.CallReserve:
		_, _ = stock.Reserve(t.Context(), twophase.Request{Key: key, Hold: 2 * time.Minute})
	case twophase.CallAssign:
		_ = stock.Assign(t.Context(), key)
	case twophase.CallRelease:
		_ = stock.Release(t.Context(), key)
	}
	return ""
}

// give-away PARTICIPANT TRANSACTION/STEP: a participant breaks its promise.
func (s *scenario) giveAway(_ *testing.T, d *datadriven.TestData) string {
	transaction, step, _ := strings.Cut(d.CmdArgs[1].Key, "/")
	s.brokenPromise = true
	s.world.stocks[d.CmdArgs[0].Key].giveAway(twophase.Key{Transaction: transaction, Step: step})
	return ""
}

// reconcile on=NAME compares all books with the journal.
func (s *scenario) reconcile(t *testing.T, d *datadriven.TestData) string {
	var b strings.Builder
	for err := range s.coordinator(t, d).Reconcile(t.Context(), time.Hour) {
		fmt.Fprintln(&b, err)
	}
	return b.String()
}

// stuck lists what recovery could not finish.
func (s *scenario) stuck(t *testing.T, _ *datadriven.TestData) string {
	var b strings.Builder
	for record, err := range s.world.journal.List(t.Context(), twophase.Filter{Stuck: true}) {
		require.NoError(t, err)
		fmt.Fprintf(&b, "%s %s: %s\n", record.ID, record.State, record.Trouble)
	}
	return b.String()
}

// books shows who holds what.
func (s *scenario) books(*testing.T, *datadriven.TestData) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.world.stocks)) {
		b.WriteString(s.world.stocks[name].books() + "\n")
	}
	return b.String()
}

// coordinator returns the one named by on=, "A" if none is.
func (s *scenario) coordinator(t *testing.T, d *datadriven.TestData) *twophase.Coordinator {
	name := strings.Join(append(values(d, "on"), "A")[:1], "")
	if c, ok := s.coordinators[name]; ok {
		return c
	}
	l := newLine()
	options := []twophase.Option{twophase.WithPolicy(merged(s.policy))}
	for name, stock := range s.world.stocks {
		options = append(options, twophase.WithParticipant(name, lineParticipant{l, stock}))
	}
	c, err := twophase.NewCoordinator(lineJournal{s.world.journal, l}, append(options, twophase.WithoutBackgroundRecovery())...)
	require.NoError(t, err)
	t.Cleanup(func() {
		l.cut()
		_ = c.Close(ended(context.Background()))
	})
	if s.lines == nil {
		s.lines = map[string]*line{}
	}
	s.lines[name] = l
	s.coordinators[name] = c
	return c
}

func merged(p twophase.Policy) twophase.Policy {
	p.Reserve, p.Assign, p.Release = quick.Reserve, quick.Assign, quick.Release
	return p
}

func values(d *datadriven.TestData, key string) []string {
	for _, arg := range d.CmdArgs {
		if arg.Key == key {
			return slices.DeleteFunc(slices.Clone(arg.Vals), func(value string) bool { return value == "" })
		}
	}
	return nil
}

func duration(t *testing.T, d *datadriven.TestData, key string, otherwise time.Duration) time.Duration {
	given := values(d, key)
	if len(given) == 0 {
		return otherwise
	}
	parsed, err := time.ParseDuration(given[0])
	require.NoError(t, err, d.Pos)
	return parsed
}

func number(t *testing.T, d *datadriven.TestData, key string) (n int) {
	if given := values(d, key); len(given) > 0 {
		_, err := fmt.Sscan(given[0], &n)
		assert.NoError(t, err, d.Pos)
	}
	return n
}
