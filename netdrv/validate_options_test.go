package netdrv

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// both has an IPv4 subnet and an IPv6 one, with all options that there are.
func both() Network {
	n := lab()
	n.Subnets[0].DHCP.Options = Options{
		Routers: addrs("192.168.10.2"), DNSServers: addrs("10.0.0.1"), Domain: "other.test", Search: []string{"a.test", "b.test"},
		Routes: []OptionRoute{
			{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("192.168.10.2")},
			{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParseAddr("0.0.0.0")},
		},
		MTU: 1400, NTPServers: addrs("10.0.0.2"), Vendor: "\x01", VendorClass: "PXEClient", TFTPServerName: "boot", BootFile: "x",
		IPv6OnlyWait: 30 * time.Minute, CaptivePortal: "https://portal.test/api",
		Custom: []CustomOption{{150, FormIPv4, "\x0a\x00\x00\x01"}}, Omit: []string{"4"},
	}
	n.Subnets[0].DHCP.Tags = []Tag{{Name: "phones", Match: OptionMatch{MACPrefix: "\x52"}, Options: Options{MTU: 1300}}}
	n.Subnets[0].DHCP.Reservations[0].Tags = []string{"phones"}
	n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix("fd00:10::1/64"), DHCP: &DHCP{
		Stateless: true,
		Options: Options{
			DNSServers: addrs("fd00::1"), Search: []string{"a.test"}, NTPServers: addrs("fd00::2"), Vendor: "\x00\x00\x01\x37x",
			BootFile: "tftp://[fd00::1]/x", CaptivePortal: "https://portal.test/api",
			RefreshTime: time.Hour, SolMaxRT: time.Hour, InfMaxRT: time.Hour,
			Custom: []CustomOption{{16, FormHex, "x"}, {21, FormIPv6, strings.Repeat("x", 16)}}, Omit: []string{"64"},
		},
	}})
	return n
}

