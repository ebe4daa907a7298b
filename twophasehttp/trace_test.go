package twophasehttp_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

var oneTrace = twophasehttp.Trace{
	Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	State:  "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
}

func TestATraceIsPassedOnThroughAllServices(t *testing.T) {
	t.Parallel()
	p := &stub{reservation: reserved}
	n := newPipes()
	client := through(t, n, through(t, n, p)) // a gateway between
	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(), twophase.WithParticipant("store", client))
	require.NoError(t, err)
	_, err = coordinator.Run(twophasehttp.ContextWithTrace(t.Context(), oneTrace), twophase.Transaction{
		ID: "order-1", Steps: []twophase.Step{{Participant: "store"}},
	})
	require.NoError(t, err)
	require.NoError(t, coordinator.Close(t.Context()))
	assert.Equal(t, oneTrace, p.trace)
}

func TestHeadersMayBeSetFromTheContext(t *testing.T) {
	t.Parallel()
	type token struct{}
	var sent http.Header
	client := newClient(t, "http://store",
		twophasehttp.WithHeaders(func(ctx context.Context, h http.Header) {
			h.Set("Authorization", ctx.Value(token{}).(string))
		}),
		twophasehttp.WithHeaders(func(_ context.Context, h http.Header) { h.Set("Traceparent", "of a propagator") }),
		twophasehttp.WithRoundTripper(roundTrip(func(r *http.Request) (*http.Response, error) {
			sent = r.Header
			return reply(200, `{"state":"released"}`), nil
		})))
	ctx := twophasehttp.ContextWithTrace(context.WithValue(t.Context(), token{}, "Bearer dosa"), oneTrace)
	require.NoError(t, client.Release(ctx, oneKey))
	assert.Equal(t, "Bearer dosa", sent.Get("Authorization"))
	assert.Equal(t, []string{"of a propagator"}, sent.Values("Traceparent"))
}

func TestATraceThatIsNoneIsDropped(t *testing.T) {
	t.Parallel()
	const next = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"
	for _, tc := range []struct{ name, parent, state, want, wantState string }{
		{"nothing", "", "congo=1", "", ""},
		{"a trace", oneTrace.Parent, "", oneTrace.Parent, ""},
		{"one of a later version", next, "", next, ""},
		{"one that is longer than its version", oneTrace.Parent + "-more", "", "", ""},
		{"one that goes on without a dash", "01" + oneTrace.Parent[2:] + "x", "", "", ""},
		{"an endless one", next + strings.Repeat("x", 100), "", "", ""},
		{"one without a version", "ff" + oneTrace.Parent[2:], "", "", ""},
		{"one in capitals", strings.ToUpper(oneTrace.Parent), "", "", ""},
		{"one with a dash too few", strings.Replace(oneTrace.Parent, "-", "0", 1), "", "", ""},
		{"an endless state", oneTrace.Parent, strings.Repeat("x", 513), oneTrace.Parent, ""},
		{"a state that is not printable", oneTrace.Parent, "congo=\x01", oneTrace.Parent, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := &stub{}
			ask(newHandler(t, p), request(t, http.MethodDelete, onePath, "", "Traceparent", tc.parent, "Tracestate", tc.state))
			assert.Equal(t, twophasehttp.Trace{Parent: tc.want, State: tc.wantState}, p.trace)
		})
	}
}
