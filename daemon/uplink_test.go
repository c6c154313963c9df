package daemon_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// office is docs/examples/built-bridge.yaml.
func office(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/examples/built-bridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// officeWorld is a host whose one uplink, eno1, leads to an internet with a DHCP
// server and router advertisements: the host's IPv4 is its own, its IPv6 learned.
func officeWorld(t *testing.T) (*nettest.World, *nettest.Daemon) {
	t.Helper()
	nettest.Need(t, "dnsmasq")
	in := nettest.NewInternet(t, "internet")
	w := &nettest.World{Internet: in, Host: nettest.NewNamespace(t, "host")}
	in.Connect(t, w.Host, nettest.Uplink{Name: "eno1", Gateway: []string{"203.0.113.1/24"}, Address: []string{"203.0.113.2/24", "203.0.113.3/24"}})
	in.Address(t, "host0", "2001:db8:ff::1/64")
	in.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	w.Host.Run(t, "ip route add 198.51.100.0/24 via 203.0.113.1 proto static metric 7 src 203.0.113.3")
	in.Start(t, "dnsmasq", "--no-daemon", "--port=0", "--conf-file=/dev/null", "--interface=host0", "--bind-interfaces",
		"--dhcp-leasefile="+nettest.TempDir(t)+"/leases", "--dhcp-range=203.0.113.100,203.0.113.150,1h",
		"--dhcp-range=2001:db8:ff::,ra-only,64,1h", "--enable-ra", "--ra-param=host0,4,1800", "--user=root")
	learned(t, w, "eno1")
	return w, w.Daemon(t, nettest.DaemonConfig{Config: quietly})
}

// learned waits for the kernel to have learned a default route, and nothing else
// to stand for it.
func learned(t *testing.T, w *nettest.World, link string) {
	t.Helper()
	nettest.Eventually(t, "a default route is learned on "+link, func() error {
		out, err := w.Host.Try(t.Context(), "ip -6 route show default; ip -6 addr show dev "+link+" scope global -tentative")
		if err != nil || !strings.Contains(out, "dev "+link+" proto ra") || !strings.Contains(out, "2001:db8:ff:") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}

// hostPicture is what ip(8) says of the host's links, addresses and routes,
// without what time changes.
func hostPicture(t *testing.T, w *nettest.World) string {
	t.Helper()
	return w.Host.Run(t, `{ ip -j addr; ip -j route show table all; ip -j -6 route show table all; ip -j rule; } |
		sed -E 's/"(valid_life_time|preferred_life_time|expires)":[0-9]+/"\1":0/g' | tr '{' '\n' | sed 's/,*$//'`)
}

// chat is a TCP connection from outside to the host that speaks all the time,
// as an administrator's ssh would.
type chat struct {
	t       *testing.T
	stop    chan struct{}
	done    chan struct{}
	mu      sync.Mutex
	longest time.Duration
	trips   int
	err     error
}

func startChat(t *testing.T, w *nettest.World, network, address string) *chat {
	t.Helper()
	l, err := w.Host.Listen(network, net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				b := make([]byte, 64)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()
	c, err := w.Internet.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	x := &chat{t: t, stop: make(chan struct{}), done: make(chan struct{})}
	go x.run(c)
	t.Cleanup(func() { x.end(); c.Close() })
	return x
}

func (x *chat) run(c net.Conn) {
	defer close(x.done)
	b := make([]byte, 1)
	for {
		select {
		case <-x.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		start := time.Now()
		_ = c.SetDeadline(start.Add(nettest.Patience))
		_, err := c.Write([]byte{'x'})
		if err == nil {
			_, err = c.Read(b)
		}
		x.mu.Lock()
		x.longest, x.err = max(x.longest, time.Since(start)), err
		x.trips++
		x.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (x *chat) end() {
	select {
	case <-x.stop:
	default:
		close(x.stop)
	}
	<-x.done
}

// alive waits for an answer to what is said from now on, and prints how long the
// longest silence was since it was last asked.
func (x *chat) alive(what string) {
	x.t.Helper()
	from := -1
	nettest.Eventually(x.t, what, func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if from < 0 {
			from = x.trips
		}
		if x.err == nil && x.trips < from+2 {
			return fmt.Errorf("the connection is silent")
		}
		return nil
	})
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		x.t.Fatalf("%s: the connection broke: %v", what, x.err)
	}
	x.t.Logf("%s: longest round trip of the connection %s", what, x.longest.Round(10*time.Microsecond))
	x.longest = 0
}

// global is the address that the host has made itself from the advertised prefix.
func global(t *testing.T, w *nettest.World) string {
	t.Helper()
	f := strings.Fields(w.Host.Run(t, "ip -o -6 addr show dev eno1 scope global"))
	if len(f) < 4 {
		t.Fatalf("no global address: %q", f)
	}
	a, _, _ := strings.Cut(f[3], "/")
	return a
}

func TestBuiltBridge(t *testing.T) {
	t.Parallel()
	nettest.Need(t, "udhcpc", "ping")
	w, d := officeWorld(t)
	before := hostPicture(t, w)
	four, six := startChat(t, w, "tcp4", "203.0.113.2"), startChat(t, w, "tcp6", global(t, w))
	alive := func(what string) {
		t.Helper()
		four.alive(what + ", IPv4")
		six.alive(what + ", IPv6")
	}
	alive("before")

	_, err := d.TryCtl(t.Context(), office(t), "network", "create", "-f", "-", "--dry-run")
	if e, ok := err.(*nettest.CtlError); !ok || e.Code != 2 {
		t.Errorf("a dry run: %v", err)
	}
	if now := hostPicture(t, w); now != before {
		t.Errorf("a dry run changed the host to\n%s", now)
	}
	t.Log(d.CtlInput(t, office(t), "network", "create", "-f", "-", "--confirm-within", "10m"))
	alive("create")
	if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "unconfirmed") {
		t.Errorf("network list:\n%s", got)
	}
	w.Host.Run(t, "ip route get 203.0.113.1 | grep -q 'dev br0 src 203.0.113.2'")
	w.Host.Run(t, "ip -6 route get 2001:4860::1 | grep -q 'via fe80.* dev br0'")
	d.Ctl(t, "network", "confirm", "office")
	if got := d.Ctl(t, "network", "info", "office"); strings.Contains(got, "rolled back") || !strings.Contains(got, "ready") {
		t.Errorf("after confirm:\n%s", got)
	}

	g := w.Guest(t, "web")
	g.Attach(t, "br0")
	l, err := g.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context())
	if err != nil || !strings.HasPrefix(l.Address.String(), "203.0.113.1") {
		t.Errorf("the outside's DHCP server gave %v, %v", l.Address, err)
	}
	g.Run(t, "ping -c 1 -W 5 203.0.113.1")
	g.Run(t, "ping -c 1 -W 5 203.0.113.2")
	if got := ports(t, d, "office"); len(got) != 1 || got[0].Link != g.Port {
		t.Errorf("ports %+v, want the guest's only", got)
	}
	learned(t, w, "br0")
	alive("with a guest")

	d.Kill()
	d.Start()
	if strings.Contains(d.Log(), "step applied") {
		t.Errorf("the restarted daemon changed something:\n%s", d.Log())
	}
	// What others do to it.
	for _, c := range []struct{ breaks, mended string }{
		{"ip addr add 203.0.113.9/24 dev eno1", "ip addr show dev br0 | grep -q 203.0.113.9/24 && ! ip addr show dev eno1 | grep -q 203.0.113.9"},
		{"ip addr del 203.0.113.9/24 dev br0", "! ip addr | grep -q 203.0.113.9"},
		{"ip link set eno1 nomaster", "ip link show eno1 | grep -q 'master br0'"},
		{"ip link set eno1 down", "ip link show eno1 | grep -q UP"},
		{"ip link del br0", "ip addr show dev br0 | grep -q 203.0.113.3 && ip route show 198.51.100.0/24 | grep -q 'dev br0 proto static src 203.0.113.3 metric 7'"},
	} {
		w.Host.Run(t, c.breaks)
		nettest.Eventually(t, "mended after "+c.breaks, func() error {
			_, err := w.Host.Try(t.Context(), c.mended)
			return err
		})
	}
	g.Run(t, "ping -c 1 -W 5 203.0.113.1")

	w.Host.Run(t, "ip route show default | grep -q br0")
	alive("mended")
	d.Ctl(t, "network", "stop", "office")
	alive("stop")
	w.Host.Run(t, "! ip link show br0 2>/dev/null && ip route get 203.0.113.1 | grep -q 'dev eno1 src 203.0.113.2'")
	t.Log(d.Ctl(t, "network", "start", "office", "--no-confirm"))
	alive("start")
	g.Run(t, "ping -c 1 -W 5 203.0.113.1")
	d.Ctl(t, "network", "delete", "--force", "office")
	alive("delete")
	w.Host.Run(t, "ip link del "+g.Port)
	samePicture(t, w, before)
}

// samePicture wants the host to be as it was, once it has learned again what
// routers tell it.
func samePicture(t *testing.T, w *nettest.World, before string) {
	t.Helper()
	nettest.Eventually(t, "the host is as it was", func() error {
		if now := hostPicture(t, w); !slices.Equal(sorted(now), sorted(before)) {
			return fmt.Errorf("the host was\n%s\nand is\n%s", before, now)
		}
		return nil
	})
}

func sorted(s string) []string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return lines
}

// Nobody confirms: a new network is gone, also when the daemon was killed
// meanwhile or the host has booted.
func TestUnconfirmedIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, within string
		between      func(t *testing.T, w *nettest.World, d *nettest.Daemon)
	}{
		{"in time", "1s", func(*testing.T, *nettest.World, *nettest.Daemon) {}},
		{"daemon killed and started before the deadline", "3s", func(_ *testing.T, _ *nettest.World, d *nettest.Daemon) { d.Kill(); d.Start() }},
		{"daemon dead at the deadline", "1s", func(t *testing.T, _ *nettest.World, d *nettest.Daemon) {
			d.Kill()
			ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond)
			defer cancel()
			<-ctx.Done() // the deadline is the wall clock's
			d.Start()
		}},
		{"another boot", "1h", func(t *testing.T, w *nettest.World, d *nettest.Daemon) {
			d.Kill()
			if err := os.RemoveAll(d.RuntimeDir); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(d.RuntimeDir, 0o755); err != nil {
				t.Fatal(err)
			}
			d.Start()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, d := officeWorld(t)
			before := hostPicture(t, w)
			x := startChat(t, w, "tcp4", "203.0.113.2")
			out := d.CtlInput(t, office(t), "network", "create", "-f", "-", "--confirm-within", c.within)
			if !strings.Contains(out, "vnetctl network confirm office") {
				t.Errorf("said %q", out)
			}
			w.Host.Run(t, "ip addr show dev br0 | grep -q 203.0.113.2")
			c.between(t, w, d)
			nettest.Eventually(t, "it is gone", func() error {
				if got := d.Ctl(t, "network", "list"); strings.Contains(got, "office") {
					return fmt.Errorf("%s", got)
				}
				return nil
			})
			samePicture(t, w, before)
			x.alive("created and rolled back")
			if !strings.Contains(d.Log(), "was not confirmed, and is rolled back") {
				t.Errorf("the log says nothing:\n%s", d.Log())
			}
		})
	}
}

