package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// other is a second network with a guest of its own and a declared port.
const other = `{name: other, mode: isolated, bridge: {name: oth0}, subnets: [{address: 10.77.0.1/24}]}`

// orphanWorld is labWorld with a second network, a tap that a program has open, and a
// guest with a lease on each of both networks' bridges.
func orphanWorld(t *testing.T) (w *nettest.World, d *nettest.Daemon, web, oth *nettest.Guest) {
	t.Helper()
	nettest.Need(t, "udhcpc", "nft")
	w, d = labWorld(t)
	w.Internet.Run(t, "ip route add 10.77.0.0/24 via 203.0.113.2") // rules alone keep it isolated
	d.CtlInput(t, other, "network", "create", "-f", "-")
	d.Ctl(t, "port", "create", "other", "--link", "vtap0", "--guest", "box")
	w.Host.Start(t, "python3", "-c", `
import fcntl, struct, time
f = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(f, 0x400454ca, struct.pack("16sH", b"vtap0", 0x5002))
time.sleep(600)`)
	nettest.Eventually(t, "the tap is open", func() error {
		_, err := w.Host.Try(t.Context(), "ip link show vtap0 | grep -q LOWER_UP")
		return err
	})
	web, _ = guest(t, w, "web", "lab0")
	oth = w.Guest(t, "db")
	oth.Attach(t, "oth0")
	oth.Run(t, "ip addr add 10.77.0.9/24 dev eth0; ip route add default via 10.77.0.1")
	nettest.Eventually(t, "guests are known", func() error { return known(t, d, web.Port) })
	return w, d, web, oth
}

// host is what must not change: links with their indexes, MACs and masters.
func links(t *testing.T, w *nettest.World) string {
	t.Helper()
	return w.Host.Run(t, "ip -o link | sed 's/@[^:]*//; s/ state [A-Z]*//; s/,LOWER_UP//; s/NO-CARRIER,//'; ip -o addr | grep -v fe80 | sed 's/valid_lft.*//'")
}

// lose moves the state directory away, as an unmounted file system does.
func lose(t *testing.T, d *nettest.Daemon) {
	t.Helper()
	if err := os.Rename(d.StateDir, d.StateDir+".lost"); err != nil {
		t.Fatal(err)
	}
}

func problems(t *testing.T, d *nettest.Daemon) string {
	t.Helper()
	return d.Ctl(t, "status")
}

