// Package tftp serves files for reading by TFTP: RFC 1350 in mode octet, with
// the options of RFC 2347: blksize (RFC 2348), timeout and tsize (RFC 2349),
// windowsize (RFC 7440). Firmware reads its boot files with it.
//
//	request.go    what a client asks for, and what it is granted: pure
//	transfer.go   one file to one client
//	server.go     the socket that requests come to, and the bounds on all of it
//
// Each transfer has a socket of its own, connected to its client, so that the
// kernel lets nobody else's packets in. A file is read by offset: what has to be
// sent again is read again, and a transfer keeps one block in memory, whatever
// the window.
//
// github.com/pin/tftp/v3 was looked at for this and does not fit: it knows no
// windowsize, opens a socket and a goroutine for every request before it can be
// asked whether to, and again when a client repeats its request, has every error
// be "not found", and cannot end transfers when a network goes.
//
// # Deviations from RFC 1350
//
// Mode netascii is refused. Block numbers wrap to 0 after 65535, as all clients
// expect of files that are longer.
package tftp
