package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// smallDisk is a file system with room for size octets, mounted nowhere.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	fsfd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		t.Skipf("no tmpfs of our own: %v", err)
	}
	defer unix.Close(fsfd)
	if err := errors.Join(unix.FsconfigSetString(fsfd, "size", size), unix.FsconfigCreate(fsfd)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "tmpfs")
	t.Cleanup(func() { f.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
}

// fill leaves no room on a disk.
func fill(t *testing.T, disk string) (empty func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	return func() { os.Remove(f.Name()) }
}

// What is refused because it cannot be stored is not in force, not for a moment, and what
// frees room is not refused.
func TestRefusedChangesAreNotInForce(t *testing.T) {
	nettest.Need(t, "dig")
	w, disk := nettest.New(t), smallDisk(t, "4m")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly, StateDir: disk})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	d.Ctl(t, "forward", "add", "lab", "tcp/8080", "192.168.10.50:80")
	d.Ctl(t, "record", "add", "lab", "mail", "A", "192.168.10.60")
	d.CtlInput(t, "{name: other, mode: nat, bridge: {name: other0}, subnets: [{address: 10.9.0.1/24}]}", "network", "create", "-f", "-")
	before := d.Ctl(t, "network", "show", "lab")
	rules := w.Host.Run(t, "nft -s list ruleset | sed 's,packets [0-9]* bytes [0-9]*,,' | sort")
	links := w.Host.Run(t, "ip -br link | cut -d' ' -f1 | sort")
	empty := fill(t, disk)

	for _, args := range [][]string{
		{"network", "set", "lab", "dns.domain=x.test"},
		{"network", "set", "lab", "hostServices=[none]"},
		{"network", "set", "lab", "bridge.name=lab9"},
		{"record", "add", "lab", "www", "A", "192.168.10.61"},
		{"record", "delete", "lab", "mail"},
		{"forward", "add", "lab", "tcp/8081", "192.168.10.51:80"},
		{"forward", "delete", "lab", "tcp/8080"},
		{"port", "create", "lab", "--guest", "db"},
		{"network", "autostart", "lab", "--off"},
		{"network", "create", "-f", "-"},
	} {
		out, err := d.TryCtl(t.Context(), "{name: new, mode: nat, bridge: {name: new0}, subnets: [{address: 10.8.0.1/24}]}", args...)
		if err == nil || !strings.Contains(err.(*nettest.CtlError).Stderr, "no space left") {
			t.Errorf("%s: %s, %v, want it refused for lack of space", strings.Join(args, " "), out, err)
		}
		if now := w.Host.Run(t, "dig +short @192.168.10.1 host.lab.test; dig +short @192.168.10.1 host.x.test; dig +short @192.168.10.1 mail.lab.test; dig +short @192.168.10.1 www.lab.test"); now != "192.168.10.1\n192.168.10.60\n" {
			t.Errorf("%s: DNS says %q", strings.Join(args, " "), now)
		}
		if now := w.Host.Run(t, "nft -s list ruleset | sed 's,packets [0-9]* bytes [0-9]*,,' | sort"); now != rules {
			t.Errorf("%s: the rules changed:\n%s", strings.Join(args, " "), now)
		}
		if now := w.Host.Run(t, "ip -br link | cut -d' ' -f1 | sort"); now != links {
			t.Errorf("%s: the links are %q", strings.Join(args, " "), now)
		}
		if now := d.Ctl(t, "network", "show", "lab"); now != before {
			t.Errorf("%s: the definition is\n%s", strings.Join(args, " "), now)
		}
	}
	if status := d.Ctl(t, "status"); !strings.Contains(status, "no space left") {
		t.Errorf("status says nothing of the full disk:\n%s", status)
	}
	for _, args := range [][]string{{"network", "stop", "lab"}, {"network", "start", "lab"}, {"network", "delete", "other"}} {
		d.Ctl(t, args...)
	}
	empty()
	d.Ctl(t, "network", "set", "lab", "dns.domain=x.test")
	d.Stop()
	d.Start()
	if now := strings.TrimSpace(w.Host.Run(t, "dig +short @192.168.10.1 host.x.test")); now != "192.168.10.1" {
		t.Errorf("with room again, and after a restart: %q", now)
	}
	if left, _ := filepath.Glob(filepath.Join(disk, "*", ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Directories that another user's vnetd has left are said to be in the way, at the start
// and in status; nothing is half done because of them.
func TestDirectoriesThatCannotBeWritten(t *testing.T) {
	nettest.Need(t, "dig")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly, User: 61234})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	d.Stop()
	for _, dir := range []string{filepath.Join(d.RuntimeDir, "live"), filepath.Join(d.StateDir, "ports")} {
		if err := os.Chown(dir, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	d.Start()
	for _, text := range []string{"run/live cannot be written: permission denied", "state/ports cannot be written: permission denied"} {
		if status := d.Ctl(t, "status"); !strings.Contains(status, text) {
			t.Errorf("status does not say %q:\n%s", text, status)
		}
		if !strings.Contains(d.Log(), text) {
			t.Errorf("the log does not say %q", text)
		}
	}
	refused(t, d, "", 1, []string{"network", "stop", "lab"}, "permission denied")
	refused(t, d, "", 1, []string{"port", "create", "lab"}, "permission denied")
	refused(t, d, "{name: new, mode: nat, bridge: {name: new0}, subnets: [{address: 10.8.0.1/24}]}", 1, []string{"network", "create", "-f", "-"}, "permission denied")
	if out, err := w.Host.Try(t.Context(), "ip link show new0"); err == nil {
		t.Errorf("half made: %s", out)
	}
	if now := strings.TrimSpace(w.Host.Run(t, "dig +short @192.168.10.1 host.lab.test")); now != "192.168.10.1" {
		t.Errorf("a network that was not stopped does not serve: %q", now)
	}
}

// A metrics address that the host does not have yet is told and tried again; networks do
// not wait for it.
func TestMetricsAddressThatComesLater(t *testing.T) {
	nettest.Need(t, "curl")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly + "metrics: {listen: \"10.77.0.1:9178\"}\n"})
	if status := d.Ctl(t, "status"); !strings.Contains(status, "10.77.0.1:9178") {
		t.Errorf("status says nothing of the address:\n%s", status)
	}
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	w.Host.Run(t, "ip addr add 10.77.0.1/32 dev up0")
	nettest.Eventually(t, "metrics at an address that came later", func() error {
		_, err := w.Host.Try(t.Context(), "curl -sf http://10.77.0.1:9178/metrics")
		return err
	})
	if status := d.Ctl(t, "status"); strings.Contains(status, "10.77.0.1:9178") {
		t.Errorf("status still complains:\n%s", status)
	}
}

