package twophasehttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/lookup"
)

// handler serves a participant.
type handler struct {
	participant twophase.Participant
	config      *handlerConfig
	calls       chan struct{} // has a place for each that is served
}

// NewHandler returns a handler that serves a participant to callers such as
// [Participant]. Mount it at the root of a server, or below a path with
// [http.StripPrefix]; docs/http.md says what it answers. The error is
// [twophase.ErrInvalid] and names all options that cannot be right.
//
// It holds that a caller is who may call: put a middleware around it that finds
// out. The server's own ReadHeaderTimeout, WriteTimeout and MaxHeaderBytes bound
// what comes before the handler, and after it.
func NewHandler(p twophase.Participant, options ...HandlerOption) (http.Handler, error) {
	c, err := newHandlerConfig(options)
	if p == nil {
		err = errors.Join(invalid("the participant is nil"), err)
	}
	if err != nil {
		return nil, err
	}
	if c.lookup == nil {
		c.lookup = lookup.Of[Holding](p)
	}
	return &handler{participant: p, config: c, calls: make(chan struct{}, c.maxCalls)}, nil
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if path == pathDescription || path == pathDescription[1:] {
		h.serveDescription(w, r)
		return
	}
	body, err := h.serve(w, r, path)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	write(w, http.StatusOK, contentJSON, body)
}

// serve finds out what is asked, does it, and returns the body of the reply.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, path string) ([]byte, error) {
	key, assignment, err := route(path)
	if err != nil {
		return nil, err
	}
	serve, err := h.method(w, r, assignment)
	if err != nil {
		return nil, err
	}
	// The reply names what it is the reply to: on the way, connections may be
	// mixed up.
	w.Header()[headerKey] = []string{keyHeader(key)}
	if named := r.Header.Get(headerKey); named != "" && !namesKey(named, key) {
		return nil, badRequest(0, "%s is not the key of the path, %s: leave it out, "+
			"or find out who changed one of them on the way", headerKey, keyHeader(key))
	}
	select {
	case h.calls <- struct{}{}:
		defer func() { <-h.calls }()
	default:
		return nil, errBusy
	}
	ctx, cancel, err := h.bound(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	body, err := h.readBody(w, r)
	if err != nil {
		return nil, err
	}
	return guard(ctx, serve, key, body)
}

// route returns what a path leads to.
func route(path string) (key twophase.Key, assignment bool, err error) {
	if len(path) > maxPath {
		return key, false, badRequest(http.StatusRequestURITooLong,
			"the path has %d bytes: at most %d are allowed", len(path), maxPath)
	}
	key, assignment, err = parsePath(path)
	switch {
	case errors.Is(err, errNoPath):
		err = badRequest(http.StatusNotFound, "%v", err)
	case err != nil:
		err = badRequest(0, "%v", err)
	}
	return key, assignment, err
}

// service does what one method of one path asks for, and returns the body of
// the reply.
type service func(ctx context.Context, key twophase.Key, body []byte) ([]byte, error)

// method returns what serves a request.
func (h *handler) method(w http.ResponseWriter, r *http.Request, assignment bool) (service, error) {
	switch {
	case assignment && r.Method == http.MethodPost:
		return h.assign, nil
	case !assignment && r.Method == http.MethodPut:
		return h.reserve, nil
	case !assignment && r.Method == http.MethodDelete:
		return h.release, nil
	case !assignment && h.config.lookup != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		return h.look, nil
	}
	allowed := "PUT, DELETE"
	switch {
	case assignment:
		allowed = "POST"
	case h.config.lookup != nil:
		allowed = "PUT, DELETE, GET, HEAD"
	}
	return nil, notServed(w, allowed)
}

// notServed is the error of a method that a path does not serve.
func notServed(w http.ResponseWriter, allowed string) error {
	w.Header().Set("Allow", allowed)
	return badRequest(http.StatusMethodNotAllowed, "this path serves %s", allowed)
}

func (h *handler) reserve(ctx context.Context, key twophase.Key, body []byte) ([]byte, error) {
	req, err := decodeReserve(key, body)
	if err != nil {
		return nil, badRequest(0, "%v", err)
	}
	reservation, err := h.participant.Reserve(ctx, req)
	if err != nil {
		return nil, err
	}
	state := twophase.EntryReserved
	if reservation.Assigned {
		state = twophase.EntryAssigned
	}
	return encodeHolding(Holding{State: state, Reservation: reservation})
}

func (h *handler) assign(ctx context.Context, key twophase.Key, body []byte) ([]byte, error) {
	if err := decodeNothing(body); err != nil {
		return nil, err
	}
	return bodyAssigned, h.participant.Assign(ctx, key)
}

func (h *handler) release(ctx context.Context, key twophase.Key, body []byte) ([]byte, error) {
	if err := decodeNothing(body); err != nil {
		return nil, err
	}
	return bodyReleased, h.participant.Release(ctx, key)
}

func (h *handler) look(ctx context.Context, key twophase.Key, body []byte) ([]byte, error) {
	if err := decodeNothing(body); err != nil {
		return nil, err
	}
	holding, found, err := h.config.lookup(ctx, key)
	if err != nil {
		return nil, err
	}
	if !found || holding.State == twophase.EntryNone {
		return nil, fmt.Errorf("%w: %s", twophase.ErrUnknown, key)
	}
	return encodeHolding(holding)
}

var (
	bodyAssigned = []byte(`{"state":"assigned"}`)
	bodyReleased = []byte(`{"state":"released"}`)
)

// decodeNothing refuses a body that says something, where nothing is to be
// said.
func decodeNothing(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	if err := decodeObject(body, refuseUnknown); err != nil {
		return badRequest(0, "the body is to be empty: %v", err)
	}
	return nil
}
