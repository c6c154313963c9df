package dhcpd_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// client6 is a real DHCPv6 client.
type client6 struct {
	name     string
	programs []string
	start    func(*testing.T, *nettest.Guest) *nettest.Process
	release  func(*testing.T, *nettest.Guest, *nettest.Process) // nil: it does not
}

const dhclient6 = "-6 -cf /run/dhclient.conf -lf /run/dhclient.leases -pf /run/dhclient.pid"

var clients6 = []client6{
	{
		"dhclient",
		[]string{"dhclient"},
		func(t *testing.T, g *nettest.Guest) *nettest.Process {
			g.WriteFile(t, "/run/dhclient.conf", "send fqdn.fqdn \"web\"; send fqdn.encoded on; send fqdn.server-update on;\n"+
				"also request dhcp6.fqdn, dhcp6.name-servers, dhcp6.domain-search;\n")
			sees(t, g, "ip -6 addr show dev eth0 scope link -tentative", "inet6 fe80::")
			return g.Start(t, "dhclient", append(strings.Fields(dhclient6), "-d", "-v", "eth0")...)
		},
		func(t *testing.T, g *nettest.Guest, _ *nettest.Process) { g.Run(t, "dhclient "+dhclient6+" -r eth0") },
	},
	{
		"dhcpcd",
		[]string{"dhcpcd"},
		func(t *testing.T, g *nettest.Guest) *nettest.Process {
			g.WriteFile(t, "/etc/dhcpcd.conf", "hostname web\nfqdn both\nduid\nslaac hwaddr\noption rapid_commit\n"+
				"option domain_name_servers, domain_search, fqdn\nia_na\n")
			return g.Start(t, "dhcpcd", "-B", "-d", "-6", "eth0")
		},
		func(t *testing.T, g *nettest.Guest, _ *nettest.Process) {
			// Twice: dhcpcd 9.4 may lose the first signal.
			g.Run(t, "timeout 5 dhcpcd -6 -k eth0 || timeout 15 dhcpcd -6 -k eth0")
		},
	},
	{
		"networkd",
		[]string{"systemd-networkd"},
		func(t *testing.T, g *nettest.Guest) *nettest.Process {
			g.WriteFile(t, "/etc/hostname", "web\n")
			g.WriteFile(t, "/run/systemd/network/10-eth0.network",
				"[Match]\nName=eth0\n[Network]\nDHCP=no\nIPv6AcceptRA=yes\n[IPv6AcceptRA]\nDHCPv6Client=yes\n")
			g.Run(t, "mount -o remount,ro /sys 2>/dev/null || mount -t sysfs -o ro sysfs /sys; hostname web")
			cmd := g.Command(context.Background(), "systemd-networkd")
			cmd.Env = append(cmd.Env, "SYSTEMD_LOG_TARGET=console", "SYSTEMD_LOG_LEVEL=debug")
			return g.Launch(t, cmd)
		},
		nil, // as of 252
	},
}

// The same for every client: an address by DHCPv6, in use, with a name that is
// found both ways, the same address after a new start, and its end.
func TestClients6(t *testing.T) {
	for _, c := range clients6 {
		t.Run(c.name, func(t *testing.T) {
			nettest.Need(t, c.programs...)
			nettest.Need(t, "ip", "ping")
			l := newLink(t)
			l.set(t, managed())
			g := l.guest(t, "web")
			p := c.start(t, g)
			first := l.lease6(t, func(x lease.Lease) bool { return x.MAC.String() == g.MAC })
			sees(t, g, "ip -6 addr show dev eth0", "inet6 "+first.Address.String(), "!tentative")
			g.Run(t, "ping -c1 -W5 fd00:10::1")
			if first.Hostname != "web" {
				t.Errorf("hostname %q", first.Hostname)
			}
			names := l.leases.Network("lab")
			if a := names.Addrs("web"); len(a) != 1 || a[0] != first.Address {
				t.Errorf("web has %v", a)
			}
			if n, _ := names.Name(first.Address); n != "web" {
				t.Errorf("%s is called %q", first.Address, n)
			}

			p.Kill()
			g.Run(t, "ip -6 addr flush dev eth0 scope global")
			p = c.start(t, g)
			sees(t, g, "ip -6 addr show dev eth0", "inet6 "+first.Address.String(), "!tentative")
			if got := l.leases.Leases("lab"); len(got) != 1 || got[0].Address != first.Address {
				t.Errorf("after a new start: %v", got)
			}

			if c.release == nil {
				return
			}
			c.release(t, g, p)
			nettest.Eventually(t, "the lease to end", func() error {
				if got := l.leases.Leases("lab"); len(got) != 0 {
					return fmt.Errorf("there is %v", got)
				}
				return nil
			})
		})
	}
}

