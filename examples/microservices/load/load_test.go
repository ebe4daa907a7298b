package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/load"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is an Order service that says what it is told to, by how often an order
// was sent.
func answers(t *testing.T, answer func(w http.ResponseWriter, o api.Order, times int)) *load.Client {
	t.Helper()
	var mu sync.Mutex
	times := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o api.Order
		if r.Method == http.MethodGet {
			o.ID = r.URL.Path[len("/orders/"):]
		} else if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			serve.Problem(w, http.StatusBadRequest, err.Error())
			return
		}
		mu.Lock()
		times[o.ID]++
		n := times[o.ID]
		mu.Unlock()
		answer(w, o, n)
	}))
	client := load.NewClient(server.URL, 2)
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client
}

func run(t *testing.T, client *load.Client, patience time.Duration) *load.Load {
	t.Helper()
	l := load.New(load.Config{
		Client: client, Callers: 2, Prefix: "test", Foods: []string{"dosa"}, Areas: []string{"HSR"},
		Pause: time.Millisecond, Patience: patience,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	l.Run(ctx)
	require.NotEmpty(t, l.Told())
	return l
}

func placed(o api.Order, packet string) api.Answer {
	return api.Answer{ID: o.ID, Status: api.Placed, Packet: packet, Agent: "asha"}
}

func TestCustomersAskAgainUntilThereIsAnAnswer(t *testing.T) {
	t.Parallel()
	client := answers(t, func(w http.ResponseWriter, o api.Order, times int) {
		switch times {
		case 1:
			serve.JSON(w, http.StatusAccepted, api.Answer{ID: o.ID, Status: api.InDoubt})
		case 2:
			serve.Problem(w, http.StatusBadGateway, "a proxy's page")
		default:
			serve.JSON(w, http.StatusOK, placed(o, "packet-1"))
		}
	})
	l := run(t, client, 10*time.Second)
	for _, told := range l.Told() {
		assert.Equal(t, api.Placed, told.Answer.Status)
		assert.Equal(t, 3, told.Asked)
	}
	total := l.Stats().Total()
	assert.Equal(t, int64(len(l.Told())), total.Placed)
	assert.Equal(t, 2*total.Placed, total.AskedAgain)
}

func TestAnswerWithoutItsStatusIsNone(t *testing.T) {
	t.Parallel()
	client := answers(t, func(w http.ResponseWriter, o api.Order, _ int) {
		serve.JSON(w, http.StatusConflict, placed(o, "packet-1"))
	})
	_, err := client.Place(t.Context(), api.Order{ID: "a"})
	require.Error(t, err)
}

func TestCustomersWhoAreToldTwoThingsAreFound(t *testing.T) {
	t.Parallel()
	client := answers(t, func(w http.ResponseWriter, o api.Order, times int) {
		serve.JSON(w, http.StatusOK, placed(o, map[bool]string{true: "packet-1", false: "packet-2"}[times == 1]))
	})
	l := run(t, client, time.Second)
	require.NoError(t, l.AskAll(t.Context()))
	require.NotNil(t, l.Told()[0].Other)
	assert.Equal(t, "packet-2", l.Told()[0].Other.Packet)
}

func TestOrderThatStaysInDoubtIsAskedAboutAtTheEnd(t *testing.T) {
	t.Parallel()
	client := answers(t, func(w http.ResponseWriter, o api.Order, times int) {
		if times < 3 {
			serve.JSON(w, http.StatusAccepted, api.Answer{ID: o.ID, Status: api.InDoubt})
			return
		}
		serve.JSON(w, http.StatusConflict, api.Answer{ID: o.ID, Status: api.NotPlaced, Reason: api.SoldOut})
	})
	l := run(t, client, 40*time.Millisecond)
	assert.Equal(t, api.InDoubt, l.Told()[0].Answer.Status)
	require.NoError(t, l.AskAll(t.Context()))
	assert.Equal(t, api.NotPlaced, l.Told()[0].Answer.Status)
}

func TestLoadIsShownAsLinesWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	load.Show(ctx, &out, load.New(load.Config{}).Stats())
	assert.Empty(t, out.String())
}
