package daemon_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// The share of a full frame that iperf3 counts, on an MTU of 1500: TCP with time
// stamps over IPv4, and UDP with the 1448 bytes that it is told to send.
const (
	tcpShare = 1448.0 / 1514
	udpShare = 1448.0 / 1490
)

// a flow is what iperf3 measures from a guest.
type flow struct {
	what   string
	args   string  // iperf3's
	counts float64 // share of frames that is payload
	mbit   float64 // what was set
}

// iperf measures in Mbit/s what arrives, without the first second and its burst.
func iperf(t *testing.T, g *nettest.Namespace, port int, f flow) float64 {
	t.Helper()
	out := g.Run(t, fmt.Sprintf("iperf3 -J -O 1 -t 3 -p %d %s", port, f.args))
	var r struct {
		End struct {
			Sum struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			}
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
		Error string
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Error != "" {
		t.Fatalf("iperf3 %s: %v %s", f.args, err, r.Error)
	}
	return r.End.SumReceived.BitsPerSecond / 1e6
}

// check prints how far from what was set a flow was, as iperf3 counts and as
// frames count. A machine that is busy with other things may be too slow for a flow,
// or have it wait before iperf3 begins to count, so that it is measured again; a wrong
// limit is wrong each time.
func check(t *testing.T, g *nettest.Namespace, f flow) {
	t.Helper()
	for range 4 {
		got := iperf(t, g, 5201, f)
		frames := got / f.counts
		off := 100 * (frames/f.mbit - 1)
		t.Logf("%-30s set %6.1f Mbit/s, iperf3 %6.2f (%+.1f %%), frames %6.2f (%+.1f %%)", f.what, f.mbit, got, 100*(got/f.mbit-1), frames, off)
		if off > -5 && off < 5 {
			return
		}
	}
	t.Errorf("%s: not within 5 %% of what was set", f.what)
}

// iperfServers runs a server for each of n ports from 5201 on: a server does one
// test at a time.
func iperfServers(t *testing.T, ns *nettest.Namespace, n int) {
	t.Helper()
	nettest.Need(t, "iperf3", "tc")
	for i := range n {
		p := ns.Start(t, "iperf3", "-s", "--forceflush", "-p", fmt.Sprint(5201+i))
		if err := p.WaitFor(t.Context(), "Server listening"); err != nil {
			t.Fatal(err)
		}
	}
}

func set(t *testing.T, d *nettest.Daemon, bandwidth string) {
	t.Helper()
	d.CtlInput(t, strings.TrimSpace(lab)+"\nbandwidth: "+bandwidth+"\n", "network", "apply", "-f", "-")
}

func TestBandwidthOfPorts(t *testing.T) {
	w, d := labWorld(t)
	iperfServers(t, w.Internet.Namespace, 1)
	g, _ := guest(t, w, "web", "lab0")
	set(t, d, "{perPort: {in: {average: 40mbit}, out: {average: 20mbit}}}")
	h, _ := guest(t, w, "db", "lab0")
	iperfServers(t, h.Namespace, 1)
	to := "-c 203.0.113.1 "
	for _, f := range []flow{
		{"TCP from the guest", to, tcpShare, 20},
		{"TCP to the guest", to + "-R", tcpShare, 40},
		{"UDP from the guest", to + "-u -l 1448 -b 60M", udpShare, 20},
		{"TCP over IPv6 to another guest", "-c fe80::ff:fe00:2%eth0", 1428.0 / 1514, 20},
		{"UDP to the guest", to + "-R -u -l 1448 -b 80M", udpShare, 40},
	} {
		check(t, g.Namespace, f)
	}
}

// What a network exchanges with the outside is limited for all its guests together,
// IPv6 and ARP included; what they exchange with each other is not.
func TestBandwidthOfNetworks(t *testing.T) {
	w, d := labWorld(t)
	iperfServers(t, w.Internet.Namespace, 1)
	g, _ := guest(t, w, "web", "lab0")
	h, l := guest(t, w, "db", "lab0")
	iperfServers(t, h.Namespace, 1)
	set(t, d, "{in: {average: 30mbit}, out: {average: 15mbit}, perPort: {in: {average: 2gbit}}}")
	for _, f := range []flow{
		{"network, TCP from a guest", "-c 203.0.113.1", tcpShare, 15},
		{"network, TCP to a guest", "-c 203.0.113.1 -R", tcpShare, 30},
	} {
		check(t, g.Namespace, f)
	}
	free := flow{what: "between guests", args: "-c " + l.Address.Addr().String()}
	if got := iperf(t, g.Namespace, 5201, free); got < 100 {
		t.Errorf("between guests: %.1f Mbit/s, which nothing limits", got)
	}
}

// tcSays has tc, which knows nothing of us, list what is on a link.
func tcSays(t *testing.T, ns *nettest.Namespace, link string) string {
	t.Helper()
	return ns.Run(t, "tc qdisc show dev "+link+"; tc class show dev "+link+"; tc filter show dev "+link+" ingress")
}

func TestBandwidthIsKept(t *testing.T) {
	nettest.Need(t, "tc", "udhcpc")
	w, d := labWorld(t)
	g, _ := guest(t, w, "web", "lab0")
	set(t, d, "{in: {average: 100mbit}, perPort: {in: {average: 8mbit}, out: {average: 4mbit}}}")
	eventually := func(what, link string, words ...string) {
		t.Helper()
		nettest.Eventually(t, what, func() error {
			said := tcSays(t, w.Host, link)
			for _, word := range words {
				if !strings.Contains(said, word) {
					return fmt.Errorf("tc does not say %q of %s:\n%s", word, link, said)
				}
			}
			return nil
		})
	}
	all := func(what string) {
		t.Helper()
		eventually(what, "lab0", "rate 100Mbit")
		eventually(what, g.Port, "rate 8Mbit", "ifb-"+g.Port)
		eventually(what, "ifb-"+g.Port, "rate 4Mbit")
	}
	all("set")

	d.Restart()
	d.Ctl(t, "status")
	if n := strings.Count(d.Log(), "step applied"); n > 0 {
		t.Errorf("a restart changed something: %d steps", n)
	}
	for _, breaks := range []string{
		"tc qdisc del dev lab0 root", "tc qdisc replace dev $PORT root pfifo", "tc qdisc del dev $PORT ingress", "ip link del ifb-$PORT",
		"tc class change dev ifb-$PORT parent 766e: classid 766e:1 htb rate 1gbit", "ip link set $PORT nomaster",
	} {
		w.Host.Run(t, strings.ReplaceAll(breaks, "$PORT", g.Port))
		all(breaks)
	}
	qdisc := w.Host.Run(t, "tc qdisc show dev "+g.Port+" root")
	set(t, d, "{in: {average: 100mbit}, perPort: {in: {average: 16mbit, peak: 40mbit, burst: 200kB}, out: {average: 4mbit}}}")
	eventually("changed", g.Port, "rate 16Mbit ceil 40Mbit burst 200000b")
	if now := w.Host.Run(t, "tc qdisc show dev "+g.Port+" root"); now != qdisc {
		t.Errorf("the queue was made anew, and frames in it were lost: %s, before %s", now, qdisc)
	}

	g.Detach(t)
	w.Host.Bridge(t, "other0")
	g.Attach(t, "other0")
	nettest.Eventually(t, "a guest that left is let go", func() error {
		if said := tcSays(t, w.Host, g.Port); strings.Contains(said, "htb") || strings.Contains(said, "mirred") {
			return fmt.Errorf("tc says %s", said)
		}
		_, err := w.Host.Try(t.Context(), "! ip link show ifb-"+g.Port)
		return err
	})
	d.CtlInput(t, lab, "network", "apply", "-f", "-")
	if said := tcSays(t, w.Host, "lab0"); strings.Contains(said, "htb") {
		t.Errorf("the limit is lifted, and tc says %s", said)
	}
}
