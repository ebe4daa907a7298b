// Package postgres keeps the journal of coordinators in PostgreSQL.
//
//	pool, err := pgxpool.New(ctx, "postgres://orders@db/orders")
//	journal, err := postgres.NewJournal(ctx, pool)
//	defer journal.Close()
//	coordinator, err := twophase.NewCoordinator(journal,
//		twophase.WithParticipant("store", store),
//		twophase.WithParticipant("delivery", delivery),
//	)
//
// Choose it if coordinators run in more than one process, or if there is a
// PostgreSQL already that is backed up and fails over. A single process is served
// well by an embedded journal, without a server.
//
// # What is durable
//
// What a method has written is committed, and flushed to the server's disk, when
// it returns nil. A session's synchronous_commit = off is overridden in each
// transaction; other values stay, so it is the server's configuration that says
// how many standbys have a transaction before it is acknowledged. A server with
// fsync = off keeps no promise, here as elsewhere.
//
// The writes of many callers share a commit and its round trip; a caller alone
// does not wait for others. A record that the database refuses fails alone.
//
// # When the database fails
//
// Whoever was waiting for a commit as the connection broke does not know what
// became of it: the error is not [twophase.ErrUnavailable], and the repeated call
// tells. The coordinator repeats it by itself until it knows. The pool's other
// connections are then closed, so that what follows is dialled, and refused with
// ErrUnavailable as long as nobody answers: nothing was written.
//
// For a fail-over, name all servers in the connection string, with
// target_session_attrs=read-write. A promoted standby lacks what was not
// replicated when the primary was lost: an acknowledged decision may be undone,
// and be made the other way, unless replication is synchronous
// (synchronous_standby_names). That is the price of asynchronous replication, and
// no journal can pay it.
//
// # Several instances
//
// Any number of coordinators, in any number of processes, may share the tables;
// each opens a journal. All times are the database's clock. What a coordinator
// leaves behind is claimed by another once its lease has run out: after the lease
// and a third of it at most (see [twophase.WithLease]), and at once if it was
// closed. A session's advisory lock would tell sooner that its process has died.
// It is not used: it needs a connection of its own for each coordinator, is lost
// in a pooler that hands connections on after each transaction, and tells nothing
// when the network is cut.
//
// # Connections
//
// Each transaction is one round trip, and leaves nothing behind in its session: no
// setting, no lock, no temporary table. A pooler in transaction mode will do. One
// that does not know prepared statements needs them turned off, as for pgx in
// general:
//
//	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
//
// The journal holds as many connections at a time as there are commits under way
// (see [WithCommits]) and reads; it waits for them like everybody else who shares
// the pool. A pool of its own, of 4 to 8 connections, never has to wait.
//
// # Tables
//
// [NewJournal] makes the tables and brings them up to date, whoever comes first;
// see [Migrate] and [WithoutMigration] for doing it apart. Versions only go
// forward, and tables of a newer version than this package knows are refused with
// [ErrNewerSchema].
//
// A transaction is one row. With two steps of small payloads it takes about 650
// bytes, indexes included, and up to half as much again until autovacuum has been
// there; larger payloads are compressed. Payloads, causes and reservations are text of JSON,
// for people to read:
//
//	SELECT id, state, trouble FROM twophase_transactions WHERE finished_at IS NULL
//
// Finished rows cost space only: what is unfinished has an index of its own. The
// coordinator prunes them after its retention (see [twophase.WithRetention]), in
// small steps. Autovacuum has to be on, and transactions that stay open for hours
// anywhere in the database keep it from doing its work.
package postgres