// A start with an empty state directory changes nothing of what another state has
// declared: guests stay connected, inside and outside, and isolation stays in force.
func TestEmptyStateLeavesGuestsAlone(t *testing.T) {
	w, d, web, oth := orphanWorld(t)
	conn := dialEcho(t, web)
	conn.works("before")
	was := links(t, w)
	d.Kill()
	lose(t, d)
	d.Start()
	if now := links(t, w); now != was {
		t.Errorf("the host changed from\n%s\nto\n%s", was, now)
	}
	conn.works("after the state was lost")
	web.Run(t, "ping -c 1 -W 5 192.168.10.1")
	if out, err := oth.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1"); err == nil {
		t.Errorf("a guest of an isolated network reaches the outside: %s", out)
	}
	said := problems(t, d)
	for _, text := range []string{"orphaned", "lab0", web.Port, "vtap0", "network adopt lab", "network forget other"} {
		if !strings.Contains(said, text) {
			t.Errorf("status does not say %q:\n%s", text, said)
		}
	}
	if !strings.Contains(d.Log(), "level=WARN msg=\"orphaned links left alone") {
		t.Error("no warning in the log")
	}
	if got := d.Ctl(t, "network", "list"); strings.Contains(got, "virbr") {
		t.Errorf("a default network was declared:\n%s", got)
	}
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch", "--changes")
	if err := events.WaitFor(t.Context(), "synced"); err != nil {
		t.Fatal(err)
	}
	w.Host.Run(t, "ip link add late type bridge; ip link set late group 1986946420 alias vnetd:late")
	if err := events.WaitFor(t.Context(), "network-orphaned"); err != nil {
		t.Errorf("no event: %s", events.Output())
	}
	refused(t, d, "", 1, []string{"network", "forget", "lab"}, "has guests", web.Port, "--force")
	d.Ctl(t, "network", "forget", "late")
	if _, err := w.Host.Try(t.Context(), "ip link show late"); err == nil {
		t.Error("the forgotten link is there")
	}
	refused(t, d, strings.Replace(lab, "lab0", "lab9", 1), 1, []string{"network", "create", "-f", "-"}, "has guests", "network adopt lab")
	refused(t, d, lab, 1, []string{"network", "create", "--no-start", "-f", "-"}, "has guests", "network adopt lab")
	refused(t, d, "{name: thief, mode: isolated, bridge: {name: lab0}}", 1, []string{"network", "create", "-f", "-"}, "belongs to network lab")
	refused(t, d, "{name: thief, mode: nat, subnets: [{address: 192.168.10.129/25}]}", 1, []string{"network", "create", "-f", "-"}, "in use")

	// An unrelated network does not change what guests of the orphans reach.
	d.CtlInput(t, "{name: fresh, mode: nat, bridge: {name: fresh0}, subnets: [{address: 10.78.0.1/24}]}", "network", "create", "-f", "-")
	conn.works("beside a new network")
	if out, err := oth.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1"); err == nil {
		t.Errorf("beside a new network, a guest of an isolated network reaches the outside: %s", out)
	}
	d.Kill()
	d.Start()
	conn.works("after a restart")
	if out, err := oth.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1"); err == nil {
		t.Errorf("after a restart, a guest of an isolated network reaches the outside: %s", out)
	}

	// Adoption: the kernel and the rules say enough of lab, and not of other.
	refused(t, d, "", 1, []string{"network", "adopt", "other"}, "--mode")
	before := links(t, w)
	d.Ctl(t, "network", "adopt", "lab")
	d.Ctl(t, "network", "adopt", "other", "--mode", "isolated")
	if now := links(t, w); now != before {
		t.Errorf("adoption changed\n%s\nto\n%s", before, now)
	}
	conn.works("after the adoption")
	for _, want := range []string{"mode: nat", "name: lab0", "192.168.10.1/24"} {
		if got := d.Ctl(t, "network", "show", "lab"); !strings.Contains(got, want) {
			t.Errorf("the adopted network is\n%s\nwant %s", got, want)
		}
	}
	if got := ports(t, d, "other"); len(got) != 2 {
		t.Errorf("ports of the adopted network: %+v", got)
	}
	if said := problems(t, d); strings.Contains(said, "orphan") {
		t.Errorf("after the adoption: %s", said)
	}
	d.Kill()
	d.Start()
	conn.works("after a restart of the adopter")
	d.Ctl(t, "network", "delete", "--force", "other")
	if _, err := w.Host.Try(t.Context(), "ip link show oth0 || ip link show vtap0"); err == nil {
		t.Error("a deleted network has links")
	}
}

// An old state, as from a backup, knows some networks and not others; and an older
// definition of a network has none of its later ports.
func TestOldStateLeavesNewerNetworksAlone(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft")
	w, d := labWorld(t)
	d.Stop()
	w.Host.Run(t, "cp -a "+d.StateDir+" "+d.StateDir+".backup")
	d.Start()
	d.CtlInput(t, "{name: newer, mode: nat, bridge: {name: new0}, subnets: [{address: 10.76.0.1/24, dhcp: {}}]}", "network", "create", "-f", "-")
	d.Ctl(t, "port", "create", "lab", "--link", "vtap1")
	g, _ := guest(t, w, "web", "new0")
	conn := dialEcho(t, g)
	was := links(t, w)
	d.Kill()
	lose(t, d)
	d.Start()
	d.CtlInput(t, lab, "network", "create", "-f", "-") // as from a file: it is what is there
	if out, now := d.Ctl(t, "network", "show", "lab"), links(t, w); now != was {
		t.Errorf("a definition of the same network changed\n%s\nto\n%s\nby %s", was, now, out)
	}
	conn.works("beside a network that was declared again")
	d.Kill()
	w.Host.Run(t, "rm -r "+d.StateDir)
	w.Host.Run(t, "mv "+d.StateDir+".backup "+d.StateDir)
	d.Start()
	if now := links(t, w); now != was {
		t.Errorf("the host changed from\n%s\nto\n%s", was, now)
	}
	conn.works("with an older state")
	said := problems(t, d)
	for _, text := range []string{"new0", "vtap1"} {
		if !strings.Contains(said, text) {
			t.Errorf("status does not say %q:\n%s", text, said)
		}
	}
	d.Ctl(t, "network", "adopt", "lab")
	if got := ports(t, d, "lab"); len(got) != 1 || !got[0].Managed {
		t.Errorf("ports of lab: %+v", got)
	}
	d.Ctl(t, "network", "forget", "newer", "--force")
	if _, err := w.Host.Try(t.Context(), "ip link show new0"); err == nil {
		t.Error("new0 was forgotten and is there")
	}
	d.Ctl(t, "network", "delete", "--force", "lab")
	if _, err := w.Host.Try(t.Context(), "ip link show lab0 || ip link show vtap1"); err == nil {
		t.Error("a deleted network has links")
	}
}

