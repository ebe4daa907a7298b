package postgres

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Option configures a [Journal], a [Pool], a [Fence], or [Migrate].
type Option func(*config)

// WithSchema sets the schema that the tables are in; it is made if it does not
// exist. By default it is the first of the connection's search path.
func WithSchema(name string) Option {
	return func(c *config) {
		if name == "" || len(name) > maxIdentifier || strings.ContainsRune(name, 0) {
			c.fail("WithSchema(%q): a name of 1 to %d bytes is needed", name, maxIdentifier)
		}
		c.schema = name
	}
}

// WithoutMigration leaves the tables as they are: somebody calls [Migrate], with
// the rights that it takes. If they are missing or of an older version,
// [NewJournal], [NewPool] and [NewFence] return [ErrNotMigrated].
func WithoutMigration() Option { return func(c *config) { c.withoutMigration = true } }

// WithTimeout bounds how long a commit may take, with waiting for a connection,
// before its callers are told that its effect is not known. Default 10 seconds.
func WithTimeout(d time.Duration) Option {
	return func(c *config) {
		if d <= 0 {
			c.fail("WithTimeout(%v): it has to be more than 0", d)
		}
		c.timeout = d
	}
}

// WithCommits sets how many commits are under way at a time, each on a
// connection of its own. Default 2, and 1 for a pool: more helps where the
// database is far away, or its disk is slow to sync and takes several at once.
func WithCommits(n int) Option {
	return func(c *config) {
		if n < 1 || n > maxCommits {
			c.fail("WithCommits(%d): 1 to %d are possible", n, maxCommits)
		}
		c.commits = n
	}
}

const (
	maxIdentifier = 63 // PostgreSQL's
	maxCommits    = 64
)

type config struct {
	schema           string
	withoutMigration bool
	timeout          time.Duration
	commits          int
	errs             []error
}

func newConfig(options []Option) config {
	c := config{timeout: 10 * time.Second, commits: 2}
	for _, option := range options {
		option(&c)
	}
	return c
}

func (c *config) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("postgres: %w: "+format, append([]any{twophase.ErrInvalid}, args...)...))
}
