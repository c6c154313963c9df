package firewall

import (
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// What several chains of the bridge table match.
var (
	fromUnspecified6 = InPrefix{Field: IP6SAddr, Prefix: unspecified6}
	advertisement    = Is{Field: ICMPv6Kind, Number: neighbourAdvertisement}
	solicitation     = Is{Field: ICMPv6Kind, Number: neighbourSolicitation}

	notItsMAC = rule("clean: not its MAC", notIn("macs", IIFName, EtherSAddr), Counter, drop)
	notIPARP  = rule("clean: neither IP nor ARP", Counter, drop)
	otherMAC  = rule("clean: ARP for another MAC", notIn("macs", IIFName, ARPSHA), Counter, drop)
	detection = rule("clean: duplicate address detection", fromUnspecified6, in("tentative", ICMPv6Kind), Counter, accept)
	// A DHCP client without an address (RFC 2131 section 4.1).
	dhcpDiscover = rule("clean: DHCP", InPrefix{Field: IPSAddr, Prefix: unspecified4}, InPrefix{Field: IPDAddr, Prefix: broadcast},
		Is{Field: UDPDPort, Number: dhcpPort}, Counter, accept)
)

// portChains are the chains of networks with a filter. The presets of a clean port let
// nothing but IPv4, ARP and IPv6 pass, with whatever VLAN tag.
func portChains(ports []Port) []Chain {
	unknownPort := func(match Expr) Rule {
		return rule("clean: by a port that is not known yet", match, notIn("members", IIFName), Counter, drop)
	}
	withoutMAC := rule("", in("without_mac", IIFName), goTo("without_mac"))
	// Duplicate address detection has no source address; its target decides.
	checkDetection := rule("", fromUnspecified6, solicitation, jump("nd_target"))
	autoconf := []Field{IIFName, IP6SAddr}
	out := []Chain{
		{Name: "prerouting", Base: BridgePrerouting, Rules: []Rule{rule("", lookup("ports", IIFName))}},
		{Name: "forward", Base: BridgeForward, Rules: []Rule{
			unknownPort(in("members", OIFName)),
			rule("", in("members", IIFName), notIn("identified", OIFName), jump("claims")),
			withoutMAC,
		}},
		{Name: "input", Base: BridgeInput, Rules: []Rule{unknownPort(in("bridges", EtherDAddr)), withoutMAC}},
		// Frames pass the bridge's learning, from which vnetd learns the MAC; until then,
		// without_mac drops them afterwards.
		chain("learning", rule("clean: MAC of another guest", in("taken_macs", EtherSAddr), Counter, drop)),
		chain("without_mac",
			dhcpDiscover,
			checkDetection,
			detection,
			rule("clean: MAC not known yet", Counter, drop)),
		// To a port without a known guest no claims on addresses pass: which addresses are
		// that guest's is not known either, and one claim would end its duplicate address
		// detection.
		chain("claims",
			rule("clean: claims an address before a guest that is not known yet", fromUnspecified6, solicitation, Counter, drop),
			rule("clean: claims an address before a guest that is not known yet", advertisement, Counter, drop)),
		chain("clean",
			notItsMAC,
			rule("", EtherIPv4, goTo("clean4")),
			rule("", EtherIPv6, goTo("clean6")),
			rule("", EtherARP, goTo("clean_arp")),
			notIPARP),
		chain("clean4", // clients accept messages of a DHCP server from any source port
			rule("clean: a DHCP server", Is{Field: UDPSPort, Number: dhcpPort}, Counter, drop),
			rule("clean: a DHCP server", Is{Field: UDPDPort, Number: dhcpClientPort}, Counter, drop),
			rule("clean: a router", Is{Field: ICMPKind, Number: redirect}, Counter, drop),
			rule("", in("addresses4", IIFName, IPSAddr), accept),
			rule("", in("routed4", IPSAddr, IIFName), accept),
			dhcpDiscover,
			rule("clean: DHCP", in("renews4", IIFName, IPSAddr), Is{Field: UDPDPort, Number: dhcpPort}, Counter, accept),
			rule("clean: not its address", Counter, drop)),
		// Addresses that guests configure themselves are not known in advance (RFC 8981).
		// Those of advertised prefixes pass unless they are known to be taken.
		chain("clean6",
			rule("", FirstFragment, jump("first_fragment")),
			rule("clean: a DHCPv6 server", Is{Field: UDPSPort, Number: dhcpv6Port}, Counter, drop),
			rule("clean: a DHCPv6 server", Is{Field: UDPDPort, Number: dhcpv6ClientPort}, Counter, drop),
			rule("clean: a router", in("routers", ICMPv6Kind), Counter, drop),
			rule("", advertisement, jump("nd_target")),
			rule("", in("addresses6", IIFName, IP6SAddr), accept),
			checkDetection,
			detection,
			rule("clean: address of another guest", in("taken6", IP6SAddr), Counter, drop),
			rule("", InPrefix{Field: IP6SAddr, Prefix: linkLocal}, goTo("autoconf6")),
			rule("", in("routed6", IP6SAddr, IIFName), goTo("autoconf6")),
			rule("clean: not its address", Counter, drop)),
		// An ARP probe has no sender address (RFC 5227 section 2.1.1). A probe for the
		// address of another guest would keep that guest from using it.
		chain("clean_arp",
			otherMAC,
			rule("", in("addresses4", IIFName, ARPSPA), accept),
			rule("", InPrefix{Field: ARPSPA, Prefix: unspecified4}, goTo("arp_probe")),
			rule("clean: ARP for another address", Counter, drop)),
		chain("arp_probe",
			rule("", in("addresses4", IIFName, ARPTPA), accept),
			rule("clean: claims the address of another guest", in("taken4", ARPTPA), Counter, drop),
			rule("", accept)),
		chain("autoconf6", // addresses that the guest has configured, and a limited number of new ones
			rule("", in("autoconf6", autoconf...), AddTo{Set: "autoconf6", Fields: autoconf}, accept),
			rule("clean: too many addresses", AddTo{Set: "new_autoconf6", Fields: []Field{IIFName}, Over: Rate{autoconfRate, autoconfBurst}}, Counter, drop),
			rule("", AddTo{Set: "autoconf6", Fields: autoconf}, accept),
			rule("clean: too many addresses", Counter, drop)),
		// Drops claims on an address that another guest or the host has or may get: with
		// duplicate address detection a guest would keep another from using the address (RFC
		// 4862 section 5.4). No rule here matches the type of the message: nft would then
		// list the target by a name that the key of the set does not have.
		chain("nd_target",
			rule("", in("targets6", IIFName, NDTarget), back),
			rule("clean: claims the address of another guest", in("taken_targets6", NDTarget), Counter, drop)),
		// Drops what later rules could not read: the headers of a packet have to be in its
		// first fragment (RFC 7112), and neighbour discovery is not fragmented (RFC 6980).
		chain("first_fragment",
			rule("clean: neighbour discovery in a fragment", in("discovery", ICMPv6Kind), Counter, drop),
			rule("", UpperHeader, back),
			rule("clean: a first fragment without all headers", Counter, drop)),
	}
	if slices.ContainsFunc(ports, func(p Port) bool { return p.FixedMAC }) {
		out[0].Rules = slices.Insert(out[0].Rules, 0, rule("", lookup("fixed_macs", IIFName)))
	}
	return out
}

// bridgedChains are about ports in mode bridge. A guest there is a host of the LAN behind
// the uplink, where addresses and servers are not vnetd's: its frames pass, except those
// that would make it a switch, a router or a DHCP server. After them come the chains of ports
// with a fixed MAC.
func bridgedChains(ports []Port) []Chain {
	unless := func(k netdrv.FrameKind) Expr { return notIn(allowed[k], IIFName) }
	deny := func(comment string, k netdrv.FrameKind, match Expr) Rule {
		return rule("bridged: "+comment, match, unless(k), Counter, drop)
	}
	declared4, declared6 := in("declared4", IIFName), in("declared6", IIFName)
	out := []Chain{
		chain("bridged",
			deny("spanning tree and the like", netdrv.BPDU, in("control", EtherDAddr)),
			deny("a VLAN tag", netdrv.VLANTag, Tag8021Q),
			deny("a VLAN tag", netdrv.VLANTag, Tag8021AD),
			deny("a VLAN tag", netdrv.VLANTag, TagQinQ),
			rule("", FirstFragment, unless(netdrv.RouterAdvertisement), jump("first_fragment")),
			deny("a router", netdrv.RouterAdvertisement, in("routers", ICMPv6Kind)),
			deny("a DHCP server", netdrv.DHCPServer, in("dhcp_servers", UDPSPort)),
			deny("a DHCP server", netdrv.DHCPServer, in("dhcp_clients", UDPDPort))),
		chain("bridged_learning", rule("", jump("bridged")), rule("", goTo("learning"))),
		chain("bridged_clean",
			rule("", jump("bridged")),
			notItsMAC,
			rule("", EtherARP, goTo("bridged_arp")),
			rule("", EtherIPv4, goTo("bridged4")),
			rule("", EtherIPv6, goTo("bridged6")),
			rule("clean: allowed", in("control", EtherDAddr), Counter, accept),
			notIPARP),
		chain("bridged_arp",
			otherMAC,
			rule("", in("addresses4", IIFName, ARPSPA), accept),
			rule("", InPrefix{Field: ARPSPA, Prefix: unspecified4}, in("addresses4", IIFName, ARPTPA), accept),
			rule("clean: ARP for another address", declared4, Counter, drop)),
		chain("bridged4",
			rule("", in("addresses4", IIFName, IPSAddr), accept),
			dhcpDiscover,
			rule("clean: not its address", declared4, Counter, drop)),
		chain("bridged6",
			rule("", declared6, advertisement, jump("bridged_nd_target")),
			rule("", in("addresses6", IIFName, IP6SAddr), accept),
			rule("", InPrefix{Field: IP6SAddr, Prefix: linkLocal}, accept),
			rule("", declared6, fromUnspecified6, solicitation, jump("bridged_nd_target")),
			detection,
			rule("clean: not its address", declared6, Counter, drop)),
		chain("bridged_nd_target",
			rule("", in("targets6", IIFName, NDTarget), back),
			rule("", InPrefix{Field: NDTarget, Prefix: linkLocal}, back),
			rule("clean: claims an address that is not declared", Counter, drop)),
		chain("fixed_mac", rule("fixed MAC: not its MAC", notIn("macs", IIFName, EtherSAddr), Counter, drop)),
	}
	for i := range ports {
		p := &ports[i]
		if name := p.fixedMACChain(); p.FixedMAC && !slices.ContainsFunc(out, func(c Chain) bool { return c.Name == name }) {
			out = append(out, chain(name, rule("fixed MAC: not of the network's MAC prefix", EtherPrefix(p.MACPrefix), Counter, drop)))
		}
	}
	return out
}
