package order

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
)

// stream hands events to those who watch, and keeps the last of them for whoever
// was away for a moment.
type stream struct {
	boot     string // of this process: numbers of another mean nothing here
	mu       sync.Mutex
	number   int64
	recent   []event
	watchers map[chan event]bool
	closed   bool
}

type event struct {
	number int64
	text   []byte
}

const (
	maxWatchers = 100
	maxRecent   = 64
	maxBehind   = 32 // events that a watcher may be behind
	heartbeat   = 10 * time.Second
	writeWithin = 10 * time.Second
)

func newStream() *stream {
	return &stream{boot: strings.ToLower(rand.Text()[:10]), watchers: map[chan event]bool{}}
}

func (s *stream) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers) > 0
}

// text returns an event as it is sent.
func (s *stream) text(name string, number int64, data []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %s-%d\nevent: %s\ndata: %s\n\n", s.boot, number, name, data)
	return b.Bytes()
}

// publish hands an event to all. Who is too far behind is let go: it comes again,
// and is told anew.
func (s *stream) publish(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	e := event{number: s.number, text: s.text(name, s.number, data)}
	s.recent = append(s.recent, e)
	s.recent = s.recent[max(0, len(s.recent)-maxRecent):]
	for w := range s.watchers {
		select {
		case w <- e:
		default:
			delete(s.watchers, w)
			close(w)
		}
	}
}

// join adds a watcher. Missed are the events after last; known is false if it has
// to be told everything anew, as of the number that is returned.
func (s *stream) join(last string) (w chan event, missed []event, number int64, known, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.watchers) >= maxWatchers {
		return nil, nil, 0, false, false
	}
	if len(s.watchers) == 0 { // nobody looked: what happened meanwhile is not in there
		s.recent = nil
	}
	w = make(chan event, maxBehind)
	s.watchers[w] = true
	n, err := strconv.ParseInt(strings.TrimPrefix(last, s.boot+"-"), 10, 64)
	if !strings.HasPrefix(last, s.boot+"-") || err != nil || n > s.number ||
		len(s.recent) == 0 || n < s.recent[0].number-1 {
		return w, nil, s.number, false, true
	}
	for _, e := range s.recent {
		if e.number > n {
			missed = append(missed, e)
		}
	}
	return w, missed, s.number, true, true
}

func (s *stream) leave(w chan event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

// close lets all watchers go.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for w := range s.watchers {
		delete(s.watchers, w)
		close(w)
	}
}

// Events streams to one watcher.
func (w *Watch) Events(rw http.ResponseWriter, r *http.Request) {
	events, missed, number, known, ok := w.stream.join(r.Header.Get("Last-Event-ID"))
	if !ok {
		rw.Header().Set("Retry-After", "5")
		serve.Problem(rw, http.StatusServiceUnavailable, fmt.Sprintf("%d are watching already", maxWatchers))
		return
	}
	defer w.stream.leave(events)
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.Header().Set("Cache-Control", "no-store")
	rw.Header().Set("X-Accel-Buffering", "no") // proxies hold it back otherwise
	out := watcher{rw: rw, control: http.NewResponseController(rw)}
	if !known {
		data, err := w.snapshot(r.Context())
		if err != nil {
			serve.Problem(rw, http.StatusInternalServerError, err.Error())
			return
		}
		missed = []event{{text: w.stream.text("snapshot", number, data)}}
	}
	if !out.send([]byte("retry: 1000\n\n")) {
		return
	}
	for _, e := range missed {
		if !out.send(e.text) {
			return
		}
	}
	out.follow(r, events)
}

// watcher is the connection to one who watches.
type watcher struct {
	rw      http.ResponseWriter
	control *http.ResponseController
}

// send writes and flushes, and reports whether it could in time.
func (w watcher) send(text []byte) bool {
	if err := w.control.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return false
	}
	if _, err := w.rw.Write(text); err != nil {
		return false
	}
	return w.control.Flush() == nil
}

// follow sends events until the watcher goes, is let go, or the server ends.
func (w watcher) follow(r *http.Request, events <-chan event) {
	beats := time.NewTicker(heartbeat)
	defer beats.Stop()
	for {
		select {
		case e, more := <-events:
			if !more || !w.send(e.text) {
				return
			}
		case <-beats.C:
			if !w.send([]byte(": heartbeat\n\n")) {
				return
			}
		case <-r.Context().Done():
			return
		case <-serve.Ending(r.Context()):
			return
		}
	}
}
