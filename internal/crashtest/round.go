//go:build unix

package crashtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// Report counts what was done, and what callers were told.
type Report map[Answer]int

func (r Report) add(other Report) {
	for what, n := range other {
		r[what] += n
	}
}

// String returns the counts, by name.
func (r Report) String() string {
	var counts []string
	for _, what := range slices.Sorted(maps.Keys(r)) {
		counts = append(counts, fmt.Sprintf("%s: %d", what, r[what]))
	}
	return strings.Join(counts, ", ")
}

// round is some kills on one storage, and the audit.
type round struct {
	Test
	random       *rand.Rand
	report       Report
	template     child
	participants *process
	coordinators []*process
	started      int
}

func (test Test) round(t *testing.T, random *rand.Rand, kills int) (Report, []error) {
	sockets, err := os.MkdirTemp("", "crash") // short: a socket's path is bounded
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	r := &round{
		Test: test, random: random, report: Report{},
		template: child{Dir: t.ArtifactDir(), Socket: filepath.Join(sockets, "participants")},
	}
	if test.Services != nil {
		r.template.Service = test.Services.Storage(t)
	}
	r.participants = r.start(t, "participants", "", "")
	storage := test.Storage(t)
	for i := range max(1, test.Coordinators) {
		r.coordinators = append(r.coordinators, r.start(t, fmt.Sprintf("coordinator-%d", i), storage, ""))
	}
	r.disturb(t, kills)
	for _, p := range r.coordinators {
		p.kill(t)
	}
	records := r.settle(t, storage)
	r.participants.kill(t)
	books, err := readBooks(r.template.Dir)
	require.NoError(t, err)
	books.Records = records
	if test.Services != nil {
		books.Ledgers = test.Services.Ledgers(t, r.template.Service)
	}
	r.count(books.Told)
	return r.report, books.Audit(time.Now())
}

// start starts the next incarnation of a process.
func (r *round) start(t testing.TB, name, storage, earlier string) *process {
	r.started++
	c := r.template
	c.Name = fmt.Sprintf("%s.%d", name, r.started)
	c.Seed, c.Storage, c.Earlier = r.random.Uint64(), storage, earlier
	return start(t, c)
}

// disturb does so many bad things at random moments, all kinds of them.
func (r *round) disturb(t testing.TB, kills int) {
	things := []func(t testing.TB){r.killCoordinator, r.killCoordinator, r.killCoordinator, r.killParticipants}
	if r.Freezes {
		things = append(things, r.freeze, r.freeze)
	}
	if r.Outage != nil {
		things = append(things, r.outage, r.outage)
	}
	for n := range kills {
		time.Sleep(r.between(100*time.Millisecond, 600*time.Millisecond))
		if n%len(things) == 0 {
			r.random.Shuffle(len(things), func(i, j int) { things[i], things[j] = things[j], things[i] })
		}
		things[n%len(things)](t)
	}
	for i := range r.coordinators {
		r.awaitWork(t, i)
	}
	time.Sleep(r.between(100*time.Millisecond, 600*time.Millisecond))
}

// killCoordinator kills one that is at work, or now and then one that may still
// be opening its journal.
func (r *round) killCoordinator(t testing.TB) {
	i := r.random.IntN(len(r.coordinators))
	if r.random.IntN(4) > 0 {
		r.awaitWork(t, i)
		time.Sleep(r.between(0, lease/2))
	}
	r.killAndRestart(t, i)
}

// awaitWork waits until a coordinator has callers.
func (r *round) awaitWork(t testing.TB, i int) {
	t.Helper()
	path := toldPath(r.template.Dir, r.coordinators[i].Name)
	require.Eventually(t, func() bool {
		told, err := os.Stat(path)
		return err == nil && told.Size() > 0
	}, patience, 10*time.Millisecond, "%s does not begin to work", path)
}

func (r *round) killAndRestart(t testing.TB, i int) {
	p := r.coordinators[i]
	p.kill(t)
	name, _, _ := strings.Cut(p.Name, ".")
	r.coordinators[i] = r.start(t, name, p.Storage, p.Name)
	r.report["kills of a coordinator"]++
}

func (r *round) killParticipants(t testing.TB) {
	r.participants.kill(t)
	time.Sleep(r.between(0, 300*time.Millisecond))
	r.participants = r.start(t, "participants", "", "")
	r.report["kills of the participants"]++
}

// freeze stops a coordinator, often past its lease and all reservations, and
// lets it go on: sometimes just long enough to do harm with what it believes.
func (r *round) freeze(t testing.TB) {
	i := r.random.IntN(len(r.coordinators))
	r.coordinators[i].signal(t, syscall.SIGSTOP)
	time.Sleep(r.between(lease/2, hold+lease))
	r.coordinators[i].signal(t, syscall.SIGCONT)
	r.report["freezes"]++
	if r.random.IntN(2) == 0 {
		time.Sleep(r.between(0, lease/10))
		r.killAndRestart(t, i)
	}
}

func (r *round) outage(t testing.TB) {
	back := r.Outage(t)
	time.Sleep(r.between(0, hold+lease))
	back()
	r.report["outages of the storage"]++
}

func (r *round) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.random.Int64N(int64(most-least)))
}

// patience is how long recovery may take in the end.
const patience = time.Minute

// settle lets one more coordinator finish what is left, waits until whatever is
// late has arrived and whatever expires has expired, and returns the journal.
func (r *round) settle(t testing.TB, storage string) []twophase.Record {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	journal, end, err := r.Open(ctx, storage)
	require.NoError(t, err)
	client := NewClient(r.template.Socket)
	coordinator, err := newCoordinator(journal, client)
	require.NoError(t, err)
	for len(list(t, journal, twophase.Filter{Unfinished: true})) > 0 && ctx.Err() == nil {
		if _, err := coordinator.Recover(ctx); err != nil {
			t.Logf("recovery goes on: %v", err)
		}
		time.Sleep(lease / 3)
	}
	require.NoError(t, coordinator.Close(t.Context()))
	client.CloseIdleConnections()
	time.Sleep(hold + latest)
	records := list(t, journal, twophase.Filter{})
	require.NoError(t, end())
	return records
}

func list(t testing.TB, journal twophase.Journal, filter twophase.Filter) (records []twophase.Record) {
	t.Helper()
	for record, err := range journal.List(t.Context(), filter) {
		require.NoError(t, err)
		records = append(records, record)
	}
	return records
}

// count counts transactions by their outcome, and the other answers one by one.
func (r *round) count(told []Told) {
	outcomes, tellers := map[string]Answer{}, map[string]string{}
	for _, t := range told {
		switch t.Answer {
		case Asked:
			outcomes[t.ID] = cmp.Or(outcomes[t.ID], "killed before an answer")
		case Placed, NotPlaced:
			outcomes[t.ID] = t.Answer
			if teller := cmp.Or(tellers[t.ID], t.Child); teller == t.Child {
				tellers[t.ID] = teller
			} else {
				tellers[t.ID] = severalTellers
			}
		default:
			r.report["told "+t.Answer]++
		}
	}
	r.report["transactions"] = len(outcomes)
	for id, outcome := range outcomes {
		r.report[outcome]++
		if tellers[id] == severalTellers {
			r.report["told by several processes"]++
		}
	}
}

const severalTellers = "several"
