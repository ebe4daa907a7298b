package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// What an error says of a write: that nothing of it took place, that it never
// will, or that nobody knows.

// told returns err as the journal tells it. It says that nothing was written only
// if no connection was had or the server answered so; everything else leaves it
// open. What pgx thinks safe to repeat is not asked: it takes a batch whose answer
// was cut off for one that was never sent.
func told(id string, err error) error {
	switch {
	case err == nil || errors.Is(err, twophase.ErrUnavailable) || errors.Is(err, twophase.ErrInvalid):
	case errors.Is(err, groupcommit.ErrNotWritten) || rolledBack(err):
		err = unavailable(err)
	}
	if err != nil && id != "" {
		err = fmt.Errorf("postgres: %s: %w", id, err)
	}
	return err
}

// rolledBack reports whether the server has answered with an error that undid
// the transaction. What ends the session as well, or comes from the network, may
// have hit a commit that had taken place.
func rolledBack(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && severity(answer) == "ERROR"
}

// severity is in English whatever the server's language, unless it is older
// than PostgreSQL 9.6.
func severity(answer *pgconn.PgError) string {
	if answer.SeverityUnlocalized != "" {
		return answer.SeverityUnlocalized
	}
	return answer.Severity
}

// SQLSTATE codes, or their classes.
const (
	transactionRollback = "40" // a deadlock, or not serialisable
	staleStatement      = "0A000"
	readOnly            = "25006"
)

// badData are the classes of errors that a record brings on itself: data
// exception, constraint violation, limit exceeded, raised by a trigger.
var badData = []string{"22", "23", "54", "P0"}

func isCode(err error, prefixes ...string) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return false
	}
	for _, prefix := range prefixes {
		if strings.HasPrefix(answer.Code, prefix) {
			return true
		}
	}
	return false
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", twophase.ErrUnavailable, err) }

func invalid(id, format string, args ...any) error {
	return fmt.Errorf("postgres: %s: %w: "+format, append([]any{id, twophase.ErrInvalid}, args...)...)
}

func gone(id string) error { return fmt.Errorf("postgres: %s: %w", id, twophase.ErrGone) }
