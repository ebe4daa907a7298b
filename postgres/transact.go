package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
)

// transact sends statements as one transaction in one round trip, within the
// journal's time. One that was undone because another was in its way is sent
// again; queue is then called again.
func (j *Journal) transact(ctx context.Context, queue func(batch *pgx.Batch)) error {
	return j.transactAfter(ctx, prelude, queue)
}

// transactAfter is transact with a prelude of its own.
func (j *Journal) transactAfter(ctx context.Context, prelude string, queue func(batch *pgx.Batch)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, j.timeout, errNoAnswer)
	defer cancel()
	err := j.transactOnce(ctx, prelude, queue)
	if !undone(err) {
		return err
	}
	pace := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(200*time.Millisecond),
	)
	again := func() error {
		if err = j.transactOnce(ctx, prelude, queue); !undone(err) {
			return backoff.Permanent(err)
		}
		return err
	}
	_ = backoff.Retry(again, backoff.WithContext(backoff.WithMaxRetries(pace, maxRetries), ctx))
	return err
}

// errNoAnswer tells the journal's own time from that of its callers.
var errNoAnswer = errors.New("the database does not answer")

// maxRetries bounds how often a transaction is sent again.
const maxRetries = 10

// undone reports whether a transaction failed because of others, or because a
// prepared statement was older than the table.
func undone(err error) bool { return isCode(err, transactionRollback, staleStatement) }

// transactOnce sends the statements. They are one transaction without BEGIN and
// COMMIT: the server commits when it has read to the end of the batch.
func (j *Journal) transactOnce(ctx context.Context, prelude string, queue func(batch *pgx.Batch)) error {
	conn, err := j.pool.Acquire(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer conn.Release()
	var batch pgx.Batch
	batch.Queue(prelude)
	queue(&batch)
	err = conn.SendBatch(ctx, &batch).Close()
	lost := conn.Conn().IsClosed() && (ctx.Err() == nil || errors.Is(context.Cause(ctx), errNoAnswer))
	if lost || isCode(err, readOnly) {
		// The server is gone, or was the primary before a fail-over. The pool's
		// other connections are to the same one: who writes to them does not
		// know what becomes of it, and who dials does.
		j.pool.Reset()
	}
	return err
}

// each reads all rows of columns.
func each(rows pgx.Rows, do func(row)) error {
	for rows.Next() {
		r, err := scanRow(rows)
		if err != nil {
			return err
		}
		do(r)
	}
	return rows.Err()
}
