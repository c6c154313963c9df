package firewall

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

// place is where a party is: on a bridge, or behind a link of the host.
type place struct {
	party   Party
	network netdrv.Network
	link    string
	v4, v6  netip.Addr
}

// port is what guests may reach on a limited host.
const port = 7000

// places are two networks of each kind, with a guest on each, and who else is
// there.
func places(nat66 bool) (out []place) {
	for i := range 2 {
		for p := NATGuest; p <= OpenGuest; p++ {
			k := int(p)*10 + i
			mode := map[Party]netdrv.Mode{
				NATGuest: netdrv.NAT, PinnedNATGuest: netdrv.NAT, RouteGuest: netdrv.Route, PinnedRouteGuest: netdrv.Route,
				IsolatedGuest: netdrv.Isolated, VeryIsolatedGuest: netdrv.Isolated, OpenGuest: netdrv.Open,
			}[p]
			n := example.Network(fmt.Sprint("net", k), mode, fmt.Sprint("vbr", k),
				fmt.Sprintf("10.%d.0.1/24", k), fmt.Sprintf("fd00:%d::1/64", k))
			switch p {
			case PinnedNATGuest, PinnedRouteGuest:
				n.Uplinks = []string{"eno1"}
			case VeryIsolatedGuest:
				n.Subnets = nil
			case IsolatedGuest:
				n = example.WithServices(n, fmt.Sprintf("tcp/%d", port), fmt.Sprintf("udp/%d", port))
			}
			n.NAT.IPv6 = nat66 && mode == netdrv.NAT
			out = append(out, place{
				p, n, n.Bridge.Name,
				netip.MustParseAddr(fmt.Sprintf("10.%d.0.2", k)), netip.MustParseAddr(fmt.Sprintf("fd00:%d::2", k)),
			})
		}
	}
	for p, link := range map[Party]string{AtUplink: "eno1", Elsewhere: "eno2"} {
		out = append(out, place{party: p, link: link, v4: netip.MustParseAddr("198.51.100.9"), v6: netip.MustParseAddr("2001:db8::9")})
	}
	return out
}

func (p place) addr(ipv4 bool) netip.Addr {
	if ipv4 {
		return p.v4
	}
	return p.v6
}

// every calls f for every two places, both protocols and both families.
func every(nat66 bool, f func(r *simulator, from, to place, first packet)) {
	all := places(nat66)
	var networks []netdrv.Network
	for _, p := range all {
		if p.party <= OpenGuest {
			networks = append(networks, p.network)
		}
	}
	r := simulate(Compile(networks))
	for _, from := range all {
		for _, to := range all {
			for _, ipv4 := range []bool{true, false} {
				for _, proto := range []L4Proto{TCP, UDP} {
					f(r, from, to, packet{
						iif: from.link, oif: to.link, src: from.addr(ipv4), dst: to.addr(ipv4),
						proto: proto, first: true, dport: port,
					})
				}
			}
		}
	}
}

// The compiled rules do what the table says, for every pair of networks and hosts
// outside.
func TestRulesDoWhatThePolicySays(t *testing.T) {
	for _, nat66 := range []bool{false, true} {
		every(nat66, func(r *simulator, from, to place, p packet) {
			want := Policy(from.party, to.party)
			if from.link == to.link {
				want = Yes
			}
			if got := r.passes(ForwardFilter, p); got != (want != No) {
				t.Errorf("%s to %s: %+v passes = %t, want %s", from.party, to.party, p, got, want)
			}
			if want == No {
				return
			}
			translated := want == Translated && (nat66 || p.dst.Is4())
			if got := r.translated(p); (got != nil) != translated {
				t.Errorf("%s to %s: %+v is translated by %v, want %s", from.party, to.party, p, got, want)
			}
		})
	}
}

// Whom one may call may answer.
func TestAnswersComeBack(t *testing.T) {
	every(false, func(r *simulator, from, to place, p packet) {
		answer := packet{
			iif: p.oif, oif: p.iif, src: p.dst, dst: p.src, proto: p.proto, dport: 40000, state: Established,
		}
		if Policy(from.party, to.party) != No && !r.passes(ForwardFilter, answer) {
			t.Errorf("%s called %s, and its answer is refused: %+v", from.party, to.party, answer)
		}
	})
}

