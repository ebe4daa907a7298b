package order_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/order"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
	"github.com/seed-bcc3c603/twophase/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is an Order service with participants in memory: one packet of masala dosa
// and one of idli vada, two agents in Indiranagar.
type shop struct {
	url     string
	packets *pool.Pool
	journal *flakyJournal
}

// flakyJournal is away when it is told to be.
type flakyJournal struct {
	twophase.Journal
	away func() bool
}

func (j *flakyJournal) Begin(ctx context.Context, r twophase.Record) (twophase.Record, bool, error) {
	if j.away() {
		return twophase.Record{}, false, twophase.ErrUnavailable
	}
	return j.Journal.Begin(ctx, r)
}

func openShop(t *testing.T, wrap ...func(twophase.Participant) twophase.Participant) *shop {
	t.Helper()
	packets, err := pool.New(pool.For(func(p store.Packet) pool.Want { return pool.Want{Kind: p.Food} }))
	require.NoError(t, err)
	agents, err := pool.New(pool.For(func(a delivery.Agent) pool.Want { return pool.Want{Kind: a.Area} }))
	require.NoError(t, err)
	require.NoError(t, packets.Restock("masala dosa", "dosa-1"))
	require.NoError(t, packets.Restock("idli vada", "idli-1"))
	require.NoError(t, agents.Restock("Indiranagar", "asha", "vijay"))
	var theStore twophase.Participant = packets
	for _, w := range wrap {
		theStore = w(theStore)
	}
	s := &shop{packets: packets, journal: &flakyJournal{twophase.NewMemoryJournal(), func() bool { return false }}}
	lives := order.Lifetimes{
		Hold: 3 * time.Second, Timeout: 2 * time.Second, ReserveFor: 200 * time.Millisecond,
		AssignFor: 500 * time.Millisecond, Attempt: 100 * time.Millisecond, Lease: time.Second,
	}
	service, err := order.New(s.journal, theStore, agents, lives)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, service.Close(context.WithoutCancel(t.Context()))) })
	s.serve(t, service)
	return s
}

func (s *shop) serve(t *testing.T, service *order.Service) {
	t.Helper()
	stock := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		serve.JSON(w, http.StatusOK, api.Service{Kinds: []api.Kind{{Kind: "masala dosa", Free: 1}}})
	}))
	t.Cleanup(stock.Close)
	client := &http.Client{}
	watch := order.NewWatch(service, client, stock.URL, "http://127.0.0.1:1", nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); watch.Run(ctx) }()
	server := httptest.NewUnstartedServer(order.Handler{Orders: service, Watch: watch, ByHand: true}.HTTP())
	server.Start()
	s.url = server.URL
	t.Cleanup(func() {
		cancel()
		<-ended
		server.Close()
		client.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
	})
}

func (s *shop) do(t *testing.T, method, path, contentType, body string) (int, http.Header, api.Answer) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var answer api.Answer
	if response.Header.Get("Content-Type") == "application/json" {
		require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	}
	return response.StatusCode, response.Header, answer
}

func (s *shop) place(t *testing.T, id, food, area string) (int, api.Answer) {
	t.Helper()
	body, err := json.Marshal(api.Order{ID: id, Food: food, Area: area})
	require.NoError(t, err)
	status, _, answer := s.do(t, http.MethodPost, "/orders", "application/json", string(body))
	return status, answer
}

func TestOrderIsPlacedAndWhoeverAsksAgainIsToldTheSame(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	status, first := s.place(t, "order-1", "masala dosa", "Indiranagar")
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, api.Placed, first.Status)
	assert.Equal(t, "dosa-1", first.Packet)
	assert.NotEmpty(t, first.Agent)
	status, again := s.place(t, "order-1", "masala dosa", "Indiranagar")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, first, again)
	status, _, asked := s.do(t, http.MethodGet, "/orders/order-1", "", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, first, asked)
}

