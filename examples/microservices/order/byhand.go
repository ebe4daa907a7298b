package order

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// PlaceByHand sends the four requests that an order takes when nothing goes wrong:
// both Reserves side by side, then both Assigns. There is no journal, no retry, no
// release: it is what the coordinator's work is measured against, and no way to
// place an order.
func (s *Service) PlaceByHand(ctx context.Context, o api.Order) (api.Answer, error) {
	var packet, agent twophase.Reservation
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		packet, err = s.reserve(bothCtx, s.store, key(o, store.Name), store.Packet{Food: o.Food})
		return err
	})
	both.Go(func() (err error) {
		agent, err = s.reserve(bothCtx, s.delivery, key(o, delivery.Name), delivery.Agent{Area: o.Area})
		return err
	})
	if err := both.Wait(); err != nil {
		return api.Answer{}, err
	}
	both, bothCtx = errgroup.WithContext(ctx)
	both.Go(func() error { return s.store.Assign(bothCtx, key(o, store.Name)) })
	both.Go(func() error { return s.delivery.Assign(bothCtx, key(o, delivery.Name)) })
	if err := both.Wait(); err != nil {
		return api.Answer{}, err
	}
	return api.Answer{
		ID: o.ID, Status: api.Placed, Food: o.Food, Area: o.Area, Packet: packet.Resource(), Agent: agent.Resource(),
	}, nil
}

func (s *Service) reserve(
	ctx context.Context, at twophase.Participant, key twophase.Key, wanted any,
) (twophase.Reservation, error) {
	payload, err := json.Marshal(wanted)
	if err != nil {
		return twophase.Reservation{}, err
	}
	return at.Reserve(ctx, twophase.Request{Key: key, Payload: payload, Hold: s.lives.Hold})
}

func key(o api.Order, step string) twophase.Key { return twophase.Key{Transaction: o.ID, Step: step} }

func (h Handler) byHand(w http.ResponseWriter, r *http.Request) {
	o, ok := readOrder(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	answer, err := h.Orders.PlaceByHand(ctx, o)
	if err != nil {
		serve.Problem(w, http.StatusBadGateway, err.Error())
		return
	}
	serve.JSON(w, http.StatusOK, answer)
}
