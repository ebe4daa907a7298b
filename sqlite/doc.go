// Package sqlite keeps the journal of a [twophase.Coordinator] in a SQLite file:
// durable, with no server to run. It needs no C compiler.
//
//	journal, err := sqlite.Open(ctx, "orders.db")
//	if err != nil {
//		return err
//	}
//	defer journal.Close()
//	coordinator, err := twophase.NewCoordinator(journal, …)
//
// # When to choose it
//
// For one process on a local disk: the embedded default. A process that takes
// over needs the same disk. Where several processes are to recover each other's
// transactions, the journal belongs into a server's database. Network file
// systems are not supported: their locks and their syncs are not to be trusted.
//
// # What is guaranteed
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
// # Operating it
//
// The file has a row for each transaction: about 500 bytes for a food order of
// two steps, all in all. Finished ones are pruned by the coordinator after
// [twophase.WithRetention], a hundred at a time, and their room is used again.
// The rate of new transactions does not depend on how many are on record. To
// give room back to the disk, close the journal and run VACUUM.
//
// Beside the file there are file-wal, with what was committed last, file-shm
// and file.lock. To back up a journal in use, have SQLite do it:
//
//	sqlite3 orders.db "VACUUM INTO 'backup.db'"
//
// A copy by other means needs the file and its -wal as of one moment. Other
// programs may read the file at any time, and should not hold a transaction
// open; nobody else should write to it. Deleting file.lock lets two journals
// have the file.
//
// A journal restored from a backup has forgotten what was decided since, and
// callers have been told already: reconcile it with the participants' books
// before its coordinator goes to work.
//
// A full disk is [ErrDiskFull]: the journal goes on when there is room again.
// A file that cannot be read is [ErrDamaged]. Migrations are applied by Open,
// all or none, and only forward: a file of a newer version is [ErrNewer].
package sqlite
