// Package nft puts a firewall.Ruleset into the kernel and keeps it there. A
// Driver owns the tables named vnetd, of any family, in one network namespace,
// and touches no other table.
//
// # How it writes
//
// A change is one transaction: it is in force as a whole or not at all, and there
// is no moment without rules. A transaction names the generation of the kernel's
// ruleset that it was made for, so that a change by somebody else in between
// makes it fail and start again from a new look, instead of adding to the
// unknown. What is known to be in the kernel is edited by elements, at a cost
// that follows the change; after a look that found something else, the table is
// replaced as a whole.
//
// google/nftables serves as the encoder. The transport is our own: one socket for
// the life of the Driver, no acknowledgement but the last one, elements in chunks
// below the 64 KiB at which netlink's attributes overflow, and every error
// matched to the object that it is about.
//
// # Who may touch the tables
//
// Where the kernel has them (Linux 6.9), the tables have an owner, the Driver's
// socket, and persist: "nft flush ruleset" passes them by, nobody else can change
// them, and when the socket closes, for whatever reason, they stay and filter
// until the next Driver adopts them. While nobody owns them, anybody may flush
// them. On older kernels the tables are plain, and Watch tells of changes.
//
// # Namespaces
//
// A Driver works in the network namespace of the thread that called Open, from
// whatever thread its methods are called.
package nft
