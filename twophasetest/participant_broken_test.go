package twophasetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/shelf"
)

// Participants that break the contract in one way each, and the checks that
// must say so.

func TestBrokenParticipantsAreCaught(t *testing.T) {
	for _, broken := range brokenParticipants {
		t.Run(broken.Name, func(t *testing.T) {
			checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
				s := newShelf(free)
				broken.Do(s)
				return subjectOf(s)
			})
			requireCaught(t, checks, broken.Caught)
		})
	}
}

// brokenParticipants are those that a caller over a network can tell, too, and one
// whose error is made unambiguous on its way.
var brokenParticipants = slices.Concat(shelf.Breaks, []shelf.Break{{
	Name: "errors are not told apart",
	Do: func(s *shelf.Shelf) {
		s.JudgeAssign = func(e *shelf.Held, now time.Time) twophase.Verdict {
			v := e.Assign(now)
			if errors.Is(v.Err, twophase.ErrExpired) {
				v.Err = fmt.Errorf("%w or %w", twophase.ErrExpired, twophase.ErrReleased)
			}
			return v
		}
	},
	Caught: []string{"Assign of an expired key is turned away"},
}})

// Participants that are broken from the outside.

// finalWhenEnded takes a context that has ended for a refusal.
type finalWhenEnded struct{ *shelf.Shelf }

func (p finalWhenEnded) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	r, err := p.Shelf.Reserve(ctx, req)
	return r, finalIfEnded(ctx, err)
}

func (p finalWhenEnded) Assign(ctx context.Context, key twophase.Key) error {
	return finalIfEnded(ctx, p.Shelf.Assign(ctx, key))
}

func (p finalWhenEnded) Release(ctx context.Context, key twophase.Key) error {
	return finalIfEnded(ctx, p.Shelf.Release(ctx, key))
}

func finalIfEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", twophase.ErrRefused, ctx.Err())
	}
	return err
}

// leaksWhenEnded takes a resource and loses it if the context ends.
type leaksWhenEnded struct{ *shelf.Shelf }

func (p leaksWhenEnded) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if ctx.Err() == nil {
		return p.Shelf.Reserve(ctx, req)
	}
	req.Key.Step += " (lost)"
	_, _ = p.Shelf.Reserve(context.WithoutCancel(ctx), req)
	return twophase.Reservation{}, ctx.Err()
}

// lyingWhenEnded says that all is well without having done anything.
type lyingWhenEnded struct{ *shelf.Shelf }

func (p lyingWhenEnded) Assign(ctx context.Context, key twophase.Key) error {
	if ctx.Err() != nil {
		return nil
	}
	return p.Shelf.Assign(ctx, key)
}

func (p lyingWhenEnded) Release(ctx context.Context, key twophase.Key) error {
	if ctx.Err() != nil {
		return nil
	}
	return p.Shelf.Release(ctx, key)
}

var participantsBrokenOutside = []struct {
	name   string
	wrap   func(s *shelf.Shelf) twophase.Participant
	caught []string
}{
	{
		"an ended context is a refusal",
		func(s *shelf.Shelf) twophase.Participant { return finalWhenEnded{s} },
		[]string{
			"Reserve with an ended context loses nothing", "Assign with an ended context loses nothing",
			"Release with an ended context loses nothing",
		},
	},
	{
		"an ended context loses a resource",
		func(s *shelf.Shelf) twophase.Participant { return leaksWhenEnded{s} },
		[]string{"Reserve with an ended context loses nothing"},
	},
	{
		"a context that ends under way loses a resource",
		func(s *shelf.Shelf) twophase.Participant { return shelf.Leaky{Shelf: s} },
		[]string{"calls whose context ends under way lose nothing"},
	},
	{
		"an ended context is a success",
		func(s *shelf.Shelf) twophase.Participant { return lyingWhenEnded{s} },
		[]string{"Assign with an ended context loses nothing", "Release with an ended context loses nothing"},
	},
}

func TestParticipantsBrokenOutsideAreCaught(t *testing.T) {
	for _, broken := range participantsBrokenOutside {
		t.Run(broken.name, func(t *testing.T) {
			checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
				return subjectOf(broken.wrap(newShelf(free)))
			})
			requireCaught(t, checks, broken.caught)
		})
	}
}

func TestInstancesWithStoresOfTheirOwnAreCaught(t *testing.T) {
	checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
		return subjectOf(newShelf(free), newShelf(free))
	})
	requireCaught(t, checks, []string{
		"a repeated Reserve takes no second resource",
		"many who reserve at once get each resource once",
	})
}

func TestSeveralMustBeGivenOrDeclared(t *testing.T) {
	checks := participantSuite(newConfig(nil), func(_ testing.TB, free int) Subject {
		subject := subjectOf(newShelf(free))
		subject.Several = nil
		return subject
	})
	requireCaught(t, checks, []string{"several are released together"})
}

func TestEveryCheckOfParticipantsCanFail(t *testing.T) {
	t.Parallel()
	var caught []string
	for _, broken := range brokenParticipants {
		caught = append(caught, broken.Caught...)
	}
	for _, broken := range participantsBrokenOutside {
		caught = append(caught, broken.caught...)
	}
	for _, check := range participantSuite(newConfig(nil), nil) {
		assert.Contains(t, caught, check.name, "no broken participant is caught by it")
	}
}
