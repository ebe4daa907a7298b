package twophasetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Subject is a participant to be tested, and what to ask it for. Payloads are
// sent as those of a [twophase.Step] are.
type Subject struct {
	Participant twophase.Participant
	// Others are further instances of the same service on the same store, if
	// it can have them: clients of its other replicas, say. Calls take turns.
	Others []twophase.Participant
	// Payload asks for one resource, whichever is free.
	Payload any
	// Different is another payload that the participant understands.
	Different any
	// Several returns a payload that asks for n resources, whichever are
	// free. It may be nil only under [SingleResource].
	Several func(n int) any
}

// TestParticipant checks that a participant keeps the contract of
// [twophase.Participant]. Each subtest calls open for a participant of its own,
// with exactly that many free resources, any of which will do. Open closes it by
// t.Cleanup, and must not call t.Run or t.Parallel.
//
// What is checked:
//
//   - every cell of the contract's table: what a call answers in each state of
//     its key, and the state and the free resources that it leaves;
//   - what was answered is answered again, with the time that is left, and
//     nothing is taken or given back twice;
//   - another payload under the same key touches nothing;
//   - late calls are turned away, also by the tombstone of a Release that came
//     first, and touch nothing of whoever has the resource now;
//   - expiry is strict, frees the resource without a sweeper's help, and never
//     meets what is assigned;
//   - several resources are held all or none;
//   - keys are kept apart, whatever characters they are made of;
//   - no resource is ever held twice, however many call at once, and calls on
//     one key that race each other end in one consistent state;
//   - a context that ends loses no resource and makes no error final.
//
// A transient error is answered by repeating the call, as a coordinator does.
func TestParticipant(t *testing.T, open func(t testing.TB, free int) Subject, options ...Option) {
	t.Helper()
	c := newConfig(options)
	c.runAll(t, participantSuite(c, open))
}

func participantSuite(c config, open func(t testing.TB, free int) Subject) []check {
	var checks []check
	for _, p := range participantChecks(c) {
		checks = append(checks, check{name: p.Name, skip: p.Skip, racing: p.racing, run: func(t testing.TB, clock clock) {
			p.config.clock = clock
			p.check(t, open(t, p.Free))
		}})
	}
	return checks
}

// participantChecks returns all checks, those that do not apply with a reason.
func participantChecks(c config) []Check {
	racing := slices.Concat(raceChecks, contextChecks)
	for i := range racing {
		racing[i].racing = true
	}
	checks := slices.Concat(
		tableChecks(), repeatChecks, lateChecks, mismatchChecks, expiryChecks,
		severalChecks, keyChecks, racing,
	)
	for i := range checks {
		checks[i].config = c
		if checks[i].several && c.single {
			checks[i].Skip = "declared by SingleResource: a key gets one resource at most"
		}
	}
	return checks
}

// service is the subject of one check. Calls take turns among its instances.
type service struct {
	clock
	instances []twophase.Participant
	calls     atomic.Int64
	payload   json.RawMessage
	different json.RawMessage
	several   func(n int) any
	probes    int
}

func newService(t tester, c config, subject Subject) *service {
	t.Helper()
	require.NotNil(t, subject.Participant, "Subject.Participant")
	if subject.Several == nil {
		require.True(t, c.single, "Subject.Several is nil: set it, or declare with SingleResource() that there is no such payload")
	}
	s := &service{
		clock:     c.clock,
		instances: append([]twophase.Participant{subject.Participant}, subject.Others...),
		payload:   encode(t, subject.Payload),
		different: encode(t, subject.Different),
		several:   subject.Several,
	}
	require.NotEqual(t, string(s.payload), string(s.different), "Subject.Payload and Subject.Different")
	s.watch.start()
	return s
}

func encode(t tester, payload any) json.RawMessage {
	t.Helper()
	if payload == nil {
		return nil
	}
	encoded, err := json.Marshal(payload)
	require.NoError(t, err)
	return encoded
}

// The keys of most checks.
var (
	mine   = twophase.Key{Transaction: "order-1001", Step: "step"}
	theirs = twophase.Key{Transaction: "order-1002", Step: "step"}
)

