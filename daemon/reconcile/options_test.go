package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/netdrv"
)

func addr(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }

// The keys of definitions are those of the wire: everything set gives each code
// of netdrv.OptionKeys, and omitting a key omits the same codes.
func TestOptionsAreTranslated(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		o, translate := netdrv.Options{
			Routers: addr("10.0.0.1"), DNSServers: addr("10.0.0.1"), Domain: "a.test", Search: []string{"a.test"},
			Routes: []netdrv.OptionRoute{{Destination: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("10.0.0.1")}},
			MTU:    1400, NTPServers: addr("10.0.0.1"), Vendor: "v", VendorClass: "c", TFTPServerName: "t", BootFile: "b",
			IPv6OnlyWait: time.Hour, CaptivePortal: "p", RefreshTime: time.Hour, SolMaxRT: time.Hour, InfMaxRT: time.Hour,
		}, options4
		if ipv6 {
			o.DNSServers, o.NTPServers, translate = addr("fd00::1"), addr("fd00::1"), options6
		}
		var want []uint16
		var keys []string
		for _, k := range netdrv.OptionKeys {
			for _, code := range k.Codes(ipv6) {
				want = append(want, uint16(code))
			}
			keys = append(keys, k.Key)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, codes(translate(&o), true)); diff != "" {
			t.Errorf("IPv6 %v: %s", ipv6, diff)
		}
		if diff := cmp.Diff(want, codes(translate(&netdrv.Options{Omit: keys}), false)); diff != "" {
			t.Errorf("IPv6 %v, omitted: %s", ipv6, diff)
		}
		o = netdrv.Options{Custom: []netdrv.CustomOption{{Code: 200, Value: "x"}}, Omit: []string{"201"}}
		if diff := cmp.Diff(option.List{{Code: 200, Value: []byte("x")}, {Code: 201}}, translate(&o)); diff != "" {
			t.Errorf("IPv6 %v, by number: %s", ipv6, diff)
		}
	}
}

// codes are those of the options that are sent, or that are not.
func codes(l option.List, sent bool) (all []uint16) {
	for _, o := range l {
		if (o.Value != nil) == sent {
			all = append(all, o.Code)
		}
	}
	slices.Sort(all)
	return all
}

// Guests that ask nobody learn from advertisements what their subnets' DHCP says.
func TestAdvertisedOptions(t *testing.T) {
	six := func(prefix string, o *netdrv.Options) netdrv.Subnet {
		s := netdrv.Subnet{Address: netip.MustParsePrefix(prefix)}
		if o != nil {
			s.DHCP = &netdrv.DHCP{Stateless: true, Options: *o}
		}
		return s
	}
	for name, tt := range map[string]struct {
		subnets []netdrv.Subnet
		dns     string
		search  string
		portal  string
	}{
		"the network's": {[]netdrv.Subnet{six("fd00:1::1/64", nil), six("fd00:2::1/64", &netdrv.Options{})}, "[fd00:1::1 fd00:2::1]", "lab.test", ""},
		"the subnet's": {[]netdrv.Subnet{six("fd00:1::1/64", &netdrv.Options{
			DNSServers: addr("fd00::53"), Search: []string{"a.test", "b.test"}, CaptivePortal: "p",
		})}, "[fd00::53]", "a.test b.test", "p"},
		"both": {[]netdrv.Subnet{six("fd00:1::1/64", nil), six("fd00:2::1/64", &netdrv.Options{
			DNSServers: addr("fd00::53"), Search: []string{"lab.test", "b.test"},
		})}, "[fd00:1::1 fd00:2::1 fd00::53]", "lab.test b.test", ""},
		"none":          {[]netdrv.Subnet{six("fd00:1::1/64", &netdrv.Options{Omit: []string{"dnsServers", "search"}})}, "[]", "", ""},
		"IPv4 is apart": {[]netdrv.Subnet{six("fd00:1::1/64", nil), six("10.0.0.1/24", &netdrv.Options{DNSServers: addr("10.0.0.2"), CaptivePortal: "p"})}, "[fd00:1::1]", "lab.test", ""},
	} {
		n := &netdrv.Network{Mode: netdrv.NAT, Subnets: tt.subnets, DNS: netdrv.DNS{Domain: "lab.test"}}
		cfg := raConfig(n, 1500)
		if got := cmp.Diff([]string{tt.dns, tt.search, tt.portal}, []string{fmt.Sprint(cfg.DNS), strings.Join(cfg.Search, " "), cfg.CaptivePortal}); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
