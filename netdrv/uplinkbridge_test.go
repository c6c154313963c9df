package netdrv

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// builtGround is a host with eno1 and eno2, and what it has on them.
func builtGround() UplinkSnapshot {
	mac := MAC{2, 0, 0, 0, 0, 1}
	learned := HostObject{Kind: ObjectRoute, Link: "eno1", Key: "::/0 via fe80::1 proto ra metric 1024"}
	learned.Placeholder = &HostObject{Kind: ObjectRoute, Link: "eno1", Key: "::/0 via fe80::1 proto 118 metric 1025"}
	return UplinkSnapshot{
		Links: map[string]SnapshotLink{
			"eno1": {Index: 2, Kind: "device", MAC: mac, MTU: 1500, Up: true, Settings: map[string]string{"ipv4/rp_filter": "2", "ipv6/accept_ra": "1"}},
			"eno2": {Index: 3, Kind: "device", MAC: MAC{2, 0, 0, 0, 0, 2}, MTU: 1400, Up: true},
		},
		Objects: []HostObject{
			{Kind: ObjectAddr, Link: "eno1", Key: "192.0.2.5/24", Attributes: "brd 192.0.2.255"},
			{Kind: ObjectAddr, Link: "eno1", Key: "192.0.2.6/24", Attributes: "label eno1:web", Leased: true},
			{Kind: ObjectRoute, Link: "eno1", Key: "default via 192.0.2.1"},
			learned,
			{Kind: ObjectRoute, Link: "eno1", Key: "2001:db8::/64 proto kernel", KernelDerived: true},
			{Kind: ObjectNeighbour, Link: "eno1", Key: "192.0.2.1 lladdr 02:00:00:00:aa:01"},
			{Kind: ObjectAddr, Link: "eno2", Key: "198.51.100.5/24"},
		},
		Defaults: map[string]string{"ipv4/rp_filter": "0", "ipv6/accept_ra": "1"},
	}
}

func built(uplinks ...string) Network {
	return Network{Name: "office", Mode: ExistingBridge, Bridge: Bridge{Name: "br0", Uplinks: uplinks}}
}

// stands is the ground once the bridge has been built on eno1.
func stands() UplinkSnapshot {
	g := builtGround()
	up := g.Links["eno1"]
	up.Master = "br0"
	g.Links["eno1"] = up
	g.Links["br0"] = SnapshotLink{
		Index: 9, Kind: "bridge", MAC: up.MAC, MTU: 1500, Up: true, Ours: true, Network: "office", Uplinks: "eno1",
		Settings: map[string]string{"ipv4/rp_filter": "2", "ipv6/accept_ra": "2"},
	}
	var on []HostObject
	for _, h := range g.Objects {
		if h.Link == "eno1" && !h.KernelDerived && h.Kind != ObjectNeighbour {
			h = h.copied()
			h.Link = "br0"
			on = append(on, h)
		}
	}
	g.Objects = on
	return g
}

func TestPlansOfBuiltBridges(t *testing.T) {
	late := stands()
	late.Objects = append(late.Objects, HostObject{Kind: ObjectAddr, Link: "eno1", Key: "192.0.2.9/24"})
	thrownOut := stands()
	thrownOut.Links["eno1"] = builtGround().Links["eno1"]
	learned := stands()
	learned.Objects = append(learned.Objects, builtGround().Objects[3])
	learned.Objects[len(learned.Objects)-1].Link = "br0"
	stuck := builtGround()
	stuck.Objects[2].Immovable = "it is a multipath route"
	taken := builtGround()
	up := taken.Links["eno1"]
	up.Master = "bond0"
	taken.Links["eno1"] = up
	gone := stands()
	delete(gone.Links, "eno1")
	forwards := builtGround()
	forwards.Forwarding = true
	renamed := built("eno1")
	renamed.Bridge.Name = "br1"
	guest := Member{Network: "office", Link: "vnet0", Index: 20, Kind: "tun"}
	bridged := guest
	bridged.Bridge = "br0"
	for name, c := range map[string]struct {
		live   []Network
		ground UplinkSnapshot
		have   State
	}{
		"built-new":                     {[]Network{built("eno1")}, builtGround(), State{}},
		"built-on-two":                  {[]Network{built("eno1", "eno2")}, builtGround(), State{}},
		"built-nothing-to-do":           {[]Network{built("eno1")}, stands(), State{}},
		"built-later-address":           {[]Network{built("eno1")}, late, State{}},
		"built-uplink-thrown-out":       {[]Network{built("eno1")}, thrownOut, State{}},
		"built-route-learned":           {[]Network{built("eno1")}, learned, State{}},
		"built-guest-without-master":    {[]Network{built("eno1")}, stands(), State{Members: []Member{guest}}},
		"built-route-that-stays":        {[]Network{built("eno1")}, stuck, State{}},
		"built-uplink-of-somebody-else": {[]Network{built("eno1")}, taken, State{}},
		"built-uplink-vanished":         {[]Network{built("eno1")}, gone, State{}},
		"built-host-forwards":           {[]Network{built("eno1")}, forwards, State{}},
		"built-renamed":                 {[]Network{renamed}, stands(), State{Members: []Member{bridged}}},
		"built-gone":                    {nil, stands(), State{}},
		"built-gone-without-uplink":     {nil, gone, State{}},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, p := range PlanUplinkBridges(UplinkBridges{Live: c.live, Members: c.have.Members, Have: c.have}, c.ground) {
				b.WriteString("# " + p.Network + "\n" + p.String())
			}
			golden(t, filepath.Join("testdata", "plan", name+".txt"), b.String())
		})
	}
}

