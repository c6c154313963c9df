package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// Types of ICMPv6 messages (RFC 4861 section 4, RFC 2710, RFC 3810).
const (
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect6              = 137
	redirect               = 5
)

var (
	unspecified4 = netip.MustParsePrefix("0.0.0.0/32")
	unspecified6 = netip.MustParsePrefix("::/128")
	linkLocal4   = netip.MustParsePrefix("169.254.0.0/16")
	linkLocal    = netip.MustParsePrefix("fe80::/64")
)

// routers are the types of ICMPv6 that only the host sends, and tentative those
// that come from nobody's address: duplicate address detection, router
// solicitations, and reports of who has no address yet.
var (
	routers   = []uint16{routerAdvertisement, redirect6}
	tentative = []uint16{131, 133, neighbourSolicitation, 143}
	discovery = []uint16{133, routerAdvertisement, neighbourSolicitation, neighbourAdvertisement, redirect6}
)

// bridgeTable is what guests' frames are asked before a bridge does anything with
// them. It knows ports by name and not bridges: "meta ibrname" is a module of its
// own that kernels may lack.
func bridgeTable(ns classified, ports []Port) Table {
	g := guard(ns.all, ports)
	r := rulings(ports, g.networks)
	outside := outsideSets(g.outside)
	return Table{
		Family: Bridge, Name: TableName,
		Sets: slices.Concat(portSets(g), addressSets(g), outside, r.sets),
		Chains: slices.Concat([]Chain{
			bridgePrerouting(g), bridgeForward(), bridgeInput(),
			learning(), firstWords(), claims(), clean(), clean4(), clean6(), cleanARP(), arpProbe(), selfMade6(), aboutNeighbour(), firstFragment(),
		}, outsideChains(), pins(g), r.chains),
	}
}

// portSets say who is there.
func portSets(g guarded) []Set {
	ports := Set{Name: "ports", Key: []Type{IfName}, Verdicts: true, Counter: true}
	members := Set{Name: "members", Key: []Type{IfName}}
	settled := Set{Name: "settled", Key: []Type{IfName}}
	unheard := Set{Name: "unheard", Key: []Type{IfName}}
	macs := Set{Name: "macs", Key: []Type{IfName, EtherAddr}}
	taken := Set{Name: "taken_macs", Key: []Type{EtherAddr}}
	bridges := Set{Name: "bridges", Key: []Type{EtherAddr}}
	pins, own := Set{Name: "pins", Key: []Type{IfName}, Verdicts: true}, map[string]netdrv.MAC{}
	for _, p := range g.clean {
		own[p.Link] = p.MAC
	}
	for _, p := range g.pinned {
		pins.Elements = append(pins.Elements, Element{Key: key(name(p.Link)), Verdict: jump(pin(p)), Comment: p.Network})
		if !p.MAC.IsZero() && own[p.Link] != p.MAC {
			macs.add(name(p.Link), ether(p.MAC))
		}
	}
	learning := map[string]bool{}
	for _, p := range g.learning {
		learning[p.Link] = true
	}
	for _, p := range g.members {
		members.add(name(p.Link))
		if !learning[p.Link] {
			settled.add(name(p.Link))
		}
	}
	for _, p := range g.learning {
		ports.Elements = append(ports.Elements, Element{Key: key(name(p.Link)), Verdict: goTo("learning"), Comment: p.Network})
		unheard.add(name(p.Link))
	}
	for _, p := range g.clean {
		ports.Elements = append(ports.Elements, Element{Key: key(name(p.Link)), Verdict: goTo("clean"), Comment: p.Network})
		macs.add(name(p.Link), ether(p.MAC))
		taken.add(ether(p.MAC))
	}
	for _, p := range g.outside {
		chain := "outside"
		switch {
		case p.Preset.Clean() && p.MAC.IsZero():
			chain = "outside_learning"
			unheard.add(name(p.Link))
		case p.Preset.Clean():
			chain = "outside_clean"
			macs.add(name(p.Link), ether(p.MAC))
			taken.add(ether(p.MAC))
		}
		ports.Elements = append(ports.Elements, Element{Key: key(name(p.Link)), Verdict: goTo(chain), Comment: p.Network})
	}
	for _, n := range g.networks {
		taken.add(ether(n.Bridge.MAC))
		bridges.add(ether(n.Bridge.MAC))
	}
	return []Set{
		pins, ports, members, settled, unheard, macs, taken, bridges,
		kinds("routers", routers), kinds("tentative", tentative), kinds("discovery", discovery),
	}
}

