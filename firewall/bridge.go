package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// Port is a guest's link on a network's bridge, with what is known of the guest.
type Port struct {
	// Link is empty for a guest that is not attached, or on an unknown link: its addresses
	// are kept from others.
	Link    string
	Network string
	// MAC is the guest's; zero while it is not known.
	MAC netdrv.MAC
	// Addresses are the guest's own, of either family: leased, reserved or declared.
	Addresses []netip.Addr
	// Renews are IPv4 addresses that the guest had, and may send DHCP requests from.
	Renews []netip.Addr
	Preset netdrv.Preset
	// Isolated ports need an entry among the members, whatever else is asked of them.
	Isolated bool
	// Bridged: the bridge has an uplink (mode bridge). Allow are the frames of network
	// devices that the guest may send, and Addresses those that are declared; without any of
	// a family, all of that family are allowed.
	Bridged bool
	Allow   []netdrv.FrameKind
	// FixedMAC: this entry limits the source MACs of a port, and nothing else: to MAC, or
	// while that is zero to those that begin with the octets of MACPrefix.
	FixedMAC  bool
	MACPrefix string
	// Rules are the rules on its connections; nil for none. Ports share them.
	Rules *Rulebook
}

// Types of ICMPv6 messages (RFC 4861 section 4), and of ICMP.
const (
	routerSolicitation     = 133
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

// What limits the IPv6 addresses that a guest configures itself: each is an entry in the
// host's neighbour table, which all networks share (gc_thresh3, 1024 by default).
const (
	autoconfRate    = 1 // a second
	autoconfBurst   = 32
	maxAutoconf     = 1 << 16
	autoconfTimeout = 10 * time.Minute
)

// bridgeTable filters the frames of guests before a bridge forwards them. It knows ports by
// name and not bridges: "meta ibrname" is a module of its own that kernels may lack.
func bridgeTable(ns classified, ports []Port) Table {
	networks := filtered(ns.all, ports)
	r := compileRulebooks(ports, networks)
	return Table{
		Family: Bridge, Name: TableName,
		Sets:   slices.Concat(portSets(networks, ports), r.sets),
		Chains: slices.Concat(portChains(ports), bridgedChains(ports), r.chains),
	}
}

// filtered returns, by name, the networks with a filter of their own or on one of their
// ports.
func filtered(networks []*netdrv.Network, ports []Port) map[string]*netdrv.Network {
	filters, out := map[string]bool{}, map[string]*netdrv.Network{}
	for i := range ports { // entries for a fixed MAC have none of these
		if p := &ports[i]; p.Preset.Clean() || p.Isolated || p.Rules != nil {
			filters[p.Network] = true
		}
	}
	for _, n := range networks {
		if filters[n.Name] || n.Filter.Isolated {
			out[n.Name] = n
		}
	}
	return out
}

// allowed are the sets of ports that may send a kind of frame.
var allowed = map[netdrv.FrameKind]string{
	netdrv.BPDU: "allow_bpdu", netdrv.VLANTag: "allow_vlan", netdrv.RouterAdvertisement: "allow_ra", netdrv.DHCPServer: "allow_dhcp_server",
}

// emptyPortSets are the sets about ports and the addresses behind them, with the elements
// that are always the same.
func emptyPortSets() []Set {
	link := []Type{IfName}
	// The groups of bridges and switches: those of IEEE 802.1Q-2018 tables 8-1 and 10-1
	// (spanning tree, pause, LLDP, 802.1X, registration of VLANs), and the two of Cisco's
	// protocols (PVST+, VTP, DTP, CDP).
	control := Set{Name: "control", Key: []Type{EtherAddr}}
	control.add(ether(netdrv.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc}))
	control.add(ether(netdrv.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd}))
	for i := range byte(16) {
		control.add(ether(netdrv.MAC{0x01, 0x80, 0xc2, 0, 0, i}))
		control.add(ether(netdrv.MAC{0x01, 0x80, 0xc2, 0, 0, 0x20 + i}))
	}
	return []Set{
		{Name: "fixed_macs", Key: link, Verdicts: true},
		{Name: "ports", Key: link, Verdicts: true, Counter: true},
		{Name: "members", Key: link},
		{Name: "identified", Key: link},
		{Name: "without_mac", Key: link},
		{Name: "macs", Key: []Type{IfName, EtherAddr}},
		{Name: "taken_macs", Key: []Type{EtherAddr}},
		{Name: "bridges", Key: []Type{EtherAddr}},
		numberSet("routers", ICMPv6Type, routerAdvertisement, redirect6),
		// From the unspecified address: duplicate address detection, router solicitations,
		// and reports of multicast listeners without an address.
		numberSet("tentative", ICMPv6Type, 131, routerSolicitation, neighbourSolicitation, 143),
		numberSet("discovery", ICMPv6Type, routerSolicitation, routerAdvertisement, neighbourSolicitation, neighbourAdvertisement, redirect6),
		{Name: "addresses4", Key: []Type{IfName, IPv4Addr}},
		{Name: "addresses6", Key: []Type{IfName, IPv6Addr}},
		{Name: "targets6", Key: []Type{IfName, NDTargetAddr}},
		{Name: "taken4", Key: []Type{IPv4Addr}},
		{Name: "taken6", Key: []Type{IPv6Addr}},
		{Name: "taken_targets6", Key: []Type{NDTargetAddr}},
		{Name: "renews4", Key: []Type{IfName, IPv4Addr}},
		{Name: "routed4", Key: []Type{IPv4Addr, IfName}, Interval: true},
		{Name: "routed6", Key: []Type{IPv6Addr, IfName}, Interval: true},
		{Name: "autoconf6", Key: []Type{IfName, IPv6Addr}, Dynamic: Dynamic{maxAutoconf, autoconfTimeout}},
		{Name: "new_autoconf6", Key: link, Dynamic: Dynamic{maxPorts, portTimeout}},
		control,
		{Name: "allow_bpdu", Key: link},
		{Name: "allow_vlan", Key: link},
		{Name: "allow_ra", Key: link},
		{Name: "allow_dhcp_server", Key: link},
		{Name: "declared4", Key: link},
		{Name: "declared6", Key: link},
		numberSet("dhcp_servers", InetService, dhcpPort, dhcpv6Port), numberSet("dhcp_clients", InetService, dhcpClientPort, dhcpv6ClientPort),
	}
}

