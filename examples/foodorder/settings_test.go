package main

import (
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args string
		err  string // each line
	}{
		{"none", "", ""},
		{"the bounds themselves", "-concurrency 1 -fail 0 -lose 1 -latency 0 -hold 7.5s -timeout 7s -table none", ""},
		{"an argument", "day.csv", `unexpected argument "day.csv": there are only flags; see -help`},
		{"no flag", "-speed 3", "flag provided but not defined: -speed; see -help"},
		{"no number", "-fail often", `invalid value "often" for flag -fail: parse error; see -help`},
		{"a share above 1", "-lose 1.5", "-lose 1.5: it must be a share from 0 to 1"},
		{"a share below 0", "-fail -0.1", "-fail -0.1: it must be a share from 0 to 1"},
		{"a share that is none", "-fail NaN", "-fail NaN: it must be a share from 0 to 1"},
		{"no concurrency", "-concurrency 0", "-concurrency 0: it must be from 1 to 10000"},
		{"too much concurrency", "-concurrency 10001", "-concurrency 10001: it must be from 1 to 10000"},
		{"a negative latency", "-latency -1ms", "-latency -1ms: it must be 0 or more"},
		{"a hold too short", "-hold 7s", "-hold 7s: it must be from 7.5s, to outlast a service that is out for 5s, to 1h0m0s"},
		{"a timeout too short", "-timeout 1s", "-timeout 1s: it must be from 7s, to outlast a service that is out for 5s, to 1h0m0s"},
		{"a hold too long", "-hold 1h1s", "-hold 1h0m1s: it must be from 7.5s, to outlast a service that is out for 5s, to 1h0m0s"},
		{"a timeout too long", "-timeout 61m", "-timeout 1h1m0s: it must be from 7s, to outlast a service that is out for 5s, to 1h0m0s"},
		{"no table", "-table big", "-table big: it must be one of short, all, failed, none"},
		{
			"several at once", "-concurrency -3 -table x",
			"-concurrency -3: it must be from 1 to 10000\n-table x: it must be one of short, all, failed, none",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(strings.Fields(test.args), io.Discard)
			if test.err == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, test.err)
		})
	}
}

func TestTheReadmeNamesEveryFlag(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var help strings.Builder
	_, err = parse([]string{"-help"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	names := regexp.MustCompile(`(?m)^  (-\w+)`).FindAllStringSubmatch(help.String(), -1)
	require.Len(t, names, 13)
	for _, name := range names {
		assert.Contains(t, string(readme), "`"+name[1]+"`")
	}
}

// What the flags let through, the coordinator must not refuse.
func TestTheShortestLifetimesAreEnoughForTheCoordinator(t *testing.T) {
	t.Parallel()
	shortest := Lifetimes{Hold: reserveFor + assignFor + margin, Timeout: reserveFor + assignFor}
	for _, test := range []struct {
		name  string
		lives Lifetimes
		ok    bool
	}{
		{"the shortest", shortest, true},
		{"a shorter hold", Lifetimes{Hold: shortest.Hold - 1, Timeout: shortest.Timeout}, false},
		{"a shorter timeout", Lifetimes{Hold: shortest.Hold, Timeout: shortest.Timeout - 1}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			city, err := newCity(&Day{}, Faults{}, test.lives)
			if !test.ok {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.NoError(t, city.tidy(t.Context(), newProgress(io.Discard, 1)))
		})
	}
}
