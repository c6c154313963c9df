// Package firewall compiles networks into nftables rules, as data: Compile returns a
// Ruleset, which prints exactly as "nft -s list table" lists it. It does no I/O; package
// firewall/nft puts a Ruleset into the kernel.
//
// # Reachability
//
// The table in policy.go is authoritative: for every two parties, whether the first packet
// from one to the other arrives, and whether it is translated. The rules are tested against
// it here, with packets in firewall/nft, and with the whole daemon in
// daemon/reachability_test.go, which writes docs/reachability.md.
//
// # One table, few rules, many elements
//
// The rules for routed packets are in the table "inet vnetd", those for bridged frames in
// "bridge vnetd". A network has no chain of its own: it is elements of sets and maps, keyed by
// the name of its bridge, so a packet costs the same with one network and with a thousand, and
// a new network is five to fifteen more elements. A chain exists if a packet can reach it.
//
//	inside       (B, B) -> the verdict on traffic within one network: accepted, unless its
//	             guests are isolated from each other
//	leave        B -> the chain for packets that leave network B
//	enter        B -> the chain for packets that enter network B
//	uplinks      (B, U): network B goes out by link U; if it has an entry, only by those
//	subnets4/6   (prefix, B): the addresses that belong on B, or behind guests there
//	local        all bridges of vnetd: between them nothing is translated
//	translate4/6 (prefix, B) -> the chain that translates, one for each combination of ports
//	             and addresses
//	host         B -> the input chain for B; most networks are not in it
//	gateways4/6  (B, address): the host's addresses on B
//	services     (B, protocol, port) of the host, open to guests of B; service_ranges likewise
//
// # Leave and enter
//
// A forwarded packet has to pass two chains: that of the network that it leaves (by iifname)
// and that of the network that it enters (by oifname). A packet of other links passes
// neither, and so does one of an open network, which has no rules.
//
//	mode      leaves                            enters
//	nat       from an address of its own        replies only
//	route     from an address of its own        to an address of its own
//	isolated  never                             never
//	pinned    as its mode, by an uplink         as its mode; route: by an uplink
//
// A packet with a source address that is not of its network is dropped; one that is not
// allowed is rejected, so that clients do not wait for a timeout. Packets of established
// connections pass the same chains: a network that becomes isolated cuts its connections at
// once, and a guest cannot forge its way into another guest's connection.
//
// # The host
//
// From a network with limited access to the host (HostAccess), as isolated ones have by
// default, guests reach the host by its addresses on their network only: DHCP, DNS, ping and
// the services that are named. From an L2-only network nothing reaches the host. Other
// networks have no rule in the input hook, and without one of these two there is no such hook.
//
// # Translation
//
// Packets are translated that come in by a bridge of a NAT network, from an address of that
// network's own, and go out by a link that is not a bridge of vnetd: never between local
// networks, never what the host itself sends, never multicast. IPv6 is translated only if the
// network says so (NAT66), and enters in replies only in any case. Packets that the kernel does
// not translate, because they are invalid or exempt from tracking, do not leave. Link-local
// destinations are not reached by translation (RFC 3927 section 7).
//
// # Segments
//
// The SYN of a forwarded TCP connection and its answer carry the maximum segment size that
// fits the path. Other packets pay for this with a look at two header fields.
//
// # Ports
//
// The table "bridge vnetd" exists if a network has a filter. Its elements are keyed by the
// name of a guest's link, the port, so that a frame costs the same with one port and with
// thousands.
//
//	ports        port -> the chain for its frames, before the bridge forwards them
//	members      all ports of networks with a filter
//	without_mac  ports with an unknown guest
//	identified   members with a known guest, and those that need none
//	macs         (port, MAC) of guests
//	addresses4/6 (port, address): leased, reserved, or derived from the MAC
//	routed4/6    (prefix, port): routed by the guest, or advertised to it
//	taken_macs, taken4/6 are used by a guest or the host, or reserved for a guest
//	targets6, taken_targets6   addresses6 and taken6 again, for the target of neighbour
//	             discovery: its field has a type of its own (NDTargetAddr)
//
// A port with preset clean-traffic passes frames from the port's MAC and one of its addresses,
// in Ethernet, ARP, IP and neighbour advertisements alike, and what a guest without an address
// has to send. In IPv6 a guest configures addresses of its own in advertised prefixes (RFC
// 8981): one that is not taken passes.
//
// The MAC behind a port is learned from the bridge, once, for as long as the link exists.
// Until then a frame is dropped after the bridge has learned its MAC, except DHCP and duplicate
// address detection, so that nothing is lost by it. Ports that the rules do not know yet do not
// reach those that they know.
//
// # br_netfilter
//
// Where that module is loaded, frames between two guests of one bridge pass the forward and
// postrouting hooks too, with the bridge as both interfaces, and in postrouting without an
// incoming one. The map inside has verdicts for them, and translate4/6 do not have them, so
// the rules are right either way.
package firewall
