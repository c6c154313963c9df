package daemon_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/tapbroker"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// setMAC changes the MAC of a link by its descriptor, as its user may (SIOCSIFHWADDR).
func setMAC(t *testing.T, f *os.File, link, mac string) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	var req [40]byte // struct ifreq
	copy(req[:15], link)
	req[16] = unix.ARPHRD_ETHER
	copy(req[18:], hw)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.SIOCSIFHWADDR, uintptr(unsafe.Pointer(&req[0]))); errno != 0 {
		t.Fatalf("SIOCSIFHWADDR: %v", errno)
	}
}

// gone waits until a port is, and its link.
func gone(t *testing.T, w *nettest.World, d *nettest.Daemon, link string) {
	t.Helper()
	noLink(t, w.Host, link)
	nettest.Eventually(t, "port "+link+" is gone", func() error {
		out, err := d.TryCtl(t.Context(), "", "port", "show", link)
		if err == nil {
			return fmt.Errorf("it is %s", out)
		}
		return nil
	})
}

// noLink waits until a link is gone.
func noLink(t *testing.T, ns *nettest.Namespace, link string) {
	t.Helper()
	nettest.Eventually(t, link+" is gone", func() error {
		if out, err := ns.Try(t.Context(), "ip -d link show dev "+link); err == nil {
			return fmt.Errorf("it is there: %s", out)
		}
		return nil
	})
}

// A user who changes a link through its descriptor loses the port, and an event says
// so: with another guest's MAC, the link would take what is for that guest.
func TestTamperedPort(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := doorWorld(t)
	nettest.Connect(t, w.Host, "eno1", w.Internet.Namespace, "lan1")
	d.CtlInput(t, "{name: lan, mode: direct, direct: {uplinks: [eno1]}, access: {users: ['4242']}}", "network", "create", "-f", "-")
	victim, _ := guest(t, w, "victim", "lab0")
	mac := strings.TrimSpace(victim.Run(t, "cat /sys/class/net/eth0/address"))
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch")
	if err := events.WaitFor(t.Context(), "synced"); err != nil {
		t.Fatal(err)
	}
	ioctl := func(req uint, value int) func(*testing.T, *os.File, string) {
		return func(t *testing.T, f *os.File, _ string) {
			if err := unix.IoctlSetInt(int(f.Fd()), req, value); err != nil {
				t.Fatal(err)
			}
			// It is found at the next look, for which a change of any link is enough.
			w.Host.Run(t, "ip link add look0 type veth peer name look1 && ip link del look0")
		}
	}
	toVictim := func(t *testing.T, f *os.File, link string) { setMAC(t, f, link, mac) }
	for name, c := range map[string]struct {
		network string
		queues  int
		tamper  func(t *testing.T, f *os.File, link string)
	}{
		"MAC":             {"lab", 1, toVictim},
		"MAC, multiqueue": {"lab", 4, toVictim},
		"MAC of macvtap":  {"lan", 1, toVictim},
		"persist":         {"lab", 1, ioctl(unix.TUNSETPERSIST, 1)},
		"owner":           {"lab", 1, ioctl(unix.TUNSETOWNER, 0)},
		"group":           {"lab", 1, ioctl(unix.TUNSETGROUP, 7)},
	} {
		t.Run(name, func(t *testing.T) {
			resp, files := taken(t, d, 4242, 4242, tapbroker.Request{Network: c.network, Queues: c.queues})
			c.tamper(t, files[0], resp.Link)
			noLink(t, w.Host, resp.Link)
			if err := events.WaitFor(t.Context(), "port "+resp.Link+" of user 4242"); err != nil {
				t.Errorf("%v; got\n%s", err, events.Output())
			}
			closeFiles(files)
			gone(t, w, d, resp.Link)
		})
	}
	if out := victim.Run(t, "ping -c1 -W2 192.168.10.1"); !strings.Contains(out, "1 received") {
		t.Errorf("the victim: %s", out)
	}

	// A declared port's link is the network's: it is repaired.
	p := createPort(t, d, "lab", "--owner", "4242")
	was := onTap(t, w.Host, p.Link)
	_, files := taken(t, d, 4242, 4242, tapbroker.Request{Port: p.Link})
	setMAC(t, files[0], p.Link, mac)
	_, own, _ := strings.Cut(was, "link/ether ")
	own, _, _ = strings.Cut(own, " ")
	nettest.Eventually(t, "the MAC of a declared port is repaired", func() error {
		if is := onTap(t, w.Host, p.Link); !strings.Contains(is, "link/ether "+own) {
			return fmt.Errorf("it is %s", is)
		}
		return nil
	})
	if err := unix.IoctlSetInt(int(files[0].Fd()), unix.TUNSETPERSIST, 0); err != nil {
		t.Fatal(err)
	}
	closeFiles(files)
	nettest.Eventually(t, "a declared tap is there again", func() error {
		out, err := w.Host.Try(t.Context(), "ip -d link show dev "+p.Link)
		if err != nil || !strings.Contains(out, "persist on") || !strings.Contains(out, "user 4242") {
			return fmt.Errorf("%v %s", err, out)
		}
		return nil
	})
}

