package bench_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/examples/microservices/bench"
)

func TestTableShowsBothKindsAndTheirRatio(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, bench.Table(&out, "http", []bench.Row{{
		Callers: 4,
		ByHand:  bench.Measured{PerSecond: 400, P50: 9 * time.Millisecond, P99: 20 * time.Millisecond},
		Orders:  bench.Measured{PerSecond: 300, P50: 12 * time.Millisecond, P99: 2500 * time.Millisecond},
	}}))
	assert.Regexp(t, `4 callers +400/s +9ms +20ms +300/s +12ms +2\.5s +75 %`, out.String())
}
