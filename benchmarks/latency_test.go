package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	hundred := func() []time.Duration {
		all := make([]time.Duration, 100)
		for i := range all {
			all[i] = time.Duration(100 - i)
		}
		return all
	}
	for name, test := range map[string]struct {
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		"nothing was measured":                {nil, 0.5, 0},
		"one value is every percentile":       {[]time.Duration{7}, 0.99, 7},
		"the median of three is the middle":   {[]time.Duration{9, 1, 5}, 0.5, 5},
		"the median of four was measured":     {[]time.Duration{4, 1, 3, 2}, 0.5, 2},
		"half of a hundred":                   {hundred(), 0.5, 50},
		"one of a hundred exceeds the 99th":   {hundred(), 0.99, 99},
		"nothing exceeds the last":            {hundred(), 1, 100},
		"nothing is less than the first":      {hundred(), 0, 1},
		"the 99th of two is the larger":       {[]time.Duration{2, 1}, 0.99, 2},
		"a share between two ranks goes up":   {hundred(), 0.981, 99},
		"a hundred values in an unsorted way": {append(hundred(), 1000), 0.5, 51},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, percentile(test.of, test.p))
		})
	}
}
