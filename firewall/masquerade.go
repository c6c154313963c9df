package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// natSets are what the postrouting hook asks, and leave_nat. The bridges of open
// networks are in "local" too, for the sake of guests of NAT networks that talk
// to them; no packet of an open network's own is looked up there.
func natSets(ns classified) []Set {
	local := Set{Name: "local", Key: []Type{IfName}, Elements: room(ns.all)}
	for _, n := range ns.all {
		local.Elements = append(local.Elements, Element{Key: [maxFields]Value{name(n.Bridge.Name)}})
	}
	within := Set{Name: "within4", Key: []Type{IPv4Addr, IPv4Addr}, Interval: true, Elements: room(ns.nat)}
	translate := Set{
		Name: "translate", Key: []Type{IPv4Addr}, Verdicts: true, Interval: true, Counter: true,
		Elements: room(ns.nat),
	}
	for _, n := range ns.nat {
		own, chain := prefixes4(n), goTo(masqueradeChain(ports(n)))
		for _, from := range own {
			translate.Elements = append(translate.Elements,
				Element{Key: [maxFields]Value{{Prefix: from}}, Verdict: chain, Comment: n.Name})
			for _, to := range own {
				within.Elements = append(within.Elements, Element{Key: [maxFields]Value{{Prefix: from}, {Prefix: to}}})
			}
		}
	}
	return []Set{local, within, translate}
}

func prefixes4(n netdrv.Network) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.Subnets {
		if s.Address.Addr().Is4() {
			out = append(out, s.Address.Masked())
		}
	}
	return out
}

func ports(n netdrv.Network) netdrv.PortRange { return cmp.Or(n.NAT.Ports, netdrv.DefaultNATPorts) }

func masqueradeChain(p netdrv.PortRange) string {
	return fmt.Sprintf("masquerade_%d_%d", p.Start, p.End)
}

func natChains(ns classified) []Chain {
	chains := []Chain{
		{Name: "postrouting", Base: PostroutingNAT, Rules: []Rule{
			rule("", ByMap{Fields: []Field{IPSAddr}, Map: "translate"}),
		}},
		untranslated(),
	}
	for _, p := range portRanges(ns.nat) {
		chains = append(chains, masqueradeTo(p))
	}
	return chains
}

// untranslated accepts, which ends the hook's NAT chain and changes nothing. What
// the host itself sends from an address of the network passes here as well.
func untranslated() Chain {
	to := func(prefix string) Expr { return InPrefix{Field: IPDAddr, Prefix: netip.MustParsePrefix(prefix)} }
	return Chain{Name: "untranslated", Rules: []Rule{
		rule("nat: to a local network", InSet{Fields: []Field{OIFName}, Set: "local"}, Counter{}, accept),
		rule("nat: to its own subnets", InSet{Fields: []Field{IPSAddr, IPDAddr}, Set: "within4"}, Counter{}, accept),
		rule("nat: multicast", to("224.0.0.0/4"), Counter{}, accept),
		rule("nat: broadcast", to("255.255.255.255/32"), Counter{}, accept),
	}}
}

// portRanges returns each range in use once, in order.
func portRanges(networks []netdrv.Network) []netdrv.PortRange {
	var out []netdrv.PortRange
	for _, n := range networks {
		out = append(out, ports(n))
	}
	slices.SortFunc(out, func(a, b netdrv.PortRange) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
	})
	return slices.Compact(out)
}

func masqueradeTo(p netdrv.PortRange) Chain {
	return Chain{Name: masqueradeChain(p), Rules: []Rule{
		rule("", jump("untranslated")),
		rule("", TCP, Counter{}, Masquerade{Ports: p}),
		rule("", UDP, Counter{}, Masquerade{Ports: p}),
		rule("", Counter{}, Masquerade{}),
	}}
}
