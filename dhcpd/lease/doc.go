// Package lease has the leases of clients, on stable storage.
//
// A [Table] holds the leases of every network of a host. It answers from
// memory and writes every change to an append-only journal. It has no socket
// and knows no protocol; packages v4 and v6 decide about leases.
//
// # Guarantees
//
//   - A lease that [Table.Bind] reported as stored is there after any crash.
//   - Within a network an address belongs to one client, a client has one
//     address, and a hostname belongs to one
//     client. While its port is up no other gets the name; then the first that
//     waits for it.
//   - A lease that ended, by time or by release, stays, so that its client gets the
//     address again. It is returned by
//     [Network.ByMAC] and [Network.ByAddr], never by the look-ups of names.
//   - Reading is cheap and never waits for the disk.
//
// # On disk
//
// The directory holds "journal", "snapshot" and, while a snapshot is being
// written, "journal.old". A journal is a header and then frames: marker,
// length, CRC-32C and payload. A frame has all changes that were gathered during the last
// fdatasync (group commit without a window), so a crash can truncate only the last
// frame, and [Open] removes it. A bad frame with a good one behind it is damage: the
// file is set aside, and the good ones are used. Frames begin with random octets of
// their file, so that nothing that a client sends is taken for one. Behind the last
// frame there may be zeros, which were written ahead.
//
// Times in the files are those of CLOCK_MONOTONIC. A frame has the id of the boot and
// both clocks, so that a restart within the boot is exact, and the next boot knows
// at which wall clock time a lease ends. Files of version 1 have times by the wall
// clock; Open reads them and writes version 2.
//
// When the journal outgrows the live set it is renamed to journal.old, a new
// one is begun, and the snapshot is written beside the running server. Replay
// is snapshot, journal.old, journal. Records say what is, not what changed,
// and a later one wins, so replaying a record that the snapshot already
// contains changes nothing: a crash between any two steps is harmless.
//
// # A disk that fails
//
// The first error is logged. A lease that could not be stored is rolled back and
// reported to its caller, who must not answer the client. An extension of a lease
// that is already on disk is in force in memory, and its caller may answer: a crash can
// lose the extension only. The journal is truncated to its last good frame, or written
// again if that is in doubt, and every following commit tries again.
package lease
