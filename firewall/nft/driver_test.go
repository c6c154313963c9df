package nft

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
)

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

// goldens are the networks of package firewall's golden files.
var goldens = map[string][]netdrv.Network{
	"nat":      {network("default", netdrv.NAT, "virbr0", "192.168.122.1/24")},
	"nat-dual": {network("lab", netdrv.NAT, "virbr1", "10.20.0.1/24", "fd00:20::1/64", "10.20.1.1/24")},
	"nat-ports": {
		withPorts(network("one", netdrv.NAT, "virbr1", "10.1.0.1/24"), 5000, 5000),
		withPorts(network("some", netdrv.NAT, "virbr2", "10.2.0.1/24"), 20000, 29999),
		network("default", netdrv.NAT, "virbr0", "192.168.122.1/24"),
	},
	"route":         {network("dmz", netdrv.Route, "virbr2", "10.30.0.1/24", "fd00:30::1/64")},
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

func apply(t testing.TB, d *Driver, networks ...netdrv.Network) {
	t.Helper()
	if err := d.Apply(context.Background(), firewall.Compile(networks)); err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, d *Driver) string {
	t.Helper()
	drift, err := d.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return drift
}

// What nft lists is the golden text, byte for byte, and a second Apply changes
// nothing.
func TestKernelHoldsGolden(t *testing.T) {
	for name, networks := range goldens {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			d := ns.open(t)
			apply(t, d, networks...)
			want, err := os.ReadFile(filepath.Join("..", "testdata", name+".nft"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), ns.list(t)); diff != "" {
				t.Errorf("(-golden +nft)\n%s", diff)
			}
			if drift := verify(t, d); drift != "" {
				t.Errorf("after Apply: %s", drift)
			}
			gen := d.gen
			apply(t, d, networks...)
			if d.gen != gen {
				t.Errorf("the second Apply went from generation %d to %d", gen, d.gen)
			}
		})
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

// google/nftables v0.3.0 loses elements silently when they are more than 64 KiB
// in one message; breaks when chunk is 5000.
func TestAllElementsArrive(t *testing.T) {
	ns := newNamespace(t)
	d := ns.open(t)
	networks := manyNetworks(5000)
	apply(t, d, networks...)
	listed := ns.run(t, "nft", "-s", "list", "map", "inet", "vnetd", "leave")
	if got := strings.Count(listed, ": goto") + strings.Count(listed, ": jump"); got != 5000 {
		t.Errorf("nft lists %d elements of map leave, want 5000", got)
	}
	if diff := cmp.Diff(firewall.Compile(networks).String(), ns.list(t)); diff != "" {
		t.Errorf("(-compiled +nft)\n%s", diff)
	}
}
