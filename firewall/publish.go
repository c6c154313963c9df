package firewall

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// publishSets are the sets of published ports. A packet to such a port of the host is sent
// on to a guest. Compile takes forwards to addresses only (netdrv.Resolved).
//
//	published4/6       (address, protocol, port) of the host -> a guest's address and port
//	published_any4/6   (protocol, port), for all addresses of the host
//	restricted4/6      published4/6 of ports that are for some sources only
//	restricted_any4/6  published_any4/6 of those
//	sources4/6         (source, address, protocol, port): the sources for restricted4/6
//	sources_any4/6     (source, protocol, port): the sources for restricted_any4/6
//	proxied4/6         (guest, address, protocol, port) -> the proxy on the gateway, for a
//	                   guest that connects to its own published port
//	proxied_any4/6     (guest, protocol, port), for published_any4/6
//	hairpin4/6         (prefix, B): on B, replies to such sources would not pass the host
func publishSets(ns classified) []Set {
	const either Type = 0 // an address of the family
	sets := map[string]*Set{}
	var order []*Set
	for _, s := range []Set{
		{Name: "published", To: 1, Key: []Type{either, InetProto, InetService}},
		{Name: "published_any", To: 1, Key: []Type{InetProto, InetService}},
		{Name: "restricted_any", To: 1, Key: []Type{InetProto, InetService}},
		{Name: "restricted", To: 1, Key: []Type{either, InetProto, InetService}},
		{Name: "sources_any", Interval: true, Key: []Type{either, InetProto, InetService}},
		{Name: "sources", Interval: true, Key: []Type{either, either, InetProto, InetService}},
		{Name: "proxied_any", To: 1, Key: []Type{either, InetProto, InetService}},
		{Name: "proxied", To: 1, Key: []Type{either, either, InetProto, InetService}},
		{Name: "hairpin", Interval: true, Verdicts: true, Counter: true, Key: []Type{either, IfName}},
	} {
		for suffix, addr := range map[string]Type{"4": IPv4Addr, "6": IPv6Addr} {
			of := s
			of.Name += suffix
			of.Key = slices.Clone(s.Key)
			for i, t := range of.Key {
				if t == either {
					of.Key[i] = addr
				}
			}
			if s.To != 0 {
				of.To = addr
			}
			sets[of.Name] = &of
		}
		order = append(order, sets[s.Name+"4"], sets[s.Name+"6"])
	}
	add := func(set string, ipv4 bool, e Element) {
		s := sets[set+"6"]
		if ipv4 {
			s = sets[set+"4"]
		}
		s.Elements = append(s.Elements, e)
	}
	for _, n := range ns.routed {
		if len(n.Forwards) == 0 {
			continue
		}
		for _, ipv4 := range []bool{true, false} {
			for _, own := range ownPrefixes(n, ipv4) {
				k := key(prefix(own), name(n.Bridge.Name))
				add("hairpin", ipv4, Element{Key: k, Verdict: goTo("hairpin_redirected"), Comment: n.Name})
			}
		}
		for i := range n.Forwards {
			f := &n.Forwards[i]
			guest := f.Target()
			if !guest.IsValid() || f.Loopback() {
				continue
			}
			gateway, proxied := SelfProxy(n, f)
			for i := range f.Listen.Ports.Count() {
				at, to := f.Listen.Ports.Start+uint16(i), netip.AddrPortFrom(guest, f.Ports.Start+uint16(i))
				suffix, set, listen := "_any", "published", []Value{number(uint16(f.Listen.Protocol)), number(at)}
				if f.Address.IsValid() {
					suffix, listen = "", append([]Value{address(f.Address)}, listen...)
				}
				if len(f.From) > 0 {
					set = "restricted"
				}
				add(set+suffix, guest.Is4(), Element{Key: key(listen...), To: to, Comment: n.Name})
				for _, c := range f.Callers(guest.Is4()) {
					add("sources"+suffix, guest.Is4(), Element{Key: key(append([]Value{prefix(c)}, listen...)...), Comment: n.Name})
				}
				if proxied && f.Admits(guest) {
					k := key(append([]Value{address(guest)}, listen...)...)
					add("proxied"+suffix, guest.Is4(), Element{Key: k, To: netip.AddrPortFrom(gateway, at), Comment: n.Name})
				}
			}
		}
	}
	out := make([]Set, len(order))
	for i, s := range order {
		out[i] = *s
	}
	return out
}

