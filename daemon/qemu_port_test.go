package daemon_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// neighbourly has a machine look for another by name and address for as long as that
// takes to boot, and stay for as long as it may be looked for.
func neighbourly(other string) []string {
	return []string{
		"for i in $(seq 90); do nslookup " + other + ".lab.test >/dev/null && ping -c 1 -W 2 " + other + ".lab.test && break; sleep 1; done",
		"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 203.0.113.1 80",
		"sleep 15",
	}
}

// Two virtual machines of a user who is not root, on one network by QEMU's own -netdev
// bridge and our helper, and a third on a macvtap by its descriptor: leases, names,
// each other, and the world outside.
func TestQEMUWithoutRoot(t *testing.T) {
	nettest.Need(t, "qemu-system-x86_64", "setpriv")
	w, _, d := lanWorldWith(t, func(w *nettest.World) { w.Host.Udev(t, 0) })
	w.Host.Run(t, "echo alice:x:4242:4242::/:/bin/sh >> /etc/passwd; echo virt:x:7777: >> /etc/group")
	d.CtlInput(t, lab+"access: {users: [alice], macPrefix: '52:54:00'}\n", "network", "create", "-f", "-")
	d.CtlInput(t, `
name: lan
mode: direct
direct: {uplinks: [eno1]}
access: {groups: [virt]}
`, "network", "create", "-f", "-")
	env := []string{"VNETD_RUNTIME_DIR=" + d.RuntimeDir}
	user := []string{"setpriv", "--reuid", "4242", "--regid", "4242", "--groups", "7777"}
	helper := "helper=" + d.Program("vnet-bridge-helper")
	machines := []nettest.Machine{
		{Name: "alpha", MAC: "52:54:00:00:00:0a", Netdev: "bridge,br=lab0," + helper, Commands: neighbourly("beta"), Wrap: user},
		{Name: "beta", MAC: "52:54:00:00:00:0b", Netdev: "tap,br=lab0," + helper, Commands: neighbourly("alpha"), Wrap: user},
		{
			Name: "gamma", MAC: "52:54:00:00:00:0c", Netdev: "tap,fd=3", Commands: []string{"ping -c 1 -W 5 192.168.77.1"},
			Wrap: append(user, d.Program("vnetctl"), "run", "--network", "lan", "--mac", "52:54:00:00:00:0c", "--"),
		},
	}
	sessions := make([]nettest.Session, len(machines))
	var wg sync.WaitGroup
	for i := range machines {
		machines[i].Host, machines[i].Env = w.Host, env
		wg.Go(func() { sessions[i] = machines[i].Run(t) })
	}
	nettest.Eventually(t, "three guests", func() error {
		if got := append(ports(t, d, "lab"), ports(t, d, "lan")...); len(got) != 3 {
			return fmt.Errorf("ports %+v", got)
		}
		return nil
	})
	wg.Wait()
	for i, s := range sessions {
		for _, r := range s.Results {
			if r.Status != 0 {
				t.Errorf("%s: %s: exit %d\n%s", machines[i].Name, r.Command, r.Status, r.Output)
			}
		}
	}
	for i, prefix := range []string{"192.168.10.0/24", "192.168.10.0/24", "192.168.77.0/24"} {
		if a := sessions[i].Lease.Address; !netip.MustParsePrefix(prefix).Contains(a.Addr()) {
			t.Errorf("%s has %s, want one of %s", machines[i].Name, a, prefix)
		}
	}
	for i, other := range []int{1, 0} {
		says(t, machines[i].Name, sessions[i].Results[0].Output, "1 packets received", sessions[other].Lease.Address.Addr().String())
		if got := sessions[i].Results[1].Output; !strings.Contains(got, "203.0.113.2") {
			t.Errorf("%s downloaded %q", machines[i].Name, got)
		}
	}
	noPorts(t, d, "lab")
	noPorts(t, d, "lan")
}
