// Package example has networks for the tests of packages firewall and
// firewall/nft: the one holds their rules as golden files, the other puts them
// into a kernel.
package example

import (
	"net/netip"
	"strconv"

	"github.com/vnetd/vnetd/netdrv"
)

// Network returns one with the subnets given, each as the gateway's address with
// its prefix length. As by default, the host is limited if it is isolated.
func Network(name string, mode netdrv.Mode, bridge string, subnets ...string) netdrv.Network {
	n := netdrv.Network{Name: name, Mode: mode, Bridge: netdrv.Bridge{Name: bridge}}
	n.HostAccess.Limited = mode == netdrv.Isolated
	for _, s := range subnets {
		n.Subnets = append(n.Subnets, netdrv.Subnet{Address: netip.MustParsePrefix(s)})
	}
	return n
}

// WithPorts returns n with a range of source ports.
func WithPorts(n netdrv.Network, start, end uint16) netdrv.Network {
	n.NAT.Ports = netdrv.PortRange{Start: start, End: end}
	return n
}

// WithSources returns n with source addresses, each range as its two ends.
func WithSources(n netdrv.Network, ends ...string) netdrv.Network {
	for i := 0; i+1 < len(ends); i += 2 {
		r := netdrv.Range{Start: netip.MustParseAddr(ends[i]), End: netip.MustParseAddr(ends[i+1])}
		n.NAT.Addresses = append(n.NAT.Addresses, r)
	}
	return n
}

// WithNAT66 returns n with its IPv6 translated.
func WithNAT66(n netdrv.Network) netdrv.Network {
	n.NAT.IPv6 = true
	return n
}

// Pinned returns n with uplinks.
func Pinned(n netdrv.Network, uplinks ...string) netdrv.Network {
	n.Uplinks = uplinks
	return n
}

// WithRoute returns n with one more prefix behind a guest.
func WithRoute(n netdrv.Network, destination, via string) netdrv.Network {
	r := netdrv.StaticRoute{Destination: netip.MustParsePrefix(destination), Via: netip.MustParseAddr(via)}
	n.Routes = append(n.Routes[:len(n.Routes):len(n.Routes)], r)
	return n
}

// WithServices returns n with the host limited to services, each as in
// netdrv.ParseService. It panics on what is none.
func WithServices(n netdrv.Network, services ...string) netdrv.Network {
	n.HostAccess = netdrv.HostAccess{Limited: true}
	for _, s := range services {
		parsed, err := netdrv.ParseService(s)
		if err != nil {
			panic(err)
		}
		n.HostAccess.Services = append(n.HostAccess.Services, parsed...)
	}
	return n
}

// Publishing returns n with forwards, each as what listens, where to, and on which
// address of the host, if on one. It panics on what is none.
func Publishing(n netdrv.Network, words ...[3]string) netdrv.Network {
	for _, w := range words {
		listen, err := netdrv.ParseService(w[0])
		if err != nil {
			panic(err)
		}
		f := netdrv.Forward{Listen: listen[0]}
		if f.Guest, f.Ports, err = netdrv.ParseTarget(w[1]); err != nil {
			panic(err)
		}
		if w[2] != "" {
			f.Address = netip.MustParseAddr(w[2])
		}
		n.Forwards = append(n.Forwards[:len(n.Forwards):len(n.Forwards)], f)
	}
	return n
}

// calledBy returns n with published ports for some callers only.
func calledBy(n netdrv.Network, callers ...string) netdrv.Network {
	for _, c := range callers {
		n.Forwards[0].From = append(n.Forwards[0].From, netip.MustParsePrefix(c))
	}
	return n
}

// withMAC returns n with a bridge that has a link-local address.
func withMAC(n netdrv.Network) netdrv.Network {
	n.Bridge.MAC = netdrv.MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}
	return n
}

// withDHCP returns n with DHCP on all of its subnets.
func withDHCP(n netdrv.Network) netdrv.Network {
	for i := range n.Subnets {
		n.Subnets[i].DHCP = &netdrv.DHCP{}
	}
	return n
}

// Clean filters a network by a preset.
func Clean(n netdrv.Network, p netdrv.Preset) netdrv.Network {
	n.Filter.Preset = p
	return n
}

func withSet(n netdrv.Network, name string, prefixes ...string) netdrv.Network {
	s := netdrv.FilterSet{Name: name}
	for _, p := range prefixes {
		s.Prefixes = append(s.Prefixes, netip.MustParsePrefix(p))
	}
	n.Filter.Sets = append(n.Filter.Sets, s)
	return n
}