func TestMovesHost(t *testing.T) {
	a, b, c, lab := built("eno1"), built("eno2"), built("eno1"), lab()
	c.Bridge.Name = "br1"
	joins := Network{Mode: ExistingBridge, Bridge: Bridge{Name: "br0"}}
	for _, x := range []struct {
		old, n *Network
		want   bool
	}{
		{nil, &a, true}, {&a, nil, true}, {&a, &a, false}, {&a, &b, true}, {&a, &c, true}, {nil, &lab, false}, {&lab, &a, true}, {&a, &lab, true}, {nil, &joins, false}, {nil, nil, false},
	} {
		if got := MovesHost(x.old, x.n); got != x.want {
			t.Errorf("from %+v to %+v: %v", x.old, x.n, got)
		}
	}
}

// A bridge's alias says what to give back to whom, also to a daemon that knows
// nothing else.
func TestAliasTellsUplinks(t *testing.T) {
	l := Link{Network: "office", Uplinks: "eno1 eno2"}
	n, ok := ParseAlias(l.Alias())
	if got := ParseUplinks(l.Alias()); !ok || n != "office" || got != "eno1 eno2" {
		t.Errorf("%q: %q, %q, %v", l.Alias(), n, got, ok)
	}
	if got := ParseUplinks(Alias("lab")); got != "" {
		t.Errorf("uplinks of a bridge that has none: %q", got)
	}
}

func TestUplinksAreNobodysGuests(t *testing.T) {
	links := []Member{{Link: "eno1", Index: 2, Kind: "veth", Bridge: "br0"}, {Link: "vnet0", Index: 3, Kind: "veth", Bridge: "br0"}}
	got := UpdateMembers(nil, State{Members: links}, []Network{built("eno1")}, true)
	if len(got) != 1 || got[0].Link != "vnet0" || got[0].Network != "office" {
		t.Errorf("got %+v", got)
	}
}

// What is the host's to change is said, for the links and families that a network uses.
func TestUplinkProblems(t *testing.T) {
	v4, v6 := Subnet{Address: netip.MustParsePrefix("10.0.0.1/24")}, Subnet{Address: netip.MustParsePrefix("fd00::1/64")}
	host := Host{
		Links:        map[string]HostLink{"up0": {Carrier: true}, "up1": {}},
		DefaultLinks: []string{"up0", "up1"},
		Defaults:     map[string]Families{"up0": {IPv4: true}, "up1": {IPv6: true}},
	}
	for name, c := range map[string]struct {
		network Network
		zero    string // settings that are 0; the others are 1
		want    []string
	}{
		"all forward":              {Network{Mode: NAT, Subnets: []Subnet{v4, v6}}, "", nil},
		"isolated":                 {Network{Mode: Isolated, Subnets: []Subnet{v4}}, "net/ipv4/conf/up0/forwarding", nil},
		"by the family of a route": {Network{Mode: Route, Subnets: []Subnet{v4, v6}}, "net/ipv4/conf/up0/forwarding net/ipv4/conf/up1/forwarding net/ipv6/conf/up0/forwarding", []string{"net/ipv4/conf/up0/forwarding is 0"}},
		"IPv6":                     {Network{Mode: NAT, Subnets: []Subnet{v6}}, "net/ipv6/conf/up1/forwarding", []string{"net/ipv6/conf/up1/forwarding is 0"}},
		"pinned":                   {Network{Mode: NAT, Subnets: []Subnet{v4}, Uplinks: []string{"up1"}}, "net/ipv4/conf/up0/forwarding net/ipv4/conf/up1/forwarding", []string{"net/ipv4/conf/up1/forwarding is 0"}},
		"no carrier":               {Network{Mode: DirectLink, Direct: Direct{Uplinks: []string{"up0", "up1"}}}, "", []string{"no carrier on uplink up1"}},
	} {
		err := UplinkProblems(&c.network, host, func(key string) string {
			if slices.Contains(strings.Fields(c.zero), key) {
				return "0"
			}
			return "1"
		})
		said := fmt.Sprint(err)
		if (err == nil) != (c.want == nil) || err != nil && strings.Count(said, "\n") != len(c.want)-1 {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		for _, w := range c.want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %v, want %q", name, err, w)
			}
		}
	}
}
