package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

func TestBadDefinitions(t *testing.T) {
	_, d := labWorld(t)
	create := []string{"network", "create", "-f", "-"}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":        {"name: x\nmode: nat\nsubnet: []\n", []string{"subnet", "subnets"}},
		"bad CIDR":           {"{name: x, mode: nat, subnets: [{address: 10.0.0.300/24}]}", []string{"subnets[0].address", "10.0.0.300/24"}},
		"range outside":      {"{name: x, mode: nat, subnets: [{address: 10.9.0.1/24, dhcp: {ranges: [{start: 10.9.1.2, end: 10.9.1.9}]}}]}", []string{"subnets[0].dhcp.ranges[0].start", "10.9.1.2 is outside 10.9.0.0/24"}},
		"reservation twice":  {"{name: x, mode: nat, subnets: [{address: 10.9.0.1/24, dhcp: {reservations: [{mac: '02:00:00:00:00:01', address: 10.9.0.5}, {mac: '02:00:00:00:00:01', address: 10.9.0.5}]}}]}", []string{"reservations[1].mac", "given already"}},
		"bridge of 16":       {"{name: x, mode: isolated, bridge: {name: abcdefghijklmnop}}", []string{"bridge.name", "15 bytes"}},
		"overlap":            {"{name: x, mode: nat, subnets: [{address: 192.168.10.129/25}]}", []string{"192.168.10.129/25 overlaps 192.168.10.1/24 of network lab"}},
		"same bridge":        {"{name: x, mode: isolated, bridge: {name: lab0}}", []string{"lab0 is the bridge of network lab"}},
		"host's own subnet":  {"{name: x, mode: nat, subnets: [{address: 203.0.113.129/25}]}", []string{"in use by the host", "up0"}},
		"host's own link":    {"{name: x, mode: isolated, bridge: {name: up0}}", []string{"up0 exists already and is not vnetd's"}},
		"same name":          {lab, []string{"network lab exists already"}},
		"two things at once": {"{name: '', mode: nat}", []string{"name", "subnets"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, d, c.text, 1, create, c.want...) })
	}
	if got := d.Ctl(t, "network", "list", "-q"); strings.TrimSpace(got) != "lab" {
		t.Errorf("left behind: %q", got)
	}
	refused(t, d, "", 3, []string{"network", "show", "nobody"}, "nobody")
}

// Port 53 held by another server: the new network is refused, and it is said
// who may be in the way; nothing stays of it, and the others go on.
func TestPort53IsTaken(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig")
	w, d := labWorld(t)
	g, l := guest(t, w, "web", "lab0")
	w.Host.Run(t, "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind")
	other, err := w.Host.ListenPacket("udp4", "10.9.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	definition := "{name: x, mode: nat, bridge: {name: x0}, subnets: [{address: 10.9.0.1/24}]}"
	refused(t, d, definition, 1, []string{"network", "create", "-f", "-"}, "10.9.0.1:53", "in use")
	if out, err := w.Host.Try(t.Context(), "ip link show x0"); err == nil {
		t.Errorf("half-made: %s", out)
	}
	if got := strings.TrimSpace(d.Ctl(t, "network", "list", "-q")); got != "lab" {
		t.Errorf("left behind: %q", got)
	}
	dig(t, g, "web.lab.test", l.Address.Addr().String())
	other.Close()
	d.CtlInput(t, definition, "network", "create", "-f", "-")
}

func TestNoPrivileges(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{NoWait: true})
	d.Kill()
	out, err := w.Host.Try(t.Context(), "setpriv --reuid 4242 --clear-groups --inh-caps=-all --bounding-set=-all "+d.Program("vnetd")+" --state-dir "+nettest.TempDir(t))
	if err == nil || !strings.Contains(out, "vnetd lacks CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE") {
		t.Errorf("got %v: %s", err, out)
	}
}

