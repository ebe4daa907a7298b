package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// store is where journals of one kind are kept, each under a name.
type store interface {
	// kind is the name of the kind, for the tables.
	kind() string
	// about says what is worth knowing of the store before its figures are
	// read: versions, and settings that count.
	about() string
	// open opens the journal of a name, and creates it if there is none.
	open(ctx context.Context, name string) (*opened, error)
	// fill adds n transactions to the journal of a name, which nobody has
	// open: finished ones, or ones that were left behind undecided.
	fill(ctx context.Context, name string, finished bool, n int) error
	// remove forgets the journal of a name, which nobody has open.
	remove(ctx context.Context, name string) error
	// baselines returns what the journal is measured by, for so many callers.
	// The mean batch of the journal is known when they run.
	baselines(ctx context.Context, callers int, batch func() float64) ([]*subject, error)
	Close() error
}

// kinds are the journals that can be measured.
var kinds = map[string]struct {
	place int // in the tables
	open  func(ctx context.Context, dir string, order idOrder) (store, error)
}{
	"memory": {1, func(context.Context, string, idOrder) (store, error) { return newMemory(), nil }},
	"sqlite": {2, func(_ context.Context, dir string, order idOrder) (store, error) { return newSQLite(dir, order), nil }},
	"postgres": {3, func(ctx context.Context, dir string, order idOrder) (store, error) {
		return newPostgres(ctx, dir, order)
	}},
}

func kindNames() []string {
	names := make([]string, len(kinds))
	for name, kind := range kinds {
		names[kind.place-1] = name
	}
	return names
}

// opened is a journal that is open.
type opened struct {
	twophase.Journal
	// spent is what it has spent so far.
	spent func(ctx context.Context) (spent, error)
	// size is how many bytes it has on disk once nobody writes to it.
	size  func(ctx context.Context) (int64, error)
	close func() error
}

// spent counts what was spent on storing.
type spent struct {
	commits int64 // that were waited for
	bytes   int64 // given to the disk
}

func (s spent) plus(other spent) spent {
	return spent{s.commits + other.commits, s.bytes + other.bytes}
}

func (s spent) minus(before spent) spent {
	return spent{s.commits - before.commits, s.bytes - before.bytes}
}

// idOrder is how the ids of transactions follow one another.
type idOrder string

const (
	// randomIDs are in no order: the worst that an index can be given.
	randomIDs idOrder = "random"
	// growingIDs come each after the last, like numbers and UUIDs of version 7.
	growingIDs idOrder = "growing"
)

// ids gives out ids as callers would choose them, each new.
type ids struct {
	order idOrder
	next  atomic.Uint64
}

// newIDs returns ids of their own; growing ones come after all that were given
// out before, and after all that a journal is filled with.
func newIDs(order idOrder) *ids {
	i := &ids{order: order}
	if order == growingIDs {
		i.next.Store(uint64(time.Now().UnixNano()))
	} else {
		i.next.Store(rand.Uint64())
	}
	return i
}

// take returns the next id. The finaliser of splitmix64 maps no two numbers to
// one.
func (i *ids) take() string {
	if i.order == growingIDs {
		return fmt.Sprintf("order-%016x", i.next.Add(1))
	}
	x := i.next.Add(0x9e3779b97f4a7c15)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return fmt.Sprintf("order-%016x", x^x>>31)
}

// The order that everything here places: two steps.
var (
	packetWanted = json.RawMessage(`{"food":"masala dosa"}`)
	agentWanted  = json.RawMessage(`{"area":"Indiranagar"}`)
)

func orderOf(id string) twophase.Transaction {
	return twophase.Transaction{ID: id, Steps: []twophase.Step{
		{Participant: "store", Payload: packetWanted},
		{Participant: "delivery", Payload: agentWanted},
	}}
}

// orderRecord is the record that a coordinator begins an order with.
func orderRecord(id string) twophase.Record {
	return twophase.Record{
		Version: twophase.RecordVersion, ID: id, State: twophase.StateBegun,
		Deadline: time.Minute, Owner: "host.example/1234/3HYNZ7K6LQWXCB4FZ5J2V6TQGM", Lease: 15 * time.Second,
		Steps: []twophase.StepRecord{
			{Name: "store", Participant: "store", Payload: packetWanted, Hold: 2 * time.Minute},
			{Name: "delivery", Participant: "delivery", Payload: agentWanted, Hold: 2 * time.Minute},
		},
	}
}

func orderDecision() twophase.Decision {
	return twophase.Decision{State: twophase.StateAssigned, Reservations: []twophase.Reservation{
		{Resources: []string{"packet-100001"}, Assigned: true},
		{Resources: []string{"agent-100001"}, Assigned: true},
	}}
}

// outlast is the deadline of what is left behind: it is recovered forward.
const outlast = 24 * time.Hour

// leave writes one order to a journal, by the journal's own means: finished, or
// left behind so that it may be claimed at once.
func leave(ctx context.Context, j twophase.Journal, id string, finished bool) error {
	record := orderRecord(id)
	if !finished {
		record.Deadline, record.Lease = outlast, 0
	}
	if _, _, err := j.Begin(ctx, record); err != nil || !finished {
		return err
	}
	_, err := j.Decide(ctx, id, orderDecision())
	return err
}

// instant is a participant that does nothing but answer.
type instant struct{ reservation twophase.Reservation }

func newInstant(resource string) instant {
	return instant{twophase.Reservation{Resources: []string{resource}, TimeLeft: 2 * time.Minute}}
}

// Reserve implements [twophase.Participant].
func (p instant) Reserve(context.Context, twophase.Request) (twophase.Reservation, error) {
	return p.reservation, nil
}

// Assign implements [twophase.Participant].
func (instant) Assign(context.Context, twophase.Key) error { return nil }

// Release implements [twophase.Participant].
func (instant) Release(context.Context, twophase.Key) error { return nil }

// newCoordinator returns a coordinator with default options, on participants
// that take no time.
func newCoordinator(j twophase.Journal) (*twophase.Coordinator, error) {
	return twophase.NewCoordinator(j,
		twophase.WithParticipant("store", newInstant("packet-100001")),
		twophase.WithParticipant("delivery", newInstant("agent-100001")),
	)
}
