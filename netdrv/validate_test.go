package netdrv

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lab returns a network with nothing wrong. The address plan is in
// testdata/README.md at the root.
func lab() Network {
	return Network{
		Name:   "lab",
		Mode:   NAT,
		Bridge: Bridge{Name: "lab0", MAC: MAC{2, 0, 0, 0, 10, 1}},
		Subnets: []Subnet{{
			Address: netip.MustParsePrefix("192.168.10.1/24"),
			DHCP: &DHCP{
				Ranges: []Range{rng("192.168.10.100", "192.168.10.200")},
				Reservations: []Reservation{
					{MAC: MAC{2, 0, 0, 0, 10, 11}, Address: netip.MustParseAddr("192.168.10.11"), Hostname: "web"},
				},
			},
		}},
		DNS: DNS{Domain: "lab.test"},
	}
}

// relayed adds a subnet behind a relay.
func relayed(r RelayedSubnet) func(*Network) {
	return func(n *Network) { n.Subnets[0].DHCP.Relayed = []RelayedSubnet{r} }
}

func rng(a, b string) Range { return Range{netip.MustParseAddr(a), netip.MustParseAddr(b)} }

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Network)
		want   []string // substrings, one a finding, in order
	}{
		"nothing wrong":     {func(n *Network) {}, nil},
		"very isolated":     {func(n *Network) { n.Mode, n.Subnets, n.DNS = Isolated, nil, DNS{} }, nil},
		"no name":           {func(n *Network) { n.Name = "" }, []string{`name: "" is not a name`}},
		"a path for a name": {func(n *Network) { n.Name = "../etc" }, []string{`name: "../etc" is not a name`}},
		"filter of a direct network": {func(n *Network) {
			*n = Network{Name: "lan", Mode: DirectLink, Direct: Direct{Uplinks: []string{"eno1"}}, Filter: Filter{Isolated: true}}
		}, []string{"filter: has no bridge to work on in mode direct"}},
		"clean traffic without subnets": {func(n *Network) {
			n.Mode, n.Subnets, n.DNS, n.Filter = Isolated, nil, DNS{}, Filter{Preset: CleanTraffic}
		}, []string{"filter.preset: clean-traffic needs a subnet"}},
		"rules": {func(n *Network) {
			n.Filter.Sets = []FilterSet{{Name: "office"}, {Name: "a b"}, {Name: "office"}}
			n.Filter.Rules = []FilterRule{
				{Direction: In, Action: Accept, Protocol: TCP, Ports: []PortRange{{22, 22}}, Remote: "@office"},
				{Protocol: ICMP, Ports: []PortRange{{8, 8}}},
				{Direction: Out, Action: Drop, Protocol: UDP, Ports: []PortRange{{0, 0}, {9, 8}}, Remote: "@nowhere"},
				{Direction: Out, Action: Drop, Protocol: ICMP, Remote: "fd00::/8"},
				{Direction: Out, Action: Drop, Protocol: ICMPv6, Remote: "10.0.0.1"},
			}
		}, []string{
			"filter.sets[1].name", "filter.sets[2].name: office is given already",
			"filter.rules[1].direction: is missing", "filter.rules[1].action: is missing", "filter.rules[1].ports: need a protocol that has ports",
			"filter.rules[2].ports[0]", "filter.rules[2].ports[1]", "filter.rules[2].remote: @nowhere is not among filter.sets",
			"filter.rules[3].protocol: icmp is IPv4's", "filter.rules[4].protocol: icmpv6 is IPv6's",
		}},
		"too many rules": {func(n *Network) {
			n.Filter.Rules = slices.Repeat([]FilterRule{{Direction: In, Action: Accept}}, 201)
		}, []string{"filter.rules: are 201; at most 200"}},
		"isolated without subnets": {func(n *Network) {
			n.Mode, n.Subnets, n.DNS, n.Filter = Isolated, nil, DNS{}, Filter{Isolated: true}
		}, nil},
		"no mode":                    {func(n *Network) { n.Mode = 0 }, []string{"mode: is not set"}},
		"bridge of 16 bytes":         {func(n *Network) { n.Bridge.Name = "abcdefghijklmnop" }, []string{"bridge.name: \"abcdefghijklmnop\" is longer than the 15 bytes"}},
		"bridge of 15 bytes":         {func(n *Network) { n.Bridge.Name = "abcdefghijklmno" }, nil},
		"bridge with a slash":        {func(n *Network) { n.Bridge.Name = "a/b" }, []string{"bridge.name"}},
		"bridge called all":          {func(n *Network) { n.Bridge.Name = "all" }, []string{"bridge.name: \"all\" is reserved"}},
		"multicast bridge":           {func(n *Network) { n.Bridge.MAC = MAC{1} }, []string{"bridge.mac: 01:00:00:00:00:00 is a multicast"}},
		"tiny MTU":                   {func(n *Network) { n.Bridge.MTU = 67 }, []string{"bridge.mtu: 67"}},
		"nat without subnets":        {func(n *Network) { n.Subnets = nil }, []string{"subnets: are missing"}},
		"network address as gateway": {func(n *Network) { n.Subnets[0].Address = netip.MustParsePrefix("192.168.10.0/24") }, []string{"is the network's own address", "outside"}[:1]},
		"broadcast as gateway":       {func(n *Network) { n.Subnets[0].Address = netip.MustParsePrefix("192.168.10.255/24") }, []string{"is the broadcast address"}},
		"a /31":                      {func(n *Network) { n.Subnets[0] = Subnet{Address: netip.MustParsePrefix("192.168.10.1/31")} }, []string{"leaves no room"}},
		"range outside":              {func(n *Network) { n.Subnets[0].DHCP.Ranges[0] = rng("192.168.11.1", "192.168.11.9") }, []string{"ranges[0].start: 192.168.11.1 is outside 192.168.10.0/24", "ranges[0].end"}},
		"range backwards":            {func(n *Network) { n.Subnets[0].DHCP.Ranges[0] = rng("192.168.10.9", "192.168.10.8") }, []string{"ends at 192.168.10.8 before it starts"}},
		"range with broadcast":       {func(n *Network) { n.Subnets[0].DHCP.Ranges[0].End = netip.MustParseAddr("192.168.10.255") }, []string{"ranges[0].end: 192.168.10.255 is the broadcast"}},
		"ranges overlap": {func(n *Network) {
			n.Subnets[0].DHCP.Ranges = append(n.Subnets[0].DHCP.Ranges, rng("192.168.10.150", "192.168.10.250"))
		}, []string{"ranges[1]: 192.168.10.150 to 192.168.10.250 overlaps ranges[0]"}},
		"reservation twice":           {func(n *Network) { r := &n.Subnets[0].DHCP.Reservations; *r = append(*r, (*r)[0]) }, []string{"reservations[1].mac: 02:00:00:00:0a:0b is given already in", "reservations[1].address", "reservations[1].hostname"}},
		"reservation without an end":  {func(n *Network) { n.Subnets[0].DHCP.Reservations[0] = Reservation{} }, []string{"reservations[0].mac: is missing", "reservations[0].address: is missing"}},
		"reservation of the gateway":  {func(n *Network) { n.Subnets[0].DHCP.Reservations[0].Address = netip.MustParseAddr("192.168.10.1") }, []string{"is the gateway's own"}},
		"reservation with a bad name": {func(n *Network) { n.Subnets[0].DHCP.Reservations[0].Hostname = "a.b" }, []string{"hostname: \"a.b\" is not a host name"}},
		"a lease of a minute":         {func(n *Network) { n.Subnets[0].DHCP.LeaseTime = time.Minute }, []string{"leaseTime: 1m0s is shorter than 2m"}},
		"DHCP with nothing":           {func(n *Network) { n.Subnets[0].DHCP = &DHCP{} }, []string{"neither ranges nor reservations"}},
		"two subnets that overlap": {func(n *Network) {
			n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix("192.168.10.129/25")})
		}, []string{"subnets[1].address: 192.168.10.129/25 overlaps subnets[0]"}},
		"two subnets with DHCP": {func(n *Network) {
			s := n.Subnets[0]
			s.Address = netip.MustParsePrefix("192.168.11.1/24")
			s.DHCP = &DHCP{Ranges: []Range{rng("192.168.11.5", "192.168.11.6")}}
			n.Subnets = append(n.Subnets, s)
		}, nil},
		"by client identifier, DUID, name": {func(n *Network) {
			n.Subnets[0].DHCP.Reservations = []Reservation{
				{ClientID: "id", Address: netip.MustParseAddr("192.168.10.2")},
				{DUID: "\x00\x03\x00\x01\x02", Address: netip.MustParseAddr("192.168.10.3")},
				{Hostname: "db", Address: netip.MustParseAddr("192.168.10.4")},
			}
		}, nil},
		"two keys": {func(n *Network) {
			r := n.Subnets[0].DHCP.Reservations
			r[0].ClientID = "id"
			n.Subnets[0].DHCP.Reservations = append(r, Reservation{ClientID: "id", DUID: "duid", Address: netip.MustParseAddr("192.168.10.3")})
		}, []string{"reservations[0].clientId: excludes mac", "reservations[1].duid: excludes mac and clientId"}},
		"a client identifier twice": {func(n *Network) {
			n.Subnets[0].DHCP.Reservations = []Reservation{
				{ClientID: "id", Address: netip.MustParseAddr("192.168.10.2")}, {ClientID: "id", Address: netip.MustParseAddr("192.168.10.3")},
			}
		}, []string{"reservations[1].clientId: client identifier 6964 is given already in"}},
		"one name in two subnets": {func(n *Network) {
			n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix("192.168.11.1/24"), DHCP: &DHCP{Reservations: []Reservation{
				{MAC: MAC{2, 0, 0, 0, 10, 11}, Address: netip.MustParseAddr("192.168.11.11"), Hostname: "WEB"},
			}}})
		}, nil},
		"a name of two guests": {func(n *Network) {
			n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix("192.168.11.1/24"), DHCP: &DHCP{Reservations: []Reservation{
				{MAC: MAC{2, 0, 0, 0, 10, 12}, Address: netip.MustParseAddr("192.168.11.11"), Hostname: "WEB"},
			}}})
		}, []string{"subnets[1].dhcp.reservations[0].hostname: WEB is given to another guest in subnets[0].dhcp.reservations[0]"}},
		"exclusions":               {func(n *Network) { n.Subnets[0].DHCP.Exclude = []Range{rng("192.168.10.110", "192.168.10.119")} }, nil},
		"an exclusion outside":     {func(n *Network) { n.Subnets[0].DHCP.Exclude = []Range{rng("192.168.10.10", "192.168.10.20")} }, []string{"exclude[0]: 192.168.10.10 to 192.168.10.20 is in none of the ranges"}},
		"an exclusion backwards":   {func(n *Network) { n.Subnets[0].DHCP.Exclude = []Range{rng("192.168.10.120", "192.168.10.110")} }, []string{"exclude[0]: ends at 192.168.10.110 before"}},
		"everything excluded":      {func(n *Network) { n.Subnets[0].DHCP.Exclude = []Range{rng("192.168.10.1", "192.168.10.220")} }, []string{"exclude: leaves nothing"}},
		"leases for ever":          {func(n *Network) { n.Subnets[0].DHCP.LeaseTime = Infinite }, nil},
		"behind a relay":           {relayed(RelayedSubnet{Subnet: netip.MustParsePrefix("10.30.0.0/24"), Router: netip.MustParseAddr("10.30.0.1"), Ranges: []Range{rng("10.30.0.9", "10.30.0.19")}}), nil},
		"behind a relay, own link": {relayed(RelayedSubnet{Subnet: netip.MustParsePrefix("192.168.0.0/16"), Ranges: []Range{rng("192.168.1.9", "192.168.1.19")}}), []string{"relayed[0].subnet: 192.168.0.0/16 overlaps subnets[0].address"}},
		"behind a relay, IPv6":     {relayed(RelayedSubnet{Subnet: netip.MustParsePrefix("fd00:30::/64")}), []string{"relayed[0].subnet: fd00:30::/64 is not of the family of 192.168.10.1/24"}},
		"behind a relay, nothing":  {relayed(RelayedSubnet{Subnet: netip.MustParsePrefix("10.30.0.0/24")}), []string{"relayed[0]: has neither ranges nor reservations"}},
		"behind a relay, far away": {relayed(RelayedSubnet{Subnet: netip.MustParsePrefix("10.30.0.0/24"), Router: netip.MustParseAddr("10.31.0.1"), Ranges: []Range{rng("10.31.0.9", "10.30.0.19")}}), []string{"relayed[0].router: 10.31.0.1 is outside", "relayed[0].ranges[0].start: 10.31.0.9 is outside", "relayed[0].ranges[0]: ends at"}},
		"a domain with a space":    {func(n *Network) { n.DNS.Domain = "a b" }, []string{"dns.domain"}},
		"forwarding to oneself": {func(n *Network) {
			n.DNS.Forwarders = []Forwarder{{Address: netip.MustParseAddrPort("192.168.10.1:53")}}
		}, []string{"queries would loop"}},
		"records without a server": {func(n *Network) {
			n.Mode, n.Subnets, n.NAT = Isolated, nil, NATOptions{}
			n.DNS.Records, n.DNS.Peers = []Record{{"www", "A", "10.0.0.1", 0}}, []string{"office"}
		}, []string{"dns.records: would not be served", "dns.peers: would not be served"}},
		"peers that are none": {func(n *Network) {
			n.DNS.Peers = []string{"office", "a b", "lab", "office"}
		}, []string{`dns.peers[1]: "a b" is not the name of a network`, "dns.peers[2]: lab is this network itself", "dns.peers[3]: office is given already in dns.peers[0]"}},
		"too many peers": {func(n *Network) { n.DNS.Peers = make([]string, 65) }, []string{"dns.peers: are 65 networks; at most 64"}},
		"forwarding over TLS to nobody": {func(n *Network) {
			n.DNS.Forwarders = []Forwarder{{Address: netip.MustParseAddrPort("10.0.0.53:853"), TLS: "dns example"}}
		}, []string{"dns.forwarders[0].tls.name: \"dns example\" is not a domain name"}},
		"nat ports on a routed one":    {func(n *Network) { n.Mode, n.NAT.Ports = Route, PortRange{1, 2} }, []string{"nat: is for mode nat"}},
		"everything wrong is reported": {func(n *Network) { n.Name, n.Mode, n.Bridge.Name, n.DNS.Domain = "", 0, "", "-" }, []string{"name", "mode", "bridge.name", "dns.domain"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := lab()
			c.change(&n)
			got := Validate(&n)
			if len(got) != len(c.want) {
				t.Fatalf("got %d findings, want %d:\n%s", len(got), len(c.want), strings.Join(lines(got), "\n"))
			}
			for i, want := range c.want {
				if !strings.Contains(got[i].String(), want) {
					t.Errorf("finding %d: got %q, want it to say %q", i, got[i], want)
				}
			}
		})
	}
}

