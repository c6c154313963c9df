//go:build bench

package bench

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const another = `{name: another, mode: nat, bridge: {name: lab1}, subnets: [{address: 10.98.0.1/24, dhcp: {ranges: [{start: 10.98.0.2, end: 10.98.0.254}]}}]}`

// TestNetwork times a network's way from its definition to service.
func TestNetwork(t *testing.T) {
	nettest.Need(t, "dnsmasq", "nft")
	table := &table{servers: []string{"vnetd", "dnsmasq"}}
	took := table.row("create a network", "ms", atMost(1, "dnsmasq"))
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: "logLevel: warn\ndefaultNetwork: false\n"})
	byHand := nettest.New(t)
	for range 3 * turns {
		start := time.Now()
		d.CtlInput(t, another, "network", "create", "-f", "-")
		took.add("vnetd", time.Since(start).Seconds()*1000)
		d.Ctl(t, "network", "delete", "another")
		took.add("dnsmasq", createByHand(t, byHand).Seconds()*1000)
	}
	table.print()
}

// createByHand does what libvirt does for a network, without libvirt: the
// bridge, a rule, and dnsmasq; then it takes them away.
func createByHand(t *testing.T, w *nettest.World) time.Duration {
	dir := nettest.TempDir(t)
	conf := filepath.Join(dir, "lab1.conf")
	write(t, conf, libvirtsConfig("lab1", "10.98.0.2", "10.98.0.254"))
	start := time.Now()
	for _, line := range []string{
		"ip link add lab1 type bridge", "ip addr add 10.98.0.1/24 dev lab1", "ip link set lab1 up",
		"echo 1 > /proc/sys/net/ipv4/ip_forward",
		"nft 'add table ip t; add chain ip t p { type nat hook postrouting priority 100; }; add rule ip t p ip saddr 10.98.0.0/24 masquerade'",
		"dnsmasq --conf-file=" + conf + " --leasefile-ro --dhcp-script=/bin/true --user=root --pid-file=" + dir + "/pid",
	} {
		w.Host.Run(t, line)
	}
	took := time.Since(start)
	w.Host.Run(t, "kill $(cat "+dir+"/pid); ip link del lab1; nft delete table ip t")
	return took
}
