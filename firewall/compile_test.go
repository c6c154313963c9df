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

	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

var update = flag.Bool("update", false, "rewrite testdata/*.nft")

// goldens are the rulesets with a golden text.
var goldens = example.Networks()

// guests are the ports of an example's networks.
func guests(name string) []Port {
	networks := example.Networks()[name]
	around := netdrv.Resolver{Networks: networks}
	var out []Port
	for _, g := range example.Guests()[name] {
		n := networks[slices.IndexFunc(networks, func(n netdrv.Network) bool { return n.Name == g.Network })]
		f := g.Filter
		out = append(out, Port{
			Link: g.Link, Network: g.Network, MAC: g.MAC, Addresses: g.Addresses, Preset: f.Preset,
			Bridged: n.Mode == netdrv.ExistingBridge, Allow: f.Allow,
			Rules:    RulebookOf(f, &n, g.Link, len(g.Filter.Rules), &around),
			FixedMAC: g.MACPrefix != "", MACPrefix: g.MACPrefix,
		})
	}
	return out
}

func TestCompileGolden(t *testing.T) {
	for name, networks := range goldens {
		t.Run(name, func(t *testing.T) {
			got, file := Compile(networks, guests(name)...).String(), filepath.Join("testdata", name+".nft")
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
				if strings.Contains(s.KeyString(e), "virbr3") && s.Name != "local" {
					t.Errorf("set %s names the open network's bridge", s.Name)
				}
			}
		}
	}
}

func sameChain(a, b Chain) bool {
	return Table{Chains: []Chain{a}}.String() == Table{Chains: []Chain{b}}.String()
}

// Few rules, many elements: the rules of a thousand networks are those of three.
func TestRulesDoNotGrow(t *testing.T) {
	few, many := Compile(example.Many(3)), Compile(example.Many(1000))
	if !slices.EqualFunc(few.Tables[0].Chains, many.Tables[0].Chains, sameChain) {
		t.Error("1000 networks have other chains than 3")
	}
}

// A port is elements: the rules of a thousand ports are those of one.
func TestRulesDoNotGrowWithPorts(t *testing.T) {
	n := example.Clean(example.Network("lab", netdrv.NAT, "lab0", "10.20.0.1/16", "fd00:20::1/64"), netdrv.CleanTraffic)
	table := func(ports int) Table {
		var list []Port
		for i := range ports {
			list = append(list, Port{
				Link: "vnet" + strconv.Itoa(i), Network: "lab", MAC: netdrv.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)},
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})}, Preset: netdrv.CleanTraffic,
			})
		}
		return Compile([]netdrv.Network{n}, list...).Tables[1]
	}
	few, many := table(1), table(1000)
	if !slices.EqualFunc(few.Chains, many.Chains, sameChain) {
		t.Error("1000 ports have other chains than 1")
	}
	var p int
	for _, e := range Diff(Ruleset{Tables: []Table{few}}, Ruleset{Tables: []Table{table(2)}}).Edits {
		p += count(e.AddElements) + count(e.DelElements)
	}
	if p == 0 || p > 16 {
		t.Errorf("one port more is %d elements", p)
	}
}

func TestUnknownModeIsClosed(t *testing.T) {
	out, in := leaveAndEnter(&netdrv.Network{Mode: 99})
	if out != goTo("refuse") || in != goTo("refuse") {
		t.Errorf("verdicts on an unknown mode are %v and %v", out, in)
	}
}
