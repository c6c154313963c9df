package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// examples stand on a host with these links.
func exampleWorld(t *testing.T) (*nettest.World, *nettest.Daemon) {
	t.Helper()
	w := nettest.New(t)
	nettest.Connect(t, w.Host, "eno1", w.Internet.Namespace, "lan1")
	nettest.Connect(t, w.Host, "eno2", w.Internet.Namespace, "lan2")
	w.Host.Run(t, "ip link add br0 type bridge")
	w.Host.Run(t, "ip link set br0 up")
	return w, w.Daemon(t, nettest.DaemonConfig{Config: quietly})
}

// What an example becomes on the host, as ip and nft see it: commands that
// succeed.
var examples = map[string][]string{
	"nat.yaml":                 {"ip addr show dev vnbr0 | grep -q 192.168.50.1/24", "nft list map inet vnetd translate4 | grep -q 192.168.50.0/24"},
	"nat-dual-stack.yaml":      {"ip addr show dev vnbr0 | grep -q fd00:51::1/64", "ip link show dev vnbr0 | grep -q 'mtu 1500'"},
	"nat-auto.yaml":            {"ip addr show dev vnbr0 | grep -q 192.168.128.1/24", "ip -6 addr show dev vnbr0 | grep -qE 'inet6 fd.*::1/64 scope global'"},
	"nat-pinned.yaml":          {"nft list ruleset | grep -q 203.0.113.64-203.0.113.68", "nft list ruleset | grep -q eno1"},
	"clean.yaml":               {"nft list map inet vnetd inside | grep -q refuse", "ip addr show dev vnbr0 | grep -q 192.168.58.1/24"},
	"routed.yaml":              {"ip route show 10.99.0.0/16 | grep -q 'via 198.51.100.2 dev vnbr0'", "nft list ruleset | grep -q 8080"},
	"open.yaml":                {"! nft list table inet vnetd 2>/dev/null", "ip addr show dev vnbr0 | grep -q 192.168.54.1/24"},
	"isolated.yaml":            {"nft list ruleset | grep -q 2049", "test $(cat /proc/sys/net/ipv4/conf/vnbr0/arp_ignore) = 1"},
	"very-isolated.yaml":       {"test -z \"$(ip -o addr show dev quiet0)\"", "ip link show dev quiet0 up | grep -q UP"},
	"existing-bridge.yaml":     {"test $(ip -o link show type bridge | wc -l) = 1"},
	"macvtap.yaml":             {"! ip -o link show type macvlan | grep -q ."},
	"macvtap-host-access.yaml": {"ip -d link show dev shared0 | grep -q 'macvlan mode bridge'", "ip addr show dev shared0 | grep -q 203.0.113.77/24"},
	"bandwidth.yaml":           {"tc class show dev vnbr0 | grep -q 'rate 100Mbit'", "tc class show dev ifb-vnbr0 | grep -q 'rate 50Mbit'"},
	"built-bridge.yaml":        nil, // see TestBuiltBridge
}

// Every example under docs/examples stands as it is, is reported ready, and a
// second apply changes nothing. Taking it down leaves the host as it was.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../docs/examples/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range files {
		checks, known := examples[filepath.Base(file)]
		if !known {
			t.Errorf("%s is run by no test", file)
		}
		if checks == nil {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) { runExample(t, file, checks) })
	}
}

func runExample(t *testing.T, file string, checks []string) {
	w, d := exampleWorld(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := w.Host.Run(t, "ip -brief link; ip -brief addr; ip route; ip -6 route")
	d.CtlInput(t, string(text), "network", "create", "-f", "-")
	if got := d.Ctl(t, "status"); !strings.Contains(got, "1 ready") {
		t.Errorf("status says\n%s", got)
	}
	for _, c := range checks {
		if out, err := w.Host.Try(t.Context(), c); err != nil {
			t.Errorf("%s: %v %s", c, err, out)
		}
	}
	if got := d.CtlInput(t, string(text), "network", "apply", "-f", "-"); !strings.Contains(got, "unchanged") {
		t.Errorf("a second apply says %q", got)
	}
	name := strings.TrimSpace(d.Ctl(t, "network", "list", "-q"))
	d.Ctl(t, "network", "delete", name)
	after := w.Host.Run(t, "ip -brief link; ip -brief addr; ip route; ip -6 route")
	if before != after {
		t.Errorf("the host was\n%s\nand is\n%s", before, after)
	}
}
