package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStockLendsExactlyWhatIsAskedForHoweverLongTheRunTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, 24, "verify")
		calls := &transcript{}
		s := &stock{
			kind: "verify", payload: defaultTemplate.fill("verify", 1), hold: 10 * time.Minute, run: "run", transcript: calls,
			calls: &recorded{participant: p, timeout: time.Second, transcript: calls},
		}
		_, err := s.open(t.Context())
		require.NoError(t, err)
		for n := range 22 {
			require.NoError(t, s.lend(t.Context(), n))
			time.Sleep(4 * time.Minute) // for a check
			assert.Equal(t, n, p.Count("verify").Free)
		}
		missing, err := s.missing(t.Context())
		require.NoError(t, err)
		assert.Empty(t, missing)
		require.NoError(t, s.empty(t.Context()))
		assert.Equal(t, 24, p.Count("verify").Free)
	})
}

const defaultTemplate = template(defaultPayload)
