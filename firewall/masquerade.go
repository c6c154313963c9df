package firewall

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// natSets are the sets of the postrouting hook, and of leave_nat. The bridges of open
// networks are in "local" too, for guests of NAT networks that talk to them; no packet of an
// open network's own is looked up there.
//
// The key of translate4/6 has the link by which a packet came in, so what the host itself
// sends, and what is bridged (br_netfilter), is in neither map.
func natSets(ns classified) []Set {
	local := Set{Name: "local", Key: []Type{IfName}, Elements: room(ns.all)}
	for _, n := range ns.all {
		local.add(name(n.Bridge.Name))
	}
	return []Set{local, translate("translate4", IPv4Addr, ns.nat), translate("translate6", IPv6Addr, ns.nat)}
}

// translate returns the map from source prefixes to the chains that translate them.
func translate(set string, t Type, networks []*netdrv.Network) Set {
	s := Set{Name: set, Key: []Type{t, IfName}, Verdicts: true, Interval: true, Counter: true, Elements: room(networks)}
	ipv4 := t == IPv4Addr
	for _, n := range networks {
		if !ipv4 && !n.NAT.IPv6 {
			continue
		}
		to := goTo(sourceOf(n, ipv4).chain())
		for _, p := range ownPrefixes(n, ipv4) {
			s.addVerdict(to, n.Name, prefix(p), name(n.Bridge.Name))
		}
	}
	return s
}

// sourceOf returns the translation of a network's packets. Networks with the same one share
// a chain.
func sourceOf(n *netdrv.Network, ipv4 bool) SNAT {
	s := SNAT{Ports: cmp.Or(n.NAT.Ports, netdrv.DefaultNATPorts)}
	for _, r := range n.NAT.Addresses {
		if r.Start.Is4() == ipv4 {
			s.Addresses = r
		}
	}
	return s
}

// chain returns the name of the chain. A colon cannot be in a name.
func (e SNAT) chain() string {
	if e.masquerades() {
		return fmt.Sprintf("masquerade_%d_%d", e.Ports.Start, e.Ports.End)
	}
	text := strings.ReplaceAll(fmt.Sprintf("snat_%s_%s", e.Addresses.Start, e.Addresses.End), ":", ".")
	return fmt.Sprintf("%s_%d_%d", text, e.Ports.Start, e.Ports.End)
}

func natChains(ns classified) []Chain {
	to := func(f Field, p string) Expr { return InPrefix{Field: f, Prefix: netip.MustParsePrefix(p)} }
	chains := []Chain{
		{Name: "postrouting", Base: PostroutingNAT, Rules: []Rule{
			rule("", lookup("translate4", IPSAddr, IIFName)),
			rule("", lookup("translate6", IP6SAddr, IIFName)),
		}},
		chain("untranslated", // accept ends the hook's NAT chain and changes nothing
			rule("nat: to a local network", in("local", OIFName), Counter, accept),
			rule("nat: multicast", to(IPDAddr, "224.0.0.0/4"), Counter, accept),
			rule("nat: broadcast", to(IPDAddr, "255.255.255.255/32"), Counter, accept),
			rule("nat: multicast", to(IP6DAddr, "ff00::/8"), Counter, accept)),
	}
	sources := map[SNAT]bool{}
	for _, n := range ns.nat {
		sources[sourceOf(n, true)], sources[sourceOf(n, false)] = true, true
	}
	sorted := slices.SortedFunc(maps.Keys(sources), func(a, b SNAT) int {
		return cmp.Or(a.Addresses.Start.Compare(b.Addresses.Start), a.Addresses.End.Compare(b.Addresses.End),
			cmp.Compare(a.Ports.Start, b.Ports.Start), cmp.Compare(a.Ports.End, b.Ports.End))
	})
	for _, s := range sorted {
		chains = append(chains, chain(s.chain(), // only these protocols have ports to translate to
			rule("", jump("untranslated")),
			rule("", TCP, Counter, s),
			rule("", UDP, Counter, s),
			rule("", Counter, SNAT{Addresses: s.Addresses})))
	}
	return chains
}
