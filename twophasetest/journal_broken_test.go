package twophasetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
)

// Journals that break the contract in one way each, and the checks that must
// say so.

type brokenJournal struct {
	name   string
	breaks func(n *notebook)
	caught []string
}

func TestBrokenJournalsAreCaught(t *testing.T) {
	for _, broken := range brokenJournals {
		t.Run(broken.name, func(t *testing.T) {
			checks := journalSuite(newConfig(nil), func(testing.TB) twophase.Journal {
				n := newNotebook()
				broken.breaks(n)
				return n
			})
			requireCaught(t, checks, broken.caught)
		})
	}
}

var brokenJournals = []brokenJournal{
	// Begin.
	{
		"Begin overwrites",
		func(n *notebook) { n.standing = func(string) *page { return nil } },
		[]string{
			"Begin by another owner gets the record that stands",
			"Begin with other steps gets the record that stands and touches nothing",
			"Begin repeated by the same owner after the decision tells the decision",
			"Begin after a claim gets the record of who claimed it",
		},
	}, {
		"Begin says created to everybody",
		func(n *notebook) { n.created = func(_, _ twophase.Record) bool { return true } },
		[]string{
			"Begin by another owner gets the record that stands",
			"of many who begin one transaction at once, one has created it",
		},
	}, {
		"Begin repeated is not created",
		func(n *notebook) { n.created = func(_, _ twophase.Record) bool { return false } },
		[]string{
			"Begin repeated by the same owner says created again",
			"Begin repeated by the same owner after the decision tells the decision",
		},
	}, {
		"Begin compares owners only",
		func(n *notebook) {
			n.created = func(standing, record twophase.Record) bool { return standing.Owner == record.Owner }
		},
		[]string{
			"Begin with other steps gets the record that stands and touches nothing",
			"Begin with another payload is not the same work",
		},
	}, {
		"Begin is always undecided",
		func(n *notebook) {
			n.enter = func(record twophase.Record) twophase.Record {
				record.State, record.Cause = twophase.StateBegun, nil
				return record
			}
		},
		[]string{"Begin stores a transaction that failed before it began"},
	}, {
		"Begin loses what was dropped",
		func(n *notebook) {
			n.enter = func(record twophase.Record) twophase.Record {
				record.Steps = slices.Clone(record.Steps)
				for i := range record.Steps {
					record.Steps[i].Dropped = false
				}
				return record
			}
		},
		[]string{
			"Begin stores the record as it is",
			"Decide assigned stores what each step was given",
			"an assigned transaction stays assigned when its dropped steps are released",
		},
	}, {
		"payloads are encoded again",
		func(n *notebook) {
			n.enter = func(record twophase.Record) twophase.Record {
				record.Steps = slices.Clone(record.Steps)
				for i := range record.Steps {
					var compact bytes.Buffer
					if json.Compact(&compact, record.Steps[i].Payload) == nil {
						record.Steps[i].Payload = compact.Bytes()
					}
				}
				return record
			}
		},
		[]string{"payloads come back as the same bytes"},
	}, {
		"Begin keeps so many steps",
		func(n *notebook) {
			n.enter = func(record twophase.Record) twophase.Record {
				record.Steps = record.Steps[:min(len(record.Steps), 64)]
				return record
			}
		},
		[]string{"Begin stores as many steps as a transaction may have"},
	}, {
		"ids are folded",
		func(n *notebook) {
			n.enter = func(record twophase.Record) twophase.Record {
				record.ID = strings.ToLower(record.ID)
				return record
			}
		},
		[]string{"ids may have any valid characters"},
	}, {
		"Begin looks and writes in two steps",
		func(n *notebook) { n.breakAtomicity(CallBegin) },
		[]string{"of many who begin one transaction at once, one has created it"},
	}, {
		"durations do not pass",
		func(n *notebook) {
			read := n.read
			n.read = func(p *page, _ time.Time) twophase.Record { return read(p, p.begun) }
		},
		[]string{"deadlines, leases and ages are durations that pass", "a deadline that has passed is negative"},
	}, {
		"a deadline that has passed is zero",
		func(n *notebook) {
			read := n.read
			n.read = func(p *page, now time.Time) twophase.Record {
				record := read(p, now)
				record.Deadline = max(0, record.Deadline)
				return record
			}
		},
		[]string{"a deadline that has passed is negative"},
	},

	// Decide.
	{
		"Decide without compare-and-set",
		func(n *notebook) {
			n.decide = func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision) {
				record.State, record.Cause = twophase.StateBegun, nil
				record = record.Decided(d)
				return record, record.Decision()
			}
		},
		[]string{
			"whoever decides to release after it was assigned is told what was given",
			"whoever decides to assign after it was released is told the cause",
			"whoever decides to assign what is assigned already is told what was given first",
			"whoever decides to release what is releasing already is told the first cause",
			"a decision stands when all is released",
		},
	}, {
		"Decide tells everybody their own",
		func(n *notebook) {
			n.decide = func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision) {
				return record.Decided(d), d
			}
		},
		[]string{
			"whoever decides to release after it was assigned is told what was given",
			"many who decide at once, both ways, are told one decision",
		},
	}, {
		"Decide looks and writes in two steps",
		func(n *notebook) { n.breakAtomicity(CallDecide) },
		[]string{"many who decide at once, both ways, are told one decision"},
	}, {
		"Decide keeps no reservations",
		func(n *notebook) {
			n.decide = func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision) {
				if record.State == twophase.StateBegun {
					record.State, record.Cause = d.State, d.Cause
					return record, d
				}
				return record, record.Decision()
			}
		},
		[]string{
			"Decide assigned stores what each step was given",
			"whoever decides to release after it was assigned is told what was given",
			"many transactions at once do not disturb each other",
		},
	}, {
		"Decide keeps no cause",
		func(n *notebook) {
			n.decide = func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision) {
				standing := record.Decided(d).Decision()
				d.Cause = nil
				return record.Decided(d), standing
			}
		},
		[]string{"Decide releasing stores the cause", "whoever decides to assign after it was released is told the cause"},
	}, {
		"a decision repeated is an error",
		func(n *notebook) {
			decide := n.decide
			n.decide = func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision) {
				if record.State == d.State {
					return record, twophase.Decision{}
				}
				return decide(record, d)
			}
		},
		[]string{"a decision repeated is the same decision"},
	}, {
		"Decide needs the lease",
		func(n *notebook) {
			decide := n.decide
			n.decide = func(record twophase.Record, d twophase.Decision) (twophase.Record, twophase.Decision) {
				if record.Epoch > 1 {
					return record, record.Decision()
				}
				return decide(record, d)
			}
		},
		[]string{"a decision needs no lease"},
	}, {
		"what is unknown is no error",
		func(n *notebook) { n.gone = func(string) error { return nil } },
		[]string{
			"Get of an unknown transaction is gone", "Decide of an unknown transaction is gone",
			"what was pruned is gone, and its id may begin anew",
		},
	}, {
		"what is unknown is another error",
		func(n *notebook) { n.gone = func(string) error { return errors.New("no rows") } },
		[]string{
			"Decide of an unknown transaction is gone", "Get of an unknown transaction is gone",
			"releases of an unknown transaction are of no effect",
		},
	},

	// Released.
	{
		"one release releases all",
		func(n *notebook) {
			n.released = func(record twophase.Record, steps []string) twophase.Record {
				if len(steps) == 0 {
					return record
				}
				return record.WithReleased([]string{"store", "delivery"})
			}
		},
		[]string{"releases are acknowledged step by step", "a release acknowledged again changes nothing"},
	}, {
		"releases are counted",
		func(n *notebook) {
			acknowledged := map[string]int{}
			n.released = func(record twophase.Record, steps []string) twophase.Record {
				acknowledged[record.ID] += len(steps)
				if acknowledged[record.ID] >= len(record.Steps) {
					return record.WithReleased([]string{"store", "delivery"})
				}
				return record.WithReleased(steps)
			}
		},
		[]string{"a release acknowledged again changes nothing"},
	}, {
		"releasing never becomes released",
		func(n *notebook) {
			n.released = func(record twophase.Record, steps []string) twophase.Record {
				state := record.State
				record = record.WithReleased(steps)
				record.State = state
				return record
			}
		},
		[]string{"releases are acknowledged step by step", "Begin stores a transaction that failed before it began"},
	}, {
		"dropped steps need no release",
		func(n *notebook) {
			n.released = func(record twophase.Record, steps []string) twophase.Record {
				for _, step := range record.Steps {
					if step.Dropped {
						steps = append(slices.Clone(steps), step.Name)
					}
				}
				return record.WithReleased(steps)
			}
		},
		[]string{"a releasing transaction is released with its last step, dropped ones included"},
	}, {
		"assigned becomes released",
		func(n *notebook) {
			n.released = func(record twophase.Record, steps []string) twophase.Record {
				record = record.WithReleased(steps)
				if record.State == twophase.StateAssigned && record.Finished() {
					record.State = twophase.StateReleased
				}
				return record
			}
		},
		[]string{"an assigned transaction stays assigned when its dropped steps are released"},
	}, {
		"releases are acknowledged before the decision",
		func(n *notebook) {
			n.released = func(record twophase.Record, steps []string) twophase.Record {
				if record.State != twophase.StateBegun {
					return record.WithReleased(steps)
				}
				record.State = twophase.StateReleasing
				record = record.WithReleased(steps)
				record.State = twophase.StateBegun
				return record
			}
		},
		[]string{"an undecided transaction has no releases to acknowledge"},
	}, {
		"Released looks and writes in two steps",
		func(n *notebook) { n.breakAtomicity(CallReleased) },
		[]string{"releases acknowledged at once are all kept"},
	},

	// Claim.
	{
		"Claim ignores leases",
		func(n *notebook) { n.overdue = func(*page, time.Time) bool { return true } },
		[]string{
			"Claim waits for the lease to run out", "Claim gives a transaction again only after the new lease",
			"Renew extends the lease from now", "Yield keeps the transaction from everybody for the delay",
			"many who claim at once get each transaction once",
		},
	}, {
		"Claim comes just before the lease runs out",
		func(n *notebook) {
			n.overdue = func(p *page, now time.Time) bool { return !now.Add(1).Before(p.leased) }
		},
		[]string{"Claim waits for the lease to run out"},
	}, {
		"Claim comes after the instant at which the lease runs out",
		func(n *notebook) { n.overdue = func(p *page, now time.Time) bool { return now.After(p.leased) } },
		[]string{
			"Claim waits for the lease to run out", "Renew with no lease hands over at once",
			"Yield without delay gives back at once",
		},
	}, {
		"Claim without epoch",
		func(n *notebook) {
			n.claim = func(p *page, owner string, until time.Time) { p.record.Owner, p.leased = owner, until }
		},
		[]string{
			"Claim gives the whole record, with the next epoch and a new lease",
			"Claim gives a transaction again only after the new lease", "Claim is open to the owner itself",
		},
	}, {
		"Claim without a new lease",
		func(n *notebook) {
			n.claim = func(p *page, owner string, _ time.Time) {
				p.record.Owner = owner
				p.record.Epoch++
			}
		},
		[]string{
			"Claim gives the whole record, with the next epoch and a new lease",
			"Claim gives a transaction again only after the new lease",
		},
	}, {
		"Claim is not open to the owner",
		func(n *notebook) {
			n.claim = func(p *page, owner string, until time.Time) {
				if p.record.Owner != owner {
					p.record.Epoch++
				}
				p.record.Owner, p.leased = owner, until
			}
		},
		[]string{"Claim is open to the owner itself"},
	}, {
		"Claim has no order",
		func(n *notebook) { n.order = func(a, b *page) int { return cmp.Compare(a.number, b.number) } },
		[]string{"Claim gives at most so many, those longest overdue first"},
	}, {
		"no limit is kept",
		func(n *notebook) { n.limit = func(_, found int) int { return found } },
		[]string{
			"Claim gives at most so many, those longest overdue first",
			"Prune forgets at most so many, and says how many",
		},
	}, {
		"Claim gives what is finished",
		func(n *notebook) { n.open = func(*page) bool { return true } },
		[]string{
			"Claim gives what is not finished and nothing else", "Claim of nothing gives nothing",
			"Yield of what is finished or unknown changes nothing",
		},
	}, {
		"Claim gives only what is undecided",
		func(n *notebook) { n.open = func(p *page) bool { return p.record.State == twophase.StateBegun } },
		[]string{"Claim gives what is not finished and nothing else"},
	}, {
		"Claim looks and writes in two steps",
		func(n *notebook) { n.breakAtomicity(CallClaim) },
		[]string{"many who claim at once get each transaction once"},
	},

	// Renew and Yield.
	{
		"Renew looks and writes in two steps",
		func(n *notebook) { n.breakAtomicity(CallRenew) },
		[]string{"a renewal that meets a claim does not take back what was claimed"},
	}, {
		"Renew is for everybody",
		func(n *notebook) { n.renews = func(*page, string) bool { return true } },
		[]string{
			"Renew extends only the owner's own", "Renew does not take back what was claimed",
			"Renew does not take back what was yielded",
		},
	}, {
		"Renew does nothing",
		func(n *notebook) { n.renews = func(*page, string) bool { return false } },
		[]string{
			"Renew extends the lease from now", "Renew with no lease hands over at once",
			"Renew leaves out what is finished or unknown",
		},
	}, {
		"Yield keeps the owner",
		func(n *notebook) {
			yield := n.yield
			n.yield = func(p *page, until time.Time, trouble string) {
				owner := p.record.Owner
				yield(p, until, trouble)
				p.record.Owner = owner
			}
		},
		[]string{"Renew does not take back what was yielded", "Yield repeated counts once"},
	}, {
		"Yield ignores the epoch",
		func(n *notebook) {
			n.yields = func(p *page, owner string, _ int64) bool { return p.record.Owner == owner }
		},
		[]string{"Yield of an earlier epoch changes nothing"},
	}, {
		"Yield ignores the owner",
		func(n *notebook) {
			n.yields = func(p *page, _ string, epoch int64) bool { return p.record.Epoch == epoch }
		},
		[]string{"Yield by somebody else changes nothing"},
	}, {
		"Yield ignores the delay",
		func(n *notebook) {
			yield := n.yield
			n.yield = func(p *page, _ time.Time, trouble string) { yield(p, time.Now(), trouble) }
		},
		[]string{"Yield keeps the transaction from everybody for the delay"},
	}, {
		"Yield does nothing",
		func(n *notebook) { n.yields = func(*page, string, int64) bool { return false } },
		[]string{
			"Yield without delay gives back at once", "Yield counts the attempts and keeps the last trouble",
			"List gives what is stuck",
		},
	}, {
		"Yield does not count",
		func(n *notebook) {
			yield := n.yield
			n.yield = func(p *page, until time.Time, trouble string) {
				yield(p, until, trouble)
				p.record.Attempts = 1
			}
		},
		[]string{"Yield counts the attempts and keeps the last trouble"},
	}, {
		"Yield keeps the first trouble",
		func(n *notebook) {
			yield := n.yield
			n.yield = func(p *page, until time.Time, trouble string) {
				yield(p, until, cmp.Or(p.record.Trouble, trouble))
			}
		},
		[]string{"Yield counts the attempts and keeps the last trouble"},
	},

	// Reading.
	{
		"List has the newest first",
		func(n *notebook) { n.oldest = func(a, b *page) int { return cmp.Compare(b.number, a.number) } },
		[]string{"List gives everything, oldest first"},
	}, {
		"List is in the order of ids",
		func(n *notebook) { n.oldest = func(a, b *page) int { return cmp.Compare(a.record.ID, b.record.ID) } },
		[]string{"List gives everything, oldest first"},
	}, {
		"List gives one page",
		func(n *notebook) {
			give := n.give
			n.give = func(ctx context.Context, records []twophase.Record, yield func(twophase.Record, error) bool) {
				give(ctx, records[:min(len(records), 100)], yield)
			}
		},
		[]string{"List gives everything, however many there are"},
	}, {
		"List has no details",
		func(n *notebook) {
			give := n.give
			n.give = func(ctx context.Context, records []twophase.Record, yield func(twophase.Record, error) bool) {
				for i := range records {
					records[i].Steps = nil
				}
				give(ctx, records, yield)
			}
		},
		[]string{"List gives whole records"},
	}, {
		"List ignores the state",
		func(n *notebook) {
			n.matches = func(f twophase.Filter, r twophase.Record) bool {
				f.State = 0
				return f.Match(r)
			}
		},
		[]string{"List gives one state", "List gives what meets all of a filter", "List of nothing is empty"},
	}, {
		"List takes unfinished for undecided",
		func(n *notebook) {
			n.matches = func(f twophase.Filter, r twophase.Record) bool {
				unfinished := f.Unfinished
				f.Unfinished = false
				return f.Match(r) && (!unfinished || r.State == twophase.StateBegun)
			}
		},
		[]string{"List gives what is unfinished"},
	}, {
		"List ignores unfinished",
		func(n *notebook) {
			n.matches = func(f twophase.Filter, r twophase.Record) bool {
				f.Unfinished = false
				return f.Match(r)
			}
		},
		[]string{"List gives what is unfinished", "List may be interleaved with writes"},
	}, {
		"List takes what had trouble for stuck",
		func(n *notebook) {
			n.matches = func(f twophase.Filter, r twophase.Record) bool {
				stuck := f.Stuck
				f.Stuck = false
				return f.Match(r) && (!stuck || r.Attempts > 0)
			}
		},
		[]string{"List gives what is stuck"},
	}, {
		"List does not end",
		func(n *notebook) {
			n.give = func(_ context.Context, records []twophase.Record, yield func(twophase.Record, error) bool) {
				for _, record := range records {
					yield(record, nil)
				}
			}
		},
		[]string{"List ends when its caller breaks off"},
	}, {
		"List stops silently when the context ends",
		func(n *notebook) {
			n.give = func(ctx context.Context, records []twophase.Record, yield func(twophase.Record, error) bool) {
				for _, record := range records {
					if ctx.Err() != nil || !yield(record, nil) {
						return
					}
				}
			}
		},
		[]string{
			"List with an ended context gives an error or everything",
			"List whose context ends under way gives an error or everything",
		},
	},

	// Prune.
	{
		"Prune removes what is unfinished",
		func(n *notebook) {
			n.prunes = func(p *page, age time.Duration, now time.Time) bool { return now.Sub(p.begun) > age }
		},
		[]string{
			"Prune never forgets what is unfinished",
			"Prune counts from the end of a transaction, not from its beginning",
		},
	}, {
		"Prune removes what is decided",
		func(n *notebook) {
			n.prunes = func(p *page, age time.Duration, now time.Time) bool {
				return p.record.State != twophase.StateBegun && now.Sub(p.finished) > age
			}
		},
		[]string{"Prune never forgets what is unfinished"},
	}, {
		"Prune counts from the beginning",
		func(n *notebook) {
			n.prunes = func(p *page, age time.Duration, now time.Time) bool {
				return p.record.Finished() && now.Sub(p.begun) > age
			}
		},
		[]string{"Prune counts from the end of a transaction, not from its beginning"},
	}, {
		"Prune ignores the age",
		func(n *notebook) {
			n.prunes = func(p *page, _ time.Duration, _ time.Time) bool { return p.record.Finished() }
		},
		[]string{"Prune forgets what finished longer ago"},
	}, {
		"Prune does nothing",
		func(n *notebook) { n.prunes = func(*page, time.Duration, time.Time) bool { return false } },
		[]string{
			"Prune forgets what finished longer ago", "Prune forgets at most so many, and says how many",
			"what was pruned is gone, and its id may begin anew",
		},
	},
}

