package simulation

import "time"

// faultKind is what goes wrong with one message.
type faultKind uint8

const (
	fine faultKind = iota
	requestLost
	replyLost
	requestLate
	repeatedLate
	slow
	failing
	busy
	hanging
	panicking
	runningOut
	forgetting
	clockJumping
	restartedBefore
	restartedAfter
	killedSending
	killedHearing
	frozenSending
	frozenHearing
	faultKinds // how many there are
)

var faultNames = [faultKinds]string{
	"", "the request is lost", "the reply is lost", "the request is late", "the request comes again, late",
	"the request is slow", "an error", "busy", "no answer", "a panic",
	"the reservation runs out as it arrives", "the reservation was forgotten as it arrives", "the clock jumps as it arrives",
	"the participant restarts as it arrives", "the participant restarts before it is durable",
	"the coordinator is killed as it sends", "the coordinator is killed as it hears",
	"the coordinator freezes as it sends", "the coordinator freezes as it hears",
}

func (k faultKind) String() string { return faultNames[k] }

// Which faults a message to whom may have.
var (
	callFaults = []faultKind{
		requestLost, replyLost, requestLate, repeatedLate, slow, failing, busy, hanging, panicking,
		runningOut, forgetting, clockJumping, restartedBefore, restartedAfter,
		killedSending, killedHearing, frozenSending, frozenHearing,
	}
	writeFaults = []faultKind{
		requestLost, replyLost, requestLate, repeatedLate, slow, failing, hanging,
		killedSending, killedHearing, frozenSending, frozenHearing,
	}
	// upkeepFaults are of claims, renewals, prunings and readings. They are
	// quick to fail: a round of upkeep that takes longer than the next one is
	// due leaves to chance which of two wake-ups comes first.
	upkeepFaults = []faultKind{requestLost, replyLost, failing, killedSending, killedHearing}
)

// rates are how often each fault strikes, for one message.
type rates [faultKinds]float64

// drawn returns what goes wrong with a message that may have those faults.
func (r *rates) drawn(d *dice, kinds []faultKind) faultKind {
	share := d.share()
	for _, kind := range kinds {
		if share -= r[kind]; share < 0 {
			return kind
		}
	}
	return fine
}

// newRates lets each kind of fault be absent, rare or frequent in a world: one
// that has all of them all the time never gets far enough to meet what is subtle.
func newRates(d *dice) *rates {
	var r rates
	heat := []float64{0, 0.3, 1, 1, 2.5}[d.below(5)]
	for kind := requestLost; kind < faultKinds; kind++ {
		if rate := []float64{0, 0, 0.002, 0.006, 0.02}[d.below(5)]; kind >= restartedBefore {
			r[kind] = heat * rate / 8 // it takes much with it
		} else {
			r[kind] = heat * rate
		}
	}
	return &r
}

// The times that messages take.
const (
	shortLatency = 100 * time.Microsecond
	longLatency  = 20 * time.Millisecond
	slowest      = 8 * time.Second   // of a slow request
	latest       = 100 * time.Second // of a late one
	longestSleep = 70 * time.Second  // of a frozen coordinator
	longestDown  = 30 * time.Second  // of whatever restarts
)
