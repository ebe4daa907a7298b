package pool_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// thali is a payload of a service of one's own.
type thali struct {
	Size  string
	Sweet bool
}

func (t thali) want() pool.Want { return pool.Want{Kind: t.Size + " thali"} }

func TestPayloadsMayBeOfATypeOfOnesOwn(t *testing.T) {
	t.Parallel()
	p := newPool(t, pool.For(thali.want))
	require.NoError(t, p.Restock("small thali", "thali-1"))

	r, err := p.Reserve(t.Context(), thaliRequest(t, thali{Size: "small"}))
	require.NoError(t, err)
	assert.Equal(t, []string{"thali-1"}, r.Resources)

	_, err = p.Reserve(t.Context(), thaliRequest(t, thali{Size: "small", Sweet: true}))
	assertError(t, twophase.ErrMismatch, err, "order-1")
}

func TestPayloadsThatAreNotOfTheTypeAreRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t, pool.For(thali.want))
	_, err := p.Reserve(t.Context(), thaliRequest(t, []string{"small"}))
	assertError(t, twophase.ErrRefused, err, "order-1")
}

func thaliRequest(t testing.TB, payload any) twophase.Request {
	t.Helper()
	encoded, err := json.Marshal(payload)
	require.NoError(t, err)
	return twophase.Request{Key: key("order-1"), Payload: encoded, Hold: time.Minute}
}

func TestOptionsThatCannotBeRightAreAllNamed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		options []pool.Option
		says    []string
	}{
		{"no retention", []pool.Option{pool.WithRetention(0)}, []string{"WithRetention(0s): it must be above zero"}},
		{"a negative retention", []pool.Option{pool.WithRetention(-time.Hour)}, []string{"WithRetention(-1h0m0s)"}},
		{"no function", []pool.Option{pool.For[thali](nil)}, []string{"For is given nil"}},
		{"no option", []pool.Option{nil}, []string{"option 1 is nil"}},
		{
			"several", []pool.Option{pool.WithRetention(0), nil, pool.For[thali](nil)},
			[]string{"WithRetention(0s)", "option 2 is nil", "For is given nil"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := pool.New(tc.options...)
			assert.Nil(t, p)
			require.ErrorIs(t, err, twophase.ErrInvalid)
			for _, says := range tc.says {
				assert.ErrorContains(t, err, says)
			}
		})
	}
}
