package dhcpd_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// What a Linux kernel makes of the advertisements.
func TestKernelGuest(t *testing.T) {
	nettest.Need(t, "ip", "ping")
	l := newLink(t)
	cfg := ra.Config{
		Prefixes: []ra.Prefix{slaac("fd00:10::/64")}, MTU: 1400, Preference: 1,
		DNS: []netip.Addr{ip("fd00:10::1")}, Search: []string{"lab.test"}, Routes: []netip.Prefix{prefix("fd99::/48")},
	}
	l.set(t, dhcpd.Config{RA: &cfg})
	g := l.Guest(t, "web")
	g.Sysctl(t, "net/ipv6/conf/eth0/accept_ra_rt_info_max_plen", "64")
	g.Attach(t, "br0")
	g.Down(t, "eth0")
	g.Up(t, "eth0")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::ff:fe00:1/64 scope global", "!tentative")
	sees(t, g, "ip -6 route show table all", "default via fe80::1 proto ra", "fd99::/48 via fe80::1 proto ra", "fd00:10::/64 dev eth0")
	sees(t, g, "cat /proc/sys/net/ipv6/conf/eth0/mtu", "1400")
	g.Run(t, "ping -c1 -W5 fd00:10::1")

	cfg.Prefixes, cfg.Routes, cfg.MTU = []ra.Prefix{slaac("fd00:11::/64")}, nil, 1450
	l.set(t, dhcpd.Config{RA: &cfg})
	sees(t, g, "ip -6 addr show dev eth0; ip -6 addr show dev eth0 deprecated",
		"inet6 fd00:10::ff:fe00:1/64 scope global deprecated", "inet6 fd00:11::ff:fe00:1/64 scope global",
		"!fd00:11 deprecated", "preferred_lft 0sec")
	sees(t, g, "ip -6 route", "default via fe80::1 proto ra", "!fd99::/48")
	sees(t, g, "cat /proc/sys/net/ipv6/conf/eth0/mtu", "1450")

	// The network is stopped: at once, and not when the guest next looks.
	l.server.Remove("lab")
	sees(t, g, "ip -6 route; ip -6 addr show dev eth0", "!default via", "inet6 fd00:11::ff:fe00:1/64 deprecated")
}

// An isolated network's router is none.
func TestKernelGuestOfAnIsolatedNetwork(t *testing.T) {
	nettest.Need(t, "ip")
	l := newLink(t)
	l.set(t, dhcpd.Config{RA: &ra.Config{Prefixes: []ra.Prefix{slaac("fd00:10::/64")}, Lifetime: -1}})
	g := l.guest(t, "web")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::ff:fe00:1/64 scope global")
	sees(t, g, "ip -6 route", "!default via", "fd00:10::/64 dev eth0")
}

// Networks outlive the daemon.
func TestEndOfTheServerIsNotTheEndOfTheNetwork(t *testing.T) {
	nettest.Need(t, "ip", "tcpdump")
	l := newLink(t)
	l.set(t, dhcpd.Config{RA: &ra.Config{Prefixes: []ra.Prefix{slaac("fd00:10::/64")}}})
	g := l.guest(t, "web")
	sees(t, g, "ip -6 route", "default via fe80::1 proto ra")
	wire := l.Host.Start(t, "tcpdump", "-l", "-n", "-vv", "-i", g.Port, "icmp6 and ip6[40] == 134")
	if err := wire.WaitFor(t.Context(), "listening on"); err != nil {
		t.Fatal(err)
	}
	l.stop()
	// A solicitation is not answered any more, and what came before it is seen.
	g.Run(t, "ping -c1 -W5 fd00:10::1")
	sees(t, g, "ip -6 route", "default via fe80::1 proto ra")
	if hasLine(wire.Output(), "lifetime 0s") {
		t.Errorf("a last word at the server's end:\n%s", wire.Output())
	}
}

// A foreign decoder's view, and that every answer's checksum is right.
func TestTcpdumpOfAdvertisements(t *testing.T) {
	nettest.Need(t, "tcpdump", "ip")
	l := newLink(t)
	g := l.guest(t, "web")
	wire := l.Host.Start(t, "tcpdump", "-l", "-n", "-e", "-vvv", "-i", g.Port, "icmp6 and ip6[40] == 134")
	if err := wire.WaitFor(t.Context(), "listening on"); err != nil {
		t.Fatal(err)
	}
	l.set(t, dhcpd.Config{RA: &ra.Config{
		Prefixes: []ra.Prefix{slaac("fd00:10::/64")}, MTU: 1400, Managed: true, Other: true, Preference: -1,
		DNS: []netip.Addr{ip("fd00:10::1")}, Search: []string{"lab.test"}, Routes: []netip.Prefix{prefix("fd99::/48")},
	}})
	for _, want := range []string{
		"> 33:33:00:00:00:01", "hlim 255", "fe80::1 > ff02::1", "[icmp6 sum ok]", "Flags [managed, other stateful], pref low, router lifetime 9000s",
		"source link-address option", "mtu option (5), length 8 (1):  1400",
		"prefix info option (3), length 32 (4): fd00:10::/64, Flags [onlink, auto], valid time 86400s, pref. time 14400s",
		"rdnss option (25), length 24 (3):  lifetime 9000s, addr: fd00:10::1",
		"dnssl option (31)", "domain(s): lab.test.", "route info option (24)", "fd99::/48, pref=low, lifetime=9000s",
	} {
		if err := wire.WaitFor(t.Context(), want); err != nil {
			t.Errorf("%v in\n%s", err, wire.Output())
		}
	}
}

