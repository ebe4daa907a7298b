package stock

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
)

// Keeper is a service that has something in stock.
type Keeper interface {
	// Stock returns what there is.
	Stock(ctx context.Context) ([]api.Kind, error)
	// Add adds count resources of a kind.
	Add(ctx context.Context, kind string, count int) error
	// TakeAway removes what is free of a kind, and returns how many it was.
	TakeAway(ctx context.Context, kind string) (int, error)
}

// Handler serves a participant's wire under its paths, and beside it
//
//	GET  /healthz   whether the database answers
//	GET  /stock     what there is (an [api.Service])
//	POST /restock   adds some (an [api.Restock])      } only for a
//	POST /empty     takes some away (an [api.Empty])  } demonstration
type Handler struct {
	Name, What  string
	Keeper      Keeper
	DB          *pgxpool.Pool
	Participant http.Handler
	// Demo allows everybody to change the stock.
	Demo bool
}

// HTTP returns the handler.
func (h Handler) HTTP() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", serve.Health(h.DB))
	mux.HandleFunc("GET /stock", h.stock)
	if h.Demo {
		mux.HandleFunc("POST /restock", h.restock)
		mux.HandleFunc("POST /empty", h.empty)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The keys in these paths may be anything: no mux may tidy them.
		if strings.HasPrefix(r.URL.EscapedPath(), "/reservations/") || r.URL.Path == "/openapi.yaml" {
			h.Participant.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (h Handler) stock(w http.ResponseWriter, r *http.Request) {
	kinds, err := h.Keeper.Stock(r.Context())
	if err != nil {
		serve.Problem(w, http.StatusServiceUnavailable, "the stock cannot be read: "+err.Error())
		return
	}
	serve.JSON(w, http.StatusOK, api.Service{Name: h.Name, What: h.What, Up: true, Kinds: kinds})
}

func (h Handler) restock(w http.ResponseWriter, r *http.Request) {
	var more api.Restock
	if !serve.Decode(w, r, &more) {
		return
	}
	if err := api.CheckName("kind", more.Kind); err != nil {
		serve.Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if more.Count < 1 || more.Count > api.MaxRestock {
		serve.Problem(w, http.StatusBadRequest, fmt.Sprintf("count %d: it must be 1 to %d", more.Count, api.MaxRestock))
		return
	}
	if err := h.Keeper.Add(r.Context(), more.Kind, more.Count); err != nil {
		serve.Problem(w, http.StatusServiceUnavailable, "nothing was added, as far as is known: "+err.Error())
		return
	}
	serve.JSON(w, http.StatusOK, more)
}

func (h Handler) empty(w http.ResponseWriter, r *http.Request) {
	var which api.Empty
	if !serve.Decode(w, r, &which) {
		return
	}
	if err := api.CheckName("kind", which.Kind); err != nil {
		serve.Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	gone, err := h.Keeper.TakeAway(r.Context(), which.Kind)
	if err != nil {
		serve.Problem(w, http.StatusServiceUnavailable, "not all was taken away: "+err.Error())
		return
	}
	serve.JSON(w, http.StatusOK, api.Restock{Kind: which.Kind, Count: -gone})
}