// A user who changes the MAC of a declared port's tap again and again is suspended: the link
// leaves its bridge, and what it changes then disturbs no other guest.
func TestTamperedAgainAndAgain(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := doorWorld(t)
	victim, _ := guest(t, w, "victim", "lab0")
	mac := strings.TrimSpace(victim.Run(t, "cat /sys/class/net/eth0/address"))
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch")
	if err := events.WaitFor(t.Context(), "synced"); err != nil {
		t.Fatal(err)
	}
	p := createPort(t, d, "lab", "--owner", "4242")
	_, own, _ := strings.Cut(onTap(t, w.Host, p.Link), "link/ether ")
	own, _, _ = strings.Cut(own, " ")
	_, files := taken(t, d, 4242, 4242, tapbroker.Request{Port: p.Link})
	const repairs = 2
	for i := range repairs + 1 {
		setMAC(t, files[0], p.Link, mac)
		nettest.Eventually(t, "the change is answered", func() error {
			is := onTap(t, w.Host, p.Link)
			repaired := strings.Contains(is, "link/ether "+own) && strings.Contains(is, "master lab0")
			suspended := !strings.Contains(is, "master lab0") && strings.Contains(is, "state DOWN")
			if i < repairs && !repaired || i == repairs && !suspended {
				return fmt.Errorf("after %d changes it is %s", i+1, is)
			}
			return nil
		})
	}
	if err := events.WaitFor(t.Context(), "port "+p.Link+" was changed through its descriptor 3 times"); err != nil {
		t.Errorf("%v; got\n%s", err, events.Output())
	}
	if got := d.Ctl(t, "status"); !strings.Contains(got, "suspended: port "+p.Link) {
		t.Errorf("status says %s", got)
	}
	for range 3 {
		setMAC(t, files[0], p.Link, own)
		setMAC(t, files[0], p.Link, mac)
		d.Ctl(t, "network", "start", "lab")
		if is := onTap(t, w.Host, p.Link); strings.Contains(is, "master lab0") {
			t.Errorf("it is back: %s", is)
		}
	}
	if out := victim.Run(t, "ping -c3 -i0.2 -W2 192.168.10.1"); !strings.Contains(out, "3 received") {
		t.Errorf("the victim: %s", out)
	}
}

// A user that the access list does not name any more loses the ports, by user and by
// group, and gets nowhere with what is still open; others keep theirs.
func TestLostAccess(t *testing.T) {
	w, d := doorWorld(t)
	lost, files := taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab"})
	kept, _ := taken(t, d, 9999, 7777, tapbroker.Request{Network: "lab"})
	admins, _ := taken(t, d, 0, 0, tapbroker.Request{Network: "lab"})
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch")
	if err := events.WaitFor(t.Context(), "synced"); err != nil {
		t.Fatal(err)
	}
	d.Ctl(t, "network", "set", "lab", "access={groups: ['7777']}")
	noLink(t, w.Host, lost.Link)
	if err := events.WaitFor(t.Context(), "port "+lost.Link+" of user 4242: the network's access list does not name"); err != nil {
		t.Errorf("%v; got\n%s", err, events.Output())
	}
	if _, err := files[0].Write(make([]byte, 74)); err == nil {
		t.Error("the descriptor still sends frames")
	}
	for _, link := range []string{kept.Link, admins.Link} {
		says(t, "another's tap", onTap(t, w.Host, link), "master lab0")
	}
	d.Kill()
	d.Start()
	says(t, "after a restart", onTap(t, w.Host, kept.Link), "master lab0")
	d.Ctl(t, "network", "set", "lab", "access={}")
	noLink(t, w.Host, kept.Link)
	says(t, "root's tap", onTap(t, w.Host, admins.Link), "master lab0")
}

