package daemon_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// The command line as scripts use it: outputs, exit codes, and definitions that
// come back as they went.
func TestCommandLine(t *testing.T) {
	_, d := labWorld(t)

	shown := d.Ctl(t, "network", "show", "lab")
	if out := d.CtlInput(t, shown, "network", "apply", "-f", "-"); !strings.Contains(out, "lab unchanged") {
		t.Errorf("what show printed, applied: %s", out)
	}
	if out := d.CtlInput(t, shown, "network", "apply", "--dry-run", "-f", "-"); !strings.Contains(out, "unchanged") {
		t.Errorf("dry run: %s", out)
	}
	changed := strings.Replace(shown, "name: lab0,", "name: lab0, mtu: 1400,", 1)
	out, err := d.TryCtl(t.Context(), changed, "network", "apply", "--dry-run", "-f", "-")
	if e, ok := err.(*nettest.CtlError); !ok || e.Code != 2 || !strings.Contains(out, "ip link set lab0 mtu 1400") {
		t.Errorf("dry run of a change: %v, %s", err, out)
	}
	if d.Ctl(t, "network", "show", "lab") != shown {
		t.Error("a dry run changed something")
	}
	d.CtlInput(t, changed, "network", "apply", "-f", "-")
	if out := d.Host.Run(t, "ip link show lab0"); !strings.Contains(out, "mtu 1400") {
		t.Errorf("applied, and the bridge says %s", out)
	}

	var list []struct {
		Name   string
		Status struct{ Phase string }
	}
	if err := json.Unmarshal([]byte(d.Ctl(t, "network", "list", "-o", "json")), &list); err != nil || len(list) != 1 || list[0].Status.Phase != "ready" {
		t.Errorf("list -o json: %+v, %v", list, err)
	}
	d.Ctl(t, "network", "set", "lab", "dns.domain=other.test", "subnets[0].dhcp.leaseTime=2h")
	if out := d.Ctl(t, "network", "show", "lab"); !strings.Contains(out, "other.test") || !strings.Contains(out, "leaseTime: 2h") {
		t.Errorf("after set: %s", out)
	}
	d.Ctl(t, "network", "autostart", "--off", "lab")
	if out := d.Ctl(t, "network", "show", "lab"); !strings.Contains(out, "autostart: false") {
		t.Errorf("after autostart --off: %s", out)
	}
	refused(t, d, "", 4, []string{"lease", "wait", "nobody", "--timeout", "100ms"}, "no lease for nobody within 100ms")
	refused(t, d, "", 3, []string{"network", "start", "nobody"}, "there is no network nobody")
	refused(t, d, "", 3, []string{"lease", "release", "lab", "192.168.10.100"}, "no lease of 192.168.10.100")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := d.Ctl(t, "completion", shell); !strings.Contains(out, "vnetctl") {
			t.Errorf("completion for %s: %s", shell, out)
		}
	}
	if out := d.Ctl(t, "__complete", "network", "stop", ""); !strings.HasPrefix(out, "lab\n") {
		t.Errorf("completing a name: %s", out)
	}
	refused(t, d, "", 1, []string{"--socket", "/nowhere/vnetd.sock", "network", "list"}, "cannot connect to vnetd at /nowhere/vnetd.sock: no such file", "systemctl status vnetd")
}

func TestTransientNetwork(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, lab, "network", "create", "--transient", "-f", "-")
	d.Kill()
	d.Start()
	w.Host.Run(t, "ip link show lab0")
	d.Ctl(t, "network", "stop", "lab")
	if out := d.Ctl(t, "network", "list", "-q"); out != "" {
		t.Errorf("a stopped transient network is still there: %s", out)
	}
}

func TestEvents(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := labWorld(t)
	p := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch")
	wait := func(text string) {
		t.Helper()
		if err := p.WaitFor(t.Context(), text); err != nil {
			t.Errorf("%v; got\n%s", err, p.Output())
		}
	}
	wait("network-present lab ready")
	wait("synced")
	g, l := guest(t, w, "web", "lab0")
	address := l.Address.Addr().String()
	wait(fmt.Sprintf("lease-bound lab %s %s web", address, g.MAC))
	if out := d.Ctl(t, "lease", "wait", "web", "--timeout", "5s"); strings.TrimSpace(out) != address {
		t.Errorf("lease wait: %q, want %s", out, address)
	}
	d.Ctl(t, "lease", "release", "lab", address)
	wait("lease-released lab " + address)
	d.Ctl(t, "network", "stop", "lab")
	wait("network-status lab stopped")
	d.Ctl(t, "network", "delete", "lab")
	wait("network-deleted lab")
}

// Members of the admin group may write, by a supplementary group too; others
// who got at the socket may not.
func TestAdminGroup(t *testing.T) {
	w := nettest.New(t)
	w.Host.Run(t, "echo vnetd-admin:x:7777: >> /etc/group")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	if out := w.Host.Run(t, "stat -c '%a %g' "+d.Socket()); strings.TrimSpace(out) != "660 7777" {
		t.Errorf("the socket has mode and group %s", out)
	}
	w.Host.WriteFile(t, "/etc/lab.yaml", lab)
	ctl := d.Program("vnetctl") + " --socket " + d.Socket() + " network create -f /etc/lab.yaml"
	w.Host.Run(t, "chmod 666 "+d.Socket())
	out, err := w.Host.Try(t.Context(), "setpriv --reuid 4242 --regid 4242 --clear-groups "+ctl)
	if err == nil || !strings.Contains(out, "user 4242 may not change networks") {
		t.Errorf("a stranger: %v, %s", err, out)
	}
	w.Host.Run(t, "setpriv --reuid 4242 --regid 4242 --groups 7777 "+ctl)
}