// Where the rules that were in force do not say all, an orphan is cut off from the
// outside and not opened: a filter or a pinned uplink is not to be seen in a mode.
func TestOrphanWithFiltersIsClosed(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft")
	w := nettest.New(t)
	w.Internet.Run(t, "ip route add 192.168.10.0/24 via 203.0.113.2") // rules alone keep it in
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, strings.Replace(lab, "dns:", "hostServices: [none]\ndns:", 1), "network", "create", "-f", "-")
	g, _ := guest(t, w, "web", "lab0")
	g.Run(t, "ping -c 1 -W 5 203.0.113.1")
	d.Kill()
	lose(t, d)
	d.Start()
	g.Run(t, "ping -c 1 -W 5 203.0.113.1") // the rules are as they were
	d.CtlInput(t, "{name: fresh, mode: nat, bridge: {name: fresh0}, subnets: [{address: 10.78.0.1/24}]}", "network", "create", "-f", "-")
	if out, err := g.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1"); err == nil {
		t.Errorf("beside a new network: %s", out)
	}
	refused(t, d, "", 1, []string{"network", "adopt", "lab"}, "--mode", "-f FILE")
	path := filepath.Join(nettest.TempDir(t), "lab.yaml")
	if err := os.WriteFile(path, []byte(lab), 0o644); err != nil {
		t.Fatal(err)
	}
	d.Ctl(t, "network", "adopt", "lab", "-f", path)
	nettest.Eventually(t, "the adopted network reaches the outside", func() error {
		if out, err := g.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if got := d.Ctl(t, "network", "show", "lab"); !strings.Contains(got, "printer") {
		t.Errorf("the definition that was given is not what is declared:\n%s", got)
	}
}

// A deletion that the daemon did not live to carry out is carried out by the next one;
// a definition that is gone by other means is no deletion.
func TestDeletionOutlivesTheDaemon(t *testing.T) {
	w, d := labWorld(t)
	d.CtlInput(t, other, "network", "create", "-f", "-")
	d.Ctl(t, "port", "create", "lab", "--link", "vtap2")
	d.Kill()
	for _, name := range []string{"networks/lab.yaml", "networks/other.yaml"} {
		if err := os.Remove(filepath.Join(d.StateDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	mark := filepath.Join(d.RuntimeDir, "removed", "networks", "lab")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Start()
	w.Host.Run(t, "ip link show oth0")
	if out, err := w.Host.Try(t.Context(), "ip link show lab0 || ip link show vtap2"); err == nil {
		t.Errorf("a deleted network has links:\n%s", out)
	}
	nettest.Eventually(t, "the deletion is done with", func() error {
		if _, err := os.Stat(mark); err == nil {
			d.Signal(syscall.SIGHUP)
			return errors.New("it is still noted")
		}
		return nil
	})
}

// A network with a definition that cannot be read keeps its bridge; its rules do not go
// with its definition.
func TestUnreadableDefinitionIsClosed(t *testing.T) {
	w := nettest.New(t)
	w.Internet.Run(t, "ip route add 10.77.0.0/24 via 203.0.113.2")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	d.CtlInput(t, other, "network", "create", "-f", "-")
	g := w.Guest(t, "db")
	g.Attach(t, "oth0")
	g.Run(t, "ip addr add 10.77.0.9/24 dev eth0; ip route add default via 10.77.0.1")
	g.Run(t, "ping -c 1 -W 5 10.77.0.1")
	d.Kill()
	if err := os.Truncate(filepath.Join(d.StateDir, "networks", "other.yaml"), 20); err != nil {
		t.Fatal(err)
	}
	d.Start()
	if out, err := g.Try(t.Context(), "ping -c 1 -W 1 203.0.113.1"); err == nil {
		t.Errorf("a guest of an isolated network reaches the outside: %s", out)
	}
	g.Run(t, "ping -c 1 -W 5 10.77.0.1")
}