// What a guest has, its MAC by a lease or as the bridge knows it, and its name by a lease
// or a record, no user takes by the tap broker; and the end of a port ends no lease
// that was not obtained through it.
func TestClaimsOfUsers(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := doorWorld(t)
	victim := w.Guest(t, "victim")
	victim.Run(t, "ip link set eth0 address 52:54:00:00:00:11")
	victim.Attach(t, "lab0")
	if _, err := victim.Udhcpc(t, nettest.ClientConfig{Hostname: "web"}).Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	silent := w.Guest(t, "silent") // without a lease
	silent.Run(t, "ip link set eth0 address 52:54:00:00:00:12")
	silent.Attach(t, "lab0")
	silent.Run(t, "ip addr add 192.168.10.77/24 dev eth0; ping -c1 -W2 192.168.10.1")
	d.Ctl(t, "record", "add", "lab", "db", "A", "192.168.10.9")
	bridge := strings.TrimSpace(w.Host.Run(t, "cat /sys/class/net/lab0/address"))
	for name, c := range map[string]struct {
		req  tapbroker.Request
		want string
	}{
		"MAC of a lease":  {tapbroker.Request{MAC: "52:54:00:00:00:11"}, "it has a lease"},
		"MAC of a port":   {tapbroker.Request{MAC: "52:54:00:00:00:12"}, "in use behind"},
		"the bridge's":    {tapbroker.Request{MAC: bridge}, "the network's bridge"},
		"name of a lease": {tapbroker.Request{MAC: "52:54:00:00:00:77", Guest: "WEB"}, "the name of the guest with the lease"},
		"name of one, by a guest that says no MAC": {tapbroker.Request{Guest: "web"}, "the name of the guest with the lease"},
		"name of a record":                         {tapbroker.Request{Guest: "db"}, "the name of a DNS record"},
	} {
		c.req.Network = "lab"
		if _, _, err := take(t, d, 4242, 4242, c.req); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// An administrator moves a guest.
	resp, files := taken(t, d, 0, 0, tapbroker.Request{Network: "lab", MAC: "52:54:00:00:00:11"})
	closeFiles(files)
	gone(t, w, d, resp.Link)
	// A guest of a port speaks in the victim's name, and goes.
	resp, files = taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab", NoVnetHeader: true})
	mac, _ := net.ParseMAC("52:54:00:00:00:11")
	_, _ = files[0].Write(frame4(mac, net.HardwareAddr{255, 255, 255, 255, 255, 255}, netip.MustParseAddrPort("192.168.10.200:9"), netip.MustParseAddrPort("192.168.10.255:9"), []byte("x")))
	own, _ := net.ParseMAC("52:54:00:00:00:44")
	if _, err := tapLease(files[0], own); err != nil {
		t.Fatal(err)
	}
	closeFiles(files)
	gone(t, w, d, resp.Link)
	if all := leases(t, d, "--mac", "52:54:00:00:00:11"); len(all) != 1 || all[0].Hostname != "web" {
		t.Errorf("the victim has %+v", all)
	}
	if all := leases(t, d, "--mac", own.String()); len(all) != 0 {
		t.Errorf("what the port's own guest had stays: %+v", all)
	}
}

// With access.macPrefix, frames from other MACs do not pass, whatever the preset, and a
// guest that has a MAC of its own uses that.
func TestMACPrefixHolds(t *testing.T) {
	for _, preset := range []string{"none", "clean-traffic"} {
		t.Run(preset, func(t *testing.T) {
			_, d := doorWorld(t)
			if preset != "none" {
				d.Ctl(t, "network", "set", "lab", "filter.preset="+preset)
			}
			foreign, _ := net.ParseMAC("02:de:ad:00:00:77")
			within, _ := net.ParseMAC("52:54:00:00:00:77")
			own, _ := net.ParseMAC("52:54:00:00:00:78")
			_, files := taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab", NoVnetHeader: true})
			if addr, err := tapLease(files[0], foreign); err == nil {
				t.Errorf("a MAC outside the prefix gets %s", addr)
			}
			if _, err := tapLease(files[0], within); err != nil {
				t.Errorf("one inside: %v", err)
			}
			_, files = taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab", MAC: own.String(), NoVnetHeader: true})
			if addr, err := tapLease(files[0], net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x79}); err == nil {
				t.Errorf("another MAC than the port's gets %s", addr)
			}
			if _, err := tapLease(files[0], own); err != nil {
				t.Errorf("the port's own: %v", err)
			}
		})
	}
}

// tapLease gets a lease by a tap's descriptor, in three attempts.
func tapLease(tap *os.File, mac net.HardwareAddr) (net.IP, error) {
	if err := unix.SetNonblock(int(tap.Fd()), true); err != nil {
		return nil, err
	}
	f, err := unix.Dup(int(tap.Fd()))
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(f), "tap")
	defer file.Close()
	for range 3 {
		m, _ := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true))
		for range 2 { // DISCOVER, and what follows from its OFFER
			_, _ = file.Write(from(mac, m))
			answer := tapReceive(file, mac)
			if answer == nil {
				break
			}
			if answer.MessageType() == dhcpv4.MessageTypeAck {
				return answer.YourIPAddr, nil
			}
			m, _ = dhcpv4.NewRequestFromOffer(answer, dhcpv4.WithBroadcast(true))
		}
	}
	return nil, fmt.Errorf("%s got no lease", mac)
}

func tapReceive(file *os.File, mac net.HardwareAddr) *dhcpv4.DHCPv4 {
	_ = file.SetReadDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, 2048)
	for {
		n, err := file.Read(buf)
		if err != nil {
			return nil
		}
		if n < 42+240 || buf[12] != 8 || buf[13] != 0 || buf[23] != 17 {
			continue
		}
		if m, err := dhcpv4.FromBytes(append([]byte(nil), buf[42:n]...)); err == nil && m.ClientHWAddr.String() == mac.String() && m.OpCode == dhcpv4.OpcodeBootReply {
			return m
		}
	}
}