// unlocked lets others in while a call is under way.
func (n *notebook) unlocked() {
	n.mu.Unlock()
	time.Sleep(time.Nanosecond)
	n.mu.Lock()
}

// breakAtomicity lets others in between what a call finds and what it writes.
func (n *notebook) breakAtomicity(broken twophase.Call) {
	n.between = func(call twophase.Call) {
		if call == broken {
			n.unlocked()
		}
	}
}

// Journals that are broken from the outside.

// lyingJournal says that nothing was written, and writes, if the context ends.
type lyingJournal struct{ *notebook }

func (j lyingJournal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	standing, created, err := j.notebook.Begin(context.WithoutCancel(ctx), record)
	return standing, created, cmp.Or(unavailableIf(ctx), err)
}

func (j lyingJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	standing, err := j.notebook.Decide(context.WithoutCancel(ctx), id, d)
	return standing, cmp.Or(unavailableIf(ctx), err)
}

func (j lyingJournal) Claim(
	ctx context.Context, owner string, lease time.Duration, limit int,
) ([]twophase.Record, error) {
	claimed, err := j.notebook.Claim(context.WithoutCancel(ctx), owner, lease, limit)
	return claimed, cmp.Or(unavailableIf(ctx), err)
}

func unavailableIf(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", twophase.ErrUnavailable, ctx.Err())
	}
	return nil
}

