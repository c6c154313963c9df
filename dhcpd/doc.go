// Package dhcpd configures the guests on the bridges of one host: by DHCPv4, DHCPv6
// and IPv6 router advertisements. It knows interfaces, subnets and leases, and
// nothing of networks beyond their names: it could serve any Ethernet.
//
//	Server   one for the daemon; Set and Remove what is served (server.go)
//	link     DHCPv4 on one interface: packet sockets and their loops (link.go)
//	link6    DHCPv6 and advertisements on one: one packet socket (link6.go)
//	ingress  frames, rate-limited and queued per port (package fair)
//	prober   ARP probes and neighbour solicitations (probe.go)
//	v4, v6   the reply to a message: pure; pool chooses the address
//	ra       what to advertise, and when: pure
//	lease    the leases, on stable storage
//
// # Packet sockets
//
// Requests are read from, and replies written to, an AF_PACKET socket bound to
// the bridge, as whole frames with complete checksums. So neither the host's firewall
// nor a foreign server on 0.0.0.0:67 interferes, a client without an address gets its
// unicast, and one that verifies UDP checksums finds them correct, which offloading
// virtual interfaces leave to hardware that is not there.
//
// # The conflict check
//
// RFC 2131 §3.1 wants a server to probe an address before it offers it. A ping takes
// seconds. Here the probe is an ARP request (RFC 5227), which a neighbour on the same
// host answers in less than a millisecond, and the offer waits for probeTime at most,
// alone: other clients are served meanwhile, and the same client next time at once.
//
// A REQUEST without an offer is probed in the same way before its ACK. In IPv6 a
// client probes for itself (duplicate address detection) and DECLINEs; a neighbour
// solicitation is sent for a reserved address that another client had last.
//
// # The end of a lease
//
// A lease ends only by a message from the MAC and the port that it was bound to (package
// pool, holder.go). The forwarding database shows where a MAC was last, which a guest that
// forges it can change, so the database's notifications count, too (fdb). Where the two
// do not agree, or the holder's port is not known, the same probes show whether it still
// uses its address.
//
// # Final router advertisements
//
// Networks outlive the daemon, so the end of Run sends nothing: the kernel goes on
// forwarding, and guests keep their routes for the advertised lifetime. Only Remove,
// which stops a network, sends a final advertisement.
package dhcpd
