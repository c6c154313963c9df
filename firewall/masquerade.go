package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// natSets are what the postrouting hook asks, and leave_nat. The bridges of open
// networks are in "local" too, for the sake of guests of NAT networks that talk
// to them; no packet of an open network's own is looked up there.
//
// The key of translate is where a packet came in, so what the host itself sends,
// and what is bridged (br_netfilter), is in neither map.
func natSets(ns classified) []Set {
	local := Set{Name: "local", Key: []Type{IfName}, Elements: room(ns.all)}
	for _, n := range ns.all {
		local.Elements = append(local.Elements, Element{Key: key(name(n.Bridge.Name))})
	}
	return []Set{local, translate("translate4", IPv4Addr, ns.nat), translate("translate6", IPv6Addr, ns.nat)}
}

// translate makes the map from what is to be translated to the chain that does.
func translate(set string, t Type, networks []*netdrv.Network) Set {
	s := Set{Name: set, Key: []Type{t, IfName}, Verdicts: true, Interval: true, Counter: true, Elements: room(networks)}
	ipv4 := t == IPv4Addr
	for _, n := range networks {
		if !ipv4 && !n.NAT.IPv6 {
			continue
		}
		for _, p := range ownPrefixes(n, ipv4) {
			k := key(prefix(p), name(n.Bridge.Name))
			s.Elements = append(s.Elements, Element{Key: k, Verdict: goTo(sourceOf(n, ipv4).chain()), Comment: n.Name})
		}
	}
	return s
}

// source is what packets of a network leave with. Networks with the same share a
// chain.
type source struct {
	addresses netdrv.Range // none: the link's own, which is masquerading
	ports     netdrv.PortRange
}

func sourceOf(n *netdrv.Network, ipv4 bool) source {
	s := source{ports: cmp.Or(n.NAT.Ports, netdrv.DefaultNATPorts)}
	for _, r := range n.NAT.Addresses {
		if r.Start.Is4() == ipv4 {
			s.addresses = r
		}
	}
	return s
}

func (s source) translates() bool { return s.addresses.Start.IsValid() }

// chain names the chain. A colon cannot be in a name.
func (s source) chain() string {
	if !s.translates() {
		return fmt.Sprintf("masquerade_%d_%d", s.ports.Start, s.ports.End)
	}
	word := func(a netip.Addr) string { return strings.ReplaceAll(a.String(), ":", ".") }
	return fmt.Sprintf("snat_%s_%s_%d_%d", word(s.addresses.Start), word(s.addresses.End), s.ports.Start, s.ports.End)
}

// rules translate to a port of the range what has ports, and the rest without.
func (s source) rules() []Rule {
	to := func(p netdrv.PortRange) Expr { return Masquerade{Ports: p} }
	if s.translates() {
		to = func(p netdrv.PortRange) Expr { return SNAT{Addresses: s.addresses, Ports: p} }
	}
	return []Rule{
		rule("", jump("untranslated")),
		rule("", TCP, Counter{}, to(s.ports)),
		rule("", UDP, Counter{}, to(s.ports)),
		rule("", Counter{}, to(netdrv.PortRange{})),
	}
}

func compareSources(a, b source) int {
	return cmp.Or(a.addresses.Start.Compare(b.addresses.Start), a.addresses.End.Compare(b.addresses.End),
		cmp.Compare(a.ports.Start, b.ports.Start), cmp.Compare(a.ports.End, b.ports.End))
}

// sources returns each that is in use once, in order.
func sources(networks []*netdrv.Network) []source {
	seen := map[source]bool{}
	var out []source
	for _, n := range networks {
		for _, ipv4 := range []bool{true, false} {
			if s := sourceOf(n, ipv4); !seen[s] {
				seen[s], out = true, append(out, s)
			}
		}
	}
	slices.SortFunc(out, compareSources)
	return out
}

func natChains(ns classified) []Chain {
	chains := []Chain{
		{Name: "postrouting", Base: PostroutingNAT, Rules: []Rule{
			rule("", ByMap{Fields: []Field{IPSAddr, IIFName}, Map: "translate4"}),
			rule("", ByMap{Fields: []Field{IP6SAddr, IIFName}, Map: "translate6"}),
		}},
		untranslated(),
	}
	for _, s := range sources(ns.nat) {
		chains = append(chains, Chain{Name: s.chain(), Rules: s.rules()})
	}
	return chains
}

var (
	multicast4 = netip.MustParsePrefix("224.0.0.0/4")
	multicast6 = netip.MustParsePrefix("ff00::/8")
)

// untranslated accepts, which ends the hook's NAT chain and changes nothing.
func untranslated() Chain {
	to := func(f Field, p netip.Prefix) Expr { return InPrefix{Field: f, Prefix: p} }
	return Chain{Name: "untranslated", Rules: []Rule{
		rule("nat: to a local network", InSet{Fields: []Field{OIFName}, Set: "local"}, Counter{}, accept),
		rule("nat: multicast", to(IPDAddr, multicast4), Counter{}, accept),
		rule("nat: broadcast", to(IPDAddr, broadcast), Counter{}, accept),
		rule("nat: multicast", to(IP6DAddr, multicast6), Counter{}, accept),
	}}
}
