package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// lanWorld is a host with two links, eno1 and eno2, to a network outside that
// has its own DHCP server, and a daemon.
func lanWorld(t *testing.T) (*nettest.World, *nettest.Namespace, *nettest.Daemon) {
	t.Helper()
	return lanWorldWith(t, func(*nettest.World) {})
}

// lanWorldWith is a lanWorld whose host is prepared before the daemon runs.
func lanWorldWith(t *testing.T, prepare func(*nettest.World)) (*nettest.World, *nettest.Namespace, *nettest.Daemon) {
	t.Helper()
	nettest.Need(t, "dnsmasq", "ip")
	w := nettest.New(t)
	prepare(w)
	lan := nettest.NewNamespace(t, "lan")
	lan.Bridge(t, "br0", "192.168.77.1/24")
	for i, link := range []string{"eno1", "eno2"} {
		port := fmt.Sprintf("port%d", i)
		nettest.Connect(t, w.Host, link, lan, port)
		lan.Enslave(t, port, "br0")
	}
	p := lan.Start(t, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--user=root", "--conf-file=/dev/null", "--pid-file=",
		"--interface=br0", "--bind-interfaces", "--no-ping", "--dhcp-range=192.168.77.100,192.168.77.200,600",
		"--dhcp-leasefile=/run/dnsmasq.leases", "--domain=lan.test", "--no-hosts", "--dhcp-authoritative")
	if err := p.WaitFor(t.Context(), "sockets bound exclusively"); err != nil {
		t.Fatal(err)
	}
	return w, lan, w.Daemon(t, nettest.DaemonConfig{Config: quietly})
}

