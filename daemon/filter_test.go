package daemon_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// cleanSix is a network of both families that was clean from the start.
const cleanSix = six + "filter: {preset: clean-traffic}\n"

// Every DHCP client gets a lease on a clean network, on a link that vnetd has never
// heard, and reaches the outside by it; and a guest whose lease is gone does not.
func TestCleanClients(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, cleanLab+"filter: {preset: clean-traffic}\n", "network", "create", "-f", "-")
	for _, c := range nettest.Clients {
		t.Run(c.Name, func(t *testing.T) {
			nettest.Need(t, append(c.Programs, "ping")...)
			g := w.Guest(t, c.Name)
			g.Attach(t, "lab0")
			client := c.New(g, t, nettest.ClientConfig{})
			l, err := client.Lease(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			g.Run(t, "ping -c 1 -W 5 203.0.113.1")
			if _, err := client.Renew(t.Context()); err != nil {
				t.Error(err)
			}
			d.Ctl(t, "lease", "release", "lab", l.Address.Addr().String())
			nettest.Eventually(t, "without its lease the guest is cut off", func() error {
				if out, err := g.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1"); err == nil {
					return fmt.Errorf("it is not:\n%s", out)
				}
				return nil
			})
		})
	}
}

// IPv6 on a clean network: SLAAC with an address that the guest made up, DHCPv6,
// and neighbours of both kinds.
func TestCleanIPv6(t *testing.T) {
	nettest.Need(t, "dhcpcd", "dhclient", "ping")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, cleanSix, "network", "create", "-f", "-")

	g := guest6(t, w, "auto", "six0")
	sees(t, g, "ip -6 addr show dev eth0", "inet6 fd00:60::ff:fe00:1/64 scope global dynamic")
	g.Run(t, "ping -6 -c 1 -W 5 2001:db8:ff::1")
	g.Run(t, "ip addr add fd00:60::abcd:1/64 dev eth0")
	g.Run(t, "ping -6 -c 1 -W 5 -I fd00:60::abcd:1 fd00:60::1")

	fixed := guest6(t, w, "laptop", "six0")
	fixed.Start(t, "dhcpcd", "-B", "-6", "--nodelay", "-h", "laptop", "--noarp", "eth0")
	sees(t, fixed, "ip -6 addr show dev eth0", "fd00:60::22/128")
	fixed.Run(t, "ping -6 -c 1 -W 5 -I fd00:60::22 fd00:60::1")
	fixed.Run(t, "ping -6 -c 1 -W 5 fd00:60::abcd:1")

	old := guest6(t, w, "old", "six0")
	p := old.Start(t, "dhclient", "-6", "-d", "-v", "-cf", "/dev/null", "-lf", "/run/leases", "-pf", "/run/pid", "eth0")
	if err := p.WaitFor(t.Context(), "XMT: Request"); err != nil {
		t.Fatal(err)
	}
	sees(t, old, "ip -6 addr show dev eth0", "fd00:60::1")
}

// A guest that claims the addresses of a neighbour all the time, before that is there and
// while it checks that they are free, does not keep it from using them.
func TestCleanDADSucceeds(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, cleanSix, "network", "create", "-f", "-")
	attacker := guest6(t, w, "attacker", "six0")
	sees(t, attacker, "ip -6 addr show dev eth0 scope global", "inet6 fd00:60::")
	wire, victim := openCable(t, attacker.Namespace, "eth0"), w.Guest(t, "victim")
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				for _, target := range []string{"fe80::ff:fe00:2", "fd00:60::ff:fe00:2"} {
					wire.send(detection(attacker.MAC, target))
				}
			}
		}
	}()
	victim.Run(t, "sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.router_solicitation_delay=0")
	victim.Attach(t, "six0")
	sees(t, victim, "ip -6 addr show dev eth0; ip -6 addr show dev eth0 -tentative", "fd00:60::ff:fe00:2/64")
	nettest.Eventually(t, "duplicate address detection ends", func() error {
		if got := victim.Run(t, "ip -6 addr show dev eth0 tentative"); strings.Contains(got, "inet6") && !strings.Contains(got, "dadfailed") {
			return fmt.Errorf("it has not:\n%s", got)
		}
		return nil
	})
	if got := victim.Run(t, "ip -6 addr show dev eth0"); strings.Contains(got, "dadfailed") || !strings.Contains(got, "inet6 fe80::ff:fe00:2") {
		t.Errorf("the victim's addresses:\n%s", got)
	}
	close(done)
	<-ended
}

