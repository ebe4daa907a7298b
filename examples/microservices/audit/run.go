package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/load"
)

// ErrBroken says that an invariant does not hold.
var ErrBroken = errors.New("an invariant is broken")

// Run waits until everything has come to its end, but not for longer than within,
// then compares the books with what was told, and reports it. The error is
// [ErrBroken] if an invariant does not hold.
func Run(ctx context.Context, w io.Writer, s *Shelf, told []*load.Told, within time.Duration) error {
	settled, err := s.Settled(ctx, within)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	books, err := s.Read(ctx)
	if err != nil {
		return err
	}
	breaches := Check(books, told, settled)
	if err := Report(w, books, breaches); err != nil {
		return err
	}
	if len(breaches) > 0 {
		return fmt.Errorf("%w: %d breaches", ErrBroken, len(breaches))
	}
	return nil
}
