// Package twophasetest tells whether an implementation of
// [twophase.Participant] or [twophase.Journal] keeps its contract, and injects
// the faults that the protocol is made for.
//
// A service that takes part in transactions is tested by one call:
//
//	func TestStore(t *testing.T) {
//		twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
//			return twophasetest.Subject{
//				Participant: newStoreWith(free),
//				Payload:     Packet{Food: "masala dosa"},
//				Different:   Packet{Food: "masala dosa", Chutney: true},
//				Several:     func(n int) any { return Packet{Food: "masala dosa", Count: n} },
//			}
//		})
//	}
//
// and so is a journal, by [TestJournal]. Each subtest is one promise of the
// contract; its name is the rule that it checks, and it opens an
// implementation of its own.
//
// # Time
//
// Subtests run in [synctest] bubbles: hours pass at once, and what happens at
// the very instant of an expiry is checked to the nanosecond. What a bubble
// cannot hold, because it talks to a database or over a network, is tested in
// real time instead; see [RealTime]. Then several subtests run at a time, with
// short holds and leases and some tolerance.
//
// # Outside of "go test"
//
// [ParticipantChecks] returns the checks of [TestParticipant] one by one, for
// programs that check a service which is running already. The command
// "twophase verify" is one, for services in any language, over HTTP and gRPC.
//
// # What is not checked
//
// What a participant has on disk, for which it would have to be killed; what a
// journal has there, beyond what [Reopened] can prove; and how long outcomes
// and tombstones are kept, beyond an hour.
//
// # Faults
//
// [NewFaultyParticipant] and [NewFaultyJournal] lose, repeat and delay
// messages by a [Plan]: a [Script] for one story, [Seeded] for many.
package twophasetest
