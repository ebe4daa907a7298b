package twophasetest

import (
	"encoding/json"
	"testing"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/shelf"
	"github.com/seed-bcc3c603/twophase/pool"
)

func newShelf(free int) *shelf.Shelf {
	s := shelf.New(free, "packet")
	s.Details = json.RawMessage(`{"shelf":3}`)
	return s
}

// packets is what a payload asks for.
type packets struct {
	pool.Want
	Note string `json:"note,omitempty"`
}

func want(n int) packets { return packets{Want: pool.Want{Kind: "packet", Count: n}} }

// subjectOf returns a shelf, and others of the same service, for the suite.
func subjectOf(s twophase.Participant, others ...twophase.Participant) Subject {
	different := want(1)
	different.Note = "extra chutney"
	return Subject{
		Participant: s,
		Others:      others,
		Payload:     want(1),
		Different:   different,
		Several:     func(n int) any { return want(n) },
	}
}

func openShelf(_ testing.TB, free int) Subject { return subjectOf(newShelf(free)) }
