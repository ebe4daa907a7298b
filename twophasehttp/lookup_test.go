package twophasehttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// books is a participant that tells what it has as pools on databases do.
type books struct {
	stub
	holding pool.Holding
	found   bool
	fault   error
}

func (b *books) Lookup(context.Context, twophase.Key) (pool.Holding, bool, error) {
	return b.holding, b.found, b.fault
}

func TestLookupTellsWhatIsOnRecord(t *testing.T) {
	t.Parallel()
	p := newPool(t, 2)
	client := newClient(t, serve(t, newHandler(t, p)))
	look := func(key twophase.Key) (twophasehttp.Holding, bool) {
		h, found, err := client.Lookup(t.Context(), key)
		require.NoError(t, err)
		return h, found
	}
	_, found := look(oneKey)
	assert.False(t, found)
	_, err := client.Reserve(t.Context(), twophase.Request{Key: oneKey, Payload: json.RawMessage(`{"kind":"masala dosa"}`), Hold: time.Hour})
	require.NoError(t, err)
	h, found := look(oneKey)
	require.True(t, found)
	assert.Equal(t, twophase.EntryReserved, h.State)
	assert.Equal(t, []string{"packet-1"}, h.Reservation.Resources)
	assert.InDelta(t, time.Hour, h.Reservation.TimeLeft, float64(time.Minute))
	require.NoError(t, client.Assign(t.Context(), oneKey))
	h, _ = look(oneKey)
	assert.Equal(t, twophasehttp.Holding{
		State: twophase.EntryAssigned, Reservation: twophase.Reservation{Resources: []string{"packet-1"}, Assigned: true},
	}, h)
	require.NoError(t, client.Release(t.Context(), oneKey))
	h, _ = look(oneKey)
	assert.Equal(t, twophasehttp.Holding{State: twophase.EntryReleased}, h)
}

func TestAPoolOnADatabaseIsAskedWhatItHas(t *testing.T) {
	t.Parallel()
	held := pool.Holding{State: twophase.EntryReserved, Kind: dosa, Resources: []string{"packet-1"}, TimeLeft: 1500 * time.Microsecond}
	for _, tc := range []struct {
		name   string
		books  books
		status int
		want   string
	}{
		{"what it holds", books{holding: held, found: true}, 200, `{"state":"reserved","resources":["packet-1"],"time_left_ms":1}`},
		{"what ran out", books{holding: pool.Holding{State: twophase.EntryExpired}, found: true}, 200, `{"state":"expired"}`},
		{"what it never saw", books{}, 404, `"reason":"unknown"`},
		{"a state of none", books{found: true}, 404, `"reason":"unknown"`},
		{"a fault", books{fault: errors.New("disk full")}, 500, `"reason":"internal"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := ask(newHandler(t, &tc.books, silent), request(t, http.MethodGet, onePath, ""))
			assert.Equal(t, tc.status, w.Code)
			assert.Contains(t, w.Body.String(), tc.want)
		})
	}
}

func TestWhatAFenceHasIsToldThroughWithLookup(t *testing.T) {
	t.Parallel()
	holding := twophasehttp.Holding{State: twophase.EntryReserved, Reservation: twophase.Reservation{
		Resources: []string{"packet-1"}, TimeLeft: time.Second, Details: json.RawMessage(`{"counter":4}`),
	}}
	handler := newHandler(t, &stub{}, twophasehttp.WithLookup(
		func(_ context.Context, key twophase.Key) (twophasehttp.Holding, bool, error) {
			return holding, key == oneKey, nil
		}))
	client := newClient(t, serve(t, handler))
	got, found, err := client.Lookup(t.Context(), oneKey)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, holding, got)
	_, found, err = client.Lookup(t.Context(), twophase.Key{Transaction: "order-2", Step: "store"})
	require.NoError(t, err)
	assert.False(t, found)
	assert.Equal(t, http.StatusBadRequest, ask(handler, request(t, http.MethodGet, onePath, oneBody)).Code, "a body")
}

func TestLookupOfWhatCannotTellIsAnError(t *testing.T) {
	t.Parallel()
	_, found, err := newClient(t, serve(t, newHandler(t, &stub{}))).Lookup(t.Context(), oneKey)
	require.ErrorContains(t, err, "this path serves PUT, DELETE")
	assert.False(t, found)
}

// A bare 404 is that of a wrong path: it does not tell that there is nothing.
func TestAPathThatDoesNotExistTellsNothing(t *testing.T) {
	t.Parallel()
	_, found, err := newClient(t, serve(t, http.NotFoundHandler())).Lookup(t.Context(), oneKey)
	require.ErrorContains(t, err, "404 Not Found")
	assert.False(t, found)
}
