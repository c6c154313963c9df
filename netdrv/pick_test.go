package netdrv

import (
	"net/netip"
	"strings"
	"testing"
)

func wild(prefixes ...string) Network {
	n := Network{Name: "auto", Mode: NAT}
	for _, p := range prefixes {
		n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix(p)})
	}
	return n
}

func addresses(n Network) string {
	var out []string
	for _, s := range n.Subnets {
		out = append(out, s.Address.String())
	}
	return strings.Join(out, " ")
}

func TestPick(t *testing.T) {
	pools := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/22"), netip.MustParsePrefix("172.16.0.0/16")}
	used := map[string]bool{}
	taken := func(p netip.Prefix) bool {
		for u := range used {
			if netip.MustParsePrefix(u).Overlaps(p) {
				return true
			}
		}
		return false
	}
	for _, c := range []struct{ name, used, in, want string }{
		{"the first", "", "0.0.0.0/24", "10.0.0.1/24"},
		{"behind what is used", "10.0.0.128/25 10.0.1.0/24", "0.0.0.0/24", "10.0.2.1/24"},
		{"two of one network", "", "0.0.0.0/24 0.0.0.0/24", "10.0.0.1/24 10.0.1.1/24"},
		{"of another length", "10.0.0.0/30", "0.0.0.0/28", "10.0.0.17/28"},
		{"wider than the first pool", "", "0.0.0.0/20", "172.16.0.1/20"},
		{"the second pool", "10.0.0.0/22", "0.0.0.0/24", "172.16.0.1/24"},
		{"a named one in between", "", "10.0.0.9/24 0.0.0.0/24", "10.0.0.9/24 10.0.1.1/24"},
		{"unique-local", "", "::/64 ::/64", "fd01:203:405::1/64 fd01:203:405:1::1/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clear(used)
			for u := range strings.FieldsSeq(c.used) {
				used[u] = true
			}
			n, fs := Pick(wild(strings.Fields(c.in)...), nil, pools, taken, [5]byte{1, 2, 3, 4, 5})
			if got := addresses(n); got != c.want || fs != nil {
				t.Errorf("got %s, %v; want %s", got, fs, c.want)
			}
		})
	}
	clear(used)
	used["0.0.0.0/0"] = true
	if _, fs := Pick(wild("0.0.0.0/24"), nil, pools, taken, [5]byte{}); len(fs) != 1 || !strings.Contains(fs[0].Why, "subnetPools") {
		t.Errorf("nothing is free: %v", fs)
	}
	old := wild("10.0.3.1/24")
	if n, _ := Pick(wild("0.0.0.0/24"), &old, pools, taken, [5]byte{}); addresses(n) != "10.0.3.1/24" {
		t.Errorf("what was picked before did not stay: %s", addresses(n))
	}
}

func TestNextPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/24": "10.0.1.0/24", "10.0.255.0/24": "10.1.0.0/24", "10.0.0.0/28": "10.0.0.16/28",
		"10.0.0.240/28": "10.0.1.0/28", "10.0.0.0/9": "10.128.0.0/9", "fd00::/64": "fd00:0:0:1::/64",
		"10.0.0.1/32": "10.0.0.2/32", "fd00:0:0:ffff::/64": "fd00:0:1::/64",
	} {
		if got := nextPrefix(netip.MustParsePrefix(in)).String(); got != want {
			t.Errorf("behind %s: got %s, want %s", in, got, want)
		}
	}
}

func TestParseService(t *testing.T) {
	for in, want := range map[string]string{
		"ssh": "tcp/22", "tcp/8080": "tcp/8080", "udp/5000-5010": "udp/5000-5010", "https": "tcp/443 udp/443",
		"sctp/132": "sctp/132",
	} {
		got, err := ParseService(in)
		var words []string
		for _, s := range got {
			words = append(words, s.String())
		}
		if err != nil || strings.Join(words, " ") != want {
			t.Errorf("%s: got %v, %v; want %s", in, words, err, want)
		}
	}
	for _, in := range []string{"", "gopher", "tcp/", "tcp/0", "tcp/70000", "tcp/9-8", "icmp/1", "tcp/1-", "tcp/-1", "tcp/ 1"} {
		if got, err := ParseService(in); err == nil {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}

// What a whole subnet means without the gateway.
func TestFillRanges(t *testing.T) {
	for in, want := range map[string]string{
		"192.168.1.1/24":   "192.168.1.2-192.168.1.254",
		"192.168.1.254/24": "192.168.1.1-192.168.1.253",
		"192.168.1.3/29":   "192.168.1.1-192.168.1.2 192.168.1.4-192.168.1.6",
		"10.0.0.1/8":       "", // too many: wants ranges
		"fd00::1/64":       "",
	} {
		s := Subnet{Address: netip.MustParsePrefix(in), DHCP: &DHCP{}}
		fillRanges(&s)
		var got []string
		for _, r := range s.DHCP.Ranges {
			got = append(got, r.Start.String()+"-"+r.End.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}