// A start that is not confirmed is a stop, and a change has not been.
func TestUnconfirmedChangesOfWhatWasThere(t *testing.T) {
	t.Parallel()
	w, d := officeWorld(t)
	before := hostPicture(t, w)
	d.CtlInput(t, office(t), "network", "create", "-f", "-", "--no-start")
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch", "--changes")
	if err := events.WaitFor(t.Context(), "synced"); err != nil {
		t.Fatal(err)
	}
	d.Ctl(t, "network", "start", "office", "--confirm-within", "1s")
	if err := events.WaitFor(t.Context(), "network-rolled-back office not confirmed within 1s; the network is stopped"); err != nil {
		t.Fatal(err)
	}
	samePicture(t, w, before)
	if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "stopped") {
		t.Errorf("network list:\n%s", got)
	}

	d.Ctl(t, "network", "start", "office", "--confirm-within", "0")
	d.Ctl(t, "network", "set", "office", "bridge.name=br7", "--confirm-within", "1s")
	w.Host.Run(t, "ip addr show dev br7 | grep -q 203.0.113.2 && ! ip link show br0 2>/dev/null")
	if err := events.WaitFor(t.Context(), "the network is as it was defined before"); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "br0 is back", func() error {
		_, err := w.Host.Try(t.Context(), "ip addr show dev br0 | grep -q 203.0.113.2 && ! ip link show br7 2>/dev/null")
		return err
	})
	d.Ctl(t, "network", "delete", "office")
	samePicture(t, w, before)
}

