package firewall

import (
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// forwardSets are what the forward hook asks.
func forwardSets(ns classified) []Set {
	inside := Set{Name: "inside", Key: []Type{IfName, IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	leave := Set{Name: "leave", Key: []Type{IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	enter := Set{Name: "enter", Key: []Type{IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	uplinks := Set{Name: "uplinks", Key: []Type{IfName, IfName}, Counter: true}
	for _, n := range ns.all {
		b := name(n.Bridge.Name)
		switch {
		case n.Filter.Isolated:
			inside.Elements = append(inside.Elements, Element{Key: key(b, b), Verdict: goTo("refuse")})
		case n.Mode != netdrv.Open:
			inside.Elements = append(inside.Elements, Element{Key: key(b, b), Verdict: accept})
		}
	}
	for _, n := range ns.guarded {
		b := name(n.Bridge.Name)
		out, in := doors(n)
		leave.Elements = append(leave.Elements, Element{Key: key(b), Verdict: out, Comment: n.Name})
		enter.Elements = append(enter.Elements, Element{Key: key(b), Verdict: in, Comment: n.Name})
		for _, u := range n.Uplinks {
			uplinks.Elements = append(uplinks.Elements, Element{Key: key(b, name(u))})
		}
	}
	return []Set{
		inside, leave, enter, uplinks,
		prefixes("subnets4", IPv4Addr, ns.routed), prefixes("subnets6", IPv6Addr, ns.routed),
	}
}

// doors returns what a packet must pass to leave and to enter a network. A mode
// that is not known here is shut.
func doors(n *netdrv.Network) (out, in Verdict) {
	pinned := len(n.Uplinks) > 0
	switch {
	case n.Mode == netdrv.NAT && n.NAT.IPv6 && pinned:
		return jump("leave_pinned_nat66"), enterNATOf(n)
	case n.Mode == netdrv.NAT && n.NAT.IPv6:
		return jump("leave_nat66"), enterNATOf(n)
	case n.Mode == netdrv.NAT && pinned:
		return jump("leave_pinned_nat"), enterNATOf(n)
	case n.Mode == netdrv.NAT:
		return jump("leave_nat"), enterNATOf(n)
	case n.Mode == netdrv.Route && pinned:
		return jump("leave_pinned_route"), goTo("enter_pinned_route")
	case n.Mode == netdrv.Route:
		return jump("leave_route"), goTo("enter_route")
	}
	return goTo("refuse"), goTo("refuse")
}

// prefixes makes the set of the addresses that belong on each network. Addresses
// come first in the key: the kernel finds what it is to delete from such a set by
// a walk that costs as much per element as its first field is long (measured: of
// 700, 13 ms the last with the link first).
func prefixes(set string, t Type, networks []*netdrv.Network) Set {
	s := Set{Name: set, Key: []Type{t, IfName}, Interval: true, Elements: room(networks)}
	for _, n := range networks {
		for _, p := range ownPrefixes(n, t == IPv4Addr) {
			s.Elements = append(s.Elements, Element{Key: key(prefix(p), name(n.Bridge.Name))})
		}
	}
	return s
}

// ownPrefixes returns the prefixes of one family on a network and behind its
// guests. One that lies within another is left out: the kernel takes no two
// intervals that overlap.
func ownPrefixes(n *netdrv.Network, ipv4 bool) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(n.Subnets)+len(n.Routes))
	for _, s := range n.Subnets {
		all = append(all, s.Address.Masked())
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

// forwardChains ask the two questions. No rule of theirs is about one network.
func forwardChains() []Chain {
	return []Chain{
		{Name: "forward", Base: ForwardFilter, Rules: []Rule{
			rule("", ByMap{Fields: []Field{IIFName, OIFName}, Map: "inside"}),
			rule("", ByMap{Fields: []Field{IIFName}, Map: "leave"}),
			rule("", ByMap{Fields: []Field{OIFName}, Map: "enter"}),
		}},
		leavePinned("leave_pinned_nat", "leave_nat"), leavePinned("leave_pinned_nat66", "leave_nat66"),
		leavePinned("leave_pinned_route", "leave_route"),
		leaveNAT("leave_nat"), leaveNATNew("leave_nat", IPv4{}), leaveNAT("leave_nat66"), leaveNATNew("leave_nat66"),
		leaveRoute(),
		enterPinned(), enterNAT(), enterRoute(), refuse(),
	}
}

// leavePinned lets a packet go by an uplink of its network only, wherever the
// host's routes would send it: a default route that moved to another link while
// the uplink is down leaks nothing.
func leavePinned(from, to string) Chain {
	return Chain{Name: from, Rules: []Rule{
		rule("pinned: not by an uplink", InSet{Fields: []Field{IIFName, OIFName}, Set: "uplinks", Not: true}, Counter{}, goTo("refuse")),
		rule("", goTo(to)),
	}}
}

// leaveNAT asks packets of connections that both ends have seen nothing more than a
// routed network does.
func leaveNAT(chain string) Chain {
	return Chain{Name: chain, Rules: []Rule{
		rule("", Invalid|Related|New|Untracked, goTo(chain+"_new")),
		rule("", goTo("leave_route")),
	}}
}

// leaveNATNew: the kernel translates no packet that it takes for invalid or that is
// exempted from tracking, so such a packet would carry its private source address into
// the world. Link-local destinations are not forwarded (RFC 3927 section 7): the metadata
// service of a cloud is at one, and takes what is translated for a request of the host.
func leaveNATNew(chain string, family ...Expr) Chain {
	match := append(family, Invalid|Untracked, InSet{Fields: []Field{OIFName}, Set: "local", Not: true}, Counter{}, drop)
	return Chain{Name: chain + "_new", Rules: []Rule{
		rule("nat: would leave untranslated", match...),
		rule("nat: link-local addresses are not routed", InPrefix{Field: IPDAddr, Prefix: linkLocal4}, Counter{}, goTo("refuse")),
		rule("", goTo("leave_route")),
	}}
}

// clamp tells both ends of a TCP connection what fits the path between them
// (RFC 9293 section 3.7.1), for where ICMP's "too big" does not come through.
func clamp() Rule { return rule("", TCPHandshake{}, Counter{}, ClampMSS{}) }

// leaveRoute has no shortcut for established connections, so that no guest can
// forge packets of another's. Nor does it ask conntrack anything: a routed
// network may see one direction of a connection only.
func leaveRoute() Chain {
	return Chain{Name: "leave_route", Rules: []Rule{
		clamp(),
		rule("", InSet{Fields: []Field{IPSAddr, IIFName}, Set: "subnets4"}, Counter{}, back),
		rule("", InSet{Fields: []Field{IP6SAddr, IIFName}, Set: "subnets6"}, Counter{}, back),
		rule("nat, route: not an address of its network", Counter{}, drop),
	}}
}

// enterPinned asks for the bridge first, as its uplinks are keyed.
func enterPinned() Chain {
	return Chain{Name: "enter_pinned_route", Rules: []Rule{
		rule("pinned: not by an uplink", InSet{Fields: []Field{OIFName, IIFName}, Set: "uplinks", Not: true}, Counter{}, goTo("refuse")),
		rule("", goTo("enter_route")),
	}}
}

// enterNAT drops invalid packets silently: a late segment of a living connection
// may look invalid, and rejecting it would kill the connection.
func enterNAT() Chain {
	return Chain{Name: "enter_nat", Rules: []Rule{
		clamp(),
		rule("nat: replies only", Established|Related, Counter{}, accept),
		rule("nat: belongs to no connection", Invalid, Counter{}, drop),
		rule("", goTo("refuse")),
	}}
}

func enterRoute() Chain {
	return Chain{Name: "enter_route", Rules: []Rule{
		clamp(),
		rule("", InSet{Fields: []Field{IPDAddr, OIFName}, Set: "subnets4"}, Counter{}, accept),
		rule("", InSet{Fields: []Field{IP6DAddr, OIFName}, Set: "subnets6"}, Counter{}, accept),
		rule("", goTo("refuse")),
	}}
}

// refuse resets new TCP connections only: a reset would end a living connection
// that conntrack has forgotten, where ICMP is but a hint to its ends.
func refuse() Chain {
	return Chain{Name: "refuse", Rules: []Rule{
		rule("not allowed: new TCP connections", TCPSyn{}, Counter{}, Reject{TCPReset: true}),
		rule("not allowed: anything else", Counter{}, Reject{}),
	}}
}
