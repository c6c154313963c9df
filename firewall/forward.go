package firewall

import (
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// forwardSets are the sets of the forward hook.
func forwardSets(ns classified) []Set {
	inside := Set{Name: "inside", Key: []Type{IfName, IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	leave := Set{Name: "leave", Key: []Type{IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	enter := Set{Name: "enter", Key: []Type{IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	uplinks := Set{Name: "uplinks", Key: []Type{IfName, IfName}, Counter: true}
	for _, n := range ns.all {
		b := name(n.Bridge.Name)
		switch {
		case n.Filter.Isolated:
			inside.addVerdict(goTo("refuse"), "", b, b)
		case n.Mode != netdrv.Open:
			inside.addVerdict(accept, "", b, b)
		}
	}
	for _, n := range ns.guarded {
		b := name(n.Bridge.Name)
		out, into := leaveAndEnter(n)
		leave.addVerdict(out, n.Name, b)
		enter.addVerdict(into, n.Name, b)
		for _, u := range n.Uplinks {
			uplinks.add(b, name(u))
		}
	}
	return []Set{
		inside, leave, enter, uplinks,
		prefixSet("subnets4", IPv4Addr, ns.routed), prefixSet("subnets6", IPv6Addr, ns.routed),
	}
}

// leaveAndEnter returns the verdicts on packets that leave and that enter a network. A mode
// that is not known here is closed.
func leaveAndEnter(n *netdrv.Network) (leave, enter Verdict) {
	pinned := len(n.Uplinks) > 0
	if n.Mode == netdrv.NAT {
		switch {
		case len(n.Forwards) == 0:
			enter = goTo("enter_nat")
		case pinned:
			enter = goTo("enter_pinned_published")
		default:
			enter = goTo("enter_published")
		}
	}
	switch {
	case n.Mode == netdrv.NAT && n.NAT.IPv6 && pinned:
		return jump("leave_pinned_nat66"), enter
	case n.Mode == netdrv.NAT && n.NAT.IPv6:
		return jump("leave_nat66"), enter
	case n.Mode == netdrv.NAT && pinned:
		return jump("leave_pinned_nat"), enter
	case n.Mode == netdrv.NAT:
		return jump("leave_nat"), enter
	case n.Mode == netdrv.Route && pinned:
		return jump("leave_pinned_route"), goTo("enter_pinned_route")
	case n.Mode == netdrv.Route:
		return jump("leave_route"), goTo("enter_route")
	}
	return goTo("refuse"), goTo("refuse")
}

// prefixSet returns the set of the addresses that belong on each network. Addresses come
// first in the key: the kernel finds what it deletes from such a set by a walk that costs
// as much per element as its first field is long (measured: of 700, 13 ms the last with the
// link first).
func prefixSet(set string, t Type, networks []*netdrv.Network) Set {
	s := Set{Name: set, Key: []Type{t, IfName}, Interval: true, Elements: room(networks)}
	for _, n := range networks {
		for _, p := range ownPrefixes(n, t == IPv4Addr) {
			s.add(prefix(p), name(n.Bridge.Name))
		}
	}
	return s
}

// ownPrefixes returns the prefixes of one family on a network and behind its guests. One
// that lies within another is left out: the kernel takes no two intervals that overlap.
func ownPrefixes(n *netdrv.Network, ipv4 bool) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(n.Subnets)+len(n.Routes))
	for i := range n.Subnets {
		all = append(all, n.Subnets[i].Address.Masked())
	}
	for _, r := range n.Routes {
		all = append(all, r.Destination.Masked())
	}
	all = slices.DeleteFunc(all, func(p netip.Prefix) bool { return p.Addr().Is4() != ipv4 })
	if len(all) > 1 {
		all = netdrv.Merge(all)
	}
	return all
}

// clamp adapts the segments of a TCP connection to the path between its ends (RFC 9293
// section 3.7.1), for where ICMP's "packet too big" is lost.
var clamp = rule("", TCPHandshake, Counter, ClampMSS)

// forwardChains apply the two rules on leaving and entering. None of them is about one
// network.
func forwardChains() []Chain {
	// A packet leaves by an uplink of its network only, wherever the host's routes send it:
	// a default route that moved to another link while the uplink is down leaks nothing.
	leavePinned := func(from, to string) Chain {
		return chain(from, rule("pinned: not through an uplink", notIn("uplinks", IIFName, OIFName), Counter, goTo("refuse")), rule("", goTo(to)))
	}
	// Packets of connections that both ends have seen pass as those of routed networks do.
	leaveNAT := func(name string) Chain {
		return chain(name, rule("", Invalid|Related|New|Untracked, goTo(name+"_new")), rule("", goTo("leave_route")))
	}
	// The kernel does not translate a packet that is invalid or exempt from tracking, so it
	// would leave with its private source address. Link-local destinations are not
	// forwarded (RFC 3927 section 7): the metadata service of a cloud is at one, and takes a
	// translated packet for a request of the host.
	leaveNATNew := func(name string, family ...Expr) Chain {
		return chain(name,
			rule("nat: would leave untranslated", append(family, Invalid|Untracked, notIn("local", OIFName), Counter, drop)...),
			rule("nat: link-local addresses are not routed", InPrefix{Field: IPDAddr, Prefix: linkLocal4}, Counter, goTo("refuse")),
			rule("", goTo("leave_route")))
	}
	return []Chain{
		{Name: "forward", Base: ForwardFilter, Rules: []Rule{
			rule("", lookup("inside", IIFName, OIFName)),
			rule("", lookup("leave", IIFName)),
			rule("", lookup("enter", OIFName)),
		}},
		leavePinned("leave_pinned_nat", "leave_nat"), leavePinned("leave_pinned_nat66", "leave_nat66"),
		leavePinned("leave_pinned_route", "leave_route"),
		leaveNAT("leave_nat"), leaveNATNew("leave_nat_new", IPv4), leaveNAT("leave_nat66"), leaveNATNew("leave_nat66_new"),
		// No shortcut for established connections, so that no guest can forge packets of
		// another's, and no conntrack: a routed network may see one direction only.
		chain("leave_route",
			clamp,
			rule("", in("subnets4", IPSAddr, IIFName), Counter, back),
			rule("", in("subnets6", IP6SAddr, IIFName), Counter, back),
			rule("nat, route: not an address of its network", Counter, drop)),
		// The bridge comes first, as in the key of uplinks.
		chain("enter_pinned_route",
			rule("pinned: not through an uplink", notIn("uplinks", OIFName, IIFName), Counter, goTo("refuse")),
			rule("", goTo("enter_route"))),
		// Invalid packets are dropped silently: a late segment of a living connection may
		// look invalid, and rejecting it would end the connection.
		chain("enter_nat",
			clamp,
			rule("nat: replies only", Established|Related, Counter, accept),
			rule("nat: belongs to no connection", Invalid, Counter, drop),
			rule("", goTo("refuse"))),
		chain("enter_route",
			clamp,
			rule("", in("subnets4", IPDAddr, OIFName), Counter, accept),
			rule("", in("subnets6", IP6DAddr, OIFName), Counter, accept),
			rule("", goTo("refuse"))),
		// Only new TCP connections are reset: a reset would end a living connection that
		// conntrack has forgotten, where ICMP is but a hint to its ends.
		chain("refuse",
			rule("not allowed: new TCP connections", TCPSyn, Counter, RejectTCPReset),
			rule("not allowed: anything else", Counter, RejectProhibited)),
	}
}
