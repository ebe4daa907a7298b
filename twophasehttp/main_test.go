package twophasehttp_test

import (
	"io"
	"log"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // where net/http tells of the connections that tests break
	goleak.VerifyTestMain(m)
}

// silent keeps the faults that a test makes out of its output.
var silent = twophasehttp.WithLogger(slog.New(slog.DiscardHandler))
