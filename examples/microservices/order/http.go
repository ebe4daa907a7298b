package order

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
)

// Handler serves the Order service over HTTP:
//
//	POST /orders        places an order (an [api.Order], answered by an [api.Answer])
//	GET  /orders/{id}   what has become of it
//	GET  /orders        the latest orders, with their timelines
//	GET  /stock         what the store and delivery have
//	GET  /events        all of that as it changes
//	GET  /healthz       whether the database answers
//
// and, for a demonstration,
//
//	GET  /breaks        the ways to break things, and which are under way
//	POST /break/{name}  breaks something
//	POST /by-hand       the same four requests as for an order, with no coordinator
type Handler struct {
	Orders *Service
	DB     *pgxpool.Pool
	Watch  *Watch
	// Page is served where nothing else is; it may be nil.
	Page http.Handler
	// Breaks breaks things; nil if nobody may.
	Breaks http.Handler
	// ByHand allows orders with no coordinator.
	ByHand bool
}

// maxUnderWay is how many orders may be under way: beyond that, waiting for a turn
// would take longer than sending the order again.
const maxUnderWay = 1024

// HTTP returns the handler.
func (h Handler) HTTP() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", h.bounded(h.place))
	mux.HandleFunc("GET /orders/{id}", h.ask)
	mux.HandleFunc("GET /orders", h.list)
	mux.HandleFunc("GET /stock", h.stock)
	mux.HandleFunc("GET /events", h.Watch.Events)
	mux.Handle("GET /healthz", serve.Health(h.DB))
	if h.Breaks != nil {
		mux.Handle("GET /breaks", h.Breaks)
		mux.Handle("POST /break/{name}", h.Breaks)
	}
	if h.ByHand {
		mux.HandleFunc("POST /by-hand", h.bounded(h.byHand))
	}
	if h.Page != nil {
		mux.Handle("GET /", h.Page)
	}
	return mux
}

// bounded turns away what is too much at a time.
func (h Handler) bounded(next http.HandlerFunc) http.HandlerFunc {
	places := make(chan struct{}, maxUnderWay)
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			serve.Problem(w, http.StatusServiceUnavailable,
				fmt.Sprintf("%d orders are under way: send it again in a second", maxUnderWay))
		}
	}
}

// readOrder reads an order, or answers what is wrong with it.
func readOrder(w http.ResponseWriter, r *http.Request) (o api.Order, ok bool) {
	if !serve.Decode(w, r, &o) {
		return o, false
	}
	if err := o.Check(); err != nil {
		serve.Problem(w, http.StatusBadRequest, err.Error())
		return o, false
	}
	return o, true
}

func (h Handler) place(w http.ResponseWriter, r *http.Request) {
	o, ok := readOrder(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.Orders.lives.AnswerWithin())
	defer cancel()
	answer, err := h.Orders.Place(ctx, o)
	writeAnswer(w, answer, err)
}

func (h Handler) ask(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	answer, err := h.Orders.Ask(ctx, r.PathValue("id"))
	writeAnswer(w, answer, err)
}

// writeAnswer says by the status what the answer is, for those who read no body.
func writeAnswer(w http.ResponseWriter, answer api.Answer, err error) {
	switch {
	case errors.Is(err, twophase.ErrGone):
		serve.Problem(w, http.StatusNotFound, "there is no such order: it never began, or is forgotten")
	case errors.Is(err, twophase.ErrMismatch):
		serve.Problem(w, http.StatusUnprocessableEntity, "the id was used before for another order: choose a new one")
	case errors.Is(err, twophase.ErrInvalid):
		serve.Problem(w, http.StatusBadRequest, err.Error())
	case err != nil:
		answer.Status, answer.Detail = api.InDoubt, "nothing was begun by this request: send it again"
		w.Header().Set("Retry-After", "1")
		serve.JSON(w, http.StatusServiceUnavailable, answer)
	case answer.Status == api.InDoubt:
		w.Header().Set("Location", answer.Ask)
		w.Header().Set("Retry-After", "1")
		serve.JSON(w, http.StatusAccepted, answer)
	case answer.Status == api.NotPlaced:
		serve.JSON(w, http.StatusConflict, answer)
	default:
		serve.JSON(w, http.StatusOK, answer)
	}
}

func (h Handler) list(w http.ResponseWriter, r *http.Request) {
	limit := 50
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLatest {
			serve.Problem(w, http.StatusBadRequest, fmt.Sprintf("limit %.20q: it must be 1 to %d", text, maxLatest))
			return
		}
		limit = n
	}
	serve.JSON(w, http.StatusOK, h.Orders.latest.Orders(limit))
}

func (h Handler) stock(w http.ResponseWriter, r *http.Request) {
	serve.JSON(w, http.StatusOK, h.Watch.Stock(r.Context()))
}
