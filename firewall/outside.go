package firewall

import "github.com/vnetd/vnetd/netdrv"

// control are the groups by which bridges and switches talk to each other: those of IEEE
// 802.1Q-2018 tables 8-1 and 10-1 (spanning tree, pause, LLDP, 802.1X, registration of VLANs),
// and the two of Cisco's protocols (PVST+, VTP, DTP, CDP).
func control() Set {
	s := Set{Name: "control", Key: []Type{EtherAddr}}
	s.add(ether(netdrv.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc}))
	s.add(ether(netdrv.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd}))
	for i := range byte(16) {
		s.add(ether(netdrv.MAC{0x01, 0x80, 0xc2, 0, 0, i}))
		s.add(ether(netdrv.MAC{0x01, 0x80, 0xc2, 0, 0, 0x20 + i}))
	}
	return s
}

// allowed names the sets of ports that may send a kind of frame.
var allowed = map[netdrv.FrameKind]string{
	netdrv.BPDU: "allow_bpdu", netdrv.VLANTag: "allow_vlan", netdrv.RouterAdvertisement: "allow_ra", netdrv.DHCPServer: "allow_dhcp_server",
}

// outsideSets are about ports in mode bridge: what they may send, and which of them have
// addresses that are declared.
func outsideSets(ports []Port) []Set {
	out := []Set{control()}
	for k := netdrv.BPDU; k <= netdrv.DHCPServer; k++ {
		s := Set{Name: allowed[k], Key: []Type{IfName}}
		for _, p := range ports {
			for _, a := range p.Allow {
				if a == k {
					s.add(name(p.Link))
				}
			}
		}
		out = append(out, s)
	}
	pinned4, pinned6 := Set{Name: "pinned4", Key: []Type{IfName}}, Set{Name: "pinned6", Key: []Type{IfName}}
	for _, p := range ports {
		for _, a := range p.Addresses {
			if a.Is4() {
				pinned4.add(name(p.Link))
			} else {
				pinned6.add(name(p.Link))
			}
		}
	}
	return append(out, pinned4, pinned6,
		numberSet("dhcp_servers", InetService, dhcpPort, dhcpv6Port), numberSet("dhcp_clients", InetService, dhcpClientPort, dhcpv6ClientPort))
}

// outsideChains are about ports in mode bridge. A guest there is a host of the LAN that is
// behind the uplink, where addresses and servers are not vnetd's: what it sends passes, but
// for what would make it a switch, a router or a DHCP server.
func outsideChains() []Chain {
	unless := func(k netdrv.FrameKind) Expr { return InSet{Fields: []Field{IIFName}, Set: allowed[k], Not: true} }
	no := func(comment string, k netdrv.FrameKind, match Expr) Rule {
		return rule("outside: "+comment, match, unless(k), Counter{}, drop)
	}
	pinned := func(set string) Expr { return InSet{Fields: []Field{IIFName}, Set: set} }
	const notIts = "clean: not its address"
	return []Chain{
		{Name: "outside", Rules: []Rule{
			no("spanning tree and the like", netdrv.BPDU, InSet{Fields: []Field{EtherDAddr}, Set: "control"}),
			no("a VLAN's tag", netdrv.VLANTag, Tag8021Q),
			no("a VLAN's tag", netdrv.VLANTag, Tag8021AD),
			no("a VLAN's tag", netdrv.VLANTag, TagQinQ),
			rule("", FirstFragment{}, unless(netdrv.RouterAdvertisement), jump("first_fragment")),
			no("a router", netdrv.RouterAdvertisement, InSet{Fields: []Field{ICMPv6Kind}, Set: "routers"}),
			no("a DHCP server", netdrv.DHCPServer, InSet{Fields: []Field{UDPSPort}, Set: "dhcp_servers"}),
			no("a DHCP server", netdrv.DHCPServer, InSet{Fields: []Field{UDPDPort}, Set: "dhcp_clients"}),
		}},
		{Name: "outside_learning", Rules: []Rule{rule("", jump("outside")), rule("", goTo("learning"))}},
		{Name: "outside_clean", Rules: []Rule{
			rule("", jump("outside")),
			rule("clean: not its MAC", InSet{Fields: []Field{IIFName, EtherSAddr}, Set: "macs", Not: true}, Counter{}, drop),
			rule("", EtherARP, goTo("outside_arp")),
			rule("", EtherIPv4, goTo("outside4")),
			rule("", EtherIPv6, goTo("outside6")),
			rule("clean: allowed", InSet{Fields: []Field{EtherDAddr}, Set: "control"}, Counter{}, accept),
			rule("clean: neither IP nor ARP", Counter{}, drop),
		}},
		{Name: "outside_arp", Rules: []Rule{
			rule("clean: ARP for another MAC", InSet{Fields: []Field{IIFName, ARPSHA}, Set: "macs", Not: true}, Counter{}, drop),
			rule("", InSet{Fields: []Field{IIFName, ARPSPA}, Set: "addresses4"}, accept),
			rule("", InPrefix{Field: ARPSPA, Prefix: unspecified4}, InSet{Fields: []Field{IIFName, ARPTPA}, Set: "addresses4"}, accept),
			rule("clean: ARP for another address", pinned("pinned4"), Counter{}, drop),
		}},
		{Name: "outside4", Rules: []Rule{
			rule("", InSet{Fields: []Field{IIFName, IPSAddr}, Set: "addresses4"}, accept),
			discover(),
			rule(notIts, pinned("pinned4"), Counter{}, drop),
		}},
		{Name: "outside6", Rules: []Rule{
			rule("", pinned("pinned6"), Is{Field: ICMPv6Kind, Number: neighbourAdvertisement}, jump("outside_neighbour")),
			rule("", InSet{Fields: []Field{IIFName, IP6SAddr}, Set: "addresses6"}, accept),
			rule("", InPrefix{Field: IP6SAddr, Prefix: linkLocal}, accept),
			rule("", pinned("pinned6"), nobody6(), Is{Field: ICMPv6Kind, Number: neighbourSolicitation}, jump("outside_neighbour")),
			rule("clean: duplicate address detection", nobody6(), InSet{Fields: []Field{ICMPv6Kind}, Set: "tentative"}, Counter{}, accept),
			rule(notIts, pinned("pinned6"), Counter{}, drop),
		}},
		{Name: "outside_neighbour", Rules: []Rule{
			rule("", InSet{Fields: []Field{IIFName, NDTarget}, Set: "targets6"}, back),
			rule("", InPrefix{Field: NDTarget, Prefix: linkLocal}, back),
			rule("clean: claims an address that is not declared", Counter{}, drop),
		}},
	}
}
