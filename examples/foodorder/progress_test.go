package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8/decor"
)

func TestProgressElsewhereIsLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, 20)
	for i := range 20 {
		verdict := Placed
		if i%4 == 3 {
			verdict = NotPlaced
		}
		p.answered(Answer{Verdict: verdict})
	}
	_, err := p.Write([]byte("a line of the log\n"))
	require.NoError(t, err)
	p.releasing(2)
	p.releasing(1)
	p.end()
	const want = `2 of 20 orders: 2 placed, 0 not
4 of 20 orders: 3 placed, 1 not
6 of 20 orders: 5 placed, 1 not
8 of 20 orders: 6 placed, 2 not
10 of 20 orders: 8 placed, 2 not
12 of 20 orders: 9 placed, 3 not
14 of 20 orders: 11 placed, 3 not
16 of 20 orders: 12 placed, 4 not
18 of 20 orders: 14 placed, 4 not
20 of 20 orders: 15 placed, 5 not
a line of the log
orders with something still to release: 2; waiting up to 30s
`
	assert.Equal(t, want, out.String())
}

func TestAFileIsNoTerminal(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer func() { assert.NoError(t, file.Close()) }()
	assert.IsType(t, &lines{}, newProgress(file, 1))
}

func TestProgressOnATerminalIsABar(t *testing.T) {
	t.Parallel()
	p := newBar(io.Discard, 2)
	p.answered(Answer{Verdict: Placed})
	p.answered(Answer{Verdict: NotPlaced})
	p.releasing(1)
	assert.Equal(t, " 1 placed, 1 not; 1 to release", p.words(decor.Statistics{}))
	assert.Equal(t, " 1 placed, 1 not", p.words(decor.Statistics{Completed: true}))
	p.end()
	assert.True(t, p.bar.Completed())
}
