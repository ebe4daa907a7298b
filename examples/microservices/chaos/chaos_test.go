package chaos_test

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase/examples/microservices/chaos"
	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
	"github.com/seed-bcc3c603/twophase/examples/microservices/command"
	"github.com/seed-bcc3c603/twophase/examples/microservices/process"
)

// childEnv makes a service of the test binary.
const childEnv = "MICROSERVICES_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(command.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// The short form; "microservices chaos -for 30m" is the long one.
func TestInvariantsHoldWhileServicesAreKilledDatabasesCrashAndNetworksFail(t *testing.T) {
	seed := uint64(fromEnv(t, "MICROSERVICES_CHAOS_SEED", int(rand.Uint64N(1_000_000))))
	span := time.Duration(fromEnv(t, "MICROSERVICES_CHAOS_SECONDS", 20)) * time.Second
	transport := []string{process.HTTP, process.GRPC}[seed%2]
	t.Logf("MICROSERVICES_CHAOS_SEED=%d MICROSERVICES_CHAOS_SECONDS=%d, over %s", seed, int(span.Seconds()), transport)
	binary, err := os.Executable()
	require.NoError(t, err)
	report, err := chaos.Run(t.Context(), t.Output(), chaos.Config{
		Command: func(args ...string) *exec.Cmd {
			cmd := exec.CommandContext(context.Background(), binary, args...)
			cmd.Env = append(os.Environ(), childEnv+"=1")
			return cmd
		},
		Output: func(string) io.Writer { return nil },
		For:    span, Callers: 8, Transport: transport, Seed: seed,
	})
	require.NoError(t, err)
	for _, service := range city.Services() {
		assert.Positive(t, report.Killed[service], "kills of %s", service)
		assert.Positive(t, report.Crashed[service], "crashes of the database of %s", service)
	}
	assert.NotEmpty(t, report.Spoiled)
	assert.Positive(t, report.Orders.Placed)
	assert.NotEmpty(t, report.Orders.NotPlaced)
}

func fromEnv(t *testing.T, name string, or int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return or
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}
