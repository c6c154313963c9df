package daemon_test

import (
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// What guests did is counted from their point of view, in all three places; and
// Prometheus's own tool reads the metrics.
func TestCounters(t *testing.T) {
	nettest.Need(t, "udhcpc", "curl", "promtool")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly + "metrics: {listen: \"127.0.0.1:9178\"}\n"})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	g, _ := guest(t, w, "web", "lab0")
	g.Run(t, "curl -sS -o /dev/null http://203.0.113.1/bytes/3000000")

	if got := d.Ctl(t, "port", "list"); !strings.Contains(got, "3.0MB") && !strings.Contains(got, "3.1MB") && !strings.Contains(got, "3.2MB") {
		t.Errorf("port list does not show 3 MB received:\n%s", got)
	}
	if got := d.Ctl(t, "network", "info", "lab"); !strings.Contains(got, "received") {
		t.Errorf("network info does not show what was received:\n%s", got)
	}
	out := w.Host.Run(t, "curl -sS http://127.0.0.1:9178/metrics | tee /run/metrics; promtool check metrics < /run/metrics 2>&1")
	for _, want := range []string{
		`vnetd_network_live{network="lab",mode="nat"} 1`, `vnetd_network_leases{network="lab",mode="nat"} 1`,
		`vnetd_port_receive_bytes_total{network="lab",port="` + g.Port + `"} 3`, `vnetd_rounds_total{scope="named"}`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the metrics lack %s:\n%s", want, out)
		}
	}
}
