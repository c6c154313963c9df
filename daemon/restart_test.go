package daemon_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// picture is what a guest could notice of a host: its bridge, and its rules
// without who owns the table, which is nobody while the daemon is down.
func picture(t *testing.T, w *nettest.World) string {
	t.Helper()
	return w.Host.Run(t, "ip -o link show lab0 | sed 's/state.*//'; ip -o addr show dev lab0; nft -s list table inet vnetd | sed '/^table/d; /^\\tflags/d'")
}

func TestKillNineDisturbsNobody(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft")
	w, d := labWorld(t)
	g := w.Guest(t, "web")
	g.Attach(t, "lab0")
	client := g.Udhcpc(t, nettest.ClientConfig{})
	before, err := client.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := dialEcho(t, g)
	c.works("before")
	index, was := w.Host.Ifindex(t, "lab0"), picture(t, w)
	leases := d.Ctl(t, "lease", "list", "-o", "json")

	d.Kill()
	c.works("while the daemon is dead")
	d.Start()
	c.works("after the restart")

	if now := w.Host.Ifindex(t, "lab0"); now != index {
		t.Errorf("ifindex %d, was %d", now, index)
	}
	if now := picture(t, w); now != was {
		t.Errorf("the host changed from\n%s\nto\n%s", was, now)
	}
	if now := d.Ctl(t, "lease", "list", "-o", "json"); now != leases {
		t.Errorf("leases were\n%s\nand are\n%s", leases, now)
	}
	if strings.Contains(d.Log(), "step applied") {
		t.Errorf("the restarted daemon changed something:\n%s", d.Log())
	}
	again, err := client.Renew(t.Context())
	if err != nil || again.Address != before.Address {
		t.Errorf("renewed %v, %v; want %v", again.Address, err, before.Address)
	}
}

func TestSIGTERMLeavesNetworksStanding(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft")
	w, d := labWorld(t)
	g, _ := guest(t, w, "web", "lab0")
	c := dialEcho(t, g)
	was := picture(t, w)
	d.Stop()
	if now := picture(t, w); now != was {
		t.Errorf("the host changed from\n%s\nto\n%s", was, now)
	}
	c.works("without a daemon")
	if !slices.Contains(d.Notified(), "STOPPING=1") {
		t.Errorf("systemd was told %q, want STOPPING=1 among it", d.Notified())
	}
}

// Killed at any moment of a change, the next daemon finds its way: what was
// declared stands, and nothing else does.
func TestKilledInTheMiddleOfChanges(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	for range 5 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 8 {
				_, _ = d.TryCtl(background(), lab, "network", "create", "-f", "-")
				_, _ = d.TryCtl(background(), "", "network", "delete", "lab")
			}
		}()
		nettest.Eventually(t, "a bridge appears", func() error {
			_, err := w.Host.Try(t.Context(), "ip link show lab0")
			return err
		})
		d.Kill()
		<-done
		d.Start()
		declared := strings.Contains(d.Ctl(t, "network", "list"), "lab")
		_, err := w.Host.Try(t.Context(), "ip link show lab0")
		if stands := err == nil; stands != declared {
			t.Fatalf("declared %v, and its bridge stands: %v", declared, stands)
		}
		if declared {
			d.Ctl(t, "network", "delete", "lab")
		}
	}
}

func TestStopTakesDownAndStartBringsBack(t *testing.T) {
	w, d := labWorld(t)
	d.Ctl(t, "network", "stop", "lab")
	if out, err := w.Host.Try(t.Context(), "ip link show lab0"); err == nil {
		t.Errorf("the bridge stands after stop: %s", out)
	}
	if out := w.Host.Run(t, "nft -s list table inet vnetd | sed '/^table/d; /^\\tflags/d'"); strings.Contains(out, "lab0") {
		t.Errorf("rules for lab0 after stop:\n%s", out)
	}
	d.Kill()
	d.Start()
	if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "stopped") {
		t.Errorf("a stopped network runs after a restart:\n%s", got)
	}
	d.Ctl(t, "network", "start", "lab")
	w.Host.Run(t, "ip link show lab0")
}

func TestSystemd(t *testing.T) {
	w := nettest.New(t)
	dir := nettest.TempDir(t)
	write, read := dir+"/w.sock", dir+"/r.sock"
	d := w.Daemon(t, nettest.DaemonConfig{
		Config:   quietly,
		Sockets:  []nettest.Socket{{Name: "vnetd", Path: write}, {Name: "vnetd-ro", Path: read}},
		Watchdog: 600_000_000, // ns
	})
	out := w.Host.Run(t, d.Program("vnetctl")+" --socket "+write+" status")
	if !strings.Contains(out, "networks") {
		t.Errorf("status by the activated socket: %s", out)
	}
	for _, what := range []string{"READY=1", "WATCHDOG=1"} {
		if err := d.Await(t.Context(), what); err != nil {
			t.Error(err)
		}
	}
	d.Signal(syscall.SIGHUP)
	if err := d.Await(t.Context(), "RELOADING=1"); err != nil {
		t.Error(err)
	}
	nettest.Eventually(t, "READY comes again after the reload", func() error {
		told := d.Notified()
		if i := slices.Index(told, "RELOADING=1"); i < 0 || !slices.Contains(told[i:], "READY=1") {
			return fmt.Errorf("systemd was told %q", told)
		}
		return nil
	})
	d.Stop()
	told := strings.Join(d.Notified(), " ")
	if !strings.Contains(told, "MONOTONIC_USEC=") || !strings.Contains(told, "STOPPING=1") {
		t.Errorf("systemd was told %s", told)
	}
}

// As the unit runs it: an own user, and three capabilities.
func TestAsItsOwnUser(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping")
	w := nettest.New(t)
	w.Daemon(t, nettest.DaemonConfig{User: 4242})
	g, _ := guest(t, w, "web", "virbr0")
	g.Run(t, "ping -c 1 -W 5 203.0.113.1")
}