// What another router's tool is told when it asks.
func TestRdisc6(t *testing.T) {
	nettest.Need(t, "rdisc6", "ip")
	l := newLink(t)
	l.set(t, dhcpd.Config{RA: &ra.Config{
		Prefixes: []ra.Prefix{slaac("fd00:10::/64")}, MTU: 1400, Other: true, Preference: 1,
		DNS: []netip.Addr{ip("fd00:10::1")}, Search: []string{"lab.test"}, Routes: []netip.Prefix{prefix("fd99::/48")},
	}})
	g := l.guest(t, "web")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fe80:", "!tentative")
	sees(t, g, "rdisc6 -1 -n eth0 | tr -s ' '",
		"Stateful address conf. : No", "Stateful other conf. : Yes", "Router preference : high", "Router lifetime : 9000",
		"Prefix : fd00:10::/64", "On-link : Yes", "Autonomous address conf.: Yes", "Valid time : 86400", "Pref. time : 14400",
		"Recursive DNS server : fd00:10::1", "DNS search list : lab.test", "Route : fd99::/48", "MTU : 1400 bytes", "from fe80::1")
}

// A bridge that snoops, with a querier, passes groups up to the host only if
// the host has joined them.
func TestSnoopingBridge(t *testing.T) {
	nettest.Need(t, "ip", "bridge", "dhclient")
	l := newLink(t)
	l.Host.Run(t, "ip link set br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_query_response_interval 10 mcast_startup_query_interval 10")
	l.set(t, managed())
	g := l.guest(t, "web")
	nettest.Eventually(t, "the host's memberships", func() error {
		out := l.Host.Run(t, "bridge mdb show dev br0")
		if !hasLine(out, "grp ff02::1:2") || !hasLine(out, "grp ff02::2 ") {
			return errors.New(out)
		}
		return nil
	})
	clients6[0].start(t, g)
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::1")
	sees(t, g, "ip -6 route", "default via fe80::1 proto ra")
}

// The bridge was deleted, and somebody made it anew: another change meanwhile is
// told as any other.
func TestBridgeMadeAnew(t *testing.T) {
	nettest.Need(t, "ip")
	l := newLink(t)
	l.set(t, dhcpd.Config{RA: &ra.Config{Prefixes: []ra.Prefix{slaac("fd00:10::/64")}}})
	g := l.guest(t, "web")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::ff:fe00:1/64 scope global")
	l.Host.Run(t, "ip link del br0")
	l.Host.Bridge(t, "br0")
	l.Host.Run(t, "ip link set br0 address 02:00:00:00:ff:02; ip -6 addr flush dev br0 scope link")
	l.Host.Address(t, "br0", "fe80::1/64")
	g.Attach(t, "br0")
	l.set(t, dhcpd.Config{RA: &ra.Config{Prefixes: []ra.Prefix{slaac("fd00:12::/64")}}})
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:12::ff:fe00:1/64 scope global", "inet6 fd00:10::ff:fe00:1/64 deprecated")
	sees(t, g, "ip -6 neigh", "fe80::1 lladdr 02:00:00:00:ff:02 router")
}

// Set refuses what it cannot serve, and what was served stays.
func TestSetRefuses(t *testing.T) {
	l := newLink(t)
	good := dhcpd.Config{RA: &ra.Config{Prefixes: []ra.Prefix{slaac("fd00:10::/64")}}}
	l.set(t, good)
	bad := dhcpd.Config{Network: "lab", Interface: "br0", RA: &ra.Config{Prefixes: []ra.Prefix{slaac("fd00:10::/56")}}}
	if err := l.Host.Do(func() error { return l.server.Set(bad) }); err == nil || !strings.Contains(err.Error(), "not a /64") {
		t.Errorf("got %v", err)
	}
	l.Host.Run(t, "ip link add br1 type bridge; ip link set br1 addrgenmode none; ip link set br1 up")
	bad.Network, bad.Interface, bad.RA = "other", "br1", good.RA
	if err := l.Host.Do(func() error { return l.server.Set(bad) }); err == nil || !strings.Contains(err.Error(), "br1 has no IPv6 link-local address") {
		t.Errorf("got %v", err)
	}
	g := l.guest(t, "web")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::ff:fe00:1/64 scope global")
}