// detection is duplicate address detection for a target, as a kernel takes it: with a
// checksum, and nothing behind it.
func detection(from, target string) []byte {
	message := icmp6(135, target)
	message[4] = 0
	b := ipv6(from, "::", "ff02::1:ff00:2", 58, message)
	binary.BigEndian.PutUint16(b[18:], uint16(len(message)))
	sum := uint32(len(message) + 58)
	for i := 22; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[56:], ^uint16(sum))
	return b
}

// What is known of guests outlives the daemon and what the bridge has learned, and
// is forgotten with the link.
func TestCleanSurvives(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping", "bridge")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, cleanLab+"filter: {preset: clean-traffic}\n", "network", "create", "-f", "-")
	g, _ := guest(t, w, "web", "lab0")
	conn := dialEcho(t, g)
	d.Kill()
	conn.works("while the daemon is away")
	w.Host.Run(t, "bridge fdb flush dev "+g.Port+" 2>/dev/null; nft flush ruleset")
	d.Start()
	nettest.Eventually(t, "the daemon is back", func() error {
		_, err := d.TryCtl(t.Context(), "", "status")
		return err
	})
	conn.works("after a restart")
	if got := d.Ctl(t, "-o", "json", "port", "list"); !strings.Contains(got, g.MAC) {
		t.Errorf("port list does not say who is behind the port:\n%s", got)
	}
	// A lie is still one: the guest was not learned anew.
	g.Run(t, "ip link set eth0 address 02:00:00:00:66:66")
	if out, err := g.Try(t.Context(), "ping -c 1 -W 1 192.168.10.1"); err == nil {
		t.Errorf("a guest with another MAC is answered:\n%s", out)
	}
	g.Run(t, "ip link set eth0 address "+g.MAC)
	d.Ctl(t, "network", "stop", "lab")
	d.Ctl(t, "network", "start", "lab")
	g.Run(t, "ip route replace default via 192.168.10.1")
	conn.works("after stop and start")
}

// Guests of an isolated network reach the host and the outside, and each other
// neither directly nor by way of the host; a flag that somebody takes away comes
// back; and a filter that goes lets them talk.
func TestIsolatedGuests(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping", "bridge")
	w, d := labWorld(t)
	d.Ctl(t, "network", "set", "lab", "filter.isolated=true")
	a, _ := guest(t, w, "a", "lab0")
	b, lb := guest(t, w, "b", "lab0")
	isolated := func(what string) {
		t.Helper()
		for _, g := range []*nettest.Guest{a, b} {
			nettest.Eventually(t, what+": "+g.Port+" is isolated", func() error {
				if got := w.Host.Run(t, "bridge -d link show dev "+g.Port); !strings.Contains(got, "isolated on") {
					return fmt.Errorf("it says\n%s", got)
				}
				return nil
			})
		}
	}
	isolated("at first")
	a.Run(t, "ping -c 1 -W 5 203.0.113.1")
	to := lb.Address.Addr().String()
	unreached := func(what string) {
		t.Helper()
		if out, err := a.Try(t.Context(), "ping -c 1 -W 1 "+to); err == nil {
			t.Errorf("%s: the neighbour answers:\n%s", what, out)
		}
	}
	unreached("directly")
	a.Run(t, "ip route add "+to+" via 192.168.10.1")
	b.Run(t, "ip route add 192.168.10.0/25 via 192.168.10.1 metric 5; ip route add 192.168.10.128/25 via 192.168.10.1")
	unreached("by way of the host")
	a.Run(t, "ip route del "+to+" via 192.168.10.1")
	w.Host.Run(t, "bridge link set dev "+b.Port+" isolated off; bridge link set dev "+a.Port+" isolated off")
	isolated("after somebody changed it")
	b.Detach(t)
	isolated("after somebody took a port out")

	dryRun(t, d, []string{"filter.isolated="}, "filter: {isolated: true} -> (not set)")
	d.Ctl(t, "network", "set", "lab", "filter.isolated=")
	b.Run(t, "ip route del 192.168.10.128/25 via 192.168.10.1")
	a.Run(t, "ip neigh flush all; ping -c 1 -W 5 "+to)
}
