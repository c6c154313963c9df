package nft

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/firewall"
)

// The restrictions of new connections are added and removed by an edit, are not drift, and are
// in the kernel as nft makes them from our text, which it loads again.
func TestPressureComesAndGoes(t *testing.T) {
	networks := goldens["mix"]
	rules := firewall.Compile(networks, guests("mix")...)
	ns, other := newNamespace(t), newNamespace(t)
	d := ns.open(t)
	must(t, d.Apply(t.Context(), rules))
	before := ns.list(t)
	var closed []string
	for _, n := range networks {
		if firewall.Tracked(&n) {
			closed = append(closed, n.Name)
		}
	}
	crowded := []firewall.NeighbourLimit{
		{Bridge: "vnet1", Ports: []string{"tap1", "tap2"}, Known: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")}},
		{Bridge: "vnet2"},
	}
	for _, p := range []firewall.Pressure{
		{Strict: true},
		{Strict: true, Closed: closed[:1]},
		{Strict: true, Closed: closed},
		{Closed: closed[1:], Neighbours: crowded[1:]},
		{Neighbours: crowded},
		{Strict: true, Neighbours: crowded[:1]},
		{},
	} {
		want := rules.UnderPressure(networks, p)
		isNew := func(t firewall.Table) bool {
			return !slices.ContainsFunc(d.last.Tables, func(o firewall.Table) bool { return o.ID() == t.ID() })
		}
		if c := firewall.Diff(d.last, want); len(slices.DeleteFunc(c.Replace, isNew)) > 0 || c.String() == "" {
			t.Errorf("%+v: %s, want an edit", p, c)
		}
		must(t, d.Apply(t.Context(), want))
		if drift := verify(t, d); drift != "" {
			t.Errorf("%+v: %s", p, drift)
		}
		file := filepath.Join(t.TempDir(), "ruleset")
		must(t, os.WriteFile(file, []byte(ns.run(t, "nft", "-n", "list", "ruleset")), 0o600))
		if out, err := other.try("nft", "-c", "-f", file); err != nil {
			t.Errorf("%+v: %v\n%.1000s", p, err, out)
		}
		if p.Equal(firewall.Pressure{}) {
			continue
		}
		// As one transaction makes it, in the order of making.
		whole := newNamespace(t)
		must(t, whole.open(t).Apply(t.Context(), want))
		if diff := cmp.Diff(want.String(), whole.list(t)); diff != "" {
			t.Errorf("%+v: (-compiled +nft)\n%s", p, diff)
		}
	}
	if diff := cmp.Diff(before, ns.list(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

// Under pressure, a port brings few new addresses at a time, known addresses and other ports
// pass, and so do guests on a network that has no rules otherwise. The listing with the
// elements that packets made can be loaded again.
func TestNewNeighboursAreLimited(t *testing.T) {
	w := newWorld(t)
	rules := firewall.Compile(worldNetworks)
	o, a := w.members["o"], w.members["a"]
	limits := []firewall.NeighbourLimit{{Bridge: "vbro", Ports: []string{"to-o"}, Known: []netip.Addr{o.v4, o.v6}}, {Bridge: "vbra"}}
	must(t, w.driver.Apply(t.Context(), rules.UnderPressure(worldNetworks, firewall.Pressure{Neighbours: limits})))
	const many = 200
	// arrive sends to the gateway from addresses that the member has not had yet, and returns
	// how many datagrams arrive.
	arrive := func(m *member, network string) int {
		gateway := netip.MustParseAddr(network + ".0.1")
		m.run(t, "sh", "-c", fmt.Sprintf(`for i in $(seq %d); do echo addr add %s.99.$i/32 dev eth0; done | ip -batch -`, many, network))
		m.send(t, gateway, "resolved")
		m.do(func() {
			for i := range many {
				from := &net.UDPAddr{IP: net.ParseIP(fmt.Sprintf("%s.99.%d", network, 1+i))}
				if c, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(netip.AddrPortFrom(gateway, port))); err == nil {
					_, _ = c.Write([]byte("new"))
					c.Close()
				}
			}
		})
		m.send(t, gateway, "last")
		for n := 0; ; {
			select {
			case s := <-w.host.got:
				if s == "last" {
					return n
				}
				if s == "new" {
					n++
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("a datagram from a known address of %s does not arrive", m.name)
			}
		}
	}
	w.host.run(t, "ip", "route", "add", "10.5.99.0/24", "dev", "vbro")
	w.host.run(t, "ip", "route", "add", "10.1.99.0/24", "dev", "vbra")
	if n := arrive(o, "10.5"); n == 0 || n > many*3/4 {
		t.Errorf("%d of %d new addresses of a limited port arrive", n, many)
	}
	counted, err := w.driver.Counted(t.Context(), firewall.NeighbourChain)
	if err != nil || counted == 0 {
		t.Errorf("%d packets were dropped (%v)", counted, err)
	}
	if n := arrive(a, "10.1"); n < many*9/10 {
		t.Errorf("%d of %d new addresses of another port arrive", n, many)
	}
	listing := w.host.run(t, "nft", "-n", "list", "ruleset")
	if !strings.Contains(listing, `"to-o" . 10.5.99.`) || !strings.Contains(listing, `"to-o" limit rate over`) {
		t.Errorf("no elements were made:\n%s", listing)
	}
	other := newNamespace(t)
	for _, nft := range []string{"nft", sidNFT} {
		if _, err := exec.LookPath(nft); err != nil {
			continue // TestListingLoadsAgain says what is missing
		}
		file := filepath.Join(t.TempDir(), "ruleset")
		must(t, os.WriteFile(file, []byte(w.host.run(t, nft, "-n", "list", "ruleset")), 0o600))
		if out, err := other.try(nft, "-c", "-f", file); err != nil {
			t.Errorf("%s: %v\n%.1000s", nft, err, out)
		}
	}
	if drift := verify(t, w.driver); drift != "" {
		t.Error(drift)
	}
	// As after a daemon that was killed meanwhile.
	must(t, w.driver.Close())
	must(t, w.host.open(t).Apply(t.Context(), rules))
	if diff := cmp.Diff(rules.String(), w.host.list(t)); diff != "" {
		t.Errorf("after pressure (-want +got)\n%s", diff)
	}
}
