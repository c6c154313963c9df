package netdrv_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/netdrv"
)

// What is not declared is taken out of what a Diff sees, with all that is on it; what
// is declared beside it stays.
func TestSplitOrphans(t *testing.T) {
	link := func(network, name string, kind netdrv.Kind) netdrv.Link {
		return netdrv.Link{Network: network, Name: name, Kind: kind, MTU: 1500, Up: true}
	}
	tap := link("lab", "vnet7", netdrv.KindTap)
	tap.Master = "lab0"
	open := link("gone", "vnet8", netdrv.KindTap)
	open.Carrier = true
	have := netdrv.State{
		Links: []netdrv.Link{
			link("lab", "lab0", netdrv.KindBridge), tap, link("gone", "gone0", netdrv.KindBridge), open,
			link("lan", "mv0", netdrv.KindMacvtap), link("gone", "ifb-web", netdrv.KindIfb), link("lan", "ifb-mv0", netdrv.KindIfb), link("", "new0", netdrv.KindBridge),
		},
		Addrs: []netdrv.Addr{
			{Network: "gone", Link: "gone0", Prefix: netip.MustParsePrefix("10.0.0.1/24")},
			{Network: "lab", Link: "lab0", Prefix: netip.MustParsePrefix("10.1.0.1/24")},
		},
		Sysctls: []netdrv.Sysctl{{Link: "gone0", Key: "a"}, {Link: "lab0", Key: "b"}, {Key: "c"}},
		Members: []netdrv.Member{
			{Link: "web", Index: 1, Kind: "veth", Bridge: "gone0"}, {Link: "vnet7", Index: 2, Kind: "tap", Bridge: "lab0"},
		},
		Queues:    []netdrv.Queue{{Link: "web"}, {Link: "vnet7"}, {Link: "mv0"}},
		Redirects: []netdrv.Redirect{{Link: "web", To: "ifb-web"}, {Link: "vnet7", To: "ifb-vnet7"}, {Link: "mv0", To: "ifb-mv0"}},
	}
	declared := []string{"lab", "lan"}
	left, orphans := netdrv.SplitOrphans(have, func(l netdrv.Link) bool {
		return slices.Contains(declared, l.Network) && !l.IsPort()
	})
	names := func(ls []netdrv.Link) (out []string) {
		for _, l := range ls {
			out = append(out, l.Name)
		}
		return out
	}
	if diff := cmp.Diff([]string{"lab0"}, names(left.Links)); diff != "" {
		t.Errorf("links that are left (-want +got):\n%s", diff)
	}
	if len(left.Addrs) != 1 || len(left.Sysctls) != 2 || len(left.Members) != 2 {
		t.Errorf("left: %+v", left)
	}
	// A tap in a declared bridge is shaped as any guest's link there is; what is on an
	// orphan's bridge, and an orphaned macvtap, are left alone.
	if len(left.Queues) != 1 || left.Queues[0].Link != "vnet7" || len(left.Redirects) != 1 || left.Redirects[0].Link != "vnet7" {
		t.Errorf("traffic that is left: %+v %+v", left.Queues, left.Redirects)
	}
	want := map[string][]string{
		"gone": {"gone0", "vnet8", "ifb-web"}, "lab": {"vnet7"}, "lan": {"mv0", "ifb-mv0"}, "new0": {"new0"},
	}
	guests := map[string][]string{"gone": {"vnet8", "web"}, "lan": {"mv0"}}
	for _, o := range orphans {
		if diff := cmp.Diff(want[o.Network], names(o.Links)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", o.Network, diff)
		}
		if diff := cmp.Diff(guests[o.Network], o.Guests); diff != "" {
			t.Errorf("guests of %s (-want +got):\n%s", o.Network, diff)
		}
		delete(want, o.Network)
	}
	if len(want) > 0 {
		t.Errorf("no orphans: %v", want)
	}
	if plans := netdrv.Diff(netdrv.State{}, netdrv.State{Links: left.Links[:0]}); len(plans) > 0 {
		t.Errorf("a plan for nothing: %v", plans)
	}
}

func TestAdopted(t *testing.T) {
	mac := netdrv.MAC{0x52, 0x54, 0, 1, 2, 3}
	bridge := netdrv.Link{Network: "lab", Name: "lab0", Kind: netdrv.KindBridge, MAC: mac, MTU: 9000}
	for name, c := range map[string]struct {
		orphan netdrv.Orphan
		want   netdrv.Network
	}{
		"a bridge with addresses": {
			netdrv.Orphan{Network: "lab", Links: []netdrv.Link{bridge}, Addrs: []netdrv.Addr{
				{Link: "lab0", Prefix: netip.MustParsePrefix("fe80::1/64")}, {Link: "lab0", Prefix: netip.MustParsePrefix("fd00::1/64")}, {Link: "lab0", Prefix: netip.MustParsePrefix("10.0.0.1/24")},
			}, Routes: []netdrv.LinkRoute{{Link: "lab0", Destination: netip.MustParsePrefix("fd01::/64"), Via: netip.MustParseAddr("fd00::2"), Metric: 1024}}},
			netdrv.Network{
				Name: "lab", Bridge: netdrv.Bridge{Name: "lab0", MAC: mac, MTU: 9000},
				Subnets: []netdrv.Subnet{{Address: netip.MustParsePrefix("10.0.0.1/24")}, {Address: netip.MustParsePrefix("fd00::1/64")}},
				Routes:  []netdrv.StaticRoute{{Destination: netip.MustParsePrefix("fd01::/64"), Via: netip.MustParseAddr("fd00::2")}},
			},
		},
		"a bridge without": {
			netdrv.Orphan{Network: "lab", Links: []netdrv.Link{bridge}},
			netdrv.Network{Name: "lab", Mode: netdrv.Isolated, Bridge: netdrv.Bridge{Name: "lab0", MAC: mac, MTU: 9000}, HostAccess: netdrv.HostAccess{Limited: true}},
		},
		"macvtaps": {
			netdrv.Orphan{Network: "lan", Links: []netdrv.Link{{Name: "m0", Kind: netdrv.KindMacvtap, Parent: "up0", Mode: netdrv.DirectVEPA}, {Name: "m1", Kind: netdrv.KindMacvtap, Parent: "up1", Mode: netdrv.DirectVEPA}}},
			netdrv.Network{Name: "lan", Mode: netdrv.DirectLink, Direct: netdrv.Direct{Uplinks: []string{"up0", "up1"}, Mode: netdrv.DirectVEPA}},
		},
	} {
		if diff := cmp.Diff(c.want, c.orphan.Adopted(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