// portSets fills the sets. Ports of networks without a filter are in none of them, unless they
// are bridged or have a fixed MAC.
func portSets(networks map[string]*netdrv.Network, ports []Port) []Set {
	sets := emptyPortSets()
	s := make(map[string]*Set, len(sets))
	for i := range sets {
		s[sets[i].Name] = &sets[i]
	}
	own := func(link Value, addresses []netip.Addr) {
		for _, a := range addresses {
			if a.Is4() {
				s["addresses4"].add(link, address(a))
				continue
			}
			s["addresses6"].add(link, address(a))
			s["targets6"].add(link, address(a))
		}
	}
	take := func(addresses []netip.Addr) {
		for _, a := range addresses {
			if a.Is4() {
				s["taken4"].add(address(a))
				continue
			}
			s["taken6"].add(address(a))
			s["taken_targets6"].add(address(a))
		}
	}
	for i := range ports {
		p := &ports[i]
		n, link, mac, known := networks[p.Network], name(p.Link), ether(p.MAC), !p.MAC.IsZero()
		chain := ""
		switch {
		case p.FixedMAC:
			s["fixed_macs"].addVerdict(jump(p.fixedMACChain()), p.Network, link)
			if known {
				s["macs"].add(link, mac)
			}
			continue
		case p.Bridged:
			chain = "bridged"
			for _, k := range p.Allow {
				s[allowed[k]].add(link)
			}
			for _, a := range p.Addresses {
				s[map[bool]string{true: "declared4", false: "declared6"}[a.Is4()]].add(link)
			}
			if p.Preset.Clean() && known {
				own(link, append(slices.Clone(p.Addresses), p.MAC.LinkLocal().Addr()))
			}
		case n == nil:
			continue
		default:
			take(p.hostAddresses(n))
			if p.Link == "" {
				continue
			}
			s["members"].add(link)
			if known || !p.Preset.Clean() {
				s["identified"].add(link)
			}
			if !p.Preset.Clean() || !known {
				break
			}
			own(link, p.hostAddresses(n))
			for _, a := range p.Renews {
				s["renews4"].add(link, address(a))
			}
			routed := autonomous(n)
			for _, r := range n.Routes {
				if slices.Contains(p.Addresses, r.Via) {
					routed = append(routed, r.Destination.Masked())
				}
			}
			for _, r := range routed {
				s[map[bool]string{true: "routed4", false: "routed6"}[r.Addr().Is4()]].add(prefix(r), link)
			}
		}
		switch {
		case p.Preset.Clean() && known:
			chain = strings.TrimPrefix(chain+"_clean", "_")
			s["macs"].add(link, mac)
			s["taken_macs"].add(mac)
		case p.Preset.Clean():
			chain = strings.TrimPrefix(chain+"_learning", "_")
			s["without_mac"].add(link)
		}
		if chain != "" {
			s["ports"].addVerdict(goTo(chain), p.Network, link)
		}
	}
	for _, n := range networks {
		s["taken_macs"].add(ether(n.Bridge.MAC))
		s["bridges"].add(ether(n.Bridge.MAC))
		take(append(n.Gateways(), n.Bridge.MAC.LinkLocal().Addr()))
	}
	return sets
}

// hostAddresses are those that a guest may use as a host: its own, and those that every
// host makes of its MAC (RFC 4862 section 5.3, RFC 4291 appendix A).
func (p *Port) hostAddresses(n *netdrv.Network) []netip.Addr {
	if p.MAC.IsZero() {
		return p.Addresses
	}
	out := append(slices.Clone(p.Addresses), p.MAC.LinkLocal().Addr())
	for _, prefix := range autonomous(n) {
		out = append(out, p.MAC.In(prefix))
	}
	return out
}

// autonomous are the prefixes of which guests make addresses themselves.
func autonomous(n *netdrv.Network) []netip.Prefix {
	var out []netip.Prefix
	for i := range n.Subnets {
		if s := &n.Subnets[i]; s.Autonomous() && n.RA.Enabled != netdrv.No {
			out = append(out, s.Address.Masked())
		}
	}
	return out
}

// fixedMACChain names the chain that limits the source MACs of a port.
func (p *Port) fixedMACChain() string {
	if !p.MAC.IsZero() {
		return "fixed_mac"
	}
	return fmt.Sprintf("fixed_mac_%x", p.MACPrefix)
}
