// Package sqlite keeps a [twophase.Coordinator]'s journal, and the reservations of
// [twophase.Participant]s, in SQLite files: durable, with no server to run. It
// needs no C compiler.
//
//   - [Open] opens the [Journal] of a coordinator.
//   - [NewPool] opens a [Pool]: a participant that owns granular resources, in
//     tables of its own.
//   - [NewFence] opens a [Fence]: it makes a participant of a service that has
//     its tables already.
//
// The coordinator of an order, and the store where it is placed:
//
//	journal, err := sqlite.Open(ctx, "orders.db")
//	…
//	coordinator, err := twophase.NewCoordinator(journal, …)
//
//	db, err := sqlite.OpenDB(ctx, "store.db")
//	…
//	store, err := sqlite.NewPool(ctx, db, "store")
//	…
//	err = store.Restock(ctx, "masala dosa", "packet-1", "packet-2")
//
// A journal has its file to itself, even if all is in one process: a pool or a
// fence is refused there, and a journal in a participant's file is [ErrForeign].
// Pools, fences and a service's own tables share a file, or not, as you like;
// within a file each pool and each fence has a name.
//
// # When to choose it
//
// For a local disk: the embedded default. A journal serves one process at a time,
// and a process that takes over needs the same disk. Where several processes are
// to recover each other's transactions, the journal belongs into a server's
// database. A participant's file serves any number of processes on one machine,
// which take turns at writing. Network file systems are not supported: their
// locks and their syncs are not to be trusted.
//
// # What the journal guarantees
//
//   - What was acknowledged is on the disk: each commit is synced before any
//     of its callers is told. A killed process loses nothing; nor does a power
//     cut, on a disk that does not lie about syncing.
//   - The writes of concurrent callers share a commit. A record that cannot be
//     stored, and a caller who gives up, fail by themselves.
//   - An error is [twophase.ErrUnavailable] only if nothing was written. Any
//     other leaves it open, and the call may be repeated to learn what stands.
//   - One journal at a time has the file; a second one is told [ErrLocked] at
//     once. The lock, on an empty file beside it, ends with the process,
//     however that ends. So whatever is unfinished at opening belongs to
//     nobody, and may be claimed at once.
//   - Records come back byte for byte.
//   - The journal's clock never goes back, whatever becomes of the wall clock.
//
// # What participants guarantee
//
//   - The contract of [twophase.Participant], as [twophase.Entry] judges it. What
//     was answered is on the disk before the reply, just as in the journal, and
//     is answered again.
//   - A resource of a pool is held by one key at most: it is a row that has room
//     for one. What a fence's handler writes is committed together with the
//     fence's entry, or neither is.
//   - Concurrent calls in one process share a commit, and fail by themselves.
//   - Time is the machine's clock, read once the file is locked: all processes on
//     the file agree in it. If somebody sets it, reservations end earlier or
//     later, and what has been given to another stays so.
//
// # Housekeeping
//
// Each open pool and fence sweeps every second and prunes every minute, in small
// steps; [WithoutBackground] leaves it to the methods Sweep and Prune. Sweeping
// marks what has run out, and has a fence's handler release it. Nothing waits for
// it: what has run out is free for whoever takes next. Pruning forgets the keys
// that were released or have expired before [WithRetention]: a retention that is
// too short for [WithLongestTimeout] is refused. Keys that hold something are
// kept for as long as they do.
//
// # Operating a journal
//
// The file has a row for each transaction: about 500 bytes for a food order of
// two steps, all in all. Finished ones are pruned by the coordinator after
// [twophase.WithRetention], a hundred at a time, and their room is used again.
// The rate of new transactions does not depend on how many are on record.
//
// Beside the file there are file-wal, with what was committed last, file-shm
// and file.lock. Other programs may read the file at any time, and should not
// hold a transaction open; nobody else should write to it. Deleting file.lock
// lets two journals have the file.
//
// A journal restored from a backup has forgotten what was decided since, and
// callers have been told already: reconcile it with the participants' books
// before its coordinator goes to work.
//
// # Operating a participant
//
// The tables have names that begin with twophase_: read them, and write to none
// of them. There is a row for each key until it is pruned, and one for each
// resource of a pool. A transaction of the service's own that stays open for
// writing holds up all calls on the file; one that reads for hours keeps the
// file-wal from being reused.
//
// A participant restored from a backup has forgotten what it has given since:
// [twophase.Coordinator.Reconcile] finds where its books and the journal differ.
//
// # Operating either
//
// To back up a file in use, have SQLite do it:
//
//	sqlite3 orders.db "VACUUM INTO 'backup.db'"
//
// A copy by other means needs the file and its -wal as of one moment. To give
// room back to the disk, close whoever has the file and run VACUUM.
//
// A full disk is [ErrDiskFull]: everything goes on when there is room again. A
// file that cannot be read is [ErrDamaged]. Migrations are applied when a file is
// opened, all or none, and only forward: a file of a newer version is [ErrNewer].
package sqlite
