// Package tftp serves files for reading by TFTP: RFC 1350 in mode octet, with
// the options of RFC 2347: blksize (RFC 2348), timeout and tsize (RFC 2349),
// windowsize (RFC 7440). Firmware reads its boot files with it.
//
//	request.go    requests, and the negotiation of options: pure
//	transfer.go   one file to one client
//	server.go     the socket for requests, and the limits
//
// Each transfer has a socket of its own, connected to its client, so that the
// kernel drops the packets of others. A file is read by offset: a block that is
// retransmitted is read again, and a transfer keeps one block in memory, whatever
// the window.
//
// github.com/pin/tftp/v3 does not fit: it has no windowsize, opens a socket and a
// goroutine for every request, also for a repeated one, without a limit, returns every
// error as "not found", and cannot end transfers when a network is stopped.
//
// # Deviations from RFC 1350
//
// Mode netascii is refused. Block numbers wrap to 0 after 65535, as all clients
// expect of files that are longer.
package tftp