// Networks are, by name, those with golden rules.
func Networks() map[string][]netdrv.Network {
	def := Network("default", netdrv.NAT, "virbr0", "192.168.122.1/24")
	lab := Network("lab", netdrv.NAT, "virbr10", "10.20.0.1/24", "fd00:20::1/64")
	dmz := Network("dmz", netdrv.Route, "virbr2", "10.30.0.1/24", "fd00:30::1/64")
	wild := Network("wild", netdrv.Open, "virbr3", "10.40.0.1/24")
	lonely := withDHCP(Network("lonely", netdrv.Isolated, "virbr4", "10.50.0.1/24"))
	quiet := Network("quiet", netdrv.Isolated, "virbr7")
	return map[string][]netdrv.Network{
		"nat":      {def},
		"nat-dual": {Network("lab", netdrv.NAT, "virbr1", "10.20.0.1/24", "fd00:20::1/64", "10.20.1.1/24")},
		"nat-ports": {
			WithPorts(Network("one", netdrv.NAT, "virbr1", "10.1.0.1/24"), 5000, 5000),
			WithPorts(Network("some", netdrv.NAT, "virbr2", "10.2.0.1/24"), 20000, 29999),
			def,
		},
		"nat-addresses": {
			WithSources(WithNAT66(lab), "203.0.113.5", "203.0.113.9", "2001:db8::5", "2001:db8::9"),
			WithSources(WithPorts(def, 5000, 5999), "203.0.113.7", "203.0.113.7"),
			WithNAT66(Network("six", netdrv.NAT, "virbr6", "fd00:6::1/64")),
		},
		"route":         {dmz},
		"open":          {wild},
		"isolated":      {lonely},
		"very-isolated": {quiet},
		"pinned": {
			Pinned(def, "eno1"), Pinned(WithNAT66(lab), "eno1", "eno2"), Pinned(dmz, "eno1"),
		},
		"routes": {
			WithRoute(def, "10.99.0.0/16", "192.168.122.5"),
			WithRoute(WithRoute(dmz, "10.98.0.0/16", "10.30.0.5"), "10.30.0.128/25", "10.30.0.5"),
		},
		"host-services": {
			withMAC(withDHCP(WithServices(Network("lonely", netdrv.Isolated, "virbr4", "10.50.0.1/24", "fd00:50::1/64"),
				"ssh", "udp/5000-5010", "udp/5005-5020", "sctp/80"))),
			WithServices(def),
			dmz,
		},
		"published": {
			Publishing(lab, [3]string{"tcp/8080", "10.20.0.10:80"}, [3]string{"udp/5000-5001", "[fd00:20::10]:6000-6001"},
				[3]string{"tcp/443", "10.20.0.10:443", "203.0.113.2"}, [3]string{"tcp/8443", "10.20.0.10:443", "127.0.0.1"}),
			calledBy(Publishing(Pinned(def, "eno1"), [3]string{"sctp/3868", "192.168.122.10:3868"}), "198.51.100.0/24", "203.0.113.9/32"),
			calledBy(Publishing(WithServices(dmz), [3]string{"tcp/22", "[fd00:30::10]:22", "2001:db8::5"}), "2001:db8:9::/48"),
		},
		"bridge-direct": {
			Network("office", netdrv.ExistingBridge, "br0"),
			{Name: "lan", Mode: netdrv.DirectLink, Direct: netdrv.Direct{Uplinks: []string{"eno1"}}},
		},
		"clean": {
			Clean(withMAC(withDHCP(WithRoute(lab, "10.99.0.0/16", "10.20.0.5"))), netdrv.CleanTraffic),
			Clean(withMAC(def), netdrv.CleanTraffic),
			wild,
		},
		"bridged":   {Network("office", netdrv.ExistingBridge, "br0")},
		"fixed-mac": {withMAC(lab)},
		"rules":     {withSet(withMAC(lab), "office", "192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"), withMAC(def)},
		"mix":       {wild, quiet, lonely, dmz, lab, def, Network("office", netdrv.ExistingBridge, "br0")},
	}
}

// A Guest is a firewall.Port to be.
type Guest struct {
	Link      string
	Network   string
	MAC       netdrv.MAC
	Addresses []netip.Addr
	Filter    netdrv.Filter // with its network's, of which there is none
	MACPrefix string        // not empty: the guest is pinned
}

func pinned(g Guest) Guest {
	g.MACPrefix = "\x52\x54\x00"
	return g
}

