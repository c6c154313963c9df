package daemon_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// onTap is what ip(8) says of a tap, one word after the other.
func onTap(t *testing.T, ns *nettest.Namespace, link string) string {
	t.Helper()
	return strings.Join(strings.Fields(ns.Run(t, "ip -d link show dev "+link)), " ")
}

func says(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s says %q, want %q in it", what, text, want)
		}
	}
}

// A declared port is a tap in the bridge with its owner's number, and its guest has an
// address and a name by it. It outlives the daemon, whoever deletes its link, and its
// network's being stopped, and goes with its lease.
func TestDeclaredPort(t *testing.T) {
	w, d := labWorld(t)
	p := createPort(t, d, "lab", "--guest", "web", "--address", "192.168.10.44", "--owner", "4242", "--queues", "2", "--link", "web0")
	if p.Link != "web0" || p.Kind != "tap" || !p.Managed || !p.Attached || p.Mac == "" {
		t.Errorf("port %+v", p)
	}
	is := []string{"master lab0", "multi_queue", "user 4242", "pi off", "vnet_hdr on", "persist on", "group 1986946420", "alias vnetd:lab", "mtu 1500", ",UP"}
	says(t, "the tap", onTap(t, w.Host, "web0"), is...)
	// The definition is a file that a person can read.
	b, err := os.ReadFile(filepath.Join(d.StateDir, "ports", "web0.yaml"))
	says(t, fmt.Sprintf("the file (%v)", err), string(b), "guest: web", "192.168.10.44", p.Mac)

	// Its name is known before the guest is.
	g, _ := guest(t, w, "other", "lab0")
	says(t, "DNS", g.Run(t, "dig +short web.lab.test @192.168.10.1"), "192.168.10.44")
	// The guest is played by a veth with the port's MAC.
	g = w.Guest(t, "machine")
	g.Run(t, "ip link set eth0 address "+p.Mac)
	g.Attach(t, "lab0")
	l, err := g.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context())
	if err != nil || l.Address.Addr().String() != "192.168.10.44" || l.Hostname != "web" {
		t.Errorf("lease %+v, %v", l, err)
	}

	index := w.Host.Ifindex(t, "web0")
	d.Kill()
	d.Start()
	d.Ctl(t, "network", "set", "lab", "bridge.mtu=1400")
	if now := w.Host.Ifindex(t, "web0"); now != index {
		t.Errorf("the tap was made anew: %d, was %d", now, index)
	}
	is[8] = "mtu 1400"
	says(t, "the tap of a changed network", onTap(t, w.Host, "web0"), is...)
	d.Ctl(t, "network", "stop", "lab")
	if got := onTap(t, w.Host, "web0"); strings.Contains(got, "master") || strings.Contains(got, ",UP") {
		t.Errorf("while its network is stopped: %s", got)
	}
	d.Ctl(t, "network", "start", "lab")
	says(t, "the tap of a started network", onTap(t, w.Host, "web0"), is...)
	w.Host.Run(t, "ip link del web0")
	nettest.Eventually(t, "made again", func() error {
		out, err := w.Host.Try(t.Context(), "ip -o link show dev web0 master lab0 up")
		if err == nil && out == "" {
			return fmt.Errorf("it is not up in lab0")
		}
		return err
	})
	says(t, "the tap that was deleted", onTap(t, w.Host, "web0"), is...)

	refused(t, d, "", 1, []string{"network", "set", "lab", "subnets[0]={address: 10.9.0.1/24}"},
		"ports.web0.addresses[0]: 192.168.10.44 is in none of the network's subnets (10.9.0.0/24); change the port first (vnetctl port set), or delete it")
	refused(t, d, "", 1, []string{"network", "delete", "lab"}, "has guests", "web0")
	d.Ctl(t, "port", "delete", "web0")
	if out, err := w.Host.Try(t.Context(), "ip link show dev web0"); err == nil {
		t.Errorf("deleted, and there: %s", out)
	}
	if got := d.Ctl(t, "lease", "list"); strings.Contains(got, "192.168.10.44") {
		t.Errorf("the lease of a deleted port: %s", got)
	}
	if got := g.Run(t, "dig +short web.lab.test @192.168.10.1"); strings.Contains(got, "192.168.10.44") {
		t.Errorf("the name of a deleted port: %s", got)
	}
	createPort(t, d, "lab")
	d.Ctl(t, "network", "delete", "--force", "lab")
	if out := w.Host.Run(t, "ip -o link show group 1986946420"); out != "" {
		t.Errorf("left behind: %s", out)
	}
	if files, _ := filepath.Glob(filepath.Join(d.StateDir, "ports", "*")); files != nil {
		t.Errorf("left behind: %v", files)
	}
}

