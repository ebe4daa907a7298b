package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTableIsAligned(t *testing.T) {
	t.Parallel()
	rates := table{title: "Rates", columns: []string{"what", ">per second", ">p99"}}
	rates.add("transactions", "12 345", "4.00 ms")
	rates.add("raw file", "7", "150 µs")
	rates.add("nothing")
	for name, test := range map[string]struct {
		markdown bool
		want     string
	}{
		"as text": {false, `
Rates

what          per second      p99
------------  ----------  -------
transactions      12 345  4.00 ms
raw file               7   150 µs
nothing
`},
		"as Markdown": {true, `
## Rates

| what         | per second |     p99 |
| ------------ | ---------: | ------: |
| transactions |     12 345 | 4.00 ms |
| raw file     |          7 |  150 µs |
| nothing      |            |         |
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			rates.write(&b, test.markdown)
			assert.Equal(t, test.want, b.String())
		})
	}
}

func TestFiguresAreReadable(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0":         count(0),
		"999":       count(999),
		"1 000":     count(999.6),
		"-1 234":    count(-1234),
		"-123":      count(-123),
		"5 000 000": count(5e6),
		"–":         length(0),
		"7.00 µs":   length(7 * time.Microsecond),
		"99.9 µs":   length(99_900 * time.Nanosecond),
		"100 µs":    length(99_960 * time.Nanosecond),
		"4.25 ms":   length(4250 * time.Microsecond),
		"61.5 s":    length(61500 * time.Millisecond),
		"578 B":     size(578),
		"30.3 kB":   size(30_300),
		"420 MB":    size(420e6),
		"1.01 GB":   size(1.01e9),
		"125.6":     orNone(125.6, "%.1f"),
		"0.31":      figure(0.31),
		"200":       figure(200),
	} {
		assert.Equal(t, want, got)
	}
	assert.Equal(t, none, orNone(0, "%.1f"))
	assert.Equal(t, none, size(0))
}
