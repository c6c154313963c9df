// Package dhcpd tells the guests on the bridges of one host their addresses:
// DHCPv4, DHCPv6 and IPv6 router advertisements. It knows interfaces, subnets
// and leases, and nothing of networks beyond their names: it could serve any
// Ethernet.
//
//	Server   one for the daemon; Set and Remove what is served
//	served   what is served of one network (served.go)
//	link     DHCPv4 on one interface: packet sockets and their loops (link.go)
//	link6    DHCPv6 and advertisements on one: one packet socket (link6.go)
//	v4, v6   what to say to whom: pure
//	ra       what to advertise, and when: pure
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
//
// A REQUEST without an offer is checked in the same way before its ACK. In IPv6 a
// client looks for itself (duplicate address detection) and DECLINEs; a neighbour
// solicitation is sent for a reserved address that another client had last.
//
// # The end of a lease
//
// A lease ends by a message from the MAC and the port that it was bound to only (v4 and
// v6, origin.go). The forwarding database shows where a MAC was last, which a guest that
// forges it can change, so the database's notifications are asked too (witness). Where
// the two do not agree, or nothing is known of the holder, the same probes tell whether
// it still uses its address.
//
// # Routers come and go
//
// Networks outlive the daemon, so the end of Run is silent: the kernel forwards
// on, and guests keep their routes for the lifetime that they were told. Only
// Remove, which is a network's own end, tells them that the router is gone.
package dhcpd