// Killed in the middle of building and taking down, the host keeps what it has.
func TestKilledWhileBuilding(t *testing.T) {
	t.Parallel()
	w, d := officeWorld(t)
	before := hostPicture(t, w)
	x := startChat(t, w, "tcp4", "203.0.113.2")
	for i := range 6 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = d.TryCtl(background(), office(t), "network", "create", "-f", "-", "--no-confirm")
			if i%2 == 1 {
				_, _ = d.TryCtl(background(), "", "network", "delete", "office")
			}
		}()
		nettest.Eventually(t, "a bridge appears", func() error {
			_, err := w.Host.Try(t.Context(), "ip link show br0")
			return err
		})
		d.Kill()
		<-done
		d.Start()
		x.alive(fmt.Sprintf("killed, the %d. time", i+1))
		if strings.Contains(d.Ctl(t, "network", "list"), "office") {
			w.Host.Run(t, "ip addr show dev br0 | grep -q 203.0.113.2 && ip route show default | grep -q 'dev br0'")
			d.Ctl(t, "network", "delete", "office")
		}
		samePicture(t, w, before)
	}
}

// What cannot work is said, and nothing is touched.
func TestBuiltBridgeIsRefused(t *testing.T) {
	t.Parallel()
	w, d := officeWorld(t)
	w.Host.Run(t, "ip link add other type bridge; ip link add v0 type veth peer name v1; ip link set v0 master other; ip link add br1 type bridge; ip link add wg0 type dummy 2>/dev/null; ip tuntap add tun9 mode tun")
	w.Host.Run(t, "ip link add link v1 name mv0 type macvlan mode bridge")
	before := hostPicture(t, w)
	bridge := func(name, uplink string) string {
		return fmt.Sprintf("{name: x, mode: bridge, bridge: {name: %s, uplinks: [%s]}}", name, uplink)
	}
	for definition, want := range map[string]string{
		bridge("br0", "eno9"):  "this host has no link eno9",
		bridge("br0", "v0"):    "v0 is in other already",
		bridge("br0", "lo"):    "reserved by Linux",
		bridge("br0", "tun9"):  "tun9 is no Ethernet link",
		bridge("br0", "other"): "other is a bridge itself",
		bridge("br1", "eno1"):  "br1 exists already and is not vnetd's",
		bridge("br0", "v1"):    "a macvlan or macvtap on it",
	} {
		refused(t, d, definition, 1, []string{"network", "create", "-f", "-"}, want)
		if now := hostPicture(t, w); now != before {
			t.Fatalf("%s: the host was\n%s\nand is\n%s", definition, before, now)
		}
	}
	w.Host.Run(t, "ip rule add iif eno1 table 7")
	refused(t, d, bridge("br0", "eno1"), 1, []string{"network", "create", "-f", "-"}, "routing rule", "iif eno1")
}

