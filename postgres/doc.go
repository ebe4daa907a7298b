// Package postgres keeps the journal of [twophase.Coordinator]s, and the
// reservations of [twophase.Participant]s, in PostgreSQL.
//
//   - [NewJournal] opens the [Journal] of a coordinator.
//   - [NewPool] opens a [Pool]: a participant that owns granular resources, in
//     tables of its own.
//   - [NewFence] opens a [Fence]: it makes a participant of a service that has
//     its tables already.
//
// The coordinator of an order, and the store where it is placed:
//
//	db, err := pgxpool.New(ctx, "postgres://orders@db/orders")
//	journal, err := postgres.NewJournal(ctx, db)
//	defer journal.Close()
//	coordinator, err := twophase.NewCoordinator(journal,
//		twophase.WithParticipant("store", store),
//		twophase.WithParticipant("delivery", delivery),
//	)
//
//	db, err := pgxpool.New(ctx, "postgres://store@db/store")
//	store, err := postgres.NewPool(ctx, db, "store")
//	defer store.Close()
//	err = store.Restock(ctx, "masala dosa", "packet-1", "packet-2")
//
// Choose it if coordinators, or instances of a service, run in more than one
// process or on more than one machine, or if there is a PostgreSQL already that is
// backed up and fails over. A single process is served well by an embedded
// database, without a server.
//
// # What is durable
//
// What a method has written is committed, and flushed to the server's disk, when
// it returns nil. A session's synchronous_commit = off is overridden in each
// transaction; other values stay, so it is the server's configuration that says
// how many standbys have a transaction before it is acknowledged. A server with
// fsync = off keeps no promise, here as elsewhere.
//
// The writes of many callers of a journal, or of a pool, share a commit and its
// round trip; a caller alone does not wait for others. A record that the database
// refuses fails alone. A fence has a transaction for each call: it is its author's.
//
// # What participants guarantee
//
//   - The contract of [twophase.Participant], as [twophase.Entry] judges it, in any
//     number of instances at once.
//   - A resource of a pool is held by one key at most: it is a row that has room
//     for one. What a fence's handler writes is committed together with the
//     fence's entry, or neither is.
//   - Time is the database's clock, read once the key is locked: a call that waited
//     for the lock until the reservation had run out comes too late. If somebody
//     sets that clock, or a server with another one takes over, reservations end
//     earlier or later, and what has been given to another stays so.
//   - What has run out is free for whoever takes next. Each open pool and fence
//     sweeps about every second, to tidy, and prunes about every minute, in small
//     steps; [WithoutBackground] leaves both to the methods Sweep and Prune. A
//     retention that is too short for [WithLongestTimeout] is refused.
//
// # When the database fails
//
// An error that is not final leaves it open whether a call on a participant took
// place; the repeated call tells, and the coordinator repeats it by itself. What
// follows is of the journal.
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
// each opens a journal. So may any number of pools and fences; those of one name
// are instances of one participant. All times are the database's clock. What a coordinator
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
// A journal holds as many connections at a time as there are commits under way
// (see [WithCommits]) and reads; it waits for them like everybody else who shares
// the pool of connections. One of its own, of 4 to 8 connections, never has to
// wait. A [Pool] holds one for what it takes, one for what it assigns and one for
// what it releases, unless WithCommits says otherwise, and one for each Reserve that
// is repeated or has a filter or an order; a [Fence] one for each call.
//
// # Tables
//
// [NewJournal], [NewPool] and [NewFence] make the tables of all three and bring
// them up to date, whoever comes first; see [Migrate] and [WithoutMigration] for doing it apart. Versions only go
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
//
// A participant has a row in twophase_reservations for each key until it is pruned,
// and a pool one in twophase_resources for each resource:
//
//	SELECT id, kind, transaction FROM twophase_resources WHERE transaction IS NOT NULL
//
// A participant that is restored from a backup has forgotten what it has given
// since: [twophase.Coordinator.Reconcile] finds where its books and the journal
// differ.
package postgres
