package page_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/seed-bcc3c603/twophase/examples/microservices/page"
)

type object = map[string]any

// service stands in for the order service: it serves the page, answers as the
// test says, and keeps what it was asked.
type service struct {
	*httptest.Server
	events chan string

	mu      sync.Mutex
	answers []answer // to POST /orders, the last one for good
	asked   []object
	broken  []string
}

type answer struct {
	status int
	body   object
}

func newService(t *testing.T, snapshot object, answers ...answer) *service {
	s := &service{events: make(chan string, 10), answers: answers}
	mux := http.NewServeMux()
	mux.Handle("GET /", page.Handler())
	mux.HandleFunc("POST /orders", s.order)
	mux.HandleFunc("POST /break/{name}", s.breakIt)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, event("snapshot", snapshot))
		for {
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case text := <-s.events:
				_, _ = fmt.Fprint(w, text)
			}
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func event(name string, data object) string {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", name, text)
}

func (s *service) order(w http.ResponseWriter, r *http.Request) {
	var asked object
	_ = json.NewDecoder(r.Body).Decode(&asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, asked)
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	reply(w, a.status, a.body)
}

func (s *service) breakIt(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, r.PathValue("name"))
	reply(w, http.StatusOK, object{"breaks": []object{{
		"name": r.PathValue("name"), "title": "Stop the store for ten seconds", "active": true, "time_left_ms": 9000,
	}}})
}

func reply(w http.ResponseWriter, status int, body object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// requests returns the orders that were asked for.
func (s *service) requests() []object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]object(nil), s.asked...)
}

// snapshot is a day in the life of the service.
func snapshot() object {
	return object{
		"boot": "b1", "demo": true, "totals": object{"placed": 12, "not_placed": 3, "in_doubt": 1,
			"by_reason": object{"sold-out": 2, "no-agent": 1}},
		"orders": []object{retriedOrder(), soldOutOrder(), placedOrder()},
		"stock":  object{"services": []object{store(), delivery()}},
		"breaks": []object{
			{"name": "stop-store", "title": "Stop the store for ten seconds", "active": false},
			{"name": "slow-delivery", "title": "Make delivery slow", "active": true, "time_left_ms": 8120},
			{"name": "empty-food", "title": "Take away what is free of the chosen food", "active": false, "needs_kind": true},
		},
	}
}

func store() object {
	return object{"name": "store", "what": "packets", "up": true, "kinds": []object{
		kind("masala dosa", 5, 2, 3), kind("idli vada", 8, 0, 4), kind("khara bath", 0, 1, 9), kind("Mysore pak", 40, 3, 20),
	}}
}

func delivery() object {
	return object{"name": "delivery", "what": "agents", "up": false, "error": "connection refused", "kinds": []object{
		kind("Indiranagar", 4, 2, 4), kind("Koramangala", 7, 0, 3),
	}}
}

func kind(name string, free, reserved, assigned int) object {
	var resources []object
	add := func(n int, state string, more object) {
		for range n {
			r := object{"id": fmt.Sprintf("%s-%d", name, len(resources)+1), "state": state}
			for k, v := range more {
				r[k] = v
			}
			resources = append(resources, r)
		}
	}
	add(assigned, "assigned", object{"order": "order-9"})
	add(reserved, "reserved", object{"order": "order-17", "time_left_ms": 17993})
	add(free, "free", nil)
	return object{"kind": name, "free": free, "reserved": reserved, "assigned": assigned, "resources": resources}
}

func placedOrder() object {
	return object{
		"number": 1, "id": "order-1", "status": "Order Placed", "food": "masala dosa", "area": "Indiranagar",
		"packet": "masala-dosa-1", "agent": "asha-3", "took_ms": 12.5, "finished": true, "timeline": []object{
			mark("journal", "begin", 1, 0.1, 2, true, ""), mark("store", "reserve", 1, 0.2, 3, true, ""),
			mark("delivery", "reserve", 1, 0.2, 4, true, ""), mark("store", "assign", 1, 5, 3, true, ""),
			mark("delivery", "assign", 1, 5, 3, true, ""), mark("journal", "decide", 1, 9, 2, true, ""),
		},
	}
}

func soldOutOrder() object {
	refused := mark("store", "reserve", 1, 0.2, 3, false, "refused: no khara bath left")
	refused["final"] = true
	return object{
		"number": 2, "id": "order-2", "status": "Order Not Placed", "food": "khara bath", "area": "Koramangala",
		"reason": "sold-out", "detail": "no khara bath left", "took_ms": 6.1, "finished": true, "timeline": []object{
			mark("journal", "begin", 1, 0.1, 2, true, ""), refused, mark("delivery", "reserve", 1, 0.2, 4, true, ""),
			mark("journal", "decide", 1, 5, 1, true, ""), mark("delivery", "release", 1, 6.2, 2, true, ""),
		},
	}
}

func retriedOrder() object {
	return object{
		"number": 3, "id": "order-3", "status": "Under Way", "food": "masala dosa", "area": "Indiranagar", "timeline": []object{
			mark("journal", "begin", 1, 0.1, 2, true, ""), mark("store", "reserve", 1, 0.2, 30, true, ""),
			mark("delivery", "reserve", 1, 0.2, 400, false, "connection refused"),
			mark("delivery", "reserve", 2, 450, 800, false, "connection refused"), mark("delivery", "reserve", 3, 1300, 60, true, ""),
			mark("store", "assign", 1, 1380, 20, true, ""),
		},
	}
}

func mark(to, call string, attempt int, at, took float64, ok bool, why string) object {
	return object{"to": to, "call": call, "attempt": attempt, "at_ms": at, "took_ms": took, "ok": ok, "error": why}
}
