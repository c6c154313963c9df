// Package dhcpd is a DHCPv4 server for the bridges of one host. It knows
// interfaces, subnets and leases, and nothing of networks beyond their names: it
// could serve any Ethernet.
//
//	Server   one for the daemon; Set and Remove what is served
//	link     one served interface: a packet socket and its loop (link.go)
//	v4       what to say: pure
//	lease    who has which address, on stable storage
//
// # Packet sockets
//
// Requests are read from, and replies written to, an AF_PACKET socket bound to
// the bridge, as whole frames with complete checksums. So the host's firewall
// cannot be in the way, a foreign server on 0.0.0.0:67 neither, a client without
// an address gets its unicast, and one that checks UDP checksums finds them
// right, which offloading virtual interfaces leave to hardware that is not there.
//
// # The conflict check
//
// RFC 2131 §3.1 wants a server to look whether an address is in use before it
// offers it. A ping takes seconds. Here the address is asked for by ARP (RFC
// 5227), which a neighbour on the same host answers in less than a millisecond,
// and the offer waits for probeTime at most, alone: other clients are served
// meanwhile, and the same client next time at once.
package dhcpd
