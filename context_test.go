package twophase_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

type traceID struct{}

// looking is a participant that looks at the context of its Assign.
type looking struct {
	idle
	look func(ctx context.Context) error
}

func (p looking) Assign(ctx context.Context, _ twophase.Key) error { return p.look(ctx) }

// The context of a call costs a timer only if somebody waits for its end; it
// must not be told from one that always does.
func TestContextsOfCalls(t *testing.T) {
	t.Parallel()
	const attempt = 5 * time.Second
	tests := []struct {
		name string
		look func(t *testing.T, ctx context.Context)
	}{
		{"have the values of whoever began the transaction", func(t *testing.T, ctx context.Context) {
			assert.Equal(t, "trace-7", ctx.Value(traceID{}))
			assert.Nil(t, ctx.Value("nothing"))
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			assert.Equal(t, "trace-7", derived.Value(traceID{}))
			<-ctx.Done()
			assert.Equal(t, "trace-7", ctx.Value(traceID{}), "still")
		}},
		{"have a deadline", func(t *testing.T, ctx context.Context) {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			assert.Equal(t, attempt, time.Until(deadline))
			derived, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			sooner, _ := derived.Deadline()
			assert.Equal(t, deadline, sooner)
		}},
		{"end at it, seen by who waits", func(t *testing.T, ctx context.Context) {
			require.NoError(t, ctx.Err())
			start := time.Now()
			<-ctx.Done()
			assert.Equal(t, attempt, time.Since(start))
			assert.Equal(t, context.DeadlineExceeded, ctx.Err())
		}},
		{"end at it, seen by who asks", func(t *testing.T, ctx context.Context) {
			time.Sleep(attempt - 1)
			require.NoError(t, ctx.Err())
			time.Sleep(time.Nanosecond)
			assert.Equal(t, context.DeadlineExceeded, ctx.Err())
			<-ctx.Done()
		}},
		{"end what is derived from them", func(t *testing.T, ctx context.Context) {
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			<-derived.Done()
			assert.Equal(t, context.DeadlineExceeded, derived.Err())
		}},
		{"end with the attempt", func(t *testing.T, ctx context.Context) {
			go func() {
				<-ctx.Done()
				assert.Equal(t, context.Canceled, ctx.Err())
			}()
			synctest.Wait()
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				looked := false
				p := looking{newIdle("packet-1"), func(ctx context.Context) error {
					if looked {
						return nil
					}
					looked = true
					test.look(t, ctx)
					return errDown
				}}
				c := newTimedCoordinator(t, p)
				ctx := context.WithValue(t.Context(), traceID{}, "trace-7")
				_, err := c.Run(ctx, twophase.Transaction{ID: "order-1", Steps: []twophase.Step{{Participant: "store"}}})
				require.NoError(t, err)
				assert.True(t, looked)
				require.NoError(t, c.Close(context.WithoutCancel(ctx)))
			})
		})
	}
}

func TestContextsOfCallsEndWhenTheirAnswerNoLongerMatters(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{true, false} {
		name := map[bool]string{true: "seen by who waits", false: "seen by who asks"}[waits]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var seen error
				p := looking{newIdle("packet-1"), func(ctx context.Context) error {
					if waits {
						<-ctx.Done()
					}
					time.Sleep(2 * time.Second)
					seen = ctx.Err()
					return seen
				}}
				refusing := looking{newIdle("agent-1"), func(context.Context) error {
					time.Sleep(time.Second)
					return twophase.ErrRefused
				}}
				c := newTimedCoordinator(t, p, twophase.WithParticipant("delivery", refusing))
				_, err := c.Run(t.Context(), twophase.Transaction{ID: "order-1", Steps: []twophase.Step{
					{Participant: "store"}, {Participant: "delivery"},
				}})
				require.ErrorIs(t, err, twophase.ErrRefused)
				require.NoError(t, c.Close(context.WithoutCancel(t.Context())))
				assert.Equal(t, context.Canceled, seen)
			})
		})
	}
}