// lease6 waits for a lease.
func (l *link) lease6(t *testing.T, is func(lease.Lease) bool) (found lease.Lease) {
	t.Helper()
	nettest.Eventually(t, "a lease", func() error {
		for _, x := range l.leases.Leases("lab") {
			if x.Address.Is6() && is(x) {
				found = x
				return nil
			}
		}
		return fmt.Errorf("only %v", l.leases.Leases("lab"))
	})
	return found
}

// Other configuration without addresses: SLAAC beside stateless DHCPv6.
func TestStatelessClient(t *testing.T) {
	nettest.Need(t, "dhclient", "ip")
	l := newLink(t)
	cfg := managed()
	cfg.RA.Managed, cfg.RA.Prefixes[0].Autonomous, cfg.V6.Stateless = false, true, true
	l.set(t, cfg)
	g := l.guest(t, "web")
	g.WriteFile(t, "/run/report", "#!/bin/sh\nenv | grep new_dhcp6\necho reason $reason\n")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::ff:fe00:1/64", "!tentative")
	p := g.Start(t, "dhclient", "-6", "-S", "-d", "-v", "-cf", "/dev/null", "-lf", "/run/leases", "-pf", "/run/pid",
		"-sf", "/run/report", "eth0")
	for _, want := range []string{"new_dhcp6_name_servers=fd00:10::1", "new_dhcp6_domain_search=lab.test."} {
		if err := p.WaitFor(t.Context(), want); err != nil {
			t.Errorf("%v\n%s", err, p.Output())
		}
	}
	if got := l.leases.Leases("lab"); len(got) != 0 {
		t.Errorf("leases %v", got)
	}
}

// Reservations by MAC and by DUID, with a changed configuration in between; and
// a guest has one name for both families.
func TestReservations6(t *testing.T) {
	nettest.Need(t, "dhclient", "udhcpc", "ip")
	l := newLink(t)
	l.Host.Address(t, "br0", "192.168.10.1/24")
	cfg := managed()
	mac, _ := lease.ParseMAC("02:00:00:00:00:01")
	cfg.V4 = []v4.Config{{
		Server: prefix("192.168.10.1/24"), Ranges: []v4.Range{{Start: ip("192.168.10.100"), End: ip("192.168.10.200")}},
		Reservations: []v4.Reservation{{MAC: mac, Address: ip("192.168.10.10"), Hostname: "db"}},
	}}
	cfg.V6.Subnets[0].Reservations = []v6.Reservation{{MAC: mac, Address: ip("fd00:10::10")}}
	l.set(t, cfg)
	g := l.guest(t, "web")
	p := clients6[0].start(t, g)
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::10/128")
	if _, err := g.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := l.leases.Network("lab").Addrs("db"); len(a) != 2 {
		t.Errorf("db has %v, want an address of each family", a)
	}

	// By its DUID, which is another one now, as a guest's that was installed
	// anew.
	cfg = managed()
	cfg.V6.Subnets[0].Reservations = []v6.Reservation{{DUID: v6.DUIDLL(mac), Address: ip("fd00:10::20"), Hostname: "byduid"}}
	l.set(t, cfg)
	p.Kill()
	g.Run(t, "ip -6 addr flush dev eth0 scope global; rm -f /run/dhclient.leases")
	g.Start(t, "dhclient", append(strings.Fields(dhclient6), "-D", "LL", "-d", "-v", "eth0")...)
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::20/128")
	if got := l.lease6(t, func(x lease.Lease) bool { return x.Address == ip("fd00:10::20") }); got.Hostname != "byduid" {
		t.Errorf("%v", got)
	}
}

// A lease is on the disk before its REPLY leaves.
func TestReplyWaitsForTheDisk(t *testing.T) {
	nettest.Need(t, "dhclient", "ip")
	disk := make(chan struct{})
	l := newLinkWithDisk(t, disk)
	l.set(t, managed())
	g := l.guest(t, "web")
	p := clients6[0].start(t, g)
	nettest.Eventually(t, "a request that is repeated", func() error {
		if n := strings.Count(p.Output(), "XMT: Request on eth0"); n < 2 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	if len(l.leases.Leases("lab")) != 1 || strings.Contains(p.Output(), "RCV: Reply message") {
		t.Errorf("%v, and the client says\n%s", l.leases.Leases("lab"), p.Output())
	}
	close(disk)
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:10::1")
}
