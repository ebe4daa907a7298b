package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An answer that says nothing about the order leaves it in doubt: it is never
// taken for a no.
func TestWhoAsksAndGetsNoAnswerIsInDoubt(t *testing.T) {
	t.Parallel()
	city, err := newCity(&Day{}, Faults{}, Lifetimes{Hold: time.Minute, Timeout: time.Minute})
	require.NoError(t, err)
	defer func() { assert.NoError(t, city.orders.Close(t.Context())) }()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	order := Order{ID: "order-1", Area: "Hebbal", Foods: []string{"masala dosa"}}
	assert.Equal(t, InDoubt, city.orders.Ask(gone, order).Verdict)
	assert.Equal(t, NotPlaced, city.orders.Ask(t.Context(), order).Verdict)
}
