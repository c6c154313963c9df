// Package nft puts a firewall.Ruleset into the kernel and keeps it there. A Driver owns the
// tables named vnetd, of any family, in one network namespace, and touches no other table.
//
// # Transactions
//
// A change is one transaction: it is in force as a whole or not at all, and there is no moment
// without rules. A transaction names the generation of the kernel's ruleset for which it was
// made, so that it fails after a change by another process, and the tables are read again.
// Tables that are known are edited by elements, at a cost that follows the change; after an
// external change a table is replaced as a whole.
//
// google/nftables encodes the expressions of rules. Messages and transport are our own: one
// socket for the life of the Driver, no acknowledgement but the last one, elements in messages
// below the 64 KiB at which netlink's attributes overflow, and every error matched to the
// object that it is about. Below the Driver are the files socket.go (netlink), attr.go
// (attributes), encode.go and expr.go (objects as messages), read.go (listing) and image.go
// (comparison).
//
// # Ownership
//
// Where the kernel supports it (Linux 6.9), the tables have an owner, the Driver's socket, and
// persist: "nft flush ruleset" skips them, no other process can change them, and after the
// socket is closed they stay in force until the next Driver adopts them. Meanwhile any process
// may flush them. On older kernels the tables are plain, and Watch reports changes.
//
// # Namespaces
//
// A Driver works in the network namespace of the thread that called Open, from whatever thread
// its methods are called.
package nft
