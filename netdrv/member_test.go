package netdrv

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLearn(t *testing.T) {
	networks := []Network{
		{Name: "lab", Mode: NAT, Bridge: Bridge{Name: "lab0"}},
		{Name: "office", Mode: ExistingBridge, Bridge: Bridge{Name: "br0", Uplinks: []string{"eno1"}}},
	}
	on := func(network string, index int, bridge string) Member {
		return Member{Network: network, Link: "vnet" + string(rune('0'+index)), Index: index, Kind: "tap", Bridge: bridge}
	}
	ours := []Link{{Name: "old0", Kind: KindBridge, Network: "lab"}}
	for name, c := range map[string]struct {
		recorded, links []Member
		all             bool
		want            []Member
	}{
		"in a bridge":                  {nil, []Member{on("", 1, "lab0")}, true, []Member{on("lab", 1, "lab0")}},
		"in a bridge of the host":      {nil, []Member{on("", 1, "br0")}, true, []Member{on("office", 1, "br0")}},
		"nobody's":                     {nil, []Member{on("", 1, "docker0"), on("", 2, "")}, true, nil},
		"thrown off":                   {[]Member{on("lab", 1, "lab0")}, []Member{on("", 1, "")}, true, []Member{on("lab", 1, "")}},
		"taken by another":             {[]Member{on("lab", 1, "lab0")}, []Member{on("", 1, "docker0")}, true, nil},
		"moved to another of ours":     {[]Member{on("lab", 1, "lab0")}, []Member{on("", 1, "br0")}, true, []Member{on("office", 1, "br0")}},
		"gone":                         {[]Member{on("lab", 1, "lab0")}, nil, true, nil},
		"not looked at":                {[]Member{on("lab", 1, "lab0")}, nil, false, []Member{on("lab", 1, "lab0")}},
		"of a network that is no more": {[]Member{on("nolab", 1, "")}, []Member{on("", 1, "")}, true, nil},
		"in the bridge's former self":  {nil, []Member{on("", 1, "old0")}, true, []Member{on("lab", 1, "old0")}},
		"an uplink is no guest":        {nil, []Member{{Link: "eno1", Index: 9, Bridge: "br0"}}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := UpdateMembers(c.recorded, State{Members: c.links, Links: ours}, networks, c.all)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEffectiveMTU(t *testing.T) {
	host := Host{
		Links:        map[string]HostLink{"eth0": {MTU: 9000}, "wg0": {MTU: 1420}, "tiny": {MTU: 576}},
		DefaultLinks: []string{"eth0", "wg0"},
	}
	six := []Subnet{{Address: netip.MustParsePrefix("fd00::1/64")}}
	for name, c := range map[string]struct {
		n    Network
		want int
	}{
		"none":                    {Network{}, 1500},
		"a number":                {Network{Bridge: Bridge{MTU: 1400}}, 1400},
		"of the default route":    {Network{Bridge: Bridge{MTU: AutoMTU}}, 9000},
		"of the smallest uplink":  {Network{Bridge: Bridge{MTU: AutoMTU}, Uplinks: []string{"eth0", "wg0"}}, 1420},
		"an uplink that is gone":  {Network{Bridge: Bridge{MTU: AutoMTU}, Uplinks: []string{"eth9"}}, 1500},
		"no less than IPv6 needs": {Network{Bridge: Bridge{MTU: AutoMTU}, Uplinks: []string{"tiny"}, Subnets: six}, 1280},
	} {
		if got := EffectiveMTU(&c.n, host); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestDeclaredPortsAreKnown(t *testing.T) {
	members := []Member{{Network: "lab", Link: "vnet0", Index: 3}, {Network: "lab", Link: "tap7", Index: 4, MAC: MAC{2, 0, 0, 0, 0, 4}}}
	got := WithPortMACs(members, []Port{{Network: "lab", Link: "vnet0", MAC: MAC{2, 0, 0, 0, 0, 3}}, {Network: "lab", Link: "tap7"}})
	if got[0].MAC != (MAC{2, 0, 0, 0, 0, 3}) || got[1].MAC != members[1].MAC || !members[0].MAC.IsZero() {
		t.Errorf("got %v of %v", got, members)
	}
}
