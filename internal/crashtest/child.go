//go:build unix

package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// child is what a process is started for.
type child struct {
	Name    string // of this incarnation, unlike any other's
	Dir     string // of the books
	Socket  string // of the participants
	Seed    uint64
	Storage string // of the journal; "" for the participants
	Service string // storage of the participants; "" for ledgers
	Earlier string // the incarnation that was killed before it, if any
}

const childEnv = "TWOPHASE_CRASH_CHILD"

// ChildMain does what this process was started for, if it is a child of [Run],
// and then never returns. It has to come before anything else that the binary
// does, so call it in an init function of the test. OpenServices is that of the
// tests that have [Services].
func ChildMain(open Open, openServices ...OpenServices) {
	text, is := os.LookupEnv(childEnv)
	if !is {
		return
	}
	go func() { // a child whose test has gone has nobody to end it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	var c child
	err := json.Unmarshal([]byte(text), &c)
	switch {
	case err != nil:
	case c.Storage == "":
		err = c.serve(openServices)
	default:
		err = c.coordinate(open)
	}
	fmt.Fprintln(os.Stderr, "child has ended:", err)
	os.Exit(1)
}

const (
	callersEach = 8
	lease       = 300 * time.Millisecond
	hold        = 1500 * time.Millisecond
	shortHold   = 450 * time.Millisecond // little longer than the latest call is late
)

// serve serves the participants until the process is killed.
func (c child) serve(open []OpenServices) error {
	var participants map[string]twophase.Participant
	var err error
	switch {
	case c.Service == "":
		participants, err = openLedgers(c.Dir)
	case len(open) != 1:
		err = errors.New("ChildMain needs to know how services are opened")
	default:
		participants, err = open[0](context.Background(), c.Service)
	}
	if err != nil {
		return err
	}
	return Serve(participants, c.Socket)
}

// newCoordinator returns a coordinator for which everything happens soon.
func newCoordinator(journal twophase.Journal, client *http.Client) (*twophase.Coordinator, error) {
	fast := twophase.Retry{First: 10 * time.Millisecond, Max: 100 * time.Millisecond, Attempt: 250 * time.Millisecond}
	return twophase.NewCoordinator(journal, append(remotes(client),
		twophase.WithLease(lease),
		twophase.WithTimeout(2*time.Second),
		twophase.WithPolicy(twophase.Policy{
			Hold: hold, ReserveFor: shortHold * 2 / 5, AssignFor: shortHold * 2 / 5, Margin: shortHold / 10,
			ReleaseFor: time.Second,
			Reserve:    fast, Assign: fast, Release: fast,
			Budget: twophase.RetryBudget{Burst: 1000, PerSecond: 1000},
		}))...)
}

// coordinate runs transactions until it is killed.
func (c child) coordinate(open Open) error {
	journal, _, err := c.openJournal(open)
	if err != nil {
		return err
	}
	coordinator, err := newCoordinator(slow{journal}, NewClient(c.Socket))
	if err != nil {
		return err
	}
	told, err := os.OpenFile(toldPath(c.Dir, c.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	left, err := unanswered(c.Dir, c.Earlier)
	if err != nil {
		return err
	}
	var callers sync.WaitGroup
	for n := range callersEach {
		callers.Go(func() {
			caller := caller{
				child: c, coordinator: coordinator, told: told, number: n,
				random: rand.New(rand.NewPCG(c.Seed, uint64(n))),
			}
			for i := n; i < len(left); i += callersEach {
				caller.ask(left[i])
			}
			for {
				caller.pause(20 * time.Millisecond)
				caller.ask(caller.newID())
			}
		})
	}
	callers.Wait()
	return errors.New("the callers have gone")
}

// openJournal waits for a storage that is away.
func (c child) openJournal(open Open) (journal twophase.Journal, end func() error, err error) {
	for range 100 {
		if journal, end, err = open(context.Background(), c.Storage); err == nil {
			return journal, end, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, nil, err
}

func toldPath(dir, name string) string { return filepath.Join(dir, name+".told") }

// unanswered returns what callers of an incarnation have asked for without
// learning the outcome. They ask again; but the callers of half of the ids were
// killed, too, so that nobody asks and nothing but recovery is left to help.
func unanswered(dir, name string) (ids []string, err error) {
	if name == "" {
		return nil, nil
	}
	told, _, err := readLines[Told](toldPath(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // it was killed too soon
	}
	open := map[string]bool{}
	for _, t := range told {
		if t.Answer == Asked {
			ids = append(ids, t.ID)
		}
		open[t.ID] = t.Answer == Asked || t.Answer == InDoubt
	}
	var left []string
	for _, id := range ids {
		if open[id] && hashOf(id)%2 == 0 {
			left = append(left, id)
			open[id] = false
		}
	}
	return left, err
}