// boastingJournal says that all is well, and does nothing, if the context ends.
type boastingJournal struct{ *notebook }

func (j boastingJournal) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	if ctx.Err() != nil {
		return record, true, nil
	}
	return j.notebook.Begin(ctx, record)
}

func (j boastingJournal) Decide(ctx context.Context, id string, d twophase.Decision) (twophase.Decision, error) {
	if ctx.Err() != nil {
		return d, nil
	}
	return j.notebook.Decide(ctx, id, d)
}

// endedIsGone takes a context that has ended for a record that is gone.
type endedIsGone struct{ *notebook }

func (j endedIsGone) Get(ctx context.Context, id string) (twophase.Record, error) {
	if ctx.Err() != nil {
		return twophase.Record{}, twophase.ErrGone
	}
	return j.notebook.Get(ctx, id)
}

// oneBatch fails every Begin that comes together with one whose context ends.
type oneBatch struct {
	*notebook
	ended chan struct{}
}

func (j oneBatch) Begin(ctx context.Context, record twophase.Record) (twophase.Record, bool, error) {
	time.Sleep(time.Nanosecond)
	select {
	case <-ctx.Done():
		select {
		case j.ended <- struct{}{}:
		default:
		}
		return twophase.Record{}, false, ctx.Err()
	default:
	}
	if len(j.ended) > 0 {
		return twophase.Record{}, false, errors.New("the batch has failed")
	}
	return j.notebook.Begin(ctx, record)
}

