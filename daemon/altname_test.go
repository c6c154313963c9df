package daemon_test

import (
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// The kernel gives no name twice, alternative names included: they are passed over
// when a name is picked, and refused with the link's own name where one is given.
func TestAlternativeNames(t *testing.T) {
	w := nettest.New(t)
	w.Host.Run(t, "ip link property add dev up0 altname vnbr0 altname vnet0 altname ifb-vnbr1 altname ifb-vnet1 altname virbr0 altname altup")
	d := w.Daemon(t, nettest.DaemonConfig{})
	if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "virbr1") {
		t.Errorf("the default network's bridge:\n%s", got)
	}
	d.CtlInput(t, "{name: a, mode: isolated, subnets: [{address: 10.9.0.1/24}], bandwidth: {in: {average: 10mbit}, out: {average: 10mbit}}}", "network", "create", "-f", "-")
	if got := d.Ctl(t, "network", "info", "a"); !strings.Contains(got, "vnbr2") || !strings.Contains(got, "ready") {
		t.Errorf("the bridge that was picked:\n%s", got)
	}
	if got := d.Ctl(t, "port", "create", "a", "--set", "bandwidth.out.average=1mbit"); !strings.HasPrefix(got, "vnet2 ") {
		t.Errorf("the port that was picked: %s", got)
	}
	d.CtlInput(t, "{name: lan, mode: direct, direct: {uplinks: [up0]}}", "network", "create", "-f", "-")
	if got := d.Ctl(t, "port", "create", "lan"); !strings.HasPrefix(got, "vnet3 ") {
		t.Errorf("the macvtap that was picked: %s", got)
	}
	create := []string{"network", "create", "-f", "-"}
	refused(t, d, "{name: b, mode: isolated, bridge: {name: altup}}", 1, create, "bridge.name", "altup is an alternative name of link up0")
	refused(t, d, "{name: b, mode: nat, uplinks: [altup], subnets: [{address: 10.8.0.1/24}]}", 1, create, "uplinks[0]", "use up0")
	refused(t, d, "{name: b, mode: direct, direct: {uplinks: [altup]}}", 1, create, "direct.uplinks[0]", "use up0")
	refused(t, d, "{name: b, mode: bridge, bridge: {name: altup}}", 1, create, "bridge.name", "use up0")
	refused(t, d, "{name: b, mode: bridge, bridge: {name: bb, uplinks: [altup]}}", 1, create, "bridge.uplinks[0]", "use up0")
	refused(t, d, "", 1, []string{"port", "create", "a", "--link", "altup"}, "altup exists already")

	// A name that a bridge of ours has besides its own is not free either.
	w.Host.Run(t, "ip link property add dev vnbr2 altname other0")
	refused(t, d, "{name: b, mode: isolated, bridge: {name: other0}}", 1, create, "other0 is an alternative name of link vnbr2")
	d.Restart()
	w.Host.Run(t, "ip link show vnbr2")
}
