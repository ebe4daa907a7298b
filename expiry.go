package twophase

import (
	"fmt"
	"time"
)

// lifetime is how long a reservation still lives, seen from the coordinator.
// It is counted from before Reserve was sent, on the monotonic clock, so a slow
// reply or a participant whose clock is off can only make it shorter.
type lifetime struct {
	sent     time.Time
	lasts    time.Duration
	assigned bool
}

// endless is the life of what is assigned.
const endless = time.Duration(1<<63 - 1)

func newLifetime(sent time.Time, r Reservation) lifetime {
	return lifetime{sent: sent, lasts: r.TimeLeft, assigned: r.Assigned}
}

// left returns the time that is left, which may be negative.
func (l lifetime) left(now time.Time) time.Duration {
	if l.assigned {
		return endless
	}
	return l.lasts - now.Sub(l.sent)
}

// end returns when an Assign is not repeated any more; zero is never.
func (l lifetime) end() time.Time {
	if l.assigned {
		return time.Time{}
	}
	return l.sent.Add(l.lasts)
}

// check refuses lifetimes that do not leave the time that the policy wants to
// spend, and what makes no sense at all.
func (p Policy) check(timeout time.Duration) error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Hold", p.Hold},
		{"ReserveFor", p.ReserveFor},
		{"AssignFor", p.AssignFor},
		{"ReleaseFor", p.ReleaseFor},
		{"Margin", p.Margin},
		{"Reserve.First", p.Reserve.First},
		{"Reserve.Max", p.Reserve.Max},
		{"Reserve.Attempt", p.Reserve.Attempt},
		{"Assign.First", p.Assign.First},
		{"Assign.Max", p.Assign.Max},
		{"Assign.Attempt", p.Assign.Attempt},
		{"Release.First", p.Release.First},
		{"Release.Max", p.Release.Max},
		{"Release.Attempt", p.Release.Attempt},
	} {
		if d.value <= 0 {
			return fmt.Errorf("%w: %s is %v: it must be above zero", ErrInvalid, d.name, d.value)
		}
	}
	for _, r := range []struct {
		name string
		Retry
	}{{"Reserve", p.Reserve}, {"Assign", p.Assign}, {"Release", p.Release}} {
		if r.First > r.Max {
			return fmt.Errorf("%w: %s.First %v is above %s.Max %v", ErrInvalid, r.name, r.First, r.name, r.Max)
		}
	}
	if b := p.Budget; b.Burst < 1 || b.PerSecond <= 0 || b.PerSuccess < 0 {
		return fmt.Errorf("%w: Budget is %+v: it needs a Burst of 1 at least, and some PerSecond", ErrInvalid, b)
	}
	if err := p.checkHold(p.Hold); err != nil {
		return err
	}
	if need := p.ReserveFor + p.AssignFor; timeout < need {
		return fmt.Errorf("%w: the timeout of %v is shorter than ReserveFor %v + AssignFor %v = %v: "+
			"raise it with WithTimeout, or lower them", ErrInvalid, timeout, p.ReserveFor, p.AssignFor, need)
	}
	return nil
}

// checkHold refuses a reservation too short to be assigned through the outage
// that the policy means to outlast.
func (p Policy) checkHold(hold time.Duration) error {
	if need := p.ReserveFor + p.AssignFor + p.Margin; hold < need {
		return fmt.Errorf("%w: Hold is %v, shorter than ReserveFor %v + AssignFor %v + Margin %v = %v: "+
			"a reservation would run out while it is still to be assigned; raise Hold, or lower them",
			ErrInvalid, hold, p.ReserveFor, p.AssignFor, p.Margin, need)
	}
	return nil
}
