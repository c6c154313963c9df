package firewall

import (
	"net/netip"

	"github.com/vnetd/vnetd/netdrv"
)

// publishSets are what published ports are: who comes to the host there is sent on
// to a guest. Compile takes forwards to addresses only (netdrv.Resolved).
//
//	published4/6   (address, protocol, port) of the host -> a guest's address and port
//	everywhere4/6  (protocol, port), for all addresses of the host
//	some_at4/6     published4/6 of those whom not all may call
//	some4/6        everywhere4/6 of those
//	callers_at4/6  (source, address, protocol, port): who may call what is in some_at4/6
//	callers4/6     (source, protocol, port): who may call what is in some4/6
//	self4/6        (guest, protocol, port) -> the proxy on the host's address there
//	self_at4/6     (guest, address, protocol, port), for ports published on one address
//	hairpin4/6     (prefix, B): on B, answers to such sources would not come back here
func publishSets(ns classified) []Set {
	p := publisher{sets: map[string]*Set{}}
	var out []Set
	for _, v := range []struct {
		suffix string
		addr   Type
	}{{"4", IPv4Addr}, {"6", IPv6Addr}} {
		port := []Type{InetProto, InetService}
		p.set("published"+v.suffix, v.addr, append([]Type{v.addr}, port...))
		p.set("everywhere"+v.suffix, v.addr, port)
		p.set("some"+v.suffix, v.addr, port)
		p.set("some_at"+v.suffix, v.addr, append([]Type{v.addr}, port...))
		p.sets["callers"+v.suffix] = &Set{Name: "callers" + v.suffix, Key: append([]Type{v.addr}, port...), Interval: true}
		p.sets["callers_at"+v.suffix] = &Set{Name: "callers_at" + v.suffix, Key: append([]Type{v.addr, v.addr}, port...), Interval: true}
		p.set("self"+v.suffix, v.addr, append([]Type{v.addr}, port...))
		p.set("self_at"+v.suffix, v.addr, append([]Type{v.addr, v.addr}, port...))
		p.sets["hairpin"+v.suffix] = &Set{Name: "hairpin" + v.suffix, Key: []Type{v.addr, IfName}, Verdicts: true, Interval: true, Counter: true}
	}
	for _, n := range ns.routed {
		p.network(n)
	}
	for _, name := range []string{"published", "everywhere", "some", "some_at", "callers", "callers_at", "self", "self_at", "hairpin"} {
		out = append(out, *p.sets[name+"4"], *p.sets[name+"6"])
	}
	return out
}

// publisher fills the sets.
type publisher struct{ sets map[string]*Set }

func (p publisher) set(name string, to Type, key []Type) {
	p.sets[name] = &Set{Name: name, Key: key, To: to}
}

func (p publisher) add(set string, ipv4 bool, e Element) {
	suffix := "6"
	if ipv4 {
		suffix = "4"
	}
	p.sets[set+suffix].Elements = append(p.sets[set+suffix].Elements, e)
}

func (p publisher) network(n *netdrv.Network) {
	if len(n.Forwards) == 0 {
		return
	}
	for _, ipv4 := range []bool{true, false} {
		for _, own := range ownPrefixes(n, ipv4) {
			k := key(prefix(own), name(n.Bridge.Name))
			p.add("hairpin", ipv4, Element{Key: k, Verdict: goTo("hairpin_redirected"), Comment: n.Name})
		}
	}
	for i := range n.Forwards {
		if f := &n.Forwards[i]; f.Target().IsValid() && !f.Loopback() {
			p.forward(n, f)
		}
	}
}

// forward adds an element for each port.
func (p publisher) forward(n *netdrv.Network, f *netdrv.Forward) {
	guest, protocol := f.Target(), number(uint16(f.Listen.Protocol))
	gateway, proxied := SelfProxy(n, f)
	for i := range f.Listen.Ports.Count() {
		at, to := f.Listen.Ports.Start+uint16(i), netip.AddrPortFrom(guest, f.Ports.Start+uint16(i))
		door, some, callers, self, from := "everywhere", "some", "callers", "self", []Value{protocol, number(at)}
		if f.Address.IsValid() {
			door, some, callers, self, from = "published", "some_at", "callers_at", "self_at", append([]Value{address(f.Address)}, from...)
		}
		if len(f.From) > 0 {
			door = some
		}
		p.add(door, guest.Is4(), Element{Key: key(from...), To: to, Comment: n.Name})
		for _, c := range f.Callers(guest.Is4()) {
			p.add(callers, guest.Is4(), Element{Key: key(append([]Value{prefix(c)}, from...)...), Comment: n.Name})
		}
		if proxied && f.Admits(guest) {
			from = append([]Value{address(guest)}, from...)
			p.add(self, guest.Is4(), Element{Key: key(from...), To: netip.AddrPortFrom(gateway, at), Comment: n.Name})
		}
	}
}

