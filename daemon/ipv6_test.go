package daemon_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const six = `
name: six
mode: nat
bridge: {name: six0, mtu: 1400}
subnets:
  - address: 192.168.60.1/24
    dhcp: {}
  - address: fd00:60::1/64
    slaac: true
    dhcp:
      ranges: [{start: "fd00:60::1000", end: "fd00:60::1fff"}]
      reservations: [{mac: "02:00:00:00:00:02", address: "fd00:60::22", hostname: fixed}]
nat: {ipv6: true}
dns: {domain: six.test}
`

// guest6 is a guest that takes what routers advertise.
func guest6(t *testing.T, w *nettest.World, name, bridge string) *nettest.Guest {
	t.Helper()
	g := w.Guest(t, name)
	g.Run(t, "sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.router_solicitation_delay=0")
	g.Attach(t, bridge)
	g.Run(t, "ip link set eth0 down")
	g.Run(t, "ip link set eth0 up")
	return g
}

func sees(t *testing.T, g *nettest.Guest, command, text string) {
	t.Helper()
	nettest.Eventually(t, command+" says "+text, func() error {
		if got := g.Run(t, command); !strings.Contains(got, text) {
			return fmt.Errorf("it says\n%s", got)
		}
		return nil
	})
}

// The kernel of a guest configures itself from the advertisements, and goes out
// translated; a client of DHCPv6 gets an address with a name, both ways; and the
// host keeps its own default route.
func TestIPv6(t *testing.T) {
	nettest.Need(t, "dhcpcd", "dig", "ping")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	before := w.Host.Run(t, "ip -6 route show default")
	d.CtlInput(t, six, "network", "create", "-f", "-")

	g := guest6(t, w, "auto", "six0")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:60::ff:fe00:1/64 scope global dynamic")
	sees(t, g, "ip -6 route show default", "proto ra")
	sees(t, g, "cat /proc/sys/net/ipv6/conf/eth0/mtu", "1400")
	g.Run(t, "ping -6 -c 1 -W 5 2001:db8:ff::1")

	fixed := guest6(t, w, "laptop", "six0")
	fixed.Start(t, "dhcpcd", "-B", "-6", "--nodelay", "-h", "laptop", "--noarp", "eth0")
	sees(t, fixed, "ip -6 addr show dev eth0", "fd00:60::22/128")
	got := d.Ctl(t, "lease", "list")
	if !strings.Contains(got, "fd00:60::22") || !strings.Contains(got, "fixed") {
		t.Errorf("lease list says\n%s", got)
	}
	for question, want := range map[string]string{
		"AAAA fixed.six.test": "fd00:60::22", "-x fd00:60::22": "fixed.six.test.", "AAAA host.six.test": "fd00:60::1",
	} {
		if got := strings.TrimSpace(g.Run(t, "dig +short @fd00:60::1 "+question)); got != want {
			t.Errorf("dig %s: %q, want %q", question, got, want)
		}
	}
	if after := w.Host.Run(t, "ip -6 route show default"); after != before {
		t.Errorf("the host's default route was %q and is %q", before, after)
	}

	// The prefix changes: the old address is deprecated at once, the new one there.
	d.Ctl(t, "network", "set", "six", "subnets[1]=", "nat.ipv6=")
	sees(t, g, "ip -6 addr show dev eth0", "deprecated")
	d.Ctl(t, "network", "set", "six", "subnets[1].address=fd00:61::1/64")
	sees(t, g, "ip -6 addr show dev eth0", "fd00:61::ff:fe00:1/64 scope global dynamic")
	d.Ctl(t, "network", "stop", "six")
	sees(t, g, "ip -6 addr show dev eth0", "fd00:61::ff:fe00:1/64 scope global deprecated")
	if got := g.Run(t, "ip -6 route show default"); got != "" {
		t.Errorf("a stopped network is still a default route: %s", got)
	}
}

// Without nat.ipv6, IPv6 goes out untranslated, and an isolated network is no way
// out at all.
func TestIPv6IsolatedIsNoDefaultRoute(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, "{name: iso, mode: isolated, bridge: {name: iso0}, subnets: [{address: 'fd00:62::1/64'}]}", "network", "create", "-f", "-")
	g := guest6(t, w, "alone", "iso0")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:62::ff:fe00:1/64")
	g.Run(t, "ping -6 -c 1 -W 5 fd00:62::1")
	if got := g.Run(t, "ip -6 route show default"); got != "" {
		t.Errorf("an isolated network is a default route: %s", got)
	}
}