func createPort(t *testing.T, d *nettest.Daemon, args ...string) port {
	t.Helper()
	var p port
	out := d.Ctl(t, append([]string{"port", "create", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

// A virtual machine on a macvtap gets its address from the network outside, and
// talks to the host by the host's own link on the uplink.
func TestQEMUGuestOnMacvtap(t *testing.T) {
	nettest.Need(t, "qemu-system-x86_64")
	w, _, d := lanWorld(t)
	w.Host.Address(t, "eno1", "192.168.77.2/24")
	d.CtlInput(t, `
name: shared
mode: direct
direct: {uplinks: [eno1], hostAccess: true}
bridge: {name: shared0}
subnets: [{address: 192.168.77.3/24}]
`, "network", "create", "-f", "-")
	p := createPort(t, d, "shared")
	if p.Uplink != "eno1" || p.Kind != "macvtap" || !p.Managed || !p.Attached {
		t.Errorf("port %+v", p)
	}
	m := nettest.Machine{
		Host: w.Host, Tap: w.Host.Macvtap(t, p.Link), MAC: p.Mac,
		Commands: []string{"ping -c 1 -W 5 192.168.77.1", "ping -c 1 -W 5 192.168.77.3", "ping -c 1 -W 5 192.168.77.2"},
	}
	s := m.Run(t)
	if !netip.MustParsePrefix("192.168.77.0/24").Contains(s.Lease.Address.Addr()) || s.Lease.Domain != "lan.test" {
		t.Errorf("lease %+v", s.Lease)
	}
	for _, r := range s.Results {
		if r.Status != 0 {
			t.Errorf("%s: exit %d\n%s", r.Command, r.Status, r.Output)
		}
	}
	d.Ctl(t, "port", "delete", p.Link)
	if got := ports(t, d, "shared"); len(got) != 0 {
		t.Errorf("ports %+v", got)
	}
}

// A virtual machine on a bridge that the host has already.
func TestQEMUGuestOnExistingBridge(t *testing.T) {
	nettest.Need(t, "qemu-system-x86_64")
	w, _, d := lanWorld(t)
	w.Host.Run(t, "ip link add br0 address 02:00:00:00:07:07 type bridge")
	w.Host.Run(t, "ip link set eno1 master br0")
	w.Host.Run(t, "ip link set br0 up")
	before := w.Host.Run(t, "ip -brief link show dev br0; ip -brief addr show dev br0")
	d.CtlInput(t, "{name: office, mode: bridge, bridge: {name: br0}}", "network", "create", "-f", "-")
	s := nettest.Boot(t, w.Host, "vnet7", "br0", "ping -c 1 -W 5 192.168.77.1")
	if s.Lease.Domain != "lan.test" {
		t.Errorf("lease %+v", s.Lease)
	}
	d.Ctl(t, "network", "delete", "office")
	if after := w.Host.Run(t, "ip -brief link show dev br0; ip -brief addr show dev br0"); after != before {
		t.Errorf("br0 was\n%s\nand is\n%s", before, after)
	}
}

// Ports are shared out among uplinks by use, outlive the daemon and the network's
// being stopped, and go with the network.
func TestMacvtapPorts(t *testing.T) {
	w, _, d := lanWorld(t)
	d.CtlInput(t, "{name: lan, mode: direct, direct: {uplinks: [eno1, eno2], mode: private}}", "network", "create", "-f", "-")
	count := map[string]int{}
	for range 4 {
		count[createPort(t, d, "lan").Uplink]++
	}
	if count["eno1"] != 2 || count["eno2"] != 2 {
		t.Errorf("ports by uplink: %v, want two each", count)
	}
	if got := w.Host.Run(t, "ip -d link show type macvtap"); strings.Count(got, "mode private") != 4 {
		t.Errorf("got %s", got)
	}
	before := ports(t, d, "lan")
	d.Kill()
	d.Start()
	d.Ctl(t, "network", "stop", "lan")
	if got := ports(t, d, "lan"); len(got) != 4 || got[0].Attached {
		t.Errorf("while stopped: %+v", got)
	}
	d.Ctl(t, "network", "start", "lan")
	if got := ports(t, d, "lan"); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("ports are %+v, were %+v", got, before)
	}
	refused(t, d, "", 1, []string{"network", "delete", "lan"}, "has guests")
	d.Ctl(t, "network", "delete", "--force", "lan")
	if got := w.Host.Run(t, "ip -o link show type macvtap"); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

func TestPassthroughIsForOne(t *testing.T) {
	_, _, d := lanWorld(t)
	d.CtlInput(t, "{name: alone, mode: direct, direct: {uplinks: [eno1], mode: passthrough}}", "network", "create", "-f", "-")
	createPort(t, d, "alone")
	refused(t, d, "", 1, []string{"port", "create", "alone"}, "passthrough gives an uplink to one alone")
	refused(t, d, "{name: other, mode: direct, direct: {uplinks: [eno1]}}", 1, []string{"network", "create", "-f", "-"}, "eno1 is used by network alone")
}

// What cannot be is refused with a reason, and leaves nothing.
func TestBadUplinks(t *testing.T) {
	w, _, d := lanWorld(t)
	w.Host.Run(t, "ip link add br0 type bridge")
	w.Host.Run(t, "ip link set eno2 master br0")
	before := w.Host.Run(t, "ip -brief link; ip -brief addr")
	for input, text := range map[string]string{
		"{name: a, mode: direct, direct: {uplinks: [eno9]}}":                                                           "this host has no link eno9",
		"{name: a, mode: direct, direct: {uplinks: [eno2]}}":                                                           "eno2 is in br0 already",
		"{name: a, mode: direct, direct: {uplinks: [lo]}}":                                                             "reserved",
		"{name: a, mode: direct}":                                                                                      "direct.uplinks: are missing",
		"{name: a, mode: bridge, bridge: {name: br7}}":                                                                 "this host has no link br7",
		"{name: a, mode: bridge, bridge: {name: eno1}}":                                                                "eno1 is no bridge",
		"{name: a, mode: nat, uplinks: [eno9], subnets: [{address: 10.1.0.1/24}]}":                                     "uplinks[0]: this host has no link eno9",
		"{name: a, mode: nat, bridge: {name: br0}, subnets: [{address: 10.1.0.1/24}]}":                                 "br0 exists already and is not vnetd's",
		"{name: a, mode: route, subnets: [{address: 'fd00::1/80'}]}":                                                   "is no prefix for SLAAC",
		"{name: a, mode: route, subnets: [{address: 'fd00::1/80', slaac: true}]}":                                      "cannot be used for SLAAC",
		"{name: a, mode: isolated, uplinks: [eno1], subnets: [{address: 10.1.0.1/24}]}":                                "uplinks: are for modes nat and route",
		"{name: a, mode: nat, subnets: [{address: 10.1.0.1/24}, {address: 10.1.0.129/25}]}":                            "overlaps subnets[0]",
		"{name: a, mode: open, hostServices: [ssh], subnets: [{address: 10.1.0.1/24}]}":                                "mode open has none",
		"{name: a, mode: nat, hostServices: [gopher], subnets: [{address: 10.1.0.1/24}]}":                              "not a service that is known by name",
		"{name: a, mode: nat, bridge: {mtu: huge}, subnets: [{address: 10.1.0.1/24}]}":                                 "bridge.mtu",
		"{name: a, mode: nat, routes: [{destination: 10.9.0.0/16, via: 10.2.0.5}], subnets: [{address: 10.1.0.1/24}]}": "is in none of the network's subnets",
	} {
		refused(t, d, input, 1, []string{"network", "create", "-f", "-"}, text)
	}
	if after := w.Host.Run(t, "ip -brief link; ip -brief addr"); after != before {
		t.Errorf("the host was\n%s\nand is\n%s", before, after)
	}
}

// An uplink that vanishes degrades its network with a reason, and coming back
// mends it. Guests stay.
func TestUplinkVanishes(t *testing.T) {
	w, _, d := lanWorld(t)
	d.CtlInput(t, "{name: pinned, mode: nat, bridge: {name: pin0}, uplinks: [eno1], subnets: [{address: 10.1.0.1/24}]}", "network", "create", "-f", "-")
	index := w.Host.Ifindex(t, "pin0")
	says := func(text string) func() error {
		return func() error {
			if got := d.Ctl(t, "network", "info", "pinned"); !strings.Contains(got, text) {
				return fmt.Errorf("info says\n%s", got)
			}
			return nil
		}
	}
	w.Host.Run(t, "ip link set eno1 name away")
	nettest.Eventually(t, "degraded", says("this host has no link eno1"))
	w.Host.Run(t, "ip link set away name eno1")
	nettest.Eventually(t, "ready", says("ready"))
	if now := w.Host.Ifindex(t, "pin0"); now != index {
		t.Errorf("the bridge was made anew: %d, was %d", now, index)
	}
}
