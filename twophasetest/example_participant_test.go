package twophasetest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// Kitchen is a participant that gives away packets of food, one at a time.
// What the contract rules is left to twophase.Entry.
type Kitchen struct {
	mu      sync.Mutex
	entries map[twophase.Key]*entry
	packets map[string]*entry // and who has them
}

type entry struct {
	twophase.Entry
	packet string
}

// Order asks for a packet.
type Order struct {
	Food    string
	Chutney bool
}

// NewKitchen returns a kitchen with packets.
func NewKitchen(packets int) *Kitchen {
	k := &Kitchen{entries: map[twophase.Key]*entry{}, packets: map[string]*entry{}}
	for i := range packets {
		k.packets[fmt.Sprintf("packet-%d", i+1)] = nil
	}
	return k
}

func (k *Kitchen) Reserve(_ context.Context, req twophase.Request) (twophase.Reservation, error) {
	if _, err := twophase.PayloadOf[Order](req); err != nil {
		return twophase.Reservation{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	e := k.entry(req.Key)
	verdict := e.Reserve(twophase.FingerprintOf(req.Payload), req.Hold, now)
	if verdict.Take && !k.take(e, now) {
		return twophase.Reservation{}, fmt.Errorf("%w: no packet left", twophase.ErrRefused)
	}
	if err := k.store(req.Key, e, verdict); err != nil {
		return twophase.Reservation{}, err
	}
	return twophase.Reservation{
		Resources: []string{e.packet},
		TimeLeft:  e.TimeLeft(now),
		Assigned:  e.State == twophase.EntryAssigned,
	}, nil
}

func (k *Kitchen) Assign(_ context.Context, key twophase.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entry(key)
	return k.store(key, e, e.Assign(time.Now()))
}

func (k *Kitchen) Release(_ context.Context, key twophase.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entry(key)
	return k.store(key, e, e.Release())
}

func (k *Kitchen) entry(key twophase.Key) *entry {
	if e, ok := k.entries[key]; ok {
		return e
	}
	return &entry{}
}

// take takes a packet that nobody has, or whose reservation has run out.
func (k *Kitchen) take(e *entry, now time.Time) bool {
	for packet, holder := range k.packets {
		if holder != nil {
			holder.Entry = holder.Expire(now).Entry
		}
		if holder == nil || !holder.Holds() {
			k.packets[packet], e.packet = e, packet
			return true
		}
	}
	return false
}

func (k *Kitchen) store(key twophase.Key, e *entry, verdict twophase.Verdict) error {
	e.Entry = verdict.Entry
	if e.State != twophase.EntryNone {
		k.entries[key] = e
	}
	return verdict.Err
}

func openKitchen(_ testing.TB, free int) twophasetest.Subject {
	return twophasetest.Subject{
		Participant: NewKitchen(free),
		Payload:     Order{Food: "masala dosa"},
		Different:   Order{Food: "masala dosa", Chutney: true},
	}
}

// A participant of one's own, and its test.
func ExampleTestParticipant() {
	_ = func(t *testing.T) { // func TestKitchen(t *testing.T)
		twophasetest.TestParticipant(t, openKitchen, twophasetest.SingleResource())
	}
}