// Unreadable state is told, and costs no network.
func TestUnreadableStateDoesNotStopTheDaemon(t *testing.T) {
	nettest.Need(t, "dig")
	w, d := labWorld(t)
	d.Stop()
	for path, text := range map[string]string{
		filepath.Join(d.StateDir, "trials", "lab.json"):    `{"Name":"other"}`,
		filepath.Join(d.StateDir, "trials", "torn.json"):   `{"Na`,
		filepath.Join(d.StateDir, "ports", "vnet7.yaml"):   "\x00",
		filepath.Join(d.RuntimeDir, "members.json"):        "[",
		filepath.Join(d.StateDir, "networks", ".new-1234"): "name: half",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.Start()
	status := d.Ctl(t, "status")
	for _, text := range []string{"trials/lab.json", "trials/torn.json", "port vnet7", "members.json.unreadable"} {
		if !strings.Contains(status, text) {
			t.Errorf("status does not name %s:\n%s", text, status)
		}
	}
	if strings.Contains(status+d.Log(), "%!") {
		t.Errorf("a message with a mistake:\n%s", status)
	}
	if now := strings.TrimSpace(w.Host.Run(t, "dig +short @192.168.10.1 host.lab.test")); now != "192.168.10.1" {
		t.Errorf("the network does not serve: %q", now)
	}
	d.Ctl(t, "network", "confirm", "lab")
	if status := d.Ctl(t, "status"); strings.Contains(status, "trials/lab.json") {
		t.Errorf("confirmed, and status still complains:\n%s", status)
	}
}
