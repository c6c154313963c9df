package daemon_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A name that a guest chose itself does not receive a published port, and list and
// status say why, until the definition allows it or declares the guest; then its MAC is
// shown, and a second guest that wants the name is an event.
func TestForwardToANameThatAGuestChose(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := labWorld(t)
	d.Ctl(t, "forward", "add", "lab", "tcp/8080", "web:80")
	says(t, "list without a guest", d.Ctl(t, "forward", "list"), "waiting", "web has no address on the network")
	web := w.Guest(t, "web")
	web.Attach(t, "lab0")
	l, err := web.Udhcpc(t, nettest.ClientConfig{Hostname: "web"}).Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clerk(t, web.Namespace, "web", 80)
	const why = "web is a name chosen by a guest"
	says(t, "list", d.Ctl(t, "forward", "list"), "waiting", why, "allowDhcpName")
	says(t, "status", d.Ctl(t, "status"), "problem", "forward tcp/8080 to web:80 is waiting: "+why)
	wantCall(t, w.Internet.Namespace, "tcp", "203.0.113.2:8080", "", "not allowed")

	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch", "--changes")
	thief := w.Guest(t, "thief")
	thief.Attach(t, "lab0")
	if _, err := thief.Udhcpc(t, nettest.ClientConfig{Hostname: "web"}).Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := "name-refused lab"
	nettest.Eventually(t, "an event", func() error {
		if out := events.Output(); !strings.Contains(out, told) || !strings.Contains(out, "asked for the name web, which "+web.MAC) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})

	active := func(when string) {
		t.Helper()
		nettest.Eventually(t, when, func() error {
			if got := call(w.Internet.Namespace, "tcp", "203.0.113.2:8080"); got != "web 203.0.113.1" {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
		says(t, when, d.Ctl(t, "forward", "list"), "active", l.Address.Addr().String(), web.MAC)
	}
	d.Ctl(t, "network", "set", "lab", "forwards=[{listen: tcp/8080, to: 'web:80', allowDhcpName: true}]")
	active("allowed")
	if out := d.Ctl(t, "status"); strings.Contains(out, "problem") {
		t.Errorf("status: %s", out)
	}
	d.Ctl(t, "network", "set", "lab", "forwards=[{listen: tcp/8080, to: 'web:80'}]")
	nettest.Eventually(t, "not allowed any more", func() error {
		if got := call(w.Internet.Namespace, "tcp", "203.0.113.2:8080"); !strings.HasPrefix(got, "no: ") {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	d.Ctl(t, "network", "set", "lab", "subnets[0].dhcp.reservations=[{mac: '"+web.MAC+"', address: 192.168.10.9, hostname: web}]")
	active("declared")
}

// The name of a guest without a link is for the guest that wants it: one that asks
// afterwards, one that asked before, and after a restart of the daemon.
func TestNameOfADeadGuest(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig")
	w, d := labWorld(t)
	join := func(name string) (*nettest.Guest, string) {
		g := w.Guest(t, name)
		g.Attach(t, "lab0")
		l, err := g.Udhcpc(t, nettest.ClientConfig{Hostname: "web"}).Lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return g, l.Address.Addr().String()
	}
	is := func(when, want string) {
		t.Helper()
		nettest.Eventually(t, when, func() error {
			out := w.Host.Run(t, "dig +short @192.168.10.1 web.lab.test; dig +short -x "+want+" @192.168.10.1")
			if out != want+"\nweb.lab.test.\n" {
				return fmt.Errorf("web is %q, want %s", out, want)
			}
			return nil
		})
	}
	first, one := join("first")
	_, two := join("second")
	is("the first keeps it", one)
	w.Host.Run(t, "ip link del "+first.Port)
	is("the second has asked", two)

	third, three := join("third")
	fourth, four := join("fourth")
	is("while the second is there", two)
	d.Kill()
	for _, l := range strings.Fields(w.Host.Run(t, "ls /sys/class/net/lab0/brif")) {
		if l != fourth.Port && l != third.Port {
			w.Host.Run(t, "ip link del "+l)
		}
	}
	d.Start()
	is("after a restart", three)
	w.Host.Run(t, "ip link del "+third.Port)
	is("the last one", four)
}

// A full disk makes the network degraded, with the reason and an event, and no new
// guest gets a lease that would be forgotten; when there is space, all is well again.
func TestFullDiskIsTold(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w := nettest.New(t)
	state := nettest.TempDir(t)
	w.Host.Run(t, "mount -t tmpfs -o size=96k none "+state)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly, StateDir: state})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	g := w.Guest(t, "web")
	g.Attach(t, "lab0")
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch", "--changes")
	w.Host.Run(t, "dd if=/dev/zero of="+state+"/fill bs=1k 2>/dev/null; true")
	client := g.Udhcpc(t, nettest.ClientConfig{})
	if _, err := client.Lease(t.Context()); err != nil {
		t.Fatal(err) // there is room for some in the page that the journal has
	}
	told := false
	for i := 0; i < 100 && !told; i++ {
		if _, err := client.Renew(t.Context()); err != nil {
			t.Fatalf("a guest that has a lease does not keep it: %v", err)
		}
		told = strings.Contains(d.Ctl(t, "status"), "problem    network lab: leases cannot be stored")
	}
	says(t, "status", d.Ctl(t, "status"), "1 degraded", "no space left on device")
	says(t, "list", d.Ctl(t, "network", "list"), "degraded")
	says(t, "events", events.Output(), "network-status lab degraded leases cannot be stored")
	// Not only the room that the journal then writes ahead.
	w.Host.Run(t, "mount -o remount,size=4m none "+state)
	nettest.Eventually(t, "ready again", func() error {
		if out := d.Ctl(t, "status"); !strings.Contains(out, "1 ready") || strings.Contains(out, "problem") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if _, err := client.Renew(t.Context()); err != nil {
		t.Error(err)
	}
}