// SelfProxy returns the host's address on the network at which a proxy serves the target of
// a forward that connects to its own published port: a bridge does not send a frame back by
// the port that it came in by, which is what the kernel would ask of it where br_netfilter is
// on. There is none for SCTP.
func SelfProxy(n *netdrv.Network, f *netdrv.Forward) (netip.Addr, bool) {
	if f.Listen.Protocol == netdrv.SCTP || f.Loopback() {
		return netip.Addr{}, false
	}
	for _, a := range n.Gateways() {
		if a.Is4() == f.Target().Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// proxyServices are the ports of those proxies.
func proxyServices(n *netdrv.Network) []netdrv.Service {
	var out []netdrv.Service
	for i := range n.Forwards {
		if _, proxied := SelfProxy(n, &n.Forwards[i]); proxied {
			out = append(out, n.Forwards[i].Listen)
		}
	}
	return out
}

// publishChains translate destinations. Sources stay, except that of a guest that reaches a
// neighbour by way of the host: the neighbour would reply to it directly, from an address
// that the guest has sent nothing to. Loopback addresses are served by proxies: those of IPv6
// cannot be routed, and those of IPv4 only by opening the host's own services to guests
// (route_localnet).
func publishChains() []Chain {
	port := []Field{L4Protocol, DPort}
	from := func(f ...Field) []Field { return append(f, port...) }
	dnat := func(set string, f []Field) DNAT { return DNAT{Fields: f, Map: set, IPv6: strings.HasSuffix(set, "6")} }
	to := func(p string, f Field) Expr { return InPrefix{Field: f, Prefix: netip.MustParsePrefix(p)} }
	// Connections to published ports of a NAT network, and if it is pinned, by an uplink.
	enter := func(name string, match ...Expr) Chain {
		return chain(name, clamp, rule("published", append(match, Counter, accept)...), rule("", goTo("enter_nat")))
	}
	return []Chain{
		{Name: "publish_in", Base: PreroutingNAT, Rules: []Rule{
			rule("", ToLocal, dnat("proxied_any4", from(IPSAddr))),
			rule("", ToLocal, dnat("proxied_any6", from(IP6SAddr))),
			rule("", dnat("proxied4", from(IPSAddr, IPDAddr))),
			rule("", dnat("proxied6", from(IP6SAddr, IP6DAddr))),
			rule("", goTo("publish")),
		}},
		{Name: "publish_out", Base: OutputNAT, Rules: []Rule{
			rule("", to("127.0.0.0/8", IPDAddr), accept),
			rule("", to("::1/128", IP6DAddr), accept),
			rule("", goTo("publish")),
		}},
		chain("publish",
			rule("", dnat("published4", from(IPDAddr))),
			rule("", dnat("published6", from(IP6DAddr))),
			rule("", in("sources4", from(IPSAddr, IPDAddr)...), dnat("restricted4", from(IPDAddr))),
			rule("", in("sources6", from(IP6SAddr, IP6DAddr)...), dnat("restricted6", from(IP6DAddr))),
			rule("", ToLocal, dnat("published_any4", port)),
			rule("", ToLocal, dnat("published_any6", port)),
			rule("", ToLocal, in("sources_any4", from(IPSAddr)...), dnat("restricted_any4", port)),
			rule("", ToLocal, in("sources_any6", from(IP6SAddr)...), dnat("restricted_any6", port))),
		{Name: "hairpin", Base: HairpinNAT, Rules: []Rule{
			rule("", lookup("hairpin4", IPSAddr, OIFName)),
			rule("", lookup("hairpin6", IP6SAddr, OIFName)),
		}},
		chain("hairpin_redirected", rule("published: to a neighbour", DNATed, Counter, SNAT{})),
		enter("enter_published", DNATed),
		enter("enter_pinned_published", in("uplinks", OIFName, IIFName), DNATed),
	}
}
