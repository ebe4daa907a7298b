package twophasetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Journals that forget what they have acknowledged, and journals whose
// instances know too little of each other.

func TestForgetfulJournalsAreCaught(t *testing.T) {
	for _, broken := range forgetfulJournals {
		t.Run(broken.name, func(t *testing.T) {
			checks := journalSuite(newConfig([]Option{Reopened(reopenNotebook)}), func(testing.TB) twophase.Journal {
				n := newNotebook()
				broken.breaks(n)
				return n
			})
			requireCaught(t, checks, broken.caught)
		})
	}
}

var forgetfulJournals = []brokenJournal{
	{
		"everything is forgotten",
		func(n *notebook) { n.keeps = func(*page) *page { return nil } },
		append(namesOf(durableChecks), namesOf(reopenedChecks())...),
	}, {
		"what is written last is acknowledged before it is kept",
		func(n *notebook) {
			n.keeps = func(p *page) *page {
				if p.number == n.begun {
					return nil
				}
				return p
			}
		},
		[]string{
			"what was begun outlives its instance, byte for byte",
			"what many have written at once outlives their instance",
			"the order of List outlives its instance",
		},
	}, {
		"decisions are acknowledged before they are kept",
		keeps(func(p *page) { p.record.State, p.record.Cause = twophase.StateBegun, nil }),
		[]string{
			"what many have written at once outlives their instance",
			"whoever decides to release after it was assigned is told what was given, opened again before each call",
			"what is unfinished, and nothing else, may be claimed from the next instance",
		},
	}, {
		"reservations are forgotten",
		keeps(func(p *page) {
			for i := range p.record.Steps {
				p.record.Steps[i].Reservation = nil
			}
		}),
		[]string{
			"what many have written at once outlives their instance",
			"Decide assigned stores what each step was given, opened again before each call",
		},
	}, {
		"causes are forgotten",
		keeps(func(p *page) { p.record.Cause = nil }),
		[]string{
			"what failed before it began outlives its instance",
			"what many have written at once outlives their instance",
		},
	}, {
		"releases are forgotten",
		keeps(func(p *page) {
			for i := range p.record.Steps {
				p.record.Steps[i].Released = false
			}
		}),
		[]string{
			"what is unfinished, and nothing else, may be claimed from the next instance",
			"releases are acknowledged step by step, opened again before each call",
		},
	}, {
		"owners and epochs are forgotten",
		keeps(func(p *page) { p.record.Owner, p.record.Epoch = ours, 1 }),
		[]string{"owners and epochs outlive their instance", "trouble and attempts outlive their instance"},
	}, {
		"trouble is forgotten",
		keeps(func(p *page) { p.record.Attempts, p.record.Trouble = 0, "" }),
		[]string{"trouble and attempts outlive their instance"},
	}, {
		"deadlines begin anew",
		keeps(func(p *page) { p.begun, p.deadline = time.Now(), time.Now().Add(p.deadline.Sub(p.begun)) }),
		[]string{"deadlines and ages go on while nobody has the journal open"},
	}, {
		"the order is forgotten",
		func(n *notebook) {
			n.keeps = func(p *page) *page {
				p.number = int(p.record.ID[0])
				return p
			}
		},
		[]string{"the order of List outlives its instance"},
	},
}

// keeps lets something be forgotten.
func keeps(forget func(p *page)) func(n *notebook) {
	return func(n *notebook) {
		n.keeps = func(p *page) *page {
			p.record = cloned(p.record)
			forget(p)
			return p
		}
	}
}

func namesOf(checks []journalCheck) (names []string) {
	for _, check := range checks {
		names = append(names, check.name)
	}
	return names
}

// apart is an instance whose calls are atomic among themselves, but not with
// those of other instances.
type apart struct {
	*notebook
	turn chan struct{} // a lock that a bubble can wait for
}

func newApart(n *notebook) *apart { return &apart{n, make(chan struct{}, 1)} }

func (j *apart) lock() (unlock func()) {
	j.turn <- struct{}{}
	return func() { <-j.turn }
}

func (j *apart) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	defer j.lock()()
	return j.notebook.Begin(ctx, record)
}

func (j *apart) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	defer j.lock()()
	return j.notebook.Decide(ctx, id, d)
}

func (j *apart) Released(ctx context.Context, id string, steps []string) error {
	defer j.lock()()
	return j.notebook.Released(ctx, id, steps)
}

func (j *apart) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) ([]twophase.Record, error) {
	defer j.lock()()
	return j.notebook.Claim(ctx, owner, lease, limit)
}

func (j *apart) Renew(ctx context.Context, owner string, lease time.Duration, ids []string) error {
	defer j.lock()()
	return j.notebook.Renew(ctx, owner, lease, ids)
}

// What is atomic within an instance only is caught among several.
func TestInstancesThatAreNotAtomicTogetherAreCaught(t *testing.T) {
	for call, caught := range map[twophase.Call]string{
		CallBegin:    "of many who begin one transaction at once, one has created it",
		CallDecide:   "many who decide at once, both ways, are told one decision",
		CallReleased: "releases acknowledged at once are all kept",
		CallClaim:    "many who claim at once get each transaction once",
		CallRenew:    "a renewal that meets a claim does not take back what was claimed",
	} {
		t.Run(string(call), func(t *testing.T) {
			open := func(testing.TB) twophase.Journal {
				n := newNotebook()
				n.breakAtomicity(call)
				return newApart(n)
			}
			another := func(_ testing.TB, journal twophase.Journal) twophase.Journal {
				return newApart(journal.(*apart).notebook)
			}
			requireCaught(t, journalSuite(newConfig([]Option{Shared(another)}), open), []string{caught})
			require.NotContains(t, failures(t, journalSuite(newConfig(nil), open)), caught, "one instance alone")
		})
	}
}

func TestInstancesOfDifferentStorageAreCaught(t *testing.T) {
	t.Parallel()
	another := func(t testing.TB, _ twophase.Journal) twophase.Journal { return openNotebook(t) }
	checks := journalSuite(newConfig([]Option{Shared(another)}), openNotebook)
	requireCaught(t, checks, []string{
		"Begin stores the record as it is",
		"List gives everything, oldest first",
		"Claim waits for the lease to run out",
		"of many who begin one transaction at once, one has created it",
	})
}
