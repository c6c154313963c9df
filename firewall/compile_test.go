package firewall

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/netdrv"
)

var update = flag.Bool("update", false, "rewrite testdata/*.nft")

func network(name string, mode netdrv.Mode, bridge string, subnets ...string) netdrv.Network {
	n := netdrv.Network{Name: name, Mode: mode, Bridge: netdrv.Bridge{Name: bridge}}
	for _, s := range subnets {
		n.Subnets = append(n.Subnets, netdrv.Subnet{Address: netip.MustParsePrefix(s)})
	}
	return n
}

func withPorts(n netdrv.Network, start, end uint16) netdrv.Network {
	n.NAT.Ports = netdrv.PortRange{Start: start, End: end}
	return n
}

// goldens are the rulesets whose text is agreed on; firewall/nft reads the same
// files and puts the same networks into a kernel.
var goldens = map[string][]netdrv.Network{
	"nat": {network("default", netdrv.NAT, "virbr0", "192.168.122.1/24")},
	"nat-dual": {network("lab", netdrv.NAT, "virbr1",
		"10.20.0.1/24", "fd00:20::1/64", "10.20.1.1/24")},
	"nat-ports": {
		withPorts(network("one", netdrv.NAT, "virbr1", "10.1.0.1/24"), 5000, 5000),
		withPorts(network("some", netdrv.NAT, "virbr2", "10.2.0.1/24"), 20000, 29999),
		network("default", netdrv.NAT, "virbr0", "192.168.122.1/24"),
	},
	"route":         {network("dmz", netdrv.Route, "virbr2", "10.30.0.1/24", "fd00:30::1/64")},
	"open":          {network("wild", netdrv.Open, "virbr3", "10.40.0.1/24")},
	"isolated":      {network("lonely", netdrv.Isolated, "virbr4", "10.50.0.1/24")},
	"very-isolated": {network("quiet", netdrv.Isolated, "virbr7")},
	"mix": {
		network("wild", netdrv.Open, "virbr3", "10.40.0.1/24"),
		network("quiet", netdrv.Isolated, "virbr7"),
		network("lonely", netdrv.Isolated, "virbr4", "10.50.0.1/24"),
		network("dmz", netdrv.Route, "virbr2", "10.30.0.1/24", "fd00:30::1/64"),
		network("lab", netdrv.NAT, "virbr10", "10.20.0.1/24", "fd00:20::1/64"),
		network("default", netdrv.NAT, "virbr0", "192.168.122.1/24"),
	},
}

func TestCompileGolden(t *testing.T) {
	for name, networks := range goldens {
		t.Run(name, func(t *testing.T) {
			got, file := Compile(networks).String(), filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-%s +compiled)\n%s", file, diff)
			}
		})
	}
}

func TestCompileIgnoresOrder(t *testing.T) {
	networks := slices.Clone(goldens["mix"])
	want := Compile(networks).String()
	slices.Reverse(networks)
	if diff := cmp.Diff(want, Compile(networks).String()); diff != "" {
		t.Errorf("(-in order +reversed)\n%s", diff)
	}
}

// An open network has not one rule: alone it has no table, and among others its
// bridge is named nowhere but as a place to which guests of NAT networks go
// untranslated.
func TestOpenNetworkHasNoRules(t *testing.T) {
	if got := Compile(goldens["open"]); len(got.Tables) != 0 {
		t.Errorf("an open network made %s", got)
	}
	for _, table := range Compile(goldens["mix"]).Tables {
		for _, s := range table.Sets {
			for _, e := range s.Elements {
				if strings.Contains(e.KeyString(), "virbr3") && s.Name != "local" {
					t.Errorf("set %s names the open network's bridge", s.Name)
				}
			}
		}
	}
}

// Few rules, many elements: the rules of a thousand networks are those of three.
func TestRulesDoNotGrow(t *testing.T) {
	few, many := Compile(manyNetworks(3)), Compile(manyNetworks(1000))
	if !slices.EqualFunc(few.Tables[0].Chains, many.Tables[0].Chains, Chain.equal) {
		t.Error("1000 networks have other chains than 3")
	}
}

// manyNetworks are n networks of modes nat, route, isolated in turn.
func manyNetworks(n int) []netdrv.Network {
	modes := []netdrv.Mode{netdrv.NAT, netdrv.Route, netdrv.Isolated}
	out := make([]netdrv.Network, n)
	for i := range out {
		v4 := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		v6 := netip.AddrFrom16([16]byte{0xfd, 2: byte(i >> 8), 3: byte(i), 15: 1})
		out[i] = netdrv.Network{
			Name: "net" + strconv.Itoa(i), Mode: modes[i%3], Bridge: netdrv.Bridge{Name: "vbr" + strconv.Itoa(i)},
			Subnets: []netdrv.Subnet{{Address: netip.PrefixFrom(v4, 24)}, {Address: netip.PrefixFrom(v6, 64)}},
		}
	}
	return out
}

func TestUnknownModeIsShut(t *testing.T) {
	out, in := doors(netdrv.Mode(99))
	if out != goTo("refuse") || in != goTo("refuse") {
		t.Errorf("doors of an unknown mode are %v and %v", out, in)
	}
}
