// Package boot chooses the boot file of a client that boots from the network: a
// configuration and what the client sends about itself go in, a file comes out.
// It does no I/O; v4 and v6 put the file into their replies.
//
//	boot        the file for a client: pure
//	boot/tftp   a read-only TFTP server (RFC 1350 and its options)
//	boot/files  a directory on a network's own address, by TFTP and HTTP
//
// # Clients
//
// A client sends in its vendor class that it boots by PXE or by HTTP, in option
// 93 (DHCPv6: 61) the programs that it can run (RFC 4578, RFC 5970), and iPXE sends
// in its user class that it is iPXE. The last breaks the loop: a ROM
// gets iPXE, and iPXE, which asks again by the same MAC, gets a script.
//
// There is no proxy DHCP here, and no PXE menu (option 43): the one server of
// the network names one file for each client.
package boot
