package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-bcc3c603/twophase/postgres"
	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

// postgresStore keeps journals in the databases of a private server, which
// syncs to the same disk.
type postgresStore struct {
	dir     string
	ids     idOrder
	cluster *pgtest.Cluster
	admin   *pgxpool.Pool
	version string
	limit   int // how many connections the server takes

	mu   sync.Mutex
	urls map[string]string // of the databases, by the journal's name
}

const (
	journalConns = 8 // of a journal: two commit, and some read
	adminConns   = 2
	spareConns   = 8 // of the server: for superusers and autovacuum
)

func newPostgres(ctx context.Context, dir string, order idOrder) (*postgresStore, error) {
	cluster, err := startIn(ctx, dir)
	if err != nil {
		return nil, err
	}
	s := &postgresStore{dir: dir, ids: order, cluster: cluster, urls: map[string]string{}}
	if s.admin, err = openPool(ctx, cluster.URL("postgres"), adminConns, nil); err != nil {
		return nil, errors.Join(err, cluster.Stop())
	}
	err = s.admin.QueryRow(ctx, `SELECT current_setting('max_connections')::int,
		format('PostgreSQL %s, fsync = %s, synchronous_commit = %s, wal_sync_method = %s, max_connections = %s',
			current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
			current_setting('wal_sync_method'), current_setting('max_connections'))`).Scan(&s.limit, &s.version)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// startIn starts a server that keeps its files in dir: it makes them where
// temporary files are made.
func startIn(ctx context.Context, dir string) (*pgtest.Cluster, error) {
	const variable = "TMPDIR"
	before, set := os.LookupEnv(variable)
	if err := os.Setenv(variable, dir); err != nil {
		return nil, err
	}
	cluster, err := pgtest.Start(ctx)
	if set {
		return cluster, errors.Join(err, os.Setenv(variable, before))
	}
	return cluster, errors.Join(err, os.Unsetenv(variable))
}

func openPool(ctx context.Context, url string, conns int, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(conns)
	config.ConnConfig.Tracer = tracer
	return pgxpool.NewWithConfig(ctx, config)
}

func (*postgresStore) kind() string { return "postgres" }

func (s *postgresStore) about() string { return s.version }

// url returns where the database of a journal is, and makes it if need be.
func (s *postgresStore) url(ctx context.Context, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if url, ok := s.urls[name]; ok {
		return url, nil
	}
	url, err := s.cluster.CreateDatabase(ctx)
	if err == nil {
		s.urls[name] = url
	}
	return url, err
}

func (s *postgresStore) open(ctx context.Context, name string) (*opened, error) {
	url, err := s.url(ctx, name)
	if err != nil {
		return nil, err
	}
	commits := &roundTrips{}
	pool, err := openPool(ctx, url, journalConns, commits)
	if err != nil {
		return nil, err
	}
	j, err := postgres.NewJournal(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &opened{
		Journal: j,
		spent: func(ctx context.Context) (spent, error) {
			bytes, err := s.logged(ctx)
			return spent{commits.sent.Load(), bytes}, err
		},
		size: func(ctx context.Context) (n int64, err error) {
			err = pool.QueryRow(ctx, "SELECT pg_total_relation_size('twophase_transactions')").Scan(&n)
			return n, err
		},
		close: func() error {
			j.Close()
			pool.Close()
			return nil
		},
	}, nil
}

// logged is how far the server's write-ahead log has come.
func (s *postgresStore) logged(ctx context.Context) (bytes int64, err error) {
	err = s.admin.QueryRow(ctx, "SELECT (pg_current_wal_lsn() - '0/0')::bigint").Scan(&bytes)
	return bytes, err
}

// fill has the journal itself write one row, and multiplies it.
func (s *postgresStore) fill(ctx context.Context, name string, finished bool, n int) error {
	if n == 0 {
		return nil
	}
	j, err := s.open(ctx, name)
	if err != nil {
		return err
	}
	template := newIDs(s.ids).take()
	if err := errors.Join(leave(ctx, j, template, finished), j.close()); err != nil {
		return err
	}
	pool, err := openPool(ctx, s.urls[name], 1, nil)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return err
	}
	columns, err := postgresColumns(ctx, pool)
	if err != nil {
		return err
	}
	names := strings.Join(columns.names, ", ")
	suffix := func(before int) string {
		if s.ids == growingIDs {
			return fmt.Sprintf("lpad(to_hex(%d + i), 16, '0')", before)
		}
		return "substr(md5(random()::text || i), 1, 16)"
	}
	for left := n - 1; left > 0; left -= fillStep {
		_, err := pool.Exec(ctx, fmt.Sprintf(`INSERT INTO twophase_transactions (id, %[1]s)
			SELECT 'order-' || %[3]s, %[1]s
			FROM twophase_transactions, generate_series(1, %[2]d) AS i WHERE id = $1`,
			names, min(left, fillStep), suffix(n-left)), template)
		if err != nil {
			return err
		}
	}
	for _, tidy := range []string{"VACUUM (ANALYSE) twophase_transactions", "CHECKPOINT"} {
		if _, err := pool.Exec(ctx, tidy); err != nil {
			return err
		}
	}
	return nil
}

// columnsOf are a table's columns besides the id, and their types.
type columnsOf struct{ names, types []string }

func postgresColumns(ctx context.Context, pool *pgxpool.Pool) (c columnsOf, err error) {
	rows, err := pool.Query(ctx, `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = 'twophase_transactions'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'
		ORDER BY attnum`)
	if err != nil {
		return c, err
	}
	var name, kind string
	_, err = pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		c.names, c.types = append(c.names, name), append(c.types, kind)
		return nil
	})
	return c, err
}