func lines(fs Findings) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.String())
	}
	return out
}

func TestConflicts(t *testing.T) {
	n, o := lab(), lab()
	if got := Conflicts(&n, []Network{o}); got != nil {
		t.Errorf("a network collides with itself: %v", got)
	}
	o.Name = "other"
	want := []string{
		"bridge.name: lab0 is the bridge of network other",
		"bridge.mac: 02:00:00:00:0a:01 is the MAC of network other's bridge",
		"subnets[0].address: 192.168.10.1/24 overlaps 192.168.10.1/24 of network other",
	}
	if diff := cmp.Diff(want, lines(Conflicts(&n, []Network{o}))); diff != "" {
		t.Error(diff)
	}
}

func TestDomainConflicts(t *testing.T) {
	n, o := lab(), Network{Name: "office", DNS: DNS{Domain: "LAB.test"}}
	if got := Conflicts(&n, []Network{o}); got != nil {
		t.Errorf("two strangers with one domain: %v", got)
	}
	n.DNS.Peers = []string{"office"}
	if got := lines(Conflicts(&n, []Network{o})); len(got) != 1 || !strings.Contains(got[0], "dns.domain: lab.test is the domain of its peer office") {
		t.Errorf("got %q", got)
	}
	if got := lines(Conflicts(&o, []Network{n})); len(got) != 1 || !strings.Contains(got[0], "dns.domain: LAB.test is the domain of network lab, too, which names this one") {
		t.Errorf("got %q", got)
	}
}

