package nft

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

// goldens are the networks of package firewall's golden files.
var goldens = example.Networks()

// guests are the ports of an example's networks.
func guests(name string) []firewall.Port {
	networks := example.Networks()[name]
	around := netdrv.Resolver{Networks: networks}
	var out []firewall.Port
	for _, g := range example.Guests()[name] {
		n := networks[slices.IndexFunc(networks, func(n netdrv.Network) bool { return n.Name == g.Network })]
		f := g.Filter
		out = append(out, firewall.Port{
			Link: g.Link, Network: g.Network, MAC: g.MAC, Addresses: g.Addresses, Preset: f.Preset,
			Bridged: n.Mode == netdrv.ExistingBridge, Allow: f.Allow,
			Rules:    firewall.RulebookOf(f, &n, g.Link, len(g.Filter.Rules), &around),
			FixedMAC: g.MACPrefix != "", MACPrefix: g.MACPrefix,
		})
	}
	return out
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
			rules := firewall.Compile(networks, guests(name)...)
			must(t, d.Apply(t.Context(), rules))
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
			must(t, d.Apply(t.Context(), rules))
			if d.gen != gen {
				t.Errorf("the second Apply went from generation %d to %d", gen, d.gen)
			}
		})
	}
}

// google/nftables v0.3.0 loses elements silently when they are more than 64 KiB
// in one message; breaks when chunk is 5000.
func TestAllElementsArrive(t *testing.T) {
	ns := newNamespace(t)
	d := ns.open(t)
	networks := example.Many(5000)
	apply(t, d, networks...)
	listed := ns.run(t, "nft", "-s", "list", "map", "inet", "vnetd", "leave")
	if got := strings.Count(listed, ": goto") + strings.Count(listed, ": jump"); got != 5000 {
		t.Errorf("nft lists %d elements of map leave, want 5000", got)
	}
	if diff := cmp.Diff(firewall.Compile(networks).String(), ns.list(t)); diff != "" {
		t.Errorf("(-compiled +nft)\n%s", diff)
	}
}

// Verify reports how the kernel differs from what was applied last; the next Apply repairs it.
func (d *Driver) Verify(ctx context.Context) (drift string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.sock.read(ctx)
	if err != nil {
		return "", err
	}
	_, last, err := d.encode(d.last)
	if err != nil {
		return "", err
	}
	d.gen = 0
	if drift = d.compareLocked(h, last); drift == "" {
		d.gen = h.gen
	}
	return drift, nil
}
