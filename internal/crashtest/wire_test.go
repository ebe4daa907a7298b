//go:build unix

package crashtest

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// serveLedger serves one ledger as the participants' process does.
func serveLedger(t *testing.T, ledger *Ledger) remote {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	server := &http.Server{Handler: counter{ledger}, ReadHeaderTimeout: time.Minute}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	client := NewClient(socket)
	t.Cleanup(func() {
		client.CloseIdleConnections()
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return remote{"store", client}
}

// answered repeats a call until it is neither lost nor its reply.
func answered(t *testing.T, call func() error) error {
	t.Helper()
	var err error
	require.Eventually(t, func() bool {
		err = call()
		return err == nil || twophase.IsFinal(err)
	}, time.Minute, time.Millisecond)
	return err
}

func TestAnswersSurviveTheWire(t *testing.T) {
	t.Parallel()
	store := serveLedger(t, openLedger(t, filepath.Join(t.TempDir(), "ledger"), 1, 0))
	key := func(id string) twophase.Key { return twophase.Key{Transaction: id, Step: "store"} }
	var given twophase.Reservation
	reserve := func(id, payload string) error {
		return answered(t, func() (err error) {
			given, err = store.Reserve(t.Context(), twophase.Request{
				Key: key(id), Payload: []byte(payload), Hold: time.Hour,
			})
			return err
		})
	}
	assign := func(id string) error {
		return answered(t, func() error { return store.Assign(t.Context(), key(id)) })
	}

	require.NoError(t, reserve("order-1", `"dosa"`))
	require.Equal(t, "store-1", given.Resource())
	require.InDelta(t, time.Hour, given.TimeLeft, float64(time.Minute))
	require.ErrorIs(t, reserve("order-1", `"idli"`), twophase.ErrMismatch)
	require.ErrorIs(t, reserve("order-2", `"dosa"`), twophase.ErrRefused)
	require.ErrorIs(t, assign("order-2"), twophase.ErrUnknown)
	require.NoError(t, assign("order-1"))
	require.NoError(t, reserve("order-1", `"dosa"`))
	require.True(t, given.Assigned)
	require.NoError(t, answered(t, func() error { return store.Release(t.Context(), key("order-1")) }))
	require.ErrorIs(t, assign("order-1"), twophase.ErrReleased)
}
