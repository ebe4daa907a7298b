package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
	return retryUndone(ctx, func() error {
		sent, err := send(ctx, j.pool, prelude, queue)
		if !sent {
			return unavailable(err)
		}
		return err
	})
}

// errNoAnswer tells our own time from that of our callers.
var errNoAnswer = errors.New("the database does not answer")

// retryUndone repeats what failed because of others, with pauses, for as long as ctx
// lasts.
func retryUndone(ctx context.Context, do func() error) error {
	err := do()
	if !undone(err) {
		return err
	}
	pace := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(200*time.Millisecond),
	)
	again := func() error {
		if err = do(); !undone(err) {
			return backoff.Permanent(err)
		}
		return err
	}
	_ = backoff.Retry(again, backoff.WithContext(backoff.WithMaxRetries(pace, maxRetries), ctx))
	return err
}

// maxRetries bounds how often a transaction is sent again.
const maxRetries = 10

// undone reports whether a transaction failed because of others, or because a
// prepared statement was older than the table.
func undone(err error) bool { return isCode(err, transactionRollback, staleStatement) }

// send sends statements, if there is a connection. They are one transaction without
// BEGIN and COMMIT: the server commits when it has read to the end of the batch.
func send(ctx context.Context, pool *pgxpool.Pool, prelude string, queue func(batch *pgx.Batch)) (sent bool, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
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
		pool.Reset()
	}
	return true, err
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
