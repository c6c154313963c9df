package netdrv

import (
	"fmt"
	"net/netip"
	"testing"
)

// around are two networks with guests of each kind that a name may be of.
func around() (Resolver, *Network) {
	mac := MAC{2, 0, 0, 0, 0, 1}
	street := Network{
		Name: "street", Mode: NAT, Bridge: Bridge{MAC: MAC{2, 0, 0, 0, 10, 1}},
		Subnets: []Subnet{
			{Address: netip.MustParsePrefix("10.1.0.1/24"), DHCP: &DHCP{Reservations: []Reservation{
				{MAC: mac, Address: netip.MustParseAddr("10.1.0.5"), Hostname: "db"},
			}}},
			{Address: netip.MustParsePrefix("fd00:1::1/64")},
		},
		DNS: DNS{Domain: "street.test", Records: []Record{{Name: "www", Type: "A", Value: "10.1.0.9"}}},
		Filter: Filter{Sets: []FilterSet{{Name: "office", Prefixes: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.128/25"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.0/24"),
		}}}},
	}
	farm := Network{
		Name: "farm", Mode: Route, Subnets: []Subnet{{Address: netip.MustParsePrefix("10.2.0.1/24")}},
		Routes: []StaticRoute{{Destination: netip.MustParsePrefix("10.99.0.0/16"), Via: netip.MustParseAddr("10.2.0.5")}},
	}
	s := Resolver{
		Networks: []Network{street, farm},
		Ports: []Port{
			{Network: "street", Link: "vnet0", Guest: "App", MAC: MAC{2, 0, 0, 0, 0, 2}},
			{Network: "farm", Link: "vnet1", Guest: "cow", Addresses: []netip.Addr{netip.MustParseAddr("10.2.0.7")}},
			{Network: "street", Link: "vnet2", MAC: MAC{2, 0, 0, 0, 0, 3}},
		},
		Leased: func(network string, m MAC) []netip.Addr {
			if network != "street" {
				return nil
			}
			return map[MAC][]netip.Addr{
				{2, 0, 0, 0, 0, 2}: {netip.MustParseAddr("10.1.0.77")}, mac: {netip.MustParseAddr("fd00:1::5")},
			}[m]
		},
	}
	return s, &s.Networks[0]
}

func TestRemotes(t *testing.T) {
	s, n := around()
	for remote, want := range map[string]string{
		"192.0.2.1":        "[192.0.2.1/32]",
		"::ffff:192.0.2.1": "[192.0.2.1/32]",
		"10.1.2.3/8":       "[10.0.0.0/8]",
		"@office":          "[192.0.2.0/24 2001:db8::/32]",
		"host":             "[10.1.0.1/32 fd00:1::1/128 fe80::ff:fe00:a01/128]",
		"street":           "[10.1.0.0/24 fd00:1::/64]",
		"farm":             "[10.2.0.0/24 10.99.0.0/16]",
		"db":               "[10.1.0.5/32 fd00:1::5/128]",
		"db.street.test":   "[10.1.0.5/32 fd00:1::5/128]",
		"www":              "[10.1.0.9/32]",
		"app":              "[10.1.0.77/32]",
		"vnet0":            "[10.1.0.77/32]",
		"vnet2":            "[]",
		"cow":              "[]",
		"farm/cow":         "[10.2.0.7/32]",
		"farm/app":         "[]",
		"nowhere/cow":      "[]",
		"nobody":           "[]",
		"@nobody":          "[]",
	} {
		if got := fmt.Sprint(s.Prefixes(n, remote)); got != want {
			t.Errorf("%s is %s, want %s", remote, got, want)
		}
	}
}

// Every name is somebody's, or is found; that somebody has no address now is no finding.
func TestUnknownRemotes(t *testing.T) {
	s, n := around()
	var f Filter
	for _, r := range []string{"", "nobody", "10.0.0.0/8", "vnet2", "cow", "farm/cow", "farm", "host", "nowhere/cow", "@office", "www"} {
		f.Rules = append(f.Rules, FilterRule{Remote: r})
	}
	var at []string
	for _, found := range UnknownRemotes(&f, n, s.Networks, s.Ports) {
		at = append(at, found.Path)
	}
	if got, want := fmt.Sprint(at), "[filter.rules[1].remote filter.rules[4].remote filter.rules[8].remote]"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}

// A port's word comes before its network's.
func TestFilterOver(t *testing.T) {
	network := Filter{Preset: CleanTraffic, In: Drop, Out: Reject, Rules: []FilterRule{{Remote: "theirs"}}, Sets: []FilterSet{{Name: "s"}}}
	own := Filter{Preset: InternetOnly, Isolated: true, In: Accept, Rules: []FilterRule{{Remote: "own"}}}
	got := own.Over(network)
	if got.Preset != InternetOnly || !got.Isolated || got.In != Accept || got.Out != Reject || len(got.Sets) != 1 ||
		len(got.Rules) != 2 || got.Rules[0].Remote != "own" {
		t.Errorf("got %+v", got)
	}
	if got := (Filter{}).Over(network); got.Preset != CleanTraffic || got.In != Drop || len(got.Rules) != 1 {
		t.Errorf("a port that says nothing has %+v", got)
	}
}
