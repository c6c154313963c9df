package nettest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dnsmasq serves a bridge br0 of the world's host, with NAT for what the guests
// ask outside: by foreign means, so that the harness is proven without vnetd.
func dnsmasq(t *testing.T, w *World) *Process {
	t.Helper()
	Need(t, "dnsmasq", "ip", "ping")
	w.Host.Bridge(t, "br0", "10.20.0.1/24")
	p := w.Host.Start(t, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--user=root",
		"--conf-file=/dev/null", "--pid-file=", "--interface=br0", "--bind-interfaces", "--no-ping",
		"--dhcp-range=10.20.0.100,10.20.0.200,600", "--dhcp-leasefile=/run/dnsmasq.leases",
		"--domain=lab.test", "--no-hosts", "--dhcp-authoritative")
	if err := p.WaitFor(t.Context(), "sockets bound exclusively"); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClients(t *testing.T) {
	for _, c := range Clients {
		t.Run(c.Name, func(t *testing.T) {
			Need(t, c.Programs...)
			w := New(t)
			server := dnsmasq(t, w)
			g := w.Guest(t, "fred")
			g.Attach(t, "br0")
			client := c.New(g, t, ClientConfig{})

			first, err := client.Lease(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkLease(t, g, first)
			if got := server.Output(); !strings.Contains(got, g.MAC+" fred") {
				t.Errorf("the server saw no host name:\n%s", got)
			}
			requests := count(server, "DHCPREQUEST")
			renewed, err := client.Renew(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if renewed.Address != first.Address || renewed.Time != 10*time.Minute {
				t.Errorf("renewed %v for %v, had %v", renewed.Address, renewed.Time, first.Address)
			}
			if count(server, "DHCPREQUEST") == requests || count(server, "DHCPDISCOVER") != 1 {
				t.Errorf("the server saw no renewal:\n%s", server.Output())
			}
			again, err := client.Reboot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if again.Address != first.Address {
				t.Errorf("after a reboot %v, had %v", again.Address, first.Address)
			}
			remembers := c.Name == "dhclient" || c.Name == "dhcpcd"
			if remembers && count(server, "DHCPDISCOVER") != 1 {
				t.Errorf("a reboot was no INIT-REBOOT:\n%s", server.Output())
			}
			wire := capture(t, g)
			if err := client.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := wire.WaitFor(t.Context(), "DHCP-Message (53), length 1: Release"); err != nil {
				t.Error(err)
			}
			// networkd 252 names no server in its RELEASE, against RFC 2131
			// table 5, and dnsmasq takes no notice of it.
			if c.Name != "networkd" {
				if err := server.WaitFor(t.Context(), "DHCPRELEASE(br0) "+first.Address.Addr().String()); err != nil {
					t.Error(err)
				}
			}
			Eventually(t, "the address to go", func() error {
				if got := g.Run(t, "ip -4 addr show eth0"); strings.Contains(got, "inet 10.20.0.") {
					return fmt.Errorf("it is there: %s", got)
				}
				return nil
			})
		})
	}
}

// capture prints the DHCP packets that come out of a guest.
func capture(t *testing.T, g *Guest) *Process {
	t.Helper()
	Need(t, "tcpdump")
	p := g.world.Host.Start(t, "tcpdump", "-l", "-n", "-vv", "-i", g.Port, "udp port 67")
	if err := p.WaitFor(t.Context(), "listening on"); err != nil {
		t.Fatal(err)
	}
	return p
}

func count(p *Process, what string) int { return strings.Count(p.Output(), what+"(") }

// checkLease compares the client's view with dnsmasq's configuration, and asks
// whether it is put to use.
func checkLease(t *testing.T, g *Guest, l Lease) {
	t.Helper()
	want := Lease{
		Address: netip.PrefixFrom(l.Address.Addr(), 24),
		Gateway: netip.MustParseAddr("10.20.0.1"),
		DNS:     []netip.Addr{netip.MustParseAddr("10.20.0.1")},
		Domain:  "lab.test", Time: 10 * time.Minute, Server: netip.MustParseAddr("10.20.0.1"),
	}
	got := l
	got.Raw, got.Hostname = nil, ""
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("lease (-want +got):\n%s", d)
	}
	if !netip.MustParsePrefix("10.20.0.0/24").Contains(l.Address.Addr()) {
		t.Errorf("address %v", l.Address)
	}
	if got := g.Run(t, "ip -4 addr show eth0; ip route"); !strings.Contains(got, "inet "+l.Address.String()) ||
		!strings.Contains(got, "default via 10.20.0.1") {
		t.Errorf("the guest did not configure itself:\n%s", got)
	}
	if got := g.Run(t, "cat /etc/resolv.conf"); !strings.Contains(got, "nameserver 10.20.0.1") {
		t.Errorf("resolv.conf %q", got)
	}
	g.Run(t, "ping -c1 -W5 10.20.0.1")
}
