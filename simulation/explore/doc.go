// Package explore takes the real coordinators through every order in which a
// small world can happen to them.
//
// A world is two coordinators on one journal, two participants with one
// resource each, one transaction, and a few faults: a crash, a repeated and
// late message, a reservation that runs out, a rival who takes what is free, a
// caller who leaves, a deadline that passes. Each call on a participant or the
// journal parks until the scheduler lets it in, and so does each fault; what
// happens between two parked calls is the coordinator's own code, undisturbed.
// The scheduler goes through all its choices:
//
//	report := explore.Explore(t, explore.World{Second: explore.Recovers, Crashes: 1, Expiries: 1})
//	t.Log(report)
//
// After each step, and at each end once everything has been recovered, the
// books of the participants, the journal and what the callers were told are
// held against the invariants I1 to I7 of the protocol. A schedule that breaks
// one is shortened and printed.
//
// "go test" explores the worlds of [Small]; with TWOPHASE_EXPLORE=everything in
// the environment those of [Large], too: the one with a crash, a repeat and an
// expiry has 34 280 states, for 251 015 922 016 schedules.
//
// # How it is searched
//
// A coordinator cannot be copied, so a state is reached by repeating the choices
// that led to it, in a bubble of testing/synctest, where "everything is parked"
// is known and time is the scheduler's. A state that was seen before is not
// gone through again. Two states are the same if the books, the journal, the
// messages under way, the faults still to come, what callers were told, and for
// each coordinator the answers it was given and the calls it waits for are the
// same. The order in which one coordinator got its answers is left out, for its
// state machine keeps none but by the calls that follow from it.
//
// # What is left out, and why nothing is lost
//
// An answer reaches its coordinator at once, unless it is lost. All that a
// coordinator does with an answer is to send further calls and to tell callers.
// The calls park, and may be let in as late as if the answer had been slow, or
// never, if the coordinator crashes or gives up; and a caller who is told
// earlier is watched for longer. So each breach that a slow answer leads to is
// also reached with a quick one. [World.Split] makes answers steps of their own
// all the same, and a test compares what the two can reach.
//
// A coordinator that is frozen beyond its lease is one whose calls the
// scheduler does not let in: leases are always run out here, so the other one
// may claim the transaction at any moment.
package explore
