// Package lease remembers which client has which address until when, and
// keeps that memory on stable storage.
//
// A [Table] holds the leases of every network of a host. It answers from
// memory and writes every change to an append-only journal. It has no socket
// and knows no protocol; package v4 decides who gets what.
//
// # Promises
//
//   - What [Table.Bind] reported as stored is there after any crash.
//   - Within a network an address belongs to one client, a client has one
//     address, and a hostname belongs to one
//     client. While its link is there no other gets the name; then the one that
//     waits for it.
//   - A lease that ended, by time or by release, stays as a memory of who had
//     the address, so that the client gets it again. It is answered by
//     [Network.ByMAC] and [Network.ByAddr], never by the name look-ups.
//   - Reading is cheap and never waits for the disk.
//
// # On disk
//
// The directory holds "journal", "snapshot" and, while a snapshot is being
// written, "journal.old". A journal is a header and then frames: marker,
// length, CRC-32C and payload. A frame is everything that was gathered during the last
// fdatasync (group commit without a window), so a crash can tear only the last
// frame, and [Open] cuts it. A bad frame with a good one behind it is damage: the
// file is set aside, and the good ones count. Frames begin with random octets of
// their file, so that what a client sends is never taken for one. Behind the last
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
// The first error is logged once. A lease that could not be stored is taken
// back and reported to its caller, who must not tell the client. An
// extension of a lease that is already on disk stands in memory, and its
// caller may answer: the worst that a crash can do then is to forget the
// extension. The journal is cut back to its last good frame, or written anew if
// that is in doubt, and every following commit tries again.
package lease