// Whatever a packet claims to be, where the policy says No to calls in both
// directions nothing passes; and nothing passes by claiming to be an answer into a
// network that must not be left.
func TestNothingPassesWhereNobodyMayCall(t *testing.T) {
	every(true, func(r *simulator, from, to place, p packet) {
		if from.link == to.link || Policy(from.party, to.party) != No || Policy(to.party, from.party) != No {
			return
		}
		for _, state := range []CTState{0, Established, Related, Invalid, Untracked} {
			for _, first := range []bool{true, false} {
				p.state, p.first = state, first
				// A NAT network accepts replies from all that can reach the outside; there
				// are none, as its own rules let no request out.
				if to.network.Mode == netdrv.NAT && state&(Established|Related) != 0 && Policy(from.party, Elsewhere) != No {
					continue
				}
				if r.passes(ForwardFilter, p) {
					t.Errorf("%s to %s: %+v passes", from.party, to.party, p)
				}
			}
		}
	})
}

// What the kernel does not translate does not leave a NAT network for the outside.
func TestUntranslatableStaysInside(t *testing.T) {
	every(true, func(r *simulator, from, to place, p packet) {
		p.state = Invalid
		if Policy(from.party, to.party) == Translated && r.passes(ForwardFilter, p) {
			t.Errorf("%s to %s: %+v passes", from.party, to.party, p)
		}
		p.state = Untracked
		if Policy(from.party, to.party) == Translated && r.passes(ForwardFilter, p) {
			t.Errorf("%s to %s: %+v passes", from.party, to.party, p)
		}
	})
}

// What guests reach on the host is in the table too.
func TestHostDoesWhatThePolicySays(t *testing.T) {
	every(false, func(r *simulator, from, _ place, p packet) {
		gateways := from.network.Gateways()
		for _, c := range []struct {
			to  Party
			dst netip.Addr
		}{
			{HostGateway, from.addr(p.dst.Is4()).Prev()}, {HostOther, p.dst},
		} {
			p.oif, p.dst = "", c.dst
			want := Policy(from.party, c.to)
			if c.to == HostGateway && len(gateways) == 0 && from.party <= OpenGuest {
				want = No
			}
			if got := r.passes(InputFilter, p); got != (want != No) {
				t.Errorf("%s to %s: %+v passes = %t, want %s", from.party, c.to, p, got, want)
			}
			other := p
			other.dport++
			if got := r.passes(InputFilter, other); got != (want == Yes) {
				t.Errorf("%s to %s, a port that is not named: passes = %t, want %s", from.party, c.to, got, want)
			}
		}
	})
}

// A limited host, packet by packet.
func TestLimitedHost(t *testing.T) {
	r := simulate(Compile(append(example.Networks()["host-services"], example.Network("quiet", netdrv.Isolated, "virbr7"))))
	const own, own6, link6, other = "10.50.0.1", "fd00:50::1", "fe80::5054:ff:feaa:bb01", "203.0.113.1"
	for _, c := range []struct {
		what   string
		iif    string
		dst    string
		proto  L4Proto
		number uint16 // port or type
		state  CTState
		want   bool
	}{
		{"DNS", "virbr4", own, UDP, 53, 0, true},
		{"DNS", "virbr4", own, TCP, 53, 0, true},
		{"DNS", "virbr4", own6, UDP, 53, 0, true},
		{"DNS by the link-local address", "virbr4", link6, UDP, 53, 0, true},
		{"DNS by another address", "virbr4", other, UDP, 53, 0, false},
		{"DNS by another network's address", "virbr4", "192.168.122.1", UDP, 53, 0, false},
		{"ssh", "virbr4", own, TCP, 22, 0, true},
		{"ssh", "virbr4", own6, TCP, 22, 0, true},
		{"ssh over UDP", "virbr4", own, UDP, 22, 0, false},
		{"ssh by another address", "virbr4", other, TCP, 22, 0, false},
		{"a range, where two meet", "virbr4", own, UDP, 5012, 0, true},
		{"behind the range", "virbr4", own, UDP, 5021, 0, false},
		{"SCTP", "virbr4", own, 132, 80, 0, true},
		{"another network's ssh", "virbr0", "192.168.122.1", TCP, 22, 0, false},
		{"a network without limits", "virbr2", other, TCP, 22, 0, true},
		{"DHCP by broadcast", "virbr4", "255.255.255.255", UDP, 67, 0, true},
		{"DHCP to the server", "virbr4", own, UDP, 67, 0, true},
		{"DHCP to another address", "virbr4", other, UDP, 67, 0, false},
		{"DHCPv6", "virbr4", "ff02::1:2", UDP, 547, 0, true},
		{"mDNS", "virbr4", "224.0.0.251", UDP, 5353, 0, false},
		{"ping", "virbr4", own, 1, 8, 0, true},
		{"ping", "virbr4", link6, 58, 128, 0, true},
		{"ping another address", "virbr4", other, 1, 8, 0, false},
		{"a redirect", "virbr4", own, 1, 5, 0, false},
		{"a neighbour solicitation", "virbr4", "ff02::1:ff00:1", 58, 135, Untracked, true},
		{"a router solicitation", "virbr4", "ff02::2", 58, 133, Untracked, true},
		{"a router advertisement", "virbr4", "ff02::1", 58, 134, Untracked, false},
		{"MLD", "virbr4", "ff02::16", 58, 143, Untracked, true},
		{"IGMP", "virbr4", "224.0.0.22", IGMP, 0, 0, true},
		{"a reply", "virbr4", other, TCP, 40000, Established, true},
		{"an error about what the host sent", "virbr4", own, 1, 3, Related, true},
		{"a stray segment", "virbr4", own, TCP, 22, Invalid, false},
		{"anything", "virbr7", other, UDP, 53, 0, false},
		{"a reply", "virbr7", other, TCP, 40000, Established, false},
		{"neighbours", "virbr7", "ff02::1:ff00:1", 58, 135, Untracked, false},
		{"a link of another network", "eno1", other, TCP, 22, 0, true},
	} {
		p := packet{iif: c.iif, dst: netip.MustParseAddr(c.dst), proto: c.proto, dport: c.number, icmp: c.number, state: c.state, first: c.state == 0}
		if got := r.passes(InputFilter, p); got != c.want {
			t.Errorf("%s, %s to %s: passes = %t, want %t", c.iif, c.what, c.dst, got, c.want)
		}
	}
}

