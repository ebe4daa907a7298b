package main

import (
	"fmt"

	"github.com/seed-bcc3c603/twophase/pool"
)

// The names of the participants.
const (
	storeName    = "store"
	deliveryName = "delivery"
)

// Packet is what an order asks the store for.
type Packet struct {
	Food string `json:"food"`
}

// Agent is what an order asks delivery for.
type Agent struct {
	Area string `json:"area"`
}

// newStore returns the Store service. It owns packets: it never counts how
// many of a food there are, it gives away this packet or that one.
func newStore(day *Day) (*pool.Pool, error) {
	store, err := pool.New(pool.For(func(p Packet) pool.Want { return pool.Want{Kind: p.Food} }))
	if err != nil {
		return nil, err
	}
	return store, fill(store, day.Packets)
}

// newDelivery returns the Delivery service. It owns the trips of the agents.
func newDelivery(day *Day) (*pool.Pool, error) {
	delivery, err := pool.New(pool.For(func(a Agent) pool.Want { return pool.Want{Kind: a.Area} }))
	if err != nil {
		return nil, err
	}
	return delivery, fill(delivery, day.Trips)
}

func fill(p *pool.Pool, stock map[string][]string) error {
	for kind, ids := range stock {
		if err := p.Restock(kind, ids...); err != nil {
			return fmt.Errorf("stock up on %s: %w", kind, err)
		}
	}
	return nil
}