// At a terminal vnetctl asks, and Enter confirms.
func TestConfirmAtATerminal(t *testing.T) {
	t.Parallel()
	w, d := officeWorld(t)
	file := nettest.TempDir(t) + "/office.yaml"
	if err := os.WriteFile(file, []byte(office(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	master, terminal := openTerminal(t)
	cmd := w.Host.Command(t.Context(), d.Program("vnetctl"), "--socket", d.Socket(), "network", "create", "-f", file)
	cmd.Stdin = terminal
	p := w.Host.Launch(t, cmd)
	if err := p.WaitFor(t.Context(), "press Enter within"); err != nil {
		t.Fatal(err)
	}
	if got := d.Ctl(t, "network", "info", "office"); !strings.Contains(got, "or it is rolled back") {
		t.Errorf("network info says nothing of it:\n%s", got)
	}
	if _, err := master.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := d.Ctl(t, "network", "info", "office"); strings.Contains(got, "rolled back") {
		t.Errorf("after Enter:\n%s", got)
	}
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}

// A bridge whose MTU is too small for IPv6 takes the host's IPv4 addresses, and
// fails at the first of IPv6: everything is where it was, and the step is named.
func TestFailsHalfWayAndMovesBack(t *testing.T) {
	t.Parallel()
	w, d := officeWorld(t)
	w.Host.Sysctl(t, "net/ipv6/conf/default/accept_ra", "2") // nothing to set, and so nothing to fail before
	before := hostPicture(t, w)
	x := startChat(t, w, "tcp4", "203.0.113.2")
	refused(t, d, `{name: office, mode: bridge, bridge: {name: br0, uplinks: [eno1], mtu: "1000"}}`, 1,
		[]string{"network", "create", "-f", "-"}, "ip addr add 2001:db8:ff:")
	samePicture(t, w, before)
	x.alive("failed half-way")
	if got := d.Ctl(t, "network", "list"); strings.Contains(got, "office") {
		t.Errorf("it is declared:\n%s", got)
	}
	if !strings.Contains(d.Log(), "ip addr add 203.0.113.2/24 dev br0") {
		t.Errorf("nothing was moved before it failed:\n%s", d.Log())
	}
}
