package netdrv

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// Networks above their share come back to it, and those below keep what they have, as do
// the addresses of one network; flows of others are never ended.
func TestExcess(t *testing.T) {
	network := func(name string, addresses ...string) Network {
		n := Network{Name: name, Mode: NAT}
		for _, a := range addresses {
			n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix(a)})
		}
		return n
	}
	a, b := network("a", "10.1.0.1/24", "fd01::1/64"), network("b", "10.2.0.1/24")
	a.Routes = []StaticRoute{{Destination: netip.MustParsePrefix("10.9.0.0/16")}}
	ip := netip.MustParseAddr
	many := map[netip.Addr]int{ip("10.2.0.2"): 10}
	for i := range uint64(900) {
		many[netip.AddrFrom16([16]byte(append([]byte{0xfd, 1, 0, 0, 0, 0, 0, 0}, binary.BigEndian.AppendUint64(nil, i+5)...)))] = 1
	}
	for _, c := range []struct {
		name    string
		sources map[netip.Addr]int
		over    []string
		ends    map[string]int // of a network, or of an address
	}{
		{"one guest of one network", map[netip.Addr]int{ip("10.1.0.5"): 800, ip("10.1.0.6"): 7, ip("10.2.0.5"): 20}, []string{"a"}, map[string]int{"10.1.0.5": 800 + 7 - 480}},
		{"both families, and what is routed", map[netip.Addr]int{ip("fd01::5"): 400, ip("10.9.1.1"): 400}, []string{"a"}, map[string]int{"fd01::5": 150, "10.9.1.1": 150}},
		{"two networks", map[netip.Addr]int{ip("10.1.0.5"): 400, ip("10.2.0.5"): 450}, []string{"a", "b"}, map[string]int{"10.1.0.5": 150, "10.2.0.5": 200}},
		{"the host and others", map[netip.Addr]int{ip("10.1.0.1"): 500, ip("192.0.2.1"): 400, ip("fe80::1"): 50}, nil, nil},
		{"beside others", map[netip.Addr]int{ip("192.0.2.1"): 600, ip("10.1.0.5"): 300}, []string{"a"}, map[string]int{"10.1.0.5": 50}},
		{"the host's IPv6 address, from which a guest can send", map[netip.Addr]int{ip("fd01::1"): 800}, []string{"a"}, map[string]int{"fd01::1": 300}},
		{"an address for each connection", many, []string{"a"}, map[string]int{"all": 900 - 490}},
		{"nothing", nil, nil, nil},
	} {
		over, excess := NewFlowOwners([]Network{a, b}, []netip.Addr{ip("192.0.2.9")}).Excess(c.sources, 1000)
		if !slices.Equal(over, c.over) {
			t.Errorf("%s: networks %v are above their share, want %v", c.name, over, c.over)
		}
		all, want := 0, 0
		for source, n := range excess {
			all += n
			if w := c.ends[source.String()]; c.ends["all"] == 0 && n != w {
				t.Errorf("%s: %d of %s end, want %d", c.name, n, source, w)
			}
		}
		for _, n := range c.ends {
			want += n
		}
		if all != want {
			t.Errorf("%s: %d end, want %d", c.name, all, want)
		}
	}
}

// A connection is that of the guest that began it, or to which it was begun from outside.
func TestFlowsOfGuests(t *testing.T) {
	ip := netip.MustParseAddr
	n := Network{Name: "a", Mode: Route, Subnets: []Subnet{{Address: netip.MustParsePrefix("10.1.0.1/24")}, {Address: netip.MustParsePrefix("fd01::1/64")}}}
	o := NewFlowOwners([]Network{n}, []netip.Addr{ip("192.0.2.9")})
	for _, c := range []struct{ from, answers, want string }{
		{"10.1.0.5", "192.0.2.1", "10.1.0.5"},
		{"10.1.0.5", "10.1.0.6", "10.1.0.5"},
		{"192.0.2.1", "10.1.0.6", "10.1.0.6"},
		{"2001:db8::1", "fd01::6", "fd01::6"},
		{"192.0.2.9", "10.1.0.6", "192.0.2.9"}, // the host's, as the next
		{"10.1.0.1", "10.1.0.6", "10.1.0.1"},
		{"192.0.2.1", "192.0.2.9", "192.0.2.1"},
	} {
		if got := o.Guest(ip(c.from), func() netip.Addr { return ip(c.answers) }); got != ip(c.want) {
			t.Errorf("from %s, answered by %s: it is of %s, want %s", c.from, c.answers, got, c.want)
		}
	}
}
