// Package firewall decides who may talk to whom, as data: Compile turns networks
// into a Ruleset, which prints exactly as "nft -s list table" would list it.
// It does no I/O; package firewall/nft puts a Ruleset into the kernel.
//
// # One table, few rules, many elements
//
// Everything is in the table "inet vnetd". A network has no chain of its own: it
// is elements of sets and maps, keyed by the name of its bridge, so a packet
// costs the same with one network and with a thousand, and a new network is
// five to nine elements more.
//
//	inside      (B, B) of each network: traffic that stays on one network
//	leave       B -> what a packet must pass to leave network B
//	enter       B -> what a packet must pass to enter network B
//	subnets4/6  (B, prefix): the addresses that belong on B
//	local       every bridge of ours: between them nothing is translated
//	within4     (prefix, prefix) of one NAT network: not translated either
//	translate   prefix -> the chain that masquerades, one per range of ports
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
//
// What claims an address that is not its network's own is dropped; what is
// merely not allowed is rejected, so that callers do not wait for a timeout.
// Every packet is asked, established or not: a network that turns isolated cuts
// its connections at once, and a guest cannot forge its way into another guest's
// connection.
//
// # br_netfilter
//
// Where that module is loaded, frames between two guests of one bridge pass the
// forward and postrouting hooks too, with the bridge as both interfaces. The set
// inside and the set local answer for them, so the rules are right either way.
package firewall
