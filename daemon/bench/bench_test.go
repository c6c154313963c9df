//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const (
	someClients = 16              // that have their leases, and come again and again
	measure     = 4 * time.Second // of load
	samples     = 5               // of what is timed alone
)

// server is one of the two, with a guest on its network 10.99.0.0/16.
type server struct {
	guest  *nettest.Guest
	create func() time.Duration // makes one more network, and takes it away
}

// row is a line of the table. More is better, or less.
type row struct {
	what     string
	unit     string
	less     bool
	measured [2]float64 // vnetd, dnsmasq
}

func TestCompare(t *testing.T) {
	nettest.Need(t, "dnsmasq", "dnsperf", "nft")
	rows := []row{
		{what: "DHCP four-way exchanges, leases held", unit: "1/s"},
		{what: "DISCOVER to bound, new client", unit: "ms", less: true},
		{what: "DNS, local name", unit: "queries/s"},
		{what: "DNS, cached name", unit: "queries/s"},
		{what: "create a network", unit: "ms", less: true},
	}
	for i, make := range []func(*testing.T) server{vnetd, dnsmasq} {
		s := make(t)
		c := newClients(t, s.guest)
		// First, on a quiet server: dnsmasq stops looking whether an address is in
		// use, which takes it three seconds, once it did so six times in thirty.
		rows[1].measured[i] = median(func(k int) time.Duration {
			took, _, err := c.bind(1000+k, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return took
		})
		for n := range someClients {
			if _, _, err := c.bind(n, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		rows[0].measured[i] = float64(c.exchanges(t, someClients, measure)) / measure.Seconds()
		rows[2].measured[i] = dnsperf(t, s.guest, "printer.lab.test A")
		rows[3].measured[i] = dnsperf(t, s.guest, "www.example.test A")
		rows[4].measured[i] = median(func(int) time.Duration { return s.create() })
	}
	print(rows)
}

func print(rows []row) {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tvnetd\tdnsmasq\tunit\tvnetd is better by")
	for _, r := range rows {
		ratio := r.measured[0] / r.measured[1]
		if r.less {
			ratio = 1 / ratio
		}
		fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%s\t%.2f times\n", r.what, r.measured[0], r.measured[1], r.unit, ratio)
	}
	w.Flush()
}

// median returns milliseconds.
func median(sample func(int) time.Duration) float64 {
	var all []time.Duration
	for k := range samples {
		all = append(all, sample(k))
	}
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000
}

var perSecond = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)

// dnsperf asks one question over and over. The answers have to be right.
func dnsperf(t *testing.T, g *nettest.Guest, question string) float64 {
	file := filepath.Join(nettest.TempDir(t), "questions")
	if err := os.WriteFile(file, []byte(question+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	line := fmt.Sprintf("dnsperf -s 10.99.0.1 -d %s -l %d -q 256 -c 8", file, int(measure.Seconds()))
	out, err := g.Try(ctx, line)
	found := perSecond.FindStringSubmatch(out)
	if err != nil || found == nil || !strings.Contains(out, "NOERROR") || strings.Contains(out, "SERVFAIL") {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	qps, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return qps
}

const definition = `
name: lab
mode: nat
bridge: {name: lab0}
subnets:
  - address: 10.99.0.1/16
    dhcp:
      ranges: [{start: 10.99.1.0, end: 10.99.250.255}]
      reservations: [{mac: "02:00:00:00:00:ff", address: 10.99.0.15, hostname: printer}]
dns: {domain: lab.test}
`

const another = `{name: another, mode: nat, bridge: {name: lab1}, subnets: [{address: 10.98.0.1/24, dhcp: {ranges: [{start: 10.98.0.2, end: 10.98.0.254}]}}]}`

// member gives the guest an address for DNS beside its clients.
func member(t *testing.T, w *nettest.World) *nettest.Guest {
	g := w.Guest(t, "load")
	g.Attach(t, "lab0")
	g.Address(t, "eth0", "10.99.255.7/16")
	return g
}

func vnetd(t *testing.T) server {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: "logLevel: warn\ndefaultNetwork: false\n"})
	d.CtlInput(t, definition, "network", "create", "-f", "-")
	return server{guest: member(t, w), create: func() time.Duration {
		start := time.Now()
		d.CtlInput(t, another, "network", "create", "-f", "-")
		took := time.Since(start)
		d.Ctl(t, "network", "delete", "another")
		return took
	}}
}

// libvirts is what libvirt 11.3 writes for a network (libvirt.md 1.5).
const libvirts = `strict-order
domain=lab.test
expand-hosts
except-interface=lo
bind-dynamic
interface=%[1]s
dhcp-range=%[2]s,%[3]s
dhcp-no-override
dhcp-authoritative
dhcp-lease-max=65536
dhcp-host=02:00:00:00:00:ff,%[4]s,printer
host-record=printer,printer.lab.test,%[4]s
`

func dnsmasq(t *testing.T) server {
	w := nettest.New(t)
	run := func(link, address, first, last, reserved string) (stop string) {
		dir := nettest.TempDir(t)
		conf := filepath.Join(dir, link+".conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, libvirts, link, first, last, reserved), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"ip link add " + link + " type bridge", "ip addr add " + address + " dev " + link, "ip link set " + link + " up",
			"echo 1 > /proc/sys/net/ipv4/ip_forward",
			"nft 'add table ip t_" + link + "; add chain ip t_" + link + " p { type nat hook postrouting priority 100; }; add rule ip t_" + link + " p ip saddr " + address + " masquerade'",
			// libvirt's helper is a program of its own for each lease; true is the fastest there is.
			"dnsmasq --conf-file=" + conf + " --leasefile-ro --dhcp-script=/bin/true --user=root --pid-file=" + dir + "/pid",
		} {
			w.Host.Run(t, line)
		}
		return "kill $(cat " + dir + "/pid); ip link del " + link + "; nft delete table ip t_" + link
	}
	run("lab0", "10.99.0.1/16", "10.99.1.0", "10.99.250.255", "10.99.0.15")
	return server{guest: member(t, w), create: func() time.Duration {
		start := time.Now()
		stop := run("lab1", "10.98.0.1/24", "10.98.0.2", "10.98.0.254", "10.98.0.15")
		took := time.Since(start)
		w.Host.Run(t, stop)
		return took
	}}
}