func TestValidateOptions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(four, six *DHCP)
		want   []string // prefixes, one a finding, in order
	}{
		"nothing wrong": {func(_, _ *DHCP) {}, nil},
		"IPv4 addresses in IPv6": {func(_, six *DHCP) {
			six.Options.DNSServers, six.Options.NTPServers = addrs("fd00::1", "10.0.0.1"), addrs("10.0.0.1")
			six.Options.Custom[1] = CustomOption{21, FormIPv4, "xxxx"}
		}, []string{
			"subnets[1].dhcp.options.dnsServers[1]: 10.0.0.1 is not IPv6, as the subnet is",
			"subnets[1].dhcp.options.ntpServers[0]: 10.0.0.1 is not IPv6",
			"subnets[1].dhcp.options.custom[1]: has IPv4 addresses, and the subnet is IPv6",
		}},
		"IPv6 addresses in IPv4": {func(four, _ *DHCP) {
			four.Options.Routers, four.Options.DNSServers = addrs("fe80::1"), addrs("fd00::1")
			four.Options.Custom[0] = CustomOption{150, FormIPv6, strings.Repeat("x", 16)}
		}, []string{
			"subnets[0].dhcp.options.routers[0]: fe80::1 is not IPv4",
			"subnets[0].dhcp.options.dnsServers[0]: fd00::1 is not IPv4",
			"subnets[0].dhcp.options.custom[0]: has IPv6 addresses",
		}},
		"what IPv6 has not": {func(four, six *DHCP) {
			o := four.Options
			o.DNSServers, o.Search, o.NTPServers, o.Vendor, o.BootFile, o.CaptivePortal, o.Custom, o.Omit = nil, nil, nil, "", "", "", nil, nil
			six.Options = o
		}, []string{
			"subnets[1].dhcp.options.routers: is not for IPv6 subnets: IPv6 guests learn routers from advertisements (ra)",
			"subnets[1].dhcp.options.domain: is not for IPv6 subnets: in IPv6 use search",
			"subnets[1].dhcp.options.routes: is not for IPv6 subnets: IPv6 guests learn routes from advertisements (ra.routes)",
			"subnets[1].dhcp.options.mtu: is not for IPv6 subnets",
			"subnets[1].dhcp.options.vendorClass: is not for IPv6 subnets: in IPv6 use custom with code 16",
			"subnets[1].dhcp.options.tftpServerName: is not for IPv6 subnets",
			"subnets[1].dhcp.options.ipv6OnlyWait: is not for IPv6 subnets",
			"subnets[1].dhcp.options.routers[0]: 192.168.10.2 is not IPv6",
		}},
		"what IPv4 has not": {func(four, _ *DHCP) {
			four.Options.RefreshTime, four.Options.SolMaxRT, four.Options.InfMaxRT = time.Hour, time.Hour, time.Hour
		}, []string{
			"subnets[0].dhcp.options.informationRefreshTime: is not for IPv4 subnets",
			"subnets[0].dhcp.options.solMaxRt: is not for IPv4 subnets",
			"subnets[0].dhcp.options.infMaxRt: is not for IPv4 subnets",
		}},
		"routers elsewhere": {func(four, _ *DHCP) { four.Options.Routers = addrs("192.168.10.9", "10.0.0.1", "192.168.10.255") }, []string{
			"subnets[0].dhcp.options.routers[1]: 10.0.0.1 is outside 192.168.10.0/24",
			"subnets[0].dhcp.options.routers[2]: 192.168.10.255 is the broadcast address",
		}},
		"no servers": {func(four, six *DHCP) {
			four.Options.DNSServers, six.Options.DNSServers = addrs("0.0.0.0", "224.0.0.1"), addrs("::")
		}, []string{"subnets[0].dhcp.options.dnsServers[0]: 0.0.0.0 is not the address of a server", "subnets[0].dhcp.options.dnsServers[1]", "subnets[1].dhcp.options.dnsServers[0]"}},
		"too many": {func(four, _ *DHCP) {
			for range 17 {
				four.Options.NTPServers = append(four.Options.NTPServers, netip.MustParseAddr("10.0.0.2"))
			}
			for range 60 {
				four.Options.Search = append(four.Options.Search, "something.test")
			}
			for i := range 40 {
				four.Options.Routes = append(four.Options.Routes, OptionRoute{netip.MustParsePrefix(fmt.Sprintf("10.2.%d.0/24", i)), netip.MustParseAddr("192.168.10.2")})
			}
			for i := range 65 {
				four.Options.Custom = append(four.Options.Custom, CustomOption{160 + i, FormU8, "x"})
			}
			four.Options.Custom[64].Value = strings.Repeat("x", 1001)
		}, []string{
			"subnets[0].dhcp.options.ntpServers: are more than 16", "subnets[0].dhcp.options.search: takes", "subnets[0].dhcp.options.routes: are more than 32",
			"subnets[0].dhcp.options.custom: are more than 64", "subnets[0].dhcp.options.custom[64]: is 1001 octets long",
		}},
		"domains": {func(four, six *DHCP) {
			four.Options.Domain, four.Options.Search = "a b", []string{"ok.test", "-x"}
		}, []string{"subnets[0].dhcp.options.domain: \"a b\" is not a domain name", "subnets[0].dhcp.options.search[1]: \"-x\" is not a domain name"}},
		"routes": {func(four, _ *DHCP) {
			four.Options.Routes = []OptionRoute{
				{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("10.0.0.1")},
				{netip.MustParsePrefix("fd00::/8"), netip.MustParseAddr("192.168.10.2")},
				{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("fd00::1")},
			}
		}, []string{
			"subnets[0].dhcp.options.routes[0].via: 10.0.0.1 is outside 192.168.10.0/24; 0.0.0.0 says that the destination is on the link",
			"subnets[0].dhcp.options.routes[1].destination: fd00::/8 is not IPv4",
			"subnets[0].dhcp.options.routes[2].via: fd00::1 is not IPv4",
			"subnets[0].dhcp.options.routes[2].destination: 10.0.0.0/8 is given already in subnets[0].dhcp.options.routes[0]",
		}},
		"numbers and texts": {func(four, six *DHCP) {
			o := &four.Options
			o.MTU, o.IPv6OnlyWait, o.CaptivePortal, o.TFTPServerName = 67, time.Minute, "portal", "a\x00b"
			o.VendorClass = strings.Repeat("x", 256)
			o = &six.Options
			o.BootFile, o.Vendor, o.RefreshTime, o.SolMaxRT, o.InfMaxRT = "x.efi", "abc", time.Minute, time.Second, 25*time.Hour
		}, []string{
			"subnets[0].dhcp.options.vendorClass: is longer than 255", "subnets[0].dhcp.options.tftpServerName: has a control character",
			"subnets[0].dhcp.options.captivePortal: \"portal\" is not a URL", "subnets[0].dhcp.options.mtu: 67 is outside 68 to 65535",
			"subnets[0].dhcp.options.ipv6OnlyWait: 1m0s is outside 5m0s to",
			"subnets[1].dhcp.options.bootFile: \"x.efi\" is not a URL", "subnets[1].dhcp.options.vendor: begins with an enterprise number",
			"subnets[1].dhcp.options.informationRefreshTime: 1m0s is outside 10m0s", "subnets[1].dhcp.options.solMaxRt: 1s is outside 1m0s to 24h0m0s",
			"subnets[1].dhcp.options.infMaxRt: 25h0m0s is outside",
		}},
		"options that belong to the server": {func(four, six *DHCP) {
			four.Options.Custom = nil
			for _, code := range []int{0, 1, 51, 52, 53, 54, 55, 57, 58, 3, 121, 255, 256, 150, 150} {
				four.Options.Custom = append(four.Options.Custom, CustomOption{code, FormU8, "x"})
			}
			six.Options.Custom = []CustomOption{{1, FormU8, "x"}, {23, FormU8, "x"}, {65536, FormU8, "x"}}
		}, []string{
			"subnets[0].dhcp.options.custom[0].code: 0 is the server's to send: it is padding",
			"subnets[0].dhcp.options.custom[1].code: 1 is the server's to send: it follows from the subnet's address",
			"subnets[0].dhcp.options.custom[2].code: 51 is the server's to send: use leaseTime",
			"subnets[0].dhcp.options.custom[3].code: 52 is", "subnets[0].dhcp.options.custom[4].code: 53 is", "subnets[0].dhcp.options.custom[5].code: 54 is",
			"subnets[0].dhcp.options.custom[6].code: 55 is", "subnets[0].dhcp.options.custom[7].code: 57 is",
			"subnets[0].dhcp.options.custom[8].code: 58 is the server's to send: use renewTime",
			"subnets[0].dhcp.options.custom[9].code: 3 has a key of its own: use routers",
			"subnets[0].dhcp.options.custom[10].code: 121 has a key of its own: use routes",
			"subnets[0].dhcp.options.custom[11].code: 255 is", "subnets[0].dhcp.options.custom[12].code: 256 is outside 1 to 254",
			"subnets[0].dhcp.options.custom[14].code: 150 is given already in subnets[0].dhcp.options.custom[13]",
			"subnets[1].dhcp.options.custom[0].code: 1 is the server's to send", "subnets[1].dhcp.options.custom[1].code: 23 has a key of its own: use dnsServers",
			"subnets[1].dhcp.options.custom[2].code: 65536 is outside 1 to 65535",
		}},
		"omit": {func(four, six *DHCP) {
			four.Options.Omit = []string{"mtu", "router", "3", "150", "65536", "solMaxRt"}
			six.Options.Omit = []string{"routers"}
		}, []string{
			"subnets[0].dhcp.options.omit[0]: mtu is given here, too", "subnets[0].dhcp.options.omit[1]: \"router\" is neither a key of an option nor a number; keys are routers, dnsServers",
			"subnets[0].dhcp.options.omit[2]: 3 has a key of its own: use routers", "subnets[0].dhcp.options.omit[3]: 150 is given in custom, too",
			"subnets[0].dhcp.options.omit[4]: \"65536\" is neither", "subnets[0].dhcp.options.omit[5]: solMaxRt is not for IPv4 subnets",
			"subnets[1].dhcp.options.omit[0]: routers is not for IPv6 subnets",
		}},
		"tags": {func(four, _ *DHCP) {
			o := Options{MTU: 1}
			four.Tags = []Tag{
				{Name: "a b", Options: Options{MTU: 1300}},
				{Name: "x"},
				{Name: "x", Options: o},
				{Name: "y", Match: OptionMatch{VendorClass: "a*b", MACPrefix: "1234567"}, Options: Options{MTU: 1300}},
			}
			four.Reservations[0].Tags, four.Reservations[0].Options = []string{"x", "z"}, Options{MTU: 2}
		}, []string{
			"subnets[0].dhcp.tags[0].name: \"a b\" is not a name", "subnets[0].dhcp.tags[1].options: are missing: the tag changes nothing",
			"subnets[0].dhcp.tags[2].options.mtu: 1 is outside", "subnets[0].dhcp.tags[2].name: x is given already in subnets[0].dhcp.tags[1]",
			"subnets[0].dhcp.tags[3].match.macPrefix: has more than 6 octets", "subnets[0].dhcp.tags[3].match.vendorClass: \"a*b\" has a * that is not at its end",
			"subnets[0].dhcp.reservations[0].options.mtu: 2 is outside", "subnets[0].dhcp.reservations[0].tags[1]: \"z\" is none of the subnet's dhcp.tags",
		}},
		"too many tags": {func(four, _ *DHCP) {
			for i := range MaxTags {
				four.Tags = append(four.Tags, Tag{Name: fmt.Sprint(i), Options: Options{MTU: 1300}})
			}
		}, []string{"subnets[0].dhcp.tags: are more than 64"}},
		"times": {func(four, six *DHCP) {
			four.RenewTime, four.RebindTime = time.Second, time.Hour
			six.RenewTime, six.RebindTime = 50*time.Minute, 40*time.Minute
		}, []string{
			"subnets[0].dhcp.renewTime: 1s is shorter than 10s", "subnets[0].dhcp.rebindTime: 1h0m0s is not before the lease ends, after 1h0m0s",
			"subnets[1].dhcp.renewTime: 50m0s is not before rebindTime, 40m0s",
		}},
		"times beside the default": {func(four, six *DHCP) { four.RenewTime, six.RebindTime = 55*time.Minute, time.Second }, []string{
			"subnets[0].dhcp.renewTime: 55m0s is not before rebindTime, 52m30s", "subnets[1].dhcp.rebindTime: 1s is shorter than 10s",
		}},
		"times of long leases": {func(four, six *DHCP) { four.LeaseTime, four.RenewTime = 1<<63-1, 24*time.Hour }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := both()
			c.change(n.Subnets[0].DHCP, n.Subnets[1].DHCP)
			got := lines(Validate(&n))
			for i := range max(len(got), len(c.want)) {
				if i >= len(got) || i >= len(c.want) || !strings.HasPrefix(got[i], c.want[i]) {
					t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
				}
			}
		})
	}
}

// A copy shares nothing with what it was made of.
func TestCloneOfOptions(t *testing.T) {
	n, was := both(), both()
	c := n.Clone()
	for i := range c.Subnets {
		d := c.Subnets[i].DHCP
		o := []*Options{&d.Options}
		for j := range d.Tags {
			o, d.Tags[j].Name = append(o, &d.Tags[j].Options), "changed"
		}
		for j := range d.Reservations {
			o = append(o, &d.Reservations[j].Options)
			d.Reservations[j].Tags[0] = "changed"
		}
		for _, o := range o {
			for _, list := range [][]netip.Addr{o.Routers, o.DNSServers, o.NTPServers} {
				clear(list)
			}
			clear(o.Search)
			clear(o.Routes)
			clear(o.Custom)
			clear(o.Omit)
		}
	}
	same := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(was, n, same); diff != "" {
		t.Error(diff)
	}
}