func TestOrderIsNotPlacedForAReasonAndHoldsNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		food, area string
		reason     api.Reason
		detail     string
	}{
		"no packet": {"akki roti", "Indiranagar", api.SoldOut, "no akki roti left"},
		"no agent":  {"masala dosa", "Jayanagar", api.NoAgent, "no agent free in Jayanagar"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			status, answer := s.place(t, "order-1", test.food, test.area)
			require.Equal(t, http.StatusConflict, status)
			assert.Equal(t, api.NotPlaced, answer.Status)
			assert.Equal(t, test.reason, answer.Reason)
			assert.Equal(t, test.detail, answer.Detail)
			assert.Equal(t, 1, s.packets.Count("masala dosa").Free)
			status, _, asked := s.do(t, http.MethodGet, "/orders/order-1", "", "")
			assert.Equal(t, http.StatusConflict, status)
			assert.Equal(t, test.reason, asked.Reason)
		})
	}
}

// deadStore answers nothing.
type deadStore struct{ twophase.Participant }

func (deadStore) Reserve(ctx context.Context, _ twophase.Request) (twophase.Reservation, error) {
	<-ctx.Done()
	return twophase.Reservation{}, ctx.Err()
}

func TestServiceThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	s := openShop(t, func(p twophase.Participant) twophase.Participant { return deadStore{p} })
	status, answer := s.place(t, "order-1", "masala dosa", "Indiranagar")
	assert.Equal(t, http.StatusConflict, status)
	assert.Equal(t, api.NoAnswer, answer.Reason)
	assert.Contains(t, answer.Detail, "store")
}

func TestJournalThatIsAwayIsAskedAgainLater(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.journal.away = func() bool { return true }
	status, headers, answer := s.do(t, http.MethodPost, "/orders", "application/json",
		`{"id":"order-1","food":"masala dosa","area":"Indiranagar"}`)
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "1", headers.Get("Retry-After"))
	assert.Equal(t, api.InDoubt, answer.Status)
}

func TestWrongRequestsAreRefused(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	status, _ := s.place(t, "order-1", "masala dosa", "Indiranagar")
	require.Equal(t, http.StatusOK, status)
	const json = "application/json"
	for name, test := range map[string]struct {
		method, path, contentType, body string
		status                          int
	}{
		"no JSON":             {"POST", "/orders", json, `{`, 400},
		"another type":        {"POST", "/orders", "text/plain", `{}`, 415},
		"an unknown field":    {"POST", "/orders", json, `{"id":"a","food":"b","area":"c","tip":1}`, 400},
		"trailing data":       {"POST", "/orders", json, `{"id":"a","food":"b","area":"c"} {}`, 400},
		"too much":            {"POST", "/orders", json, `{"id":"` + strings.Repeat("a", 20_000) + `"}`, 413},
		"no food":             {"POST", "/orders", json, `{"id":"a","area":"c"}`, 400},
		"an id with a slash":  {"POST", "/orders", json, `{"id":"../a","food":"b","area":"c"}`, 400},
		"an id that is long":  {"POST", "/orders", json, `{"id":"` + strings.Repeat("a", 101) + `","food":"b","area":"c"}`, 400},
		"a control character": {"POST", "/orders", json, `{"id":"a","food":"b\u0007","area":"c"}`, 400},
		"another order":       {"POST", "/orders", json, `{"id":"order-1","food":"idli vada","area":"Indiranagar"}`, 422},
		"no such order":       {"GET", "/orders/nobody", "", "", 404},
		"a limit of 0":        {"GET", "/orders?limit=0", "", "", 400},
		"another method":      {"DELETE", "/orders", "", "", 405},
		"breaking no demo":    {"POST", "/break/stop-store", "", "", 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, _, _ := s.do(t, test.method, test.path, test.contentType, test.body)
			assert.Equal(t, test.status, status)
		})
	}
}

