package main

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// twophaseCommand runs the program.
func twophaseCommand(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, &out, &err)
	return status, out.String(), err.String()
}

// newPool returns a pool with so many resources of each kind.
func newPool(t testing.TB, free int, kinds ...string) *pool.Pool {
	t.Helper()
	p, err := pool.New()
	require.NoError(t, err)
	for _, kind := range kinds {
		ids := make([]string, free)
		for i := range ids {
			ids[i] = fmt.Sprintf("%s-%d", kind, i+1)
		}
		require.NoError(t, p.Restock(kind, ids...))
	}
	return p
}

// serveHTTP serves a participant, and returns its address.
func serveHTTP(t testing.TB, p twophase.Participant) string {
	t.Helper()
	handler, err := twophasehttp.NewHandler(p)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

var eightKinds = []string{"a", "b", "c", "d", "e", "f", "g", "h"}

func kindFlags(kinds ...string) (flags []string) {
	for _, kind := range kinds {
		flags = append(flags, "-kind", kind)
	}
	return flags
}

func TestServiceThatKeepsTheContractOverHTTP(t *testing.T) {
	t.Parallel()
	p := newPool(t, 24, eightKinds...)
	status, stdout, stderr := twophaseCommand(t,
		append([]string{"verify", "-hold", "400ms", serveHTTP(t, p)}, kindFlags(eightKinds...)...)...)
	assert.Equal(t, exitKept, status, stdout)
	assert.Empty(t, stderr)
	for _, kind := range eightKinds {
		assert.Equal(t, 24, p.Count(kind).Free)
	}
}