func TestMayName(t *testing.T) {
	for _, c := range []struct{ named, back, reach, want bool }{
		{false, false, true, false},
		{false, true, true, false},
		{true, false, false, false},
		{true, false, true, true},
		{true, true, false, true},
	} {
		n, o := Network{Name: "n"}, Network{Name: "o"}
		if c.named {
			n.DNS.Peers = []string{"o"}
		}
		if c.back {
			o.DNS.Peers = []string{"n"}
		}
		if got := MayResolve(&n, &o, c.reach); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestHostConflicts(t *testing.T) {
	n := lab()
	host := Host{
		Links: map[string]HostLink{"eth0": {}},
		Prefixes: []HostPrefix{
			{Prefix: netip.MustParsePrefix("203.0.113.2/24"), Link: "eth0"},
			{Prefix: netip.MustParsePrefix("192.168.0.0/16"), Link: "wg0", Route: true},
		},
	}
	want := []string{"subnets[0].address: 192.168.10.1/24 is in use by the host: route to 192.168.0.0/16 by wg0"}
	if diff := cmp.Diff(want, lines(HostConflicts(&n, host))); diff != "" {
		t.Error(diff)
	}
	host.Prefixes, host.Links["lab0"] = nil, HostLink{}
	if got := lines(HostConflicts(&n, host)); len(got) != 1 || !strings.Contains(got[0], "lab0 exists already") {
		t.Errorf("got %q, want a finding about lab0", got)
	}
}

func TestRelocate(t *testing.T) {
	n := lab()
	same, said := Relocate(n, Host{})
	if diff := cmp.Diff(n, same, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || said != nil {
		t.Errorf("moved on a free host: %v %s", said, diff)
	}
	host := Host{
		Links:    map[string]HostLink{"lab0": {}, "lab1": {}},
		Prefixes: []HostPrefix{{Prefix: netip.MustParsePrefix("192.168.10.0/23"), Link: "eth0"}},
	}
	got, said := Relocate(n, host)
	if got.Bridge.Name != "lab2" || got.Subnets[0].Address.String() != "192.168.12.1/24" ||
		got.Subnets[0].DHCP.Ranges[0] != rng("192.168.12.100", "192.168.12.200") ||
		got.Subnets[0].DHCP.Reservations[0].Address.String() != "192.168.12.11" || len(said) != 2 {
		t.Errorf("got %+v %+v, said %q", got.Bridge, got.Subnets[0], said)
	}
	if fs := HostConflicts(&got, host); fs != nil {
		t.Errorf("moved, and still in the way: %v", fs)
	}
	if n.Subnets[0].DHCP.Ranges[0] != rng("192.168.10.100", "192.168.10.200") {
		t.Error("Relocate changed its argument")
	}
}

func TestComplete(t *testing.T) {
	taken := func(link string) bool { return link == "vnbr0" }
	n := Complete(Network{Name: "lab", Mode: NAT, Subnets: make([]Subnet, 1)}, nil, taken, [3]byte{1, 2, 3})
	if n.Bridge.Name != "vnbr1" || n.Bridge.MAC.String() != "52:54:00:01:02:03" || n.DNS.Domain != "lab.internal" {
		t.Errorf("got %+v %+v", n.Bridge, n.DNS)
	}
	again := Complete(Network{Name: "lab", Mode: NAT, Subnets: make([]Subnet, 1)}, &n, taken, [3]byte{9, 9, 9})
	if again.Bridge.Name != n.Bridge.Name || again.Bridge.MAC != n.Bridge.MAC {
		t.Errorf("a change of the definition moved the bridge: %+v, was %+v", again.Bridge, n.Bridge)
	}
}

func TestBroadcast(t *testing.T) {
	for in, want := range map[string]string{
		"192.168.10.1/24": "192.168.10.255", "10.1.2.3/8": "10.255.255.255",
		"10.0.0.5/30": "10.0.0.7", "172.16.5.1/20": "172.16.15.255",
	} {
		if got := Broadcast(netip.MustParsePrefix(in)).String(); got != want {
			t.Errorf("Broadcast(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestModeAndMACRoundTrip(t *testing.T) {
	for m := range modeNames {
		if got, ok := ParseMode(m.String()); !ok || got != m {
			t.Errorf("ParseMode(%s) = %v, %v", m, got, ok)
		}
	}
	m, err := ParseMAC("52:54:00:AB:cd:01")
	if err != nil || m.String() != "52:54:00:ab:cd:01" || m.LinkLocal().String() != "fe80::5054:ff:feab:cd01/64" {
		t.Errorf("got %s, %s, %v", m, m.LinkLocal(), err)
	}
	if _, err := ParseMAC("02:00:5e:10:00:00:00:01"); err == nil {
		t.Error("an EUI-64 was taken for an Ethernet address")
	}
}