// SelfProxy returns the host's address on the network at which a proxy has to
// serve the guest that a forward leads to, when it calls its own published port: a
// bridge sends no frame back by the port that it came in by, and that is what the
// kernel would ask of it where br_netfilter is on. There is none for SCTP.
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

// hairpinServices are the ports of those proxies.
func hairpinServices(n *netdrv.Network) []netdrv.Service {
	var out []netdrv.Service
	for i := range n.Forwards {
		if _, proxied := SelfProxy(n, &n.Forwards[i]); proxied {
			out = append(out, n.Forwards[i].Listen)
		}
	}
	return out
}

// loopbacks are served by proxies: IPv6's cannot be routed, and IPv4's only by
// opening the host's own services to guests (route_localnet).
var loopback4, loopback6 = netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")

// publishChains translate destinations. Sources stay, but for a guest's who calls a
// neighbour by way of the host: the neighbour would answer it directly, as
// somebody whom it has not called.
func publishChains() []Chain {
	port := []Field{L4Protocol, DPort}
	from := func(f ...Field) []Field { return append(f, port...) }
	return []Chain{
		{Name: "publish_in", Base: PreroutingNAT, Rules: []Rule{
			rule("", ToHost{}, DNAT{Fields: from(IPSAddr), Map: "self4"}),
			rule("", ToHost{}, DNAT{Fields: from(IP6SAddr), Map: "self6", IPv6: true}),
			rule("", DNAT{Fields: from(IPSAddr, IPDAddr), Map: "self_at4"}),
			rule("", DNAT{Fields: from(IP6SAddr, IP6DAddr), Map: "self_at6", IPv6: true}),
			rule("", goTo("publish")),
		}},
		{Name: "publish_out", Base: OutputNAT, Rules: []Rule{
			rule("", InPrefix{Field: IPDAddr, Prefix: loopback4}, accept),
			rule("", InPrefix{Field: IP6DAddr, Prefix: loopback6}, accept),
			rule("", goTo("publish")),
		}},
		{Name: "publish", Rules: []Rule{
			rule("", DNAT{Fields: from(IPDAddr), Map: "published4"}),
			rule("", DNAT{Fields: from(IP6DAddr), Map: "published6", IPv6: true}),
			rule("", InSet{Fields: from(IPSAddr, IPDAddr), Set: "callers_at4"}, DNAT{Fields: from(IPDAddr), Map: "some_at4"}),
			rule("", InSet{Fields: from(IP6SAddr, IP6DAddr), Set: "callers_at6"}, DNAT{Fields: from(IP6DAddr), Map: "some_at6", IPv6: true}),
			rule("", ToHost{}, DNAT{Fields: port, Map: "everywhere4"}),
			rule("", ToHost{}, DNAT{Fields: port, Map: "everywhere6", IPv6: true}),
			rule("", ToHost{}, InSet{Fields: from(IPSAddr), Set: "callers4"}, DNAT{Fields: port, Map: "some4"}),
			rule("", ToHost{}, InSet{Fields: from(IP6SAddr), Set: "callers6"}, DNAT{Fields: port, Map: "some6", IPv6: true}),
		}},
		{Name: "hairpin", Base: HairpinNAT, Rules: []Rule{
			rule("", ByMap{Fields: []Field{IPSAddr, OIFName}, Map: "hairpin4"}),
			rule("", ByMap{Fields: []Field{IP6SAddr, OIFName}, Map: "hairpin6"}),
		}},
		{Name: "hairpin_redirected", Rules: []Rule{
			rule("published: to a neighbour", Redirected{}, Counter{}, Masquerade{}),
		}},
		enterPublished("enter_published", Redirected{}),
		enterPublished("enter_pinned_published", InSet{Fields: []Field{OIFName, IIFName}, Set: "uplinks"}, Redirected{}),
	}
}

// enterNATOf is the door of a network with NAT, which is open to what comes for
// its published ports, and if pinned by an uplink only.
func enterNATOf(n *netdrv.Network) Verdict {
	switch {
	case len(n.Forwards) == 0:
		return goTo("enter_nat")
	case len(n.Uplinks) > 0:
		return goTo("enter_pinned_published")
	}
	return goTo("enter_published")
}

func enterPublished(chain string, match ...Expr) Chain {
	return Chain{Name: chain, Rules: []Rule{
		clamp(),
		rule("published", append(match, Counter{}, accept)...),
		rule("", goTo("enter_nat")),
	}}
}
