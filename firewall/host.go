package firewall

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// The destinations of DHCP clients that know no server (RFC 2131 section 4.1, RFC 8415
// section 7).
var (
	broadcast      = netip.MustParsePrefix("255.255.255.255/32")
	allDHCPServers = netip.MustParsePrefix("ff02::1:2/128")
)

const (
	dhcpPort         = 67
	dhcpClientPort   = 68
	dhcpv6Port       = 547
	dhcpv6ClientPort = 546
	dnsPort          = 53
)

// Types of ICMP messages.
const (
	echoReply    = 0
	echoRequest  = 8
	echoRequest6 = 128
	echoReply6   = 129
)

// hostSets are the sets of the input hook: of networks with limited access to the host, and
// of no others.
func hostSets(ns classified) []Set {
	host := Set{Name: "host", Key: []Type{IfName}, Verdicts: true, Counter: true, Elements: room(ns.limited)}
	gateways4 := Set{Name: "gateways4", Key: []Type{IfName, IPv4Addr}, Elements: room(ns.limited)}
	gateways6 := Set{Name: "gateways6", Key: []Type{IfName, IPv6Addr}, Elements: room(ns.limited)}
	services := Set{Name: "services", Key: []Type{IfName, InetProto, InetService}, Elements: room(ns.limited)}
	ranges := Set{Name: "service_ranges", Key: services.Key, Interval: true}
	// What a link needs: multicast listeners (RFC 2710, RFC 3810), router solicitations, and
	// neighbours (RFC 4861). Not router advertisements and redirects of guests.
	neighbours := numberSet("neighbours", ICMPv6Type, 130, 131, 132, 133, 135, 136, 143)
	for _, n := range ns.guarded {
		if n.VeryIsolated() {
			host.addVerdict(drop, n.Name, name(n.Bridge.Name))
		}
	}
	for _, n := range ns.limited {
		bridge := name(n.Bridge.Name)
		host.addVerdict(goTo("limited"), n.Name, bridge)
		gateways := n.Gateways()
		if n.HasIPv6() && !n.Bridge.MAC.IsZero() {
			gateways = append(gateways, n.Bridge.MAC.LinkLocal().Addr())
		}
		for _, a := range gateways {
			if a.Is4() {
				gateways4.add(bridge, address(a))
			} else {
				gateways6.add(bridge, address(a))
			}
		}
		for _, s := range joined(slices.Concat(servedByUs(n), proxyServices(n), n.HostAccess.Services)) {
			set := &services
			if s.Ports.Start != s.Ports.End {
				set = &ranges
			}
			set.add(bridge, number(uint16(s.Protocol)), numbers(s.Ports))
		}
	}
	return []Set{host, gateways4, gateways6, services, ranges, neighbours}
}

// servedByUs are the services of the daemon: DNS, DHCP to a server that the client knows,
// and boot files.
func servedByUs(n *netdrv.Network) []netdrv.Service {
	one := func(p netdrv.Protocol, port uint16) netdrv.Service {
		return netdrv.Service{Protocol: p, Ports: netdrv.PortRange{Start: port, End: port}}
	}
	var out []netdrv.Service
	if n.DNS.Enabled.Or(true) {
		out = append(out, one(netdrv.TCP, dnsPort), one(netdrv.UDP, dnsPort))
	}
	for _, s := range n.Subnets {
		switch {
		case s.DHCP == nil:
		case s.IsIPv6():
			out = append(out, one(netdrv.UDP, dhcpv6Port))
		default:
			out = append(out, one(netdrv.UDP, dhcpPort))
		}
		// The packets after a TFTP request belong to a connection of the host's own.
		if s.ServesFiles() {
			port := cmp.Or(s.DHCP.Boot.HTTPPort, netdrv.DefaultHTTPPort)
			out = append(out, one(netdrv.UDP, netdrv.TFTPPort), one(netdrv.TCP, port))
		}
	}
	return out
}

// joined returns the services in order, with ranges that overlap as one: the
// kernel takes no two intervals that do.
func joined(services []netdrv.Service) []netdrv.Service {
	slices.SortFunc(services, func(a, b netdrv.Service) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Ports.Start, b.Ports.Start))
	})
	out := services[:0]
	for _, s := range services {
		if i := len(out) - 1; i >= 0 && out[i].Protocol == s.Protocol && s.Ports.Start <= out[i].Ports.End {
			out[i].Ports.End = max(out[i].Ports.End, s.Ports.End)
			continue
		}
		out = append(out, s)
	}
	return out
}

// hostChains let guests of a limited network reach the host by its addresses on that
// network only. DHCP is read by packet sockets in any case; accepted here, it reaches other
// servers too.
func hostChains() []Chain {
	port := []Field{IIFName, L4Protocol, DPort}
	return []Chain{
		{Name: "input", Base: InputFilter, Rules: []Rule{rule("", lookup("host", IIFName))}},
		chain("limited",
			rule("host: replies", Established|Related, Counter, accept),
			rule("host: belongs to no connection", Invalid, Counter, drop),
			rule("", in("gateways4", IIFName, IPDAddr), jump("served")),
			rule("", in("gateways6", IIFName, IP6DAddr), jump("served")),
			rule("host: neighbours, multicast listeners", in("neighbours", ICMPv6Kind), Counter, accept),
			rule("host: multicast listeners", IGMP, Counter, accept),
			rule("host: DHCP", InPrefix{Field: IPDAddr, Prefix: broadcast}, Is{Field: UDPDPort, Number: dhcpPort}, Counter, accept),
			rule("host: DHCPv6", InPrefix{Field: IP6DAddr, Prefix: allDHCPServers}, Is{Field: UDPDPort, Number: dhcpv6Port}, Counter, accept),
			rule("", goTo("refuse"))),
		chain("served", // to an address of a gateway
			rule("host: services", in("services", port...), Counter, accept),
			rule("host: services", in("service_ranges", port...), Counter, accept),
			rule("host: ping", Is{Field: ICMPKind, Number: echoRequest}, Counter, accept),
			rule("host: ping", Is{Field: ICMPv6Kind, Number: echoRequest6}, Counter, accept)),
	}
}