// addressSets say whose addresses are.
func addressSets(g guarded) []Set {
	own4 := Set{Name: "addresses4", Key: []Type{IfName, IPv4Addr}}
	own6 := Set{Name: "addresses6", Key: []Type{IfName, IPv6Addr}}
	targets := Set{Name: "targets6", Key: []Type{IfName, NDTargetAddr}}
	taken4, taken6 := Set{Name: "taken4", Key: []Type{IPv4Addr}}, Set{Name: "taken6", Key: []Type{IPv6Addr}}
	takenTargets := Set{Name: "taken_targets6", Key: []Type{NDTargetAddr}}
	take := func(a netip.Addr) {
		if a.Is4() {
			taken4.add(address(a))
			return
		}
		taken6.add(address(a))
		takenTargets.add(address(a))
	}
	renews4 := Set{Name: "renews4", Key: []Type{IfName, IPv4Addr}}
	behind4 := Set{Name: "behind4", Key: []Type{IPv4Addr, IfName}, Interval: true}
	behind6 := Set{Name: "behind6", Key: []Type{IPv6Addr, IfName}, Interval: true}
	for _, p := range g.clean {
		for _, a := range g.addresses(p) {
			if a.Is4() {
				own4.add(name(p.Link), address(a))
				continue
			}
			own6.add(name(p.Link), address(a))
			targets.add(name(p.Link), address(a))
		}
		for _, a := range p.Renews {
			renews4.add(name(p.Link), address(a))
		}
		for _, b := range behind(g.network(p), p) {
			if b.Addr().Is4() {
				behind4.add(prefix(b), name(p.Link))
			} else {
				behind6.add(prefix(b), name(p.Link))
			}
		}
		for _, a := range autonomous(g.network(p)) {
			behind6.add(prefix(a), name(p.Link))
		}
	}
	for _, p := range g.outside {
		if !p.Preset.Clean() || p.MAC.IsZero() {
			continue
		}
		for _, a := range append(slices.Clone(p.Addresses), p.MAC.LinkLocal().Addr()) {
			if a.Is4() {
				own4.add(name(p.Link), address(a))
				continue
			}
			own6.add(name(p.Link), address(a))
			targets.add(name(p.Link), address(a))
		}
	}
	for _, p := range g.guests {
		for _, a := range g.addresses(p) {
			take(a)
		}
	}
	for _, n := range g.networks {
		for _, a := range append(n.Gateways(), n.Bridge.MAC.LinkLocal().Addr()) {
			take(a)
		}
	}
	return []Set{
		own4, own6, targets, taken4, taken6, takenTargets, renews4, behind4, behind6,
		{Name: "made6", Key: []Type{IfName, IPv6Addr}, Dynamic: Dynamic{maxMadeAddresses, madeTimeout}},
		{Name: "new_made6", Key: []Type{IfName}, Dynamic: Dynamic{maxPorts, portTimeout}},
	}
}

func (s *Set) add(values ...Value) { s.Elements = append(s.Elements, Element{Key: key(values...)}) }

func kinds(set string, types []uint16) Set {
	s := Set{Name: set, Key: []Type{ICMPv6Type}}
	for _, t := range types {
		s.add(number(t))
	}
	return s
}

// bridgePrerouting stops what is a lie before the bridge learns from it where
// somebody's MAC is.
func bridgePrerouting(g guarded) Chain {
	c := Chain{Name: "prerouting", Base: BridgePrerouting}
	if g.pinned != nil {
		c.Rules = append(c.Rules, rule("", ByMap{Fields: []Field{IIFName}, Map: "pins"}))
	}
	c.Rules = append(c.Rules, rule("", ByMap{Fields: []Field{IIFName}, Map: "ports"}))
	return c
}

