package daemon_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// dualLab forwards both families.
const dualLab = `{name: lab, mode: nat, bridge: {name: lab0}, nat: {ipv6: true}, subnets: [{address: 10.20.0.1/24, dhcp: {}}, {address: "fd00:20::1/64"}]}`

// advertise sends a router advertisement with a default route and a prefix from the
// internet to the host's uplink, if that is up already.
func advertise(t *testing.T, w *nettest.World, link string) {
	t.Helper()
	_, _ = w.Internet.Try(t.Context(), `python3 -c '
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58); i = socket.if_nametoindex("`+link+`"); s.setsockopt(41, 18, 255); s.setsockopt(41, 17, i)
s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 86400, 14400, 0) + socket.inet_pton(10, "2001:db8:51::"), ("ff02::1", 0, 0, i))'`)
}

// learnsRoute waits for a default route by an advertisement that is sent again and again:
// a router sends them all the time.
func learnsRoute(t *testing.T, w *nettest.World, link, when string) {
	t.Helper()
	nettest.Eventually(t, "a default route is learned "+when, func() error {
		advertise(t, w, link)
		out, err := w.Host.Try(t.Context(), "ip -6 route show default proto ra | grep .")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// raWorld is a world in which the host learns its IPv6 default route by advertisements.
func raWorld(t *testing.T) (w *nettest.World, internetEnd string) {
	t.Helper()
	w = nettest.New(t)
	w.Host.Run(t, "ip -6 route flush default; ip -6 addr flush dev up0 scope global; sysctl -qw net.ipv6.conf.up0.accept_dad=0")
	for line := range strings.Lines(w.Internet.Run(t, "ip -o link show type veth")) {
		internetEnd, _, _ = strings.Cut(strings.Fields(line)[1], "@")
	}
	return w, internetEnd
}

// Networks that forward IPv6 are created, changed, started and stopped on a host that
// has its default route from an advertisement, and it keeps the route.
func TestCreateBesideLearnedDefaultRoute(t *testing.T) {
	w, end := raWorld(t)
	learnsRoute(t, w, end, "before vnetd")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, strings.Replace(dualLab, ", nat: {ipv6: true}", "", 1), "network", "create", "-f", "-")
	d.CtlInput(t, dualLab, "network", "apply", "-f", "-")
	d.Ctl(t, "network", "set", "lab", "dns.domain=x.test")
	d.Ctl(t, "network", "stop", "lab")
	d.Ctl(t, "network", "start", "lab")
	d.CtlInput(t, "{name: six, mode: route, bridge: {name: six0}, subnets: [{address: 'fd00:21::1/64'}]}", "network", "create", "-f", "-")
	w.Host.Run(t, "ip -6 route show default proto ra | grep .")
	if got := d.Ctl(t, "network", "list"); strings.Contains(got, "degraded") {
		t.Error(got)
	}
}

// The first advertisement comes when vnetd forwards already; and the uplink is created
// again, also while vnetd is not running.
func TestAdvertisementsAfterForwarding(t *testing.T) {
	w, end := raWorld(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, dualLab, "network", "create", "-f", "-")
	learnsRoute(t, w, end, "after forwarding")
	w.Host.Run(t, "ip link del up0")
	nettest.Connect(t, w.Host, "up0", w.Internet.Namespace, "again0")
	learnsRoute(t, w, "again0", "by an uplink that was created again")
	d.Stop()
	w.Host.Run(t, "ip link del up0; ip link add br0 type bridge")
	nettest.Connect(t, w.Host, "up0", w.Internet.Namespace, "again1")
	w.Host.Run(t, "ip addr add 203.0.113.2/24 dev up0; ip route add default via 203.0.113.1")
	d.Start()
	learnsRoute(t, w, "again1", "after a restart")

	// A link that may lead to a guest is none from which the host learns routes.
	g := w.Guest(t, "loose")
	d.Restart()
	if got := strings.TrimSpace(w.Host.Run(t, "cat /proc/sys/net/ipv6/conf/"+g.Port+"/accept_ra /proc/sys/net/ipv6/conf/br0/accept_ra")); strings.Contains(got, "2") {
		t.Errorf("accept_ra of a guest's link and of a bridge of guests: %q", got)
	}
}

// What a hardened host sets for all new links is not what vnetd's bridges are to have,
// and what is set on one of them later is repaired.
func TestHardenedHost(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w := nettest.New(t)
	w.Host.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	w.Host.Run(t, "sysctl -qw net.ipv4.conf.default.forwarding=0 net.ipv6.conf.default.forwarding=0 net.ipv6.conf.default.disable_ipv6=1 "+
		"net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.default.arp_ignore=8 net.ipv6.conf.default.accept_ra=2 net.ipv4.conf.default.promote_secondaries=0 "+
		"net.ipv4.conf.default.arp_filter=1 net.ipv6.conf.default.addr_gen_mode=0")
	w.Internet.Run(t, "ip -6 route add fd00:20::/64 via 2001:db8:ff::2")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, dualLab, "network", "create", "-f", "-")
	g, _ := guest(t, w, "web", "lab0")
	g.Run(t, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip addr add fd00:20::9/64 dev eth0 nodad; ip -6 route add default via fd00:20::1")
	outside := func(when string) {
		t.Helper()
		nettest.Eventually(t, "the guest reaches the outside "+when, func() error {
			out, err := g.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1 && ping -6 -c 1 -W 1 2001:db8:ff::1")
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	outside("on a hardened host")
	for _, c := range []struct{ key, breaks, right string }{
		{"net/ipv4/conf/lab0/forwarding", "0", "1"}, {"net/ipv6/conf/lab0/forwarding", "0", "1"},
	} {
		w.Host.Run(t, "echo "+c.breaks+" >/proc/sys/"+c.key)
		nettest.Eventually(t, c.key+" is repaired", func() error {
			if got := strings.TrimSpace(w.Host.Run(t, "cat /proc/sys/"+c.key)); got != c.right {
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
	}
	outside("after the repairs")
	d.Kill()
	w.Host.Run(t, "echo 0 >/proc/sys/net/ipv4/conf/lab0/forwarding; echo 0 >/proc/sys/net/ipv6/conf/lab0/forwarding")
	d.Start()
	outside("after a restart")
}

// The uplink's settings are the host's: they make a network degraded, with the reason,
// for as long as they keep replies from guests.
func TestUplinkThatDoesNotForward(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, dualLab, "network", "create", "-f", "-")
	d.CtlInput(t, "{name: quiet, mode: isolated, subnets: [{address: 10.21.0.1/24}]}", "network", "create", "-f", "-")
	says := func(network, what string) func() error {
		return func() error {
			if got := d.Ctl(t, "network", "info", network); !strings.Contains(got, what) {
				return fmt.Errorf("want %q:\n%s", what, got)
			}
			return nil
		}
	}
	for _, key := range []string{"net/ipv4/conf/up0/forwarding", "net/ipv6/conf/up0/forwarding"} {
		w.Host.Run(t, "echo 0 >/proc/sys/"+key)
		nettest.Eventually(t, "degraded", says("lab", "degraded"))
		nettest.Eventually(t, "with the reason", says("lab", key+" is 0"))
		nettest.Eventually(t, "another is not", says("quiet", "ready"))
		if got := strings.TrimSpace(w.Host.Run(t, "cat /proc/sys/"+key)); got != "0" {
			t.Errorf("%s was changed to %s", key, got)
		}
		w.Host.Run(t, "echo 1 >/proc/sys/"+key)
		nettest.Eventually(t, "ready again", says("lab", "ready"))
	}
}

// A network card that is for guests only, and that nothing else configures, is down
// after a boot: vnetd brings it up, again and again. Without a carrier the network is
// degraded, with the reason, and changes of it go on.
func TestUplinkOfMacvtapsIsUp(t *testing.T) {
	w := nettest.New(t)
	w.Host.Run(t, "ip link add par0 type veth peer name par0x; ip link set par0x up; ip link add car0 type veth peer name car0x")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, "{name: lan, mode: direct, direct: {uplinks: [par0]}}", "network", "create", "-f", "-")
	d.Ctl(t, "port", "create", "lan", "--guest", "one", "--link", "vtap0")
	up := func() error {
		out, err := w.Host.Try(t.Context(), "ip link show par0 | grep LOWER_UP && ip link show vtap0 | grep LOWER_UP")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	says := func(network, what string) func() error {
		return func() error {
			if got := d.Ctl(t, "network", "info", network); !strings.Contains(got, what) {
				return fmt.Errorf("want %q:\n%s", what, got)
			}
			return nil
		}
	}
	nettest.Eventually(t, "parent and macvtap are up", up)
	w.Host.Run(t, "ip link set par0 down")
	nettest.Eventually(t, "they are up again", up)
	w.Host.Run(t, "ip link set par0x down")
	nettest.Eventually(t, "a carrier that is lost is said", says("lan", "no carrier on uplink par0"))
	d.Ctl(t, "network", "set", "lan", "autostart=false")
	w.Host.Run(t, "ip link set par0x up")
	nettest.Eventually(t, "it is ready again", says("lan", "ready"))

	d.CtlInput(t, "{name: car, mode: bridge, bridge: {name: carbr, uplinks: [car0]}}", "network", "create", "--no-confirm", "-f", "-")
	nettest.Eventually(t, "a bridge on an uplink without carrier", says("car", "no carrier on uplink car0"))
	w.Host.Run(t, "ip link set car0x up; ip link set car0 down")
	nettest.Eventually(t, "its uplink is up again", says("car", "ready"))
	d.Kill()
	w.Host.Run(t, "ip link set par0 down; ip link set car0 down")
	d.Start()
	nettest.Eventually(t, "up after a restart", up)
	nettest.Eventually(t, "and the bridge's", says("car", "ready"))
	d.Ctl(t, "network", "stop", "lan")
	w.Host.Run(t, "ip link set par0 down")
	d.Restart()
	if out := w.Host.Run(t, "ip link show par0"); strings.Contains(out, ",UP") {
		t.Errorf("the uplink of a stopped network was brought up: %s", out)
	}
}
