package twophasegrpc_test

import (
	"fmt"
	"testing"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// Everything that a pool promises, it promises over gRPC, too, to the
// nanosecond: connections in memory and gRPC itself live in the bubbles.
func TestAPoolOverGRPCKeepsTheContract(t *testing.T) {
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		return subject(overGRPC(t, newPool(t, free)))
	})
}

func TestAPoolOverGRPCKeepsTheContractAmongFaults(t *testing.T) {
	rates := twophasetest.Rates{LoseRequest: 0.1, LoseReply: 0.1, Repeat: 0.2}
	twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
		// The network loses and repeats on the way to the server, and behind it.
		behind := twophasetest.NewFaultyParticipant(newPool(t, free), twophasetest.Seeded(1, rates))
		before := twophasetest.NewFaultyParticipant(overGRPC(t, behind), twophasetest.Seeded(2, rates))
		return subject(before)
	})
}

func subject(p twophase.Participant) twophasetest.Subject {
	return twophasetest.Subject{
		Participant: p,
		Payload:     pool.Want{Kind: dosa},
		Different:   pool.Want{Kind: dosa, Count: 2},
		Several:     func(n int) any { return pool.Want{Kind: dosa, Count: n} },
	}
}

func numbered(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%d", prefix, i+1)
	}
	return ids
}