// A host that boots has its ports, as it has its networks.
func TestPortsOutliveABoot(t *testing.T) {
	state := nettest.TempDir(t)
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly, StateDir: state})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	p := createPort(t, d, "lab")
	d.Stop()
	after := nettest.New(t)
	nettest.RunDaemon(t, after.Host, nettest.DaemonConfig{Config: quietly, StateDir: state})
	says(t, "the tap", onTap(t, after.Host, p.Link), "master lab0", "link/ether fe:"+p.Mac[3:])
}

// What is wrong with a port is said all at once, and leaves nothing.
func TestBadPorts(t *testing.T) {
	w, d := labWorld(t)
	createPort(t, d, "lab", "--guest", "web", "--mac", "52:54:00:00:00:01", "--address", "192.168.10.44")
	before := w.Host.Run(t, "ip -brief link")
	for args, texts := range map[string][]string{
		"nowhere": {"there is no network nowhere"},
		"lab --mac 52:54:00:00:00:01 --guest WEB --address 192.168.10.44": {"mac: 52:54:00:00:00:01 is the MAC of port vnet0", "guest: WEB is the name of port vnet0", "addresses[0]: 192.168.10.44 is the address of port vnet0"},
		"lab --guest a.b --address 10.1.1.1 --queues 65 --uplink eth0":    {`guest: "a.b" is no host name`, "addresses[0]: 10.1.1.1 is in none", "queues: 65 is outside 1 to 64", "uplink: is for networks of mode direct"},
		"lab --address 192.168.10.1 --address 192.168.10.0":               {"addresses[0]: 192.168.10.1 is the host's own", "addresses[1]: 192.168.10.0 is no guest's"},
		"lab --address 192.168.10.4 --address 192.168.10.5":               {"addresses[1]: is a second address"},
		"lab --address 192.168.10.15":                                     {"is reserved for another guest by subnets[0].dhcp.reservations[0]"},
		"lab --guest printer":                                             {"guest: printer is the name of another guest"},
		"lab --link lab0":                                                 {"link: lab0 exists already"},
		"lab --link vnet0":                                                {"link: vnet0 is a port of network lab"},
		"lab --link an-awfully-long-name":                                 {"longer than the 15 bytes"},
		"lab --mac 01:00:00:00:00:01":                                     {"multicast"},
		"lab --mac x --owner nobody-of-that-name --address y":             {"mac", "owner: \"nobody-of-that-name\" is no user", "addresses[0]: \"y\""},
	} {
		code := 1
		if args == "nowhere" {
			code = 3
		}
		refused(t, d, "", code, append([]string{"port", "create"}, strings.Fields(args)...), texts...)
	}
	if after := w.Host.Run(t, "ip -brief link"); after != before {
		t.Errorf("the host was\n%s\nand is\n%s", before, after)
	}
}

// A link that somebody else put into the bridge is a port, too, with what the bridge
// and the leases know of its guest.
func TestLearnedPort(t *testing.T) {
	w, d := labWorld(t)
	g, l := guest(t, w, "web", "lab0")
	var list []struct {
		Link, Mac, Guest string
		Addresses        []string
		Managed          bool
	}
	out := d.Ctl(t, "port", "list", "lab", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	p := list[0]
	if p.Mac != g.MAC || p.Guest != "web" || len(p.Addresses) != 1 || p.Addresses[0] != l.Address.Addr().String() || p.Managed {
		t.Errorf("learned %+v; the guest has %s and %s", p, g.MAC, l.Address)
	}
}
