package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase/benchmarks/internal/command"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSmallRunPrintsARowForEachCell(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			if db, err := databases[name](t.Context(), ""); errors.Is(err, pgtest.ErrNotInstalled) {
				t.Skip(err)
			} else {
				require.NoError(t, err)
				require.NoError(t, db.close())
			}
			var out, errs bytes.Buffer
			require.Zero(t, run([]string{
				"-databases", name, "-resources", "40", "-kinds", "1,3", "-callers", "2", "-duration", "1s", "-soldout=false",
			}, &out, &errs), errs.String())
			assert.Empty(t, errs.String())
			for _, cell := range []string{"| 40 | 1 | 2 |", "| 40 | 3 | 2 |"} {
				assert.Contains(t, out.String(), cell)
			}
		})
	}
}

// Those who are left at the end want what the lot has that is to be released next.
func TestFewOfManyKindsComeToAnEnd(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	require.Zero(t, run([]string{
		"-databases", "sqlite", "-resources", "2000", "-kinds", "500", "-callers", "256", "-duration", "1s", "-soldout=false",
	}, &out, &errs), errs.String())
	assert.Contains(t, out.String(), "| 2000 | 500 | 256 |")
}

func TestFlagsThatCannotBeRightAreRefused(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"-databases oracle":  `no "oracle"`,
		"-resources 0":       `"0" is not a number from 1 to`,
		"-kinds many":        `"many" is not a number`,
		"-callers 1,100000":  `"100000" is not a number from 1 to 400`,
		"-duration 1500ms":   "whole seconds",
		"-duration 0s":       "whole seconds",
		"something":          "only flags are taken",
		"-unknown something": "-unknown",
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, command.Usage, run(strings.Fields(args), &out, &errs), args)
		assert.Contains(t, errs.String(), says, args)
	}
}
