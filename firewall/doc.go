// Package firewall decides who may talk to whom, as data: Compile turns networks
// into a Ruleset, which prints exactly as "nft -s list table" would list it.
// It does no I/O; package firewall/nft puts a Ruleset into the kernel.
//
// # Who may talk to whom
//
// The table in policy.go is the truth: for every two parties, whether the first
// packet from the one to the other arrives, and whether translated. The rules are
// tested against it here, by packets in firewall/nft, and with the whole daemon in
// daemon/reachability_test.go, which writes docs/reachability.md.
//
// # One table, few rules, many elements
//
// What is routed is ruled in the table "inet vnetd", what is switched in
// "bridge vnetd". A network has no chain of its own: it
// is elements of sets and maps, keyed by the name of its bridge, so a packet
// costs the same with one network and with a thousand, and a new network is
// five to fifteen elements more. A chain is there if a packet can come to it.
//
//	inside       (B, B) -> what becomes of traffic that stays on one network: it
//	             passes, unless its guests are isolated from each other
//	leave        B -> what a packet must pass to leave network B
//	enter        B -> what a packet must pass to enter network B
//	uplinks      (B, U): network B goes out by link U, and by no other than such
//	subnets4/6   (prefix, B): the addresses that belong on B, or behind guests there
//	local        every bridge of ours: between them nothing is translated
//	translate4/6 (prefix, B) -> the chain that translates, one for each choice
//	             of ports and addresses
//	host         B -> how the host protects itself from B; most networks are not in it
//	gateways4/6  (B, address): the host's addresses on B
//	services     (B, protocol, port) that guests of B may talk to; service_ranges likewise
//
// # The two questions
//
// A forwarded packet is asked two questions, and both answers must be yes: does
// the network that it leaves (by iifname) let it out, and does the network that
// it enters (by oifname) let it in? A packet that touches none of our networks
// is asked nothing, and so is one of an open network, which has no rules.
//
//	mode      out                               in
//	nat       from an address of its own        replies only
//	route     from an address of its own        to an address of its own
//	isolated  never                             never
//	pinned    as its mode, by an uplink         as its mode; route: by an uplink
//
// What claims an address that is not its network's own is dropped; what is
// merely not allowed is rejected, so that callers do not wait for a timeout.
// Every packet is asked, established or not: a network that turns isolated cuts
// its connections at once, and a guest cannot forge its way into another guest's
// connection.
//
// # The host
//
// From a network that is limited (HostAccess), and isolated ones are by default,
// guests reach the host by its addresses on their network only: DHCP, DNS, ping
// and the services that are named. From a very isolated one nothing reaches the
// host. About other networks there is no rule, and without one of these two there
// is no input hook.
//
// # Translation
//
// NAT is for what comes in by a bridge of a NAT network, from an address of that
// network's own, and goes out by a link that is no bridge of ours: never between
// local networks, never for what the host itself sends, never for multicast.
// IPv6 is translated only if the network asks for it (NAT66), and let in for
// replies only in any case. What the kernel does not translate, because it takes it
// for invalid or somebody exempted it from tracking, does not leave.
// Nor are link-local destinations reached by translation (RFC 3927 section 7).
//
// # Segments
//
// The SYN of a forwarded TCP connection and its answer carry the size of segments
// that fits the path. Another packet pays for this with a look at two header fields.
//
// # Guests' links
//
// The table "bridge vnetd" is there if a network has a filter. Its elements are
// keyed by the name of a guest's link, the port, so that a frame costs the same
// with one port and with thousands.
//
//	ports        port -> what its frames must pass, before the bridge sees them
//	members      all ports of networks with a filter
//	unheard      ports behind which nobody was heard yet
//	macs         (port, MAC): who is behind it
//	addresses4/6 (port, address): leased, reserved, or made of the MAC
//	behind4/6    (prefix, port): routed by the guest, or advertised to it
//	taken_macs, taken4/6 what a guest or the host has, or is reserved for one
//	targets6, taken_targets6   addresses6 and taken6 once more, for what neighbour
//	             discovery is about: its field has a type of its own (NDTargetAddr)
//	settled      members behind which a guest is known, or need not be
//
// A port that is to be clean passes what says that it is from the port's MAC and
// one of its addresses, in Ethernet, ARP, IP and neighbour advertisements alike, and
// what a guest without an address has to say. In IPv6 a guest picks addresses of
// its own in advertised prefixes (RFC 8981): one that is nobody else's passes.
//
// Who is behind a port is learned from the bridge, once, for as long as the link
// lives. Until then a frame gets as far as to teach the bridge its MAC, but for DHCP
// and duplicate address detection, so that nothing is lost by it. And by a link that
// the rules do not know yet nobody gets at those that they know.
//
// # br_netfilter
//
// Where that module is loaded, frames between two guests of one bridge pass the
// forward and postrouting hooks too, with the bridge as both interfaces, and in
// postrouting with none that they came in by. The map inside answers for them, and
// translate4/6 do not know them, so the rules are right either way.
package firewall