// A second daemon in a network namespace changes nothing, whatever directories it
// has; a user without privileges cannot keep the first one from starting.
func TestSecondDaemon(t *testing.T) {
	w, d := labWorld(t)
	steps := w.Host.Start(t, "ip", "monitor", "link", "address")
	for _, dirs := range []string{
		"--state-dir " + d.StateDir + " --runtime-dir " + nettest.TempDir(t),
		"--state-dir " + nettest.TempDir(t) + " --runtime-dir " + d.RuntimeDir,
		"--state-dir " + nettest.TempDir(t) + " --runtime-dir " + nettest.TempDir(t),
	} {
		out, err := w.Host.Try(t.Context(), "timeout 5 "+d.Program("vnetd")+" "+dirs)
		for _, text := range []string{"another vnetd is running in this network namespace", fmt.Sprintf("pid %d", d.Pid()), "state directory " + d.StateDir} {
			if err == nil || !strings.Contains(out, text) {
				t.Errorf("vnetd %s: got %v: %s, want it to say %q", dirs, err, out, text)
			}
		}
		if strings.Contains(out, "another --state-dir") {
			t.Errorf("vnetd %s advises another state directory: %s", dirs, out)
		}
	}
	if out := steps.Output(); strings.Contains(out, "lab0") {
		t.Errorf("a second daemon changed the host:\n%s", out)
	}
	w.Host.Run(t, "nft flush ruleset || true")
	if out, err := w.Host.Try(t.Context(), "timeout 5 "+d.Program("vnetd")+" --state-dir "+nettest.TempDir(t)+" --runtime-dir "+nettest.TempDir(t)); err == nil || !strings.Contains(out, "another vnetd") {
		t.Errorf("after a flush of the ruleset: %v: %s", err, out)
	}
	out, err := w.Host.Try(t.Context(), "setpriv --reuid 4242 --clear-groups --inh-caps=-all --bounding-set=-all nft add table inet vnetd-lock '{ flags owner; }'")
	if err == nil {
		t.Errorf("a user without privileges changed the lock: %s", out)
	}
	d.Kill()
	d.Start()
}

// A torn definition is one network's trouble.
func TestTornDefinition(t *testing.T) {
	w, d := labWorld(t)
	d.CtlInput(t, "{name: b, mode: isolated, bridge: {name: b0}}", "network", "create", "-f", "-")
	index := w.Host.Ifindex(t, "lab0")
	d.Kill()
	path := filepath.Join(d.StateDir, "networks", "lab.yaml")
	if err := os.Truncate(path, 20); err != nil {
		t.Fatal(err)
	}
	d.Start()
	if got := d.Ctl(t, "status"); !strings.Contains(got, path) {
		t.Errorf("status does not name %s:\n%s", path, got)
	}
	if now := w.Host.Ifindex(t, "lab0"); now != index {
		t.Errorf("the bridge of the torn definition was made anew: %d, was %d", now, index)
	}
	if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "b0") {
		t.Errorf("network b is gone:\n%s", got)
	}
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	if now := w.Host.Ifindex(t, "lab0"); now != index {
		t.Errorf("mending the definition made the bridge anew: %d, was %d", now, index)
	}
}

// Reading is for everybody, changing is not.
func TestReadOnlySocket(t *testing.T) {
	w, d := labWorld(t)
	ctl := d.Program("vnetctl") + " --socket " + d.ReadOnlySocket() + " "
	if got := w.Host.Run(t, "setpriv --reuid 4242 --clear-groups "+ctl+"network list"); !strings.Contains(got, "lab") {
		t.Errorf("a stranger reads %q", got)
	}
	for _, who := range []string{"", "setpriv --reuid 4242 --clear-groups "} {
		out, err := w.Host.Try(t.Context(), who+ctl+"network stop lab")
		if err == nil || !strings.Contains(out, "read-only socket") {
			t.Errorf("%s: got %v: %s", who, err, out)
		}
	}
	w.Host.Run(t, "ip link show lab0")
}