// remove drops the journal's database.
func (s *postgresStore) remove(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	url, ok := s.urls[name]
	if !ok {
		return nil
	}
	delete(s.urls, name)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	_, err = s.admin.Exec(ctx, "DROP DATABASE "+pgx.Identifier{config.Database}.Sanitize()+" WITH (FORCE)")
	return err
}

// Close ends the server and removes all that it has stored.
func (s *postgresStore) Close() error {
	s.admin.Close()
	return s.cluster.Stop()
}

func (s *postgresStore) baselines(ctx context.Context, callers int, _ func() float64) ([]*subject, error) {
	raw, err := rawFileSubject(s.dir, callers)
	if err != nil {
		return nil, err
	}
	single, err := s.singles(ctx, callers)
	if err != nil {
		return nil, errors.Join(err, raw.close())
	}
	return []*subject{raw, single}, nil
}

const singlesName = "singles"

// singles returns the subject of a journal that writes each record by itself:
// two single-row INSERTs into the journal's table, each its own commit, from as
// many connections as there are callers.
func (s *postgresStore) singles(ctx context.Context, callers int) (*subject, error) {
	conns := min(callers, s.limit-journalConns-adminConns-spareConns)
	insert, err := s.singleInsert(ctx, conns)
	if err != nil {
		return nil, err
	}
	ids := newIDs(s.ids)
	pair := func(ctx context.Context) (int, time.Duration, error) {
		start := time.Now()
		for range 2 {
			if err := insert.exec(ctx, ids.take()); err != nil {
				return 0, 0, err
			}
		}
		return 1, time.Since(start), nil
	}
	return &subject{
		name: "single-row commits", note: fmt.Sprintf("two INSERT commits each; connections: %d", conns),
		workers: alike(callers, pair),
		spent: func(ctx context.Context) (spent, error) {
			bytes, err := s.logged(ctx)
			return spent{bytes: bytes}, err
		},
		close: func() error {
			insert.pool.Close()
			return s.remove(context.Background(), singlesName)
		},
	}, nil
}

// singleInsert inserts rows like the journal's.
type singleInsert struct {
	pool   *pgxpool.Pool
	sql    string
	values []any // after the id
}

// singleInsert has the journal make its table and a row to copy, and opens all
// connections.
func (s *postgresStore) singleInsert(ctx context.Context, conns int) (i *singleInsert, err error) {
	j, err := s.open(ctx, singlesName)
	if err != nil {
		return nil, err
	}
	template := newIDs(s.ids).take()
	if err := errors.Join(leave(ctx, j, template, false), j.close()); err != nil {
		return nil, err
	}
	i = &singleInsert{}
	if i.pool, err = openPool(ctx, s.urls[singlesName], conns, nil); err != nil {
		return nil, err
	}
	if err := errors.Join(i.copyRow(ctx, template), connectAll(ctx, i.pool, conns)); err != nil {
		i.pool.Close()
		return nil, err
	}
	return i, nil
}

// copyRow takes the values of a row for those to be inserted.
func (i *singleInsert) copyRow(ctx context.Context, id string) error {
	columns, err := postgresColumns(ctx, i.pool)
	if err != nil {
		return err
	}
	n := len(columns.names)
	values, selected, parameters := make([]*string, n), make([]string, n), make([]string, n)
	targets := make([]any, n)
	for k, name := range columns.names {
		targets[k] = &values[k]
		selected[k] = name + "::text"
		parameters[k] = fmt.Sprintf("$%d::text::%s", k+2, columns.types[k])
	}
	err = i.pool.QueryRow(ctx, "SELECT "+strings.Join(selected, ", ")+" FROM twophase_transactions WHERE id = $1", id).
		Scan(targets...)
	if err != nil {
		return err
	}
	for _, value := range values {
		i.values = append(i.values, value)
	}
	i.sql = fmt.Sprintf("INSERT INTO twophase_transactions (id, %s) VALUES ($1, %s)",
		strings.Join(columns.names, ", "), strings.Join(parameters, ", "))
	return nil
}

func (i *singleInsert) exec(ctx context.Context, id string) error {
	_, err := i.pool.Exec(ctx, i.sql, append([]any{id}, i.values...)...)
	return err
}

// connectAll opens all connections of a pool, so that none is opened while
// something is measured.
func connectAll(ctx context.Context, pool *pgxpool.Pool, conns int) error {
	held := make([]*pgxpool.Conn, 0, conns)
	defer func() {
		for _, c := range held {
			c.Release()
		}
	}()
	for range conns {
		c, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		held = append(held, c)
	}
	return nil
}

// roundTrips counts the batches of statements that a pool sends: for a journal,
// each is a commit.
type roundTrips struct{ sent atomic.Int64 }

// TraceBatchStart implements [pgx.BatchTracer].
func (r *roundTrips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	r.sent.Add(1)
	return ctx
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (*roundTrips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements [pgx.BatchTracer].
func (*roundTrips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceQueryStart implements [pgx.QueryTracer].
func (*roundTrips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (*roundTrips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
