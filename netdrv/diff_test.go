package netdrv

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func dual() Network {
	n := lab()
	n.Name, n.Bridge.Name, n.Bridge.MTU = "dual", "dual0", 1400
	n.Subnets = []Subnet{{Address: netip.MustParsePrefix("192.168.20.1/24")}, {Address: netip.MustParsePrefix("fd00:20::1/64")}}
	return n
}

// have is the state that a kernel is in which has taken the networks.
func have(networks ...Network) State { return Compile(Intent{Live: networks}, Host{}) }

// withBandwidth is lab with two guests, one on a tap and one on a macvtap of
// another network, limited or not.
func withBandwidth(limited bool) State {
	n, lan := lab(), Network{Name: "lan", Mode: DirectLink, Direct: Direct{Uplinks: []string{"eno1"}}}
	if limited {
		n.Bandwidth.In = Rate{Average: 100_000_000, Peak: 200_000_000, Burst: 1_000_000}
		n.Bandwidth.Out.Average = 50_000_000
		n.Bandwidth.PerPort.In.Average = 10_000_000
		lan.Bandwidth.PerPort = Bandwidth{In: Rate{Average: 8_000_000}, Out: Rate{Average: 4_000_000}}
	}
	return Compile(Intent{
		Live:    []Network{n, lan},
		Members: []Member{{Network: "lab", Link: "vnet0", Index: 7, Kind: "tap", Bridge: "lab0"}},
		Ports:   []Port{{Network: "lan", Link: "vnmac0"}},
	}, Host{})
}

func TestPlans(t *testing.T) {
	quiet := Network{Name: "quiet", Mode: Isolated, Bridge: Bridge{Name: "quiet0", MAC: MAC{2, 0, 0, 0, 30, 1}}}
	host := Host{
		AcceptRA: map[string]int{"eth0": 1, "eth1": 0, "eth2": 2, "up0": 1, "was0": 1, "br0": 1, "docker0": 1, "veth3": 1},
		Links: map[string]HostLink{
			"eth0": {Kind: "device"}, "eth1": {Kind: "device"}, "eth2": {Kind: "vlan"}, "eth3": {Kind: "device", Master: "br0"}, "up0": {Kind: "veth"},
			"was0": {Kind: "veth"}, "br0": {Kind: "bridge"}, "docker0": {Kind: "bridge"}, "veth3": {Kind: "veth"}, "veth4": {Kind: "veth", Master: "docker0"},
		},
		DefaultLinks: []string{"up0"}, Uplinks: []string{"up0", "was0"},
	}
	moved := lab()
	moved.Subnets[0].Address = netip.MustParsePrefix("192.168.11.1/24")
	moved.Bridge.MTU = 9000
	half := have(lab())
	half.Links[0].Network, half.Links[0].Up, half.Addrs = "", false, nil
	for name, c := range map[string]struct{ want, have State }{
		"nothing-to-do":         {have(lab(), dual(), quiet), have(lab(), dual(), quiet)},
		"new-nat":               {have(lab()), State{}},
		"new-dual-stack-beside": {Compile(Intent{Live: []Network{lab(), dual()}}, host), have(lab())},
		"very-isolated":         {have(quiet), State{}},
		"gone":                  {State{}, have(lab(), quiet)},
		"new-subnet-and-mtu":    {have(moved), have(lab())},
		"bandwidth":             {withBandwidth(true), withBandwidth(false)},
		"bandwidth-lifted":      {withBandwidth(false), withBandwidth(true)},
		"bandwidth-kept":        {withBandwidth(true), withBandwidth(true)},
		"cut-short-by-a-crash":  {have(lab()), half},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, p := range Diff(c.want, c.have) {
				b.WriteString("# " + p.Network + "\n" + p.String())
			}
			golden(t, filepath.Join("testdata", "plan", name+".txt"), b.String())
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestDiffKeepsWhatGuestsHold(t *testing.T) {
	// The order of addresses and links must not matter, nor must other networks.
	a, b := have(lab(), dual()), have(dual(), lab())
	if p := Diff(a, b); p != nil {
		t.Errorf("the order of networks makes a plan: %v", p)
	}
}