// Guests are, by the names of Networks, those that are on them.
func Guests() map[string][]Guest {
	return map[string][]Guest{
		"clean": {
			guest("vnet0", "lab", 1, netdrv.CleanTraffic, "10.20.0.5", "fd00:20::5"),
			guest("vnet1", "lab", 2, netdrv.CleanTraffic, "10.20.0.6"),
			guest("vnet2", "lab", 0, netdrv.CleanTraffic),
			guest("tap3", "lab", 3, netdrv.Unfiltered, "10.20.0.7"),
			guest("vnet10", "default", 1, netdrv.CleanTraffic, "192.168.122.5"),
			guest("vnet11", "wild", 4, netdrv.Unfiltered),
		},
		"bridged": {
			guest("vnet0", "office", 1, netdrv.Unfiltered),
			allowing(guest("vnet1", "office", 2, netdrv.CleanTraffic), netdrv.RouterAdvertisement, netdrv.DHCPServer, netdrv.BPDU),
			guest("vnet2", "office", 3, netdrv.CleanTraffic, "192.0.2.10", "2001:db8::10"),
			allowing(guest("vnet3", "office", 0, netdrv.CleanTraffic), netdrv.VLANTag),
		},
		"fixed-mac": {
			pinned(guest("vnet0", "lab", 1, netdrv.Unfiltered)),
			pinned(guest("vnet1", "lab", 0, netdrv.Unfiltered)),
		},
		"rules": {
			ruled(guest("vnet0", "lab", 1, netdrv.CleanTraffic, "10.20.0.5"), netdrv.Filter{
				In: netdrv.Drop,
				Rules: []netdrv.FilterRule{
					{Direction: netdrv.In, Action: netdrv.Accept, Protocol: netdrv.TCP, Ports: ports(22, 22)},
					{Direction: netdrv.In, Action: netdrv.Accept, Protocol: netdrv.UDP, Ports: ports(53, 53, 5000, 5010), Remote: "@office"},
					{Direction: netdrv.Out, Action: netdrv.Reject, Protocol: netdrv.TCP, Ports: ports(25, 25), Remote: "10.0.0.0/8", Log: true},
					{Direction: netdrv.Out, Action: netdrv.Accept, Protocol: netdrv.TCP, Ports: ports(443, 443), Log: true},
					{Direction: netdrv.Out, Action: netdrv.Drop, Protocol: 200},
				},
			}),
			ruled(guest("vnet1", "lab", 2, netdrv.InternetOnly, "10.20.0.6"), netdrv.Filter{}),
			guest("vnet2", "lab", 3, netdrv.Unfiltered),
			ruled(guest("vnet10", "default", 1, netdrv.Unfiltered, "192.168.122.5"), netdrv.Filter{
				Out:   netdrv.Drop,
				Rules: []netdrv.FilterRule{{Direction: netdrv.Out, Action: netdrv.Accept, Protocol: netdrv.ICMP, Remote: "host"}},
			}),
		},
	}
}

func ruled(g Guest, f netdrv.Filter) Guest {
	f.Preset = g.Filter.Preset
	g.Filter = f
	return g
}

func allowing(g Guest, kinds ...netdrv.FrameKind) Guest {
	g.Filter.Allow = kinds
	return g
}

func ports(ends ...uint16) []netdrv.PortRange {
	var out []netdrv.PortRange
	for i := 0; i+1 < len(ends); i += 2 {
		out = append(out, netdrv.PortRange{Start: ends[i], End: ends[i+1]})
	}
	return out
}

func guest(link, network string, n byte, p netdrv.Preset, addresses ...string) Guest {
	g := Guest{Link: link, Network: network, Filter: netdrv.Filter{Preset: p}}
	if n != 0 {
		g.MAC = netdrv.MAC{2, 0, 0, 0, 0, n}
	}
	for _, a := range addresses {
		g.Addresses = append(g.Addresses, netip.MustParseAddr(a))
	}
	return g
}

// Many returns n networks of modes nat, route and isolated in turn, each with a
// subnet of either family.
func Many(n int) []netdrv.Network {
	modes := []netdrv.Mode{netdrv.NAT, netdrv.Route, netdrv.Isolated}
	out := make([]netdrv.Network, n)
	for i := range out {
		v4 := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		v6 := netip.AddrFrom16([16]byte{0xfd, 2: byte(i >> 8), 3: byte(i), 15: 1})
		out[i] = Network("net"+strconv.Itoa(i), modes[i%3], "vbr"+strconv.Itoa(i),
			netip.PrefixFrom(v4, 24).String(), netip.PrefixFrom(v6, 64).String())
	}
	return out
}