// request asks for one resource for a long time.
func (s *service) request(key twophase.Key) twophase.Request {
	return twophase.Request{Key: key, Payload: s.payload, Hold: s.long}
}

// severalRequest asks for n resources for a long time.
func (s *service) severalRequest(t tester, key twophase.Key, n int) twophase.Request {
	t.Helper()
	req := s.request(key)
	req.Payload = encode(t, s.several(n))
	return req
}

// next returns the instance whose turn it is.
func (s *service) next() twophase.Participant {
	return s.instances[int(s.calls.Add(1)-1)%len(s.instances)]
}

// call repeats a call until its answer is a success or final.
func (s *service) call(t tester, do func(ctx context.Context, p twophase.Participant) error) error {
	t.Helper()
	var err error
	for n := range attempts {
		s.pause(n, err)
		if err = do(t.Context(), s.next()); err == nil || twophase.IsFinal(err) || t.Context().Err() != nil {
			return err
		}
		t.Logf("transient error, the call is repeated: %v", err)
	}
	return err
}

func (s *service) reserve(t tester, req twophase.Request) (r twophase.Reservation, err error) {
	t.Helper()
	err = s.call(t, func(ctx context.Context, p twophase.Participant) (err error) {
		r, err = p.Reserve(ctx, req)
		return err
	})
	return r, err
}

func (s *service) assign(t tester, key twophase.Key) error {
	t.Helper()
	return s.call(t, func(ctx context.Context, p twophase.Participant) error { return p.Assign(ctx, key) })
}

func (s *service) release(t tester, key twophase.Key) error {
	t.Helper()
	return s.call(t, func(ctx context.Context, p twophase.Participant) error { return p.Release(ctx, key) })
}

// take reserves one resource for hold, and fails the test if it cannot.
func (s *service) take(t tester, key twophase.Key, hold time.Duration) twophase.Reservation {
	t.Helper()
	req := s.request(key)
	req.Hold = hold
	return s.mustReserve(t, req, 1)
}

// takeForGood reserves one resource and assigns it.
func (s *service) takeForGood(t tester, key twophase.Key) twophase.Reservation {
	t.Helper()
	r := s.take(t, key, s.long)
	s.mustAssign(t, key)
	return r
}

// mustReserve reserves n resources.
func (s *service) mustReserve(t tester, req twophase.Request, n int) twophase.Reservation {
	t.Helper()
	r, err := s.reserve(t, req)
	require.NoError(t, err, "Reserve of %s", req.Key)
	requireResources(t, n, r)
	return r
}

func (s *service) mustAssign(t tester, key twophase.Key) {
	t.Helper()
	require.NoError(t, s.assign(t, key), "Assign of %s", key)
}

func (s *service) mustRelease(t tester, key twophase.Key) {
	t.Helper()
	require.NoError(t, s.release(t, key), "Release of %s", key)
}

// requireTurnedAway checks that Reserve and Assign of the key answer want.
func (s *service) requireTurnedAway(t tester, key twophase.Key, want error) {
	t.Helper()
	_, err := s.reserve(t, s.request(key))
	requireError(t, want, err, "Reserve of "+key.String())
	requireError(t, want, s.assign(t, key), "Assign of "+key.String())
}

// requireHeld checks that the key holds what it was given.
func (s *service) requireHeld(t tester, req twophase.Request, given twophase.Reservation, assigned bool) {
	t.Helper()
	again, err := s.reserve(t, req)
	require.NoError(t, err, "repeated Reserve of %s", req.Key)
	requireSame(t, given, again)
	if again.Assigned != assigned {
		fail(t, "the repeated answer to %s is to say assigned: %v, and says %v", req.Key, assigned, again.Assigned)
	}
}

// requireFree checks that exactly n resources are free, by taking them and
// giving them back.
func (s *service) requireFree(t tester, n int) {
	t.Helper()
	var taken []twophase.Key
	var resources []string
	for range n + 1 {
		s.probes++
		key := twophase.Key{Transaction: "probe", Step: strconv.Itoa(s.probes)}
		r, err := s.reserve(t, s.request(key))
		if errors.Is(err, twophase.ErrRefused) {
			break
		}
		require.NoError(t, err, "Reserve of another key")
		taken = append(taken, key)
		resources = append(resources, r.Resources...)
	}
	if len(taken) != n {
		fail(t, "resources that are free for other keys: there are to be %d, and there are %s", n, atLeast(len(taken), n))
	}
	requireDistinct(t, resources)
	for _, key := range taken {
		s.mustRelease(t, key)
	}
}