func TestLatestOrdersHaveATimelineOfEachCall(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.place(t, "order-1", "masala dosa", "Indiranagar")
	s.place(t, "order-2", "masala dosa", "Indiranagar")
	response, err := http.Get(s.url + "/orders?limit=10") //nolint:noctx // a test of reading
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var latest api.Orders
	require.NoError(t, json.NewDecoder(response.Body).Decode(&latest))
	require.Len(t, latest.Orders, 2)
	second, first := latest.Orders[0], latest.Orders[1]
	assert.Equal(t, "order-2", second.ID)
	assert.Equal(t, api.NotPlaced, second.Status)
	assert.Equal(t, api.Placed, first.Status)
	assert.True(t, first.Finished)
	calls := map[string]int{}
	for _, mark := range first.Timeline {
		calls[mark.To+" "+mark.Call]++
	}
	assert.Equal(t, map[string]int{
		"store reserve": 1, "delivery reserve": 1, "store assign": 1, "delivery assign": 1,
		"journal begin": 1, "journal decide": 1,
	}, calls)
	assert.Equal(t, api.Totals{Placed: 1, NotPlaced: 1, ByReason: map[api.Reason]int64{api.SoldOut: 1}}, latest.Totals)
}

func TestByHandTakesAPacketAndAnAgent(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	status, _, answer := s.do(t, http.MethodPost, "/by-hand", "application/json",
		`{"id":"order-1","food":"masala dosa","area":"Indiranagar"}`)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "dosa-1", answer.Packet)
	assert.Equal(t, 1, s.packets.Count("masala dosa").Assigned)
}

// watcher reads server-sent events.
type watcher struct{ lines *bufio.Scanner }

func (s *shop) watch(t *testing.T, lastID string) watcher {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/events", nil)
	require.NoError(t, err)
	request.Header.Set("Last-Event-ID", lastID)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	w := watcher{bufio.NewScanner(response.Body)}
	w.lines.Buffer(nil, 1<<20)
	return w
}

// next returns the next event of that name.
func (w watcher) next(t *testing.T, name string) (id, data string) {
	t.Helper()
	var event string
	for w.lines.Scan() {
		field, value, _ := strings.Cut(w.lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			if event == name {
				return id, value
			}
		}
	}
	require.NoError(t, w.lines.Err())
	require.Fail(t, "the stream has ended", "before %s", name)
	return "", ""
}

func TestWatcherIsToldEverythingAndThenWhatChanges(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.place(t, "order-1", "masala dosa", "Indiranagar")
	w := s.watch(t, "")
	_, data := w.next(t, "snapshot")
	var snapshot struct {
		Boot   string     `json:"boot"`
		Orders []api.View `json:"orders"`
		Stock  api.Stock  `json:"stock"`
	}
	require.NoError(t, json.Unmarshal([]byte(data), &snapshot))
	require.Len(t, snapshot.Orders, 1)
	require.Len(t, snapshot.Stock.Services, 2)
	assert.True(t, snapshot.Stock.Services[0].Up)
	assert.False(t, snapshot.Stock.Services[1].Up)

	_, _ = w.next(t, "stock") // from here on changes are noted
	s.place(t, "order-2", "idli vada", "Indiranagar")
	var changed api.Orders
	id, data := w.next(t, "orders")
	require.NoError(t, json.Unmarshal([]byte(data), &changed))
	assert.Equal(t, "order-2", changed.Orders[0].ID)
	assert.True(t, strings.HasPrefix(id, snapshot.Boot+"-"))
}

func TestWatcherWhoComesAgainIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.watch(t, "").next(t, "snapshot") // somebody else stays
	w := s.watch(t, "")
	first, _ := w.next(t, "stock")
	s.place(t, "order-1", "masala dosa", "Indiranagar")
	missed, data := w.next(t, "orders")

	again := s.watch(t, first)
	id, same := again.next(t, "orders")
	assert.Equal(t, missed, id)
	assert.Equal(t, data, same)

	stranger := s.watch(t, "another-boot-7")
	stranger.next(t, "snapshot")
}
