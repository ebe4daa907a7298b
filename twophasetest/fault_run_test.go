package twophasetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/shelf"
)

// A coordinator among faulty participants, on a faulty journal, keeps its word:
// in the end each order holds everything or nothing, as its caller was told.
func TestCoordinatorAmongFaults(t *testing.T) {
	rates := Rates{
		LoseRequest: 0.1, LoseReply: 0.1, Repeat: 0.1, Delay: 0.1, Late: 0.1, Unavailable: 0.05,
		Longest: 20 * time.Second,
	}
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runAmongFaults(t, Seeded(seed, rates)) })
		})
	}
}

func runAmongFaults(t *testing.T, plan Plan) {
	const orders = 24
	store, delivery := newShelf(16), newShelf(12)
	faultyStore, faultyDelivery := NewFaultyParticipant(store, plan), NewFaultyParticipant(delivery, plan)
	journal := twophase.NewMemoryJournal()
	faultyJournal := NewFaultyJournal(journal, plan)

	coordinator := newCoordinator(t, faultyJournal, faultyStore, faultyDelivery)
	told := make([]error, orders)
	together(orders, func(i int) {
		_, told[i] = coordinator.Run(t.Context(), twophase.Transaction{
			ID: fmt.Sprintf("order-%d", i),
			Steps: []twophase.Step{
				{Participant: "store", Payload: want(1)},
				{Participant: "delivery", Payload: want(1)},
			},
		})
	})
	_ = coordinator.Close(t.Context())
	for _, faulty := range []interface{ Wait() }{faultyStore, faultyDelivery, faultyJournal} {
		faulty.Wait()
	}
	finish(t, journal, store, delivery)

	for i, err := range told {
		id := fmt.Sprintf("order-%d", i)
		record, gone := journal.Get(t.Context(), id)
		placed := gone == nil && record.State == twophase.StateAssigned
		if err == nil || errors.Is(err, twophase.ErrNotPlaced) {
			assert.Equal(t, placed, err == nil, "%s was told %v", id, err)
		}
		for name, s := range map[string]*shelf.Shelf{"store": store, "delivery": delivery} {
			state := s.State(twophase.Key{Transaction: id, Step: name})
			assert.Equal(t, placed, state == twophase.EntryAssigned, "%s at %s is %v", id, name, state)
		}
	}
}

func newCoordinator(t *testing.T, journal twophase.Journal, store, delivery twophase.Participant) *twophase.Coordinator {
	t.Helper()
	coordinator, err := twophase.NewCoordinator(journal,
		twophase.WithParticipant("store", store), twophase.WithParticipant("delivery", delivery))
	require.NoError(t, err)
	return coordinator
}

// finish lets a coordinator without faults finish what is left.
func finish(t *testing.T, journal twophase.Journal, store, delivery twophase.Participant) {
	t.Helper()
	coordinator := newCoordinator(t, journal, store, delivery)
	time.Sleep(time.Hour)
	require.NoError(t, coordinator.Close(context.WithoutCancel(t.Context())))
	for record, err := range journal.List(t.Context(), twophase.Filter{Unfinished: true}) {
		t.Errorf("%s is not finished: %v, %v", record.ID, record.State, err)
	}
}