var journalsBrokenOutside = []struct {
	name   string
	wrap   func(n *notebook) twophase.Journal
	caught []string
}{
	{
		"an ended context is unavailable, and written",
		func(n *notebook) twophase.Journal { return lyingJournal{n} },
		[]string{
			"Begin with an ended context stores all or nothing",
			"Decide with an ended context decides or does not",
			"Claim with an ended context gives what it claims",
		},
	},
	{
		"an ended context is a success, and not written",
		func(n *notebook) twophase.Journal { return boastingJournal{n} },
		[]string{
			"Begin with an ended context stores all or nothing",
			"Decide with an ended context decides or does not",
		},
	},
	{
		"an ended context is gone",
		func(n *notebook) twophase.Journal { return endedIsGone{n} },
		[]string{"the other calls with an ended context leave the record whole"},
	},
	{
		"one ended context fails a batch",
		func(n *notebook) twophase.Journal { return oneBatch{n, make(chan struct{}, 1)} },
		[]string{"one caller's ended context fails no other's Begin"},
	},
}

func TestJournalsBrokenOutsideAreCaught(t *testing.T) {
	for _, broken := range journalsBrokenOutside {
		t.Run(broken.name, func(t *testing.T) {
			checks := journalSuite(newConfig(nil), func(testing.TB) twophase.Journal { return broken.wrap(newNotebook()) })
			requireCaught(t, checks, broken.caught)
		})
	}
}

func TestEveryCheckOfJournalsCanFail(t *testing.T) {
	t.Parallel()
	var caught []string
	for _, broken := range slices.Concat(brokenJournals, forgetfulJournals) {
		caught = append(caught, broken.caught...)
	}
	for _, broken := range journalsBrokenOutside {
		caught = append(caught, broken.caught...)
	}
	for _, check := range journalSuite(newConfig(nil), nil) {
		assert.Contains(t, caught, check.name, "no broken journal is caught by it")
	}
}
