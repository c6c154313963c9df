package daemon_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A guest that says nothing keeps MAC, name and address where ports are listed, when
// its bridge has forgotten it, and when the daemon was started again since.
func TestIdleGuestKeepsItsName(t *testing.T) {
	nettest.Need(t, "udhcpc", "bridge")
	w, d := labWorld(t)
	w.Host.Run(t, "ip link set lab0 type bridge ageing_time 200")
	g := w.Guest(t, "web")
	g.Run(t, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
	g.Attach(t, "lab0")
	lease, err := g.Udhcpc(t, nettest.ClientConfig{Hostname: "web"}).Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.Run(t, "ip route del default; ip neigh flush all")
	idle := func(when string) {
		t.Helper()
		nettest.Eventually(t, "the bridge forgets the guest "+when, func() error {
			if out := w.Host.Run(t, "bridge fdb show dev "+g.Port+" | grep -v permanent || true"); out != "" {
				return fmt.Errorf("it knows %s", out)
			}
			return nil
		})
		for _, args := range [][]string{{"port", "list", "lab"}, {"graph"}} {
			got := d.Ctl(t, args...)
			for _, want := range []string{g.Port, "web", lease.Address.Addr().String()} {
				if !strings.Contains(got, want) {
					t.Errorf("%s, %v does not say %s:\n%s", when, args, want, got)
				}
			}
		}
		if got := ports(t, d, "lab"); len(got) != 1 || got[0].Mac != g.MAC {
			t.Errorf("%s, ports are %+v", when, got)
		}
	}
	idle("while the daemon runs")
	d.Restart()
	idle("after a restart")
	d.Kill()
	d.Start()
	idle("after a crash")
	w.Host.Run(t, "ip link del "+g.Port)
	nettest.Eventually(t, "it is gone with its link", func() error {
		if got := ports(t, d, "lab"); len(got) != 0 {
			return fmt.Errorf("ports %+v", got)
		}
		return nil
	})
}
