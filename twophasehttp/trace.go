package twophasehttp

import (
	"context"
	"net/http"
)

// Trace is a trace context of the W3C, as it stands in the headers traceparent
// and tracestate.
type Trace struct {
	Parent string
	State  string
}

// ContextWithTrace returns a context whose calls carry the trace: by a
// [Participant], and by whatever else asks [TraceFromContext].
func ContextWithTrace(ctx context.Context, trace Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, trace)
}

// TraceFromContext returns the trace that the handler received, or that
// [ContextWithTrace] was given, and whether there is one.
func TraceFromContext(ctx context.Context) (Trace, bool) {
	trace, ok := ctx.Value(traceKey{}).(Trace)
	return trace, ok
}

type traceKey struct{}

// Bounds of what is passed on for strangers: a version may be longer than the
// first, and 512 characters are what everybody has to pass on.
const (
	maxTraceParent = 128
	maxTraceState  = 512
)

// setTrace puts the trace of a context into the headers of a request.
func setTrace(ctx context.Context, h http.Header) {
	trace, ok := TraceFromContext(ctx)
	if !ok || !validTraceParent(trace.Parent) {
		return
	}
	h.Set(headerTraceParent, trace.Parent)
	if validTraceState(trace.State) {
		h.Set(headerTraceState, trace.State)
	}
}

// withTrace returns a context with the trace of a request, if it has one.
func withTrace(ctx context.Context, h http.Header) context.Context {
	parent := h.Get(headerTraceParent)
	if !validTraceParent(parent) {
		return ctx
	}
	trace := Trace{Parent: parent}
	if state := h.Get(headerTraceState); validTraceState(state) {
		trace.State = state
	}
	return ContextWithTrace(ctx, trace)
}

// validTraceParent reports whether a header is version-trace-span-flags, in
// lower-case hexadecimal, with something behind it in later versions only.
func validTraceParent(s string) bool {
	const first = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(s) < first || len(s) > maxTraceParent || s[:2] == "ff" {
		return false
	}
	if len(s) > first && (s[:2] == "00" || s[first] != '-') {
		return false
	}
	for i := range first {
		dash := i == 2 || i == 35 || i == 52
		if dash != (s[i] == '-') || !dash && !isHex(s[i]) {
			return false
		}
	}
	return printable(s[first:])
}

func validTraceState(s string) bool { return s != "" && len(s) <= maxTraceState && printable(s) }

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
