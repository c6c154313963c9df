package netdrv

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func six() Network {
	n := lab()
	n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix("fd00:10::1/64")})
	return n
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func TestValidateKinds(t *testing.T) {
	for name, c := range map[string]struct {
		n      Network
		change func(*Network)
		want   []string // substrings, one a finding, in order
	}{
		"dual stack": {six(), func(n *Network) {}, nil},
		"stateful DHCPv6": {six(), func(n *Network) {
			n.Subnets[1].DHCP = &DHCP{Ranges: []Range{rng("fd00:10::10", "fd00:10::ffff:0:0:0")}}
		}, nil},
		"stateless DHCPv6": {six(), func(n *Network) { n.Subnets[1].DHCP = &DHCP{Stateless: true} }, nil},
		"stateless with addresses": {six(), func(n *Network) {
			n.Subnets[1].DHCP = &DHCP{Stateless: true, Ranges: []Range{rng("fd00:10::10", "fd00:10::20")}}
		}, []string{"subnets[1].dhcp.stateless: gives no addresses"}},
		"a pool of the gateway only": {lab(), func(n *Network) { n.Subnets[0].DHCP.Ranges = []Range{rng("192.168.10.1", "192.168.10.1")} }, []string{"subnets[0].dhcp.ranges: hold 192.168.10.1 only"}},
		"nothing but the gateway left": {lab(), func(n *Network) {
			n.Subnets[0].DHCP.Ranges, n.Subnets[0].DHCP.Exclude = []Range{rng("192.168.10.1", "192.168.10.9")}, []Range{rng("192.168.10.2", "192.168.10.9")}
		}, []string{"subnets[0].dhcp.ranges: hold 192.168.10.1 only"}},
		"stateless IPv4":              {lab(), func(n *Network) { n.Subnets[0].DHCP.Stateless = true }, []string{"is for IPv6 subnets"}},
		"DHCPv6 with nothing":         {six(), func(n *Network) { n.Subnets[1].DHCP = &DHCP{} }, []string{"neither ranges nor reservations"}},
		"a long prefix":               {six(), func(n *Network) { n.Subnets[1].Address = prefix("fd00:10::1/112") }, []string{"is no prefix for SLAAC"}},
		"a long prefix, and no SLAAC": {six(), func(n *Network) { n.Subnets[1] = Subnet{Address: prefix("fd00:10::1/112"), SLAAC: No} }, nil},
		"a long prefix with DHCPv6": {six(), func(n *Network) {
			n.Subnets[1] = Subnet{Address: prefix("fd00:10::1/112"), DHCP: &DHCP{Ranges: []Range{rng("fd00:10::10", "fd00:10::20")}}}
		}, nil},
		"SLAAC in IPv4": {lab(), func(n *Network) { n.Subnets[0].SLAAC = Yes }, []string{"subnets[0].slaac: is for IPv6"}},
		"a DUID": {six(), func(n *Network) {
			n.Subnets[1].DHCP = &DHCP{Reservations: []Reservation{{DUID: "\x00\x03\x01", Address: addr("fd00:10::5")}}}
		}, nil},
		"a client identifier in IPv6": {six(), func(n *Network) {
			n.Subnets[1].DHCP = &DHCP{Reservations: []Reservation{{ClientID: "id", Address: netip.MustParseAddr("fd00:10::9")}}}
		}, []string{"clientId: is for IPv4"}},
		"a DUID and a MAC": {six(), func(n *Network) {
			n.Subnets[1].DHCP = &DHCP{Reservations: []Reservation{{MAC: MAC{2}, DUID: "\x00\x03\x01", Address: addr("fd00:10::5")}}}
		}, []string{"excludes mac"}},
		"a short DUID": {six(), func(n *Network) {
			n.Subnets[1].DHCP = &DHCP{Reservations: []Reservation{{DUID: "\x00", Address: addr("fd00:10::5")}}}
		}, []string{"is 1 octets long"}},
		"an MTU below IPv6's":   {six(), func(n *Network) { n.Bridge.MTU = 1279 }, []string{"bridge.mtu: 1279 is less than the 1280"}},
		"RA without IPv6":       {lab(), func(n *Network) { n.RA.Interval = time.Minute }, []string{"ra: is for networks with an IPv6 subnet"}},
		"RA every second":       {six(), func(n *Network) { n.RA.Interval = time.Second }, []string{"ra.interval: 1s is outside"}},
		"RA with a short life":  {six(), func(n *Network) { n.RA.Interval, n.RA.Lifetime = 10*time.Minute, time.Minute }, []string{"ra.lifetime: 1m0s is outside"}},
		"RA with an IPv4 route": {six(), func(n *Network) { n.RA.Routes = []netip.Prefix{prefix("10.0.0.0/8")} }, []string{"ra.routes[0]: 10.0.0.0/8 is not IPv6"}},
		"NAT66":                 {six(), func(n *Network) { n.NAT.IPv6 = true }, nil},
		"NAT66 of nothing":      {lab(), func(n *Network) { n.NAT.IPv6 = true }, []string{"nat.ipv6: translates nothing"}},
		"source addresses": {six(), func(n *Network) {
			n.NAT = NATOptions{IPv6: true, Addresses: []Range{rng("203.0.113.5", "203.0.113.9"), rng("2001:db8::5", "2001:db8::5")}}
		}, nil},
		"two of a family": {lab(), func(n *Network) {
			n.NAT.Addresses = []Range{rng("203.0.113.5", "203.0.113.9"), rng("203.0.113.15", "203.0.113.19")}
		}, []string{"nat.addresses[1]: is a second range"}},
		"backwards":               {lab(), func(n *Network) { n.NAT.Addresses = []Range{rng("203.0.113.9", "203.0.113.5")} }, []string{"ends at 203.0.113.5 before"}},
		"IPv6 without NAT66":      {six(), func(n *Network) { n.NAT.Addresses = []Range{rng("2001:db8::5", "2001:db8::5")} }, []string{"set nat.ipv6"}},
		"a route":                 {lab(), func(n *Network) { n.Routes = []StaticRoute{{prefix("10.99.0.0/16"), addr("192.168.10.5"), 0}} }, nil},
		"a route by itself":       {lab(), func(n *Network) { n.Routes = []StaticRoute{{prefix("10.99.0.0/16"), addr("192.168.10.1"), 0}} }, []string{"routes[0].via: 192.168.10.1 is the gateway's own"}},
		"a default route":         {lab(), func(n *Network) { n.Routes = []StaticRoute{{prefix("0.0.0.0/0"), addr("192.168.10.5"), 0}} }, []string{"would take the host's own", "overlaps subnets[0]"}},
		"a route into a subnet":   {lab(), func(n *Network) { n.Routes = []StaticRoute{{prefix("192.168.10.128/25"), addr("192.168.10.5"), 0}} }, []string{"overlaps subnets[0]"}},
		"a route of two families": {six(), func(n *Network) { n.Routes = []StaticRoute{{prefix("10.99.0.0/16"), addr("fd00:10::5"), 0}} }, []string{"are of two families"}},
		"limited, and open":       {lab(), func(n *Network) { n.Mode, n.HostAccess.Limited = Open, true }, []string{"mode open has none"}},
		"services of a very isolated one": {
			Network{Name: "quiet", Mode: Isolated, Bridge: Bridge{Name: "quiet0"}},
			func(n *Network) { n.HostAccess = HostAccess{true, []Service{{TCP, PortRange{22, 22}}}} },
			[]string{"need a subnet"},
		},
		"an uplink twice":          {lab(), func(n *Network) { n.Uplinks = []string{"eno1", "eno1"} }, []string{"uplinks[1]: eno1 is given already in uplinks[0]"}},
		"its own bridge as uplink": {lab(), func(n *Network) { n.Uplinks = []string{"lab0"} }, []string{"is this network's own link"}},
		"a bridge of the host":     {Network{Name: "office", Mode: ExistingBridge, Bridge: Bridge{Name: "br0"}}, func(n *Network) {}, nil},
		"clean on a host's bridge": {Network{Name: "office", Mode: ExistingBridge, Bridge: Bridge{Name: "br0"}}, func(n *Network) {
			n.Filter = Filter{Preset: CleanTraffic, Allow: []FrameKind{BPDU}}
		}, nil},
		"isolated on a host's bridge": {Network{Name: "office", Mode: ExistingBridge, Bridge: Bridge{Name: "br0"}}, func(n *Network) {
			n.Filter.Isolated = true
		}, []string{"filter.isolated: is for modes nat"}},
		"frames allowed without an uplink": {lab(), func(n *Network) { n.Filter.Allow = []FrameKind{VLANTag} }, []string{"filter.allow: is for mode bridge"}},
		"learned MACs of a LAN": {Network{Name: "office", Mode: ExistingBridge, Bridge: Bridge{Name: "br0", FDBMaxLearned: 9}}, func(n *Network) {
		}, []string{"bridge.fdbMaxLearned: is for modes nat"}},
		"with subnets":          {lab(), func(n *Network) { n.Mode, n.Bridge.MAC = ExistingBridge, MAC{} }, []string{"subnets: are not vnetd's in mode bridge"}},
		"macvtap":               {Network{Name: "lan", Mode: DirectLink, Direct: Direct{Uplinks: []string{"eno1"}}}, func(n *Network) {}, nil},
		"macvtap with a bridge": {Network{Name: "lan", Mode: DirectLink, Direct: Direct{Uplinks: []string{"eno1"}}}, func(n *Network) { n.Bridge.Name = "br0" }, []string{"bridge.name: is for direct.hostAccess"}},
		"host access in vepa": {
			Network{Name: "lan", Mode: DirectLink, Bridge: Bridge{Name: "lan0"}, Direct: Direct{Uplinks: []string{"eno1"}}},
			func(n *Network) { n.Direct.Mode, n.Direct.HostAccess = DirectVEPA, true },
			[]string{"works in direct mode bridge only"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := *c.n.Clone()
			c.change(&n)
			got := lines(Validate(&n))
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("got %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}
