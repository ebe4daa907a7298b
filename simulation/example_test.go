package simulation_test

import (
	"testing"

	"github.com/seed-bcc3c603/twophase/simulation"
)

// A seed that has failed once is worth a test of its own.
func ExampleRun() {
	_ = func(t *testing.T) {
		report := simulation.Run(t, 4711, simulation.WithTrace())
		if len(report.Violations) > 0 {
			t.Errorf("%v\n%s", report.Violations, report.Trace)
		}
	}
}
