//go:build unix

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// caller runs one transaction after another, and writes down what it is told.
type caller struct {
	child
	coordinator *twophase.Coordinator
	told        *os.File
	number      int
	count       int
	random      *rand.Rand
}

// Told is what a caller was told.
type Told struct {
	At     time.Time
	Child  string
	ID     string
	Answer Answer
	// Given is the resource of each step, of what is Placed.
	Given map[string]string `json:",omitempty"`
	Err   string            `json:",omitempty"`
}

// Answer is a kind of answer.
type Answer string

// The answers. Asked is none: it says that somebody is about to ask.
const (
	Asked     Answer = "asked"
	Placed    Answer = "placed"
	NotPlaced Answer = "not placed"
	InDoubt   Answer = "in doubt"
	NotBegun  Answer = "not begun"
	Gone      Answer = "gone"
)

// together begins the ids that several coordinators run at once.
const together = "together-"

// newID returns the id of a new transaction, or one that callers of other
// coordinators are choosing, too.
func (c *caller) newID() string {
	if c.random.IntN(3) == 0 {
		return fmt.Sprintf("%s%d", together, time.Now().UnixMilli()/20)
	}
	c.count++
	return fmt.Sprintf("%s-%d-%d", c.Name, c.number, c.count)
}

// ask runs a transaction until its outcome is known, and sometimes asks once
// more when it is.
func (c *caller) ask(id string) {
	c.tell(Told{ID: id, Answer: Asked})
	for range 100 {
		answer := c.run(id)
		c.tell(answer)
		switch answer.Answer {
		case Placed, NotPlaced:
			if c.random.IntN(10) == 0 {
				c.askAgain(id)
			}
			return
		}
		c.pause(50 * time.Millisecond)
	}
}

// askAgain asks for an outcome that is known.
func (c *caller) askAgain(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	result, err := c.coordinator.Wait(ctx, id)
	c.tell(answerOf(id, result, err))
}

func (c *caller) run(id string) Told {
	patience := 5 * time.Second
	if c.random.IntN(2) == 0 { // and then gives up, while others may still be at it
		patience = time.Duration(c.random.Int64N(int64(2 * lease)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var result twophase.Result
	var err error
	if shape(id) == 0 {
		result, err = c.coordinator.RunFunc(ctx, id, c.choose)
	} else {
		result, err = c.coordinator.Run(ctx, transaction(id))
	}
	return answerOf(id, result, err)
}

// shape is one of five kinds of transactions, by the id, so that whoever runs
// it again runs the same. What several run at once has its steps known.
func shape(id string) uint32 {
	if strings.HasPrefix(id, together) {
		return 1 + hashOf(id)/2%4
	}
	return hashOf(id) / 2 % 5
}

func hashOf(id string) uint32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(id))
	return hash.Sum32()
}

func transaction(id string) twophase.Transaction {
	tx := twophase.Transaction{ID: id, Steps: []twophase.Step{
		{Participant: "store", Payload: id},
		{Participant: "delivery", Payload: id},
	}}
	switch shape(id) {
	case 1:
		tx.Steps = append(tx.Steps, twophase.Step{Participant: "store", Payload: id})
	case 2:
		tx.Steps[0].Hold = shortHold
	}
	return tx
}

// choose reserves one thing after another, with something to fall back on.
func (c *caller) choose(ctx context.Context, tx *twophase.Tx) error {
	if _, err := tx.Reserve(ctx, "delivery", tx.ID()); err != nil {
		if _, err := tx.ReserveStep(ctx, twophase.Step{
			Name: "pickup", Participant: "store", Payload: tx.ID(),
		}); err != nil {
			return err
		}
	}
	_, err := tx.Reserve(ctx, "store", tx.ID())
	return err
}

func answerOf(id string, result twophase.Result, err error) Told {
	told := Told{ID: id}
	switch {
	case err == nil:
		told.Answer, told.Given = Placed, map[string]string{}
		for _, step := range result.Steps {
			told.Given[step.Name] = step.Reservation.Resource()
		}
		return told
	case errors.Is(err, twophase.ErrNotPlaced):
		told.Answer = NotPlaced
	case errors.Is(err, twophase.ErrInDoubt):
		told.Answer = InDoubt
	case errors.Is(err, twophase.ErrGone):
		told.Answer = Gone
	default:
		told.Answer = NotBegun
	}
	told.Err = err.Error()
	return told
}

func (c *caller) tell(told Told) {
	told.At, told.Child = time.Now(), c.Name
	if err := appendLine(c.told, told); err != nil {
		fmt.Fprintln(os.Stderr, "what a caller was told is lost:", err)
		os.Exit(1)
	}
}

func (c *caller) pause(atMost time.Duration) {
	time.Sleep(time.Duration(c.random.Int64N(int64(atMost))))
}
