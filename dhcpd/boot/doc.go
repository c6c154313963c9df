// Package boot decides what a client that boots from the network is told: a
// configuration and what the client says of itself go in, an answer comes out.
// It does no I/O; v4 and v6 put the answer into their messages.
//
//	boot        who gets which file: pure
//	boot/tftp   a read-only TFTP server (RFC 1350 and its options)
//	boot/files  a directory on a network's own address, by TFTP and HTTP
//
// # Who is asking
//
// A client says in its vendor class that it boots by PXE or by HTTP, in option
// 93 (DHCPv6: 61) which programs it can run (RFC 4578, RFC 5970), and iPXE says
// in its user class that it is iPXE. The last is what breaks the circle: a ROM
// gets iPXE, and iPXE, which asks again by the same MAC, gets a script.
//
// There is no proxy DHCP here, and no PXE menu (option 43): the one server of
// the network names one file for each client.
package boot