// Prefixes behind guests are the network's own: as sources and as destinations.
func TestRoutesAreOwn(t *testing.T) {
	r := simulate(Compile(example.Networks()["routes"]))
	for _, c := range []struct {
		iif, oif, src, dst string
		passes, translated bool
	}{
		{"virbr0", "eno1", "10.99.3.4", "198.51.100.9", true, true},
		{"virbr2", "eno1", "10.98.3.4", "198.51.100.9", true, false},
		{"virbr2", "eno1", "10.30.0.200", "198.51.100.9", true, false},
		{"virbr2", "eno1", "10.99.3.4", "198.51.100.9", false, false},
		{"eno1", "virbr2", "198.51.100.9", "10.98.3.4", true, false},
		{"eno1", "virbr2", "198.51.100.9", "10.97.3.4", false, false},
		{"eno1", "virbr0", "198.51.100.9", "10.99.3.4", false, false},
		{"virbr0", "virbr2", "10.99.3.4", "10.98.3.4", true, false},
	} {
		p := packet{iif: c.iif, oif: c.oif, src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr(c.dst), proto: UDP}
		if got := r.passes(ForwardFilter, p); got != c.passes {
			t.Errorf("%+v: passes = %t, want %t", c, got, c.passes)
		}
		if got := r.translated(p) != nil; c.passes && got != c.translated {
			t.Errorf("%+v: translated = %t", c, got)
		}
	}
}

// What the host sends itself, and what is bridged, has no link that it came in by.
func TestHostsOwnPacketsAreNotTranslated(t *testing.T) {
	r := simulate(Compile(example.Networks()["nat"]))
	p := packet{oif: "eno1", src: netip.MustParseAddr("192.168.122.1"), dst: netip.MustParseAddr("255.255.255.255"), proto: UDP}
	if got := r.translated(p); got != nil {
		t.Errorf("a DHCP reply is translated by %v", got)
	}
}

func TestSourcesOfNAT(t *testing.T) {
	r := simulate(Compile(example.Networks()["nat-addresses"]))
	for src, want := range map[string]string{
		"virbr10 10.20.0.9":     "snat ip to 203.0.113.5-203.0.113.9:1024-65535 persistent",
		"virbr10 fd00:20::9":    "snat ip6 to [2001:db8::5]-[2001:db8::9]:1024-65535 persistent",
		"virbr0 192.168.122.77": "snat ip to 203.0.113.7:5000-5999",
		"virbr6 fd00:6::9":      "masquerade to :1024-65535",
	} {
		var iif, a string
		fmt.Sscan(src, &iif, &a)
		p := packet{iif: iif, oif: "eno1", src: netip.MustParseAddr(a), proto: TCP}
		p.dst = netip.MustParseAddr("198.51.100.9")
		if p.src.Is6() {
			p.dst = netip.MustParseAddr("2001:db8::9")
		}
		if got := r.translated(p); got == nil || got.String() != want {
			t.Errorf("%s: %v, want %s", src, got, want)
		}
		for _, group := range []string{"239.1.2.3", "255.255.255.255", "ff0e::1"} {
			if p.dst = netip.MustParseAddr(group); p.dst.Is4() == p.src.Is4() && r.translated(p) != nil {
				t.Errorf("%s to %s is translated", src, group)
			}
		}
	}
}