// atLeast says how many there are, where counting has ended at the first beyond n.
func atLeast(got, n int) string {
	if got > n {
		return fmt.Sprintf("at least %d", got)
	}
	return strconv.Itoa(got)
}

// requireError checks that err is the final error want and none of the others.
func requireError(t tester, want, err error, call string) {
	t.Helper()
	for _, final := range finalErrors {
		if errors.Is(want, final) != errors.Is(err, final) {
			fail(t, "%s is to be answered %q, and is answered %s", call, nameOf(want), answered(err))
		}
	}
}

// answered returns an answer, to be shown.
func answered(err error) string {
	if err == nil {
		return "with a success"
	}
	return fmt.Sprintf("%q", err.Error())
}

// fail ends the check.
func fail(t tester, format string, args ...any) {
	t.Helper()
	t.Errorf(format, args...)
	t.FailNow()
}

var finalErrors = []error{
	twophase.ErrRefused, twophase.ErrExpired, twophase.ErrReleased, twophase.ErrUnknown, twophase.ErrMismatch,
}

// nameOf returns the contract's word for a final error.
func nameOf(final error) string {
	switch {
	case errors.Is(final, twophase.ErrUnknown):
		return "unknown"
	case errors.Is(final, twophase.ErrMismatch):
		return "mismatch"
	}
	return final.Error()
}

// expectEither checks that err is one of two final errors that are both true.
func expectEither(t tester, err, one, another error) {
	t.Helper()
	if !errors.Is(err, one) && !errors.Is(err, another) {
		t.Errorf("the answer is to be %q or %q, and it is %s", nameOf(one), nameOf(another), answered(err))
	}
}

// requireResources checks that a reservation names n resources.
func requireResources(t tester, n int, r twophase.Reservation) {
	t.Helper()
	if len(r.Resources) != n {
		fail(t, "the reservation is to have %d resources, and has %d: %q", n, len(r.Resources), r.Resources)
	}
	require.NotContains(t, r.Resources, "", "a resource needs an id")
	requireDistinct(t, r.Resources)
}

func requireDistinct(t tester, resources []string) {
	t.Helper()
	if len(slices.Compact(sorted(resources))) != len(resources) {
		fail(t, "a resource is given twice: %q", resources)
	}
}

func sorted(resources []string) []string { return slices.Sorted(slices.Values(resources)) }

// requireSame checks that a reservation is the one given before.
func requireSame(t tester, given, again twophase.Reservation) {
	t.Helper()
	if !slices.Equal(sorted(given.Resources), sorted(again.Resources)) {
		fail(t, "the repeated answer is to have the same resources, %q, and has %q", given.Resources, again.Resources)
	}
	if canonical(given.Details) != canonical(again.Details) {
		fail(t, "the repeated answer is to have the same details, %s, and has %s", given.Details, again.Details)
	}
}

// requireLeft checks that got is what is left of whole, which began to run in
// one span and was told in another.
func requireLeft(t tester, whole, got time.Duration, began, told span, what string) {
	t.Helper()
	least, most := began.elapsed(told)
	if got > whole-least || got < whole-most {
		fail(t, "%s is to be from %v to %v, and is %v", what, max(0, whole-most), whole-least, got)
	}
}

// canonical returns JSON in a form in which it can be compared.
func canonical(text json.RawMessage) string {
	var value any
	if len(text) == 0 || json.Unmarshal(text, &value) != nil {
		return string(text)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return string(text)
	}
	return string(encoded)
}

// ended returns a context that has ended.
func ended(t tester) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// expectTransient checks that an error, if it is one, is not final.
func expectTransient(t tester, err error, call string) {
	t.Helper()
	assert.False(t, twophase.IsFinal(err), "%s with an ended context is turned away for good: %v", call, err)
}