// pins are the chains of ports that may use one MAC, or those of one prefix.
func pins(g guarded) []Chain {
	out := []Chain{{Name: "pinned", Rules: []Rule{
		rule("pinned: not its MAC", InSet{Fields: []Field{IIFName, EtherSAddr}, Set: "macs", Not: true}, Counter{}, drop),
	}}}
	for _, p := range g.pinned {
		if p.MAC.IsZero() && !slices.ContainsFunc(out, func(c Chain) bool { return c.Name == pin(p) }) {
			out = append(out, Chain{Name: pin(p), Rules: []Rule{
				rule("pinned: not of the network's MAC prefix", EtherPrefix(p.MACPrefix), Counter{}, drop),
			}})
		}
	}
	return out
}

// pin is the chain of a pinned port.
func pin(p Port) string {
	if !p.MAC.IsZero() {
		return "pinned"
	}
	return fmt.Sprintf("pinned_%x", p.MACPrefix)
}

// stranger drops what comes by a link that is not known yet.
func stranger(match InSet) Rule {
	unknown := InSet{Fields: []Field{IIFName}, Set: "members", Not: true}
	return rule("clean: by a link that is not known yet", match, unknown, Counter{}, drop)
}

func unheard() Rule {
	return rule("", InSet{Fields: []Field{IIFName}, Set: "unheard"}, goTo("first_words"))
}

func bridgeForward() Chain {
	return Chain{Name: "forward", Base: BridgeForward, Rules: []Rule{
		stranger(InSet{Fields: []Field{OIFName}, Set: "members"}),
		rule("", InSet{Fields: []Field{IIFName}, Set: "members"}, InSet{Fields: []Field{OIFName}, Set: "settled", Not: true}, jump("claims")),
		unheard(),
	}}
}

func bridgeInput() Chain {
	return Chain{Name: "input", Base: BridgeInput, Rules: []Rule{
		stranger(InSet{Fields: []Field{EtherDAddr}, Set: "bridges"}), unheard(),
	}}
}

// learning lets the bridge learn who is behind a port, which is where we learn it
// from. What a guest says until then goes nowhere but for its first words.
func learning() Chain {
	return Chain{Name: "learning", Rules: []Rule{
		rule("clean: somebody else's MAC", InSet{Fields: []Field{EtherSAddr}, Set: "taken_macs"}, Counter{}, drop),
	}}
}

// claims drops what a guest says about addresses to a link behind which no guest is
// known yet: which addresses are that guest's is not known either, and one claim would
// end its duplicate address detection.
func claims() Chain {
	return Chain{Name: "claims", Rules: []Rule{
		rule("clean: claims an address before a guest that is not known yet", nobody6(),
			Is{Field: ICMPv6Kind, Number: neighbourSolicitation}, Counter{}, drop),
		rule("clean: claims an address before a guest that is not known yet",
			Is{Field: ICMPv6Kind, Number: neighbourAdvertisement}, Counter{}, drop),
	}}
}

func firstWords() Chain {
	return Chain{Name: "first_words", Rules: []Rule{
		discover(),
		detection(),
		rule("clean: duplicate address detection", nobody6(), InSet{Fields: []Field{ICMPv6Kind}, Set: "tentative"}, Counter{}, accept),
		rule("clean: not heard yet", Counter{}, drop),
	}}
}

// discover is a DHCP client that has no address (RFC 2131 section 4.1).
func discover() Rule {
	return rule("clean: DHCP", InPrefix{Field: IPSAddr, Prefix: unspecified4}, InPrefix{Field: IPDAddr, Prefix: broadcast},
		Is{Field: UDPDPort, Number: dhcpPort}, Counter{}, accept)
}

func nobody6() Expr { return InPrefix{Field: IP6SAddr, Prefix: unspecified6} }
