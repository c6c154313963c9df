package firewall

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// What bounds the neighbour entries of the host that guests of one network make it create.
// The table is one for all networks and families apart (gc_thresh3, 1024 by default); the
// kernel's garbage collection keeps entries that are younger than 5 s, incomplete or
// reachable. In any neighbourTimeout a network names as many neighbours as the burst and
// neighbourRate add up to: 496 in IPv4. In IPv6 a guest has two addresses or more: 752.
const (
	neighbourRate    = 4 // a second
	neighbourBurst4  = 256
	neighbourBurst6  = 512
	neighbourTimeout = time.Minute
	maxNeighbours    = 1 << 16
	// bucketTimeout is longer than a bucket takes to fill: one that expires begins full.
	bucketTimeout = 5 * time.Minute
)

// neighbourSets hold the addresses that packets of guests named lately, by the link on
// which they are or would be, a bucket for each network, and the addresses that guests
// route: the neighbour is the guest then.
func neighbourSets(ns classified) []Set {
	behind4 := Set{Name: "behind4", Key: []Type{IPv4Addr, IfName}, Interval: true}
	behind6 := Set{Name: "behind6", Key: []Type{IPv6Addr, IfName}, Interval: true}
	for _, n := range ns.guarded {
		for _, p := range routedByGuests(n) {
			s := &behind4
			if p.Addr().Is6() {
				s = &behind6
			}
			s.Elements = append(s.Elements, Element{Key: key(Value{Prefix: p}, name(n.Bridge.Name))})
		}
	}
	known := Dynamic{maxNeighbours, neighbourTimeout}
	bucket := Dynamic{maxPorts, bucketTimeout}
	return []Set{
		behind4, behind6,
		{Name: "known4", Key: []Type{IfName, IPv4Addr}, Dynamic: known},
		{Name: "known6", Key: []Type{IfName, IPv6Addr}, Dynamic: known},
		{Name: "new_known4", Key: []Type{IfName}, Dynamic: bucket},
		{Name: "new_known6", Key: []Type{IfName}, Dynamic: bucket},
	}
}

// routedByGuests returns the destinations of a network's routes. One that overlaps a subnet
// has neighbours in it.
func routedByGuests(n *netdrv.Network) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range n.Routes {
		p := r.Destination.Masked()
		if !slices.ContainsFunc(n.Subnets, func(s netdrv.Subnet) bool { return s.Address.Overlaps(p) }) {
			out = append(out, p)
		}
	}
	return netdrv.Merge(out)
}

// firstPackets are those of no known connection: neighbour discovery is never tracked.
const firstPackets = Invalid | New | Untracked

// neighbourChains come before a packet of a guest is answered or forwarded: the answer
// makes an entry for its source, forwarding to a bridge one for its destination. Known
// neighbours are not refreshed: a guest would collect them without end.
func neighbourChains() []Chain {
	return []Chain{
		newNeighbours("new_source", IIFName, IPSAddr, IP6SAddr),
		newNeighbours("new_destination", OIFName, IPDAddr, IP6DAddr),
		{Name: "unlimited", Rules: []Rule{rule("", firstPackets, jump("new_source"))}},
		{Name: "within", Rules: []Rule{
			rule("", firstPackets, jump("new_source")),
			rule("", firstPackets, jump("new_destination")),
			rule("", accept),
		}},
		{Name: "leave_routed", Rules: []Rule{
			rule("", firstPackets, jump("leaving_new")),
			rule("", goTo("leave_route")),
		}},
		{Name: "leaving_new", Rules: []Rule{
			rule("", jump("new_source")),
			rule("", InSet{Fields: []Field{OIFName}, Set: "local"}, jump("new_destination")),
		}},
	}
}

// newNeighbours charges the network of the packet for an address that is not known on a link.
func newNeighbours(chain string, link, addr4, addr6 Field) Chain {
	const tooMany = "neighbours: too many new addresses"
	pair4, pair6, payer := []Field{link, addr4}, []Field{link, addr6}, []Field{IIFName}
	return Chain{Name: chain, Rules: []Rule{
		rule("", InSet{Fields: pair4, Set: "known4"}, back),
		rule("", InSet{Fields: pair6, Set: "known6"}, back),
		rule("", InSet{Fields: []Field{addr4, link}, Set: "behind4"}, back),
		rule("", InSet{Fields: []Field{addr6, link}, Set: "behind6"}, back),
		rule(tooMany, IPv4{}, AddTo{Set: "new_known4", Fields: payer, Over: Rate{neighbourRate, neighbourBurst4}}, Counter{}, drop),
		rule("", AddTo{Set: "known4", Fields: pair4}, back),
		rule(tooMany, AddTo{Set: "new_known6", Fields: payer, Over: Rate{neighbourRate, neighbourBurst6}}, Counter{}, drop),
		rule("", AddTo{Set: "known6", Fields: pair6}, back),
		rule(tooMany, Counter{}, drop),
	}}
}
