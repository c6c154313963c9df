package daemon_test

import (
	"fmt"
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

	nettest.Eventually(t, "the port list shows 3 MB received", func() error {
		if got := d.Ctl(t, "port", "list"); !strings.Contains(got, "3.0MB") && !strings.Contains(got, "3.1MB") && !strings.Contains(got, "3.2MB") {
			return fmt.Errorf("it is\n%s", got)
		}
		return nil
	})
	if got := d.Ctl(t, "network", "info", "lab"); !strings.Contains(got, "received") {
		t.Errorf("network info does not show what was received:\n%s", got)
	}
	c, err := g.Dial("udp", "192.168.10.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	for _, asks := range []string{"printer.lab.test", "nothing.lab.test", "+tcp www.example.org", "www.example.org", "CH TXT version.bind"} {
		g.Run(t, "dig +tries=3 @192.168.10.1 "+asks)
	}
	out := w.Host.Run(t, "curl -sS http://127.0.0.1:9178/metrics | tee /run/metrics; promtool check metrics < /run/metrics 2>&1")
	for _, want := range []string{
		`vnetd_network_live{network="lab",mode="nat"} 1`, `vnetd_network_leases{network="lab",mode="nat"} 1`,
		`vnetd_port_receive_bytes_total{network="lab",port="` + g.Port + `"} 3`, `vnetd_rounds_total{scope="named"}`,
		`vnetd_dhcp_messages_total{network="lab",family="ipv4",message="DISCOVER",reply="OFFER",reason="offered"} 1`,
		`vnetd_dhcp_messages_total{network="lab",family="ipv4",message="REQUEST",reply="ACK",reason="bound"} 1`,
		`vnetd_dns_queries_total{network="lab",outcome="local"} 2`, `vnetd_dns_queries_total{network="lab",outcome="cached"} 1`,
		`vnetd_dns_queries_total{network="lab",outcome="forwarded"} 1`, `vnetd_dns_queries_total{network="lab",outcome="refused"} 1`,
		`vnetd_dns_queries_total{network="lab",outcome="malformed"} 1`, `vnetd_dns_replies_total{network="lab",code="NXDOMAIN"} 1`,
		`vnetd_dns_upstream_queries_total{upstream="203.0.113.1:53"} 1`, `vnetd_dns_upstream_replies_total{upstream="203.0.113.1:53"} 1`,
		`vnetd_dns_cache_entries 1`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the metrics lack %s:\n%s", want, out)
		}
	}
}

// What a guest sends cannot make more lines of metrics than there are kinds of
// messages, and what is no message is counted as that.
func TestCountersAreBounded(t *testing.T) {
	nettest.Need(t, "udhcpc", "curl")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly + "metrics: {listen: \"127.0.0.1:9178\"}\n"})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	g, l := guest(t, w, "web", "lab0")
	c, err := g.Dial("udp", "192.168.10.1:67")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for kind := range 256 { // BOOTP, Ethernet, six octets; a magic cookie, and a type
		msg := append([]byte{1, 1, 6, 0}, make([]byte, 232)...)
		copy(msg[12:], l.Address.Addr().AsSlice())
		copy(msg[28:], []byte{2, 0, 0, 0, 0, byte(kind)})
		if _, err := c.Write(append(msg, 99, 130, 83, 99, 53, 1, byte(kind), 255)); err != nil {
			t.Fatal(err)
		}
	}
	nettest.Eventually(t, "counted", func() error {
		lines := strings.Count(w.Host.Run(t, "curl -sS http://127.0.0.1:9178/metrics | grep vnetd_dhcp"), "\n")
		if lines < 5 || lines > 24 {
			return fmt.Errorf("%d lines", lines)
		}
		return nil
	})
	says(t, "the metrics", w.Host.Run(t, "curl -sS http://127.0.0.1:9178/metrics"), `message="other",reply="none"`)
	d.Ctl(t, "network", "delete", "--force", "lab")
	if out := w.Host.Run(t, "curl -sS http://127.0.0.1:9178/metrics"); strings.Contains(out, `"lab"`) {
		t.Errorf("of a network that is gone:\n%s", out)
	}
}
