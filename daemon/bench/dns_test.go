//go:build bench

package bench

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	names    = 100 // of each kind; libvirt's dnsmasq keeps 150
	upstream = "192.0.2.53"
)

// A dnsServer answers at 10.99.0.1, on lab0, and forwards to the upstream.
type dnsServer struct {
	name  string
	pid   int
	guest *nettest.Guest
}

var dnsServers = []struct {
	name  string
	start func(t *testing.T, w *nettest.World) (pid int) // 0: it cannot be had
}{
	{"vnetd", vnetdDNS},
	{"dnsmasq", dnsmasqDNS},
	{"CoreDNS", coreDNS},
	{"unbound", unboundDNS},
	{"Go UDP echo", func(t *testing.T, w *nettest.World) int { labBridge(t, w); return play(t, w.Host, "echo") }},
	{"batched echo", func(t *testing.T, w *nettest.World) int { labBridge(t, w); return play(t, w.Host, "batch") }},
}

// dnsKinds are the names that are asked for.
var dnsKinds = []struct {
	what, name string
	bounds     bool // an echo does as much
	wanted     []wish
}{
	{"local name", "h%d.lab.test", true, []wish{atMost(0.8, "dnsmasq"), atMost(0.4, "CoreDNS"), atMost(1, "unbound")}},
	{"cached name", "h%d.cached.example", true, []wish{atMost(0.8, "dnsmasq"), atMost(0.4, "CoreDNS"), atMost(1, "unbound")}},
	{"forwarded, uncached", "h%d.uncached.example", false, []wish{atMost(1, "dnsmasq")}},
}

func TestDNS(t *testing.T) {
	nettest.Need(t, "dnsmasq", "unbound", "dnsperf")
	fmt.Println(version("dnsmasq", "--version"))
	fmt.Println(version("unbound", "-V"))
	table := &table{}
	var servers []*dnsServer
	for _, s := range dnsServers {
		w := nettest.New(t)
		resolver(t, w)
		keepTo(t, w.Host, serversProcessor)
		pid := s.start(t, w)
		if pid == 0 {
			continue
		}
		table.servers = append(table.servers, s.name)
		servers = append(servers, &dnsServer{name: s.name, pid: pid, guest: member(t, w)})
	}
	for _, kind := range dnsKinds {
		cost := table.row("server's processor for a DNS query, "+kind.what, "µs", kind.wanted...)
		rate := table.row("DNS queries, "+kind.what, "1/s")
		lost := table.row("packets lost meanwhile", "")
		file := filepath.Join(nettest.TempDir(t), "questions")
		write(t, file, repeated(kind.name+" A\n"))
		for round := range turns + 1 {
			for i, s := range servers {
				if isEcho := i >= len(servers)-2; isEcho && !kind.bounds {
					continue
				}
				before := spent(s.pid)
				r := s.load(t, file, round == 0)
				if round == 0 {
					continue // it fills the caches
				}
				cost.add(s.name, (spent(s.pid)-before).Seconds()*1e6/r.answered)
				rate.add(s.name, r.answered/r.took)
				lost.add(s.name, r.lost)
			}
		}
	}
	table.print()
}

// dnsperfResult is what dnsperf says it got.
type dnsperfResult struct{ answered, lost, took float64 }

// load asks questions over and over. All answers have to be right.
func (s *dnsServer) load(t *testing.T, file string, short bool) (r dnsperfResult) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	last := int(measure.Seconds())
	if short {
		last = 1
	}
	line := fmt.Sprintf("dnsperf -s 10.99.0.1 -d %s -l %d -q 256 -c 8", file, last)
	out, err := s.guest.Try(ctx, line)
	if err != nil || !strings.Contains(out, "NOERROR") || strings.Contains(out, "SERVFAIL") || strings.Contains(out, "REFUSED") || strings.Contains(out, "NXDOMAIN") {
		t.Fatalf("%s: %s: %v\n%s", s.name, line, err, out)
	}
	r.answered = found(out, `Queries completed:\s+([0-9]+)`)
	r.lost = found(out, `Queries lost:\s+([0-9]+)`)
	r.took = found(out, `Run time \(s\):\s+([0-9.]+)`)
	return r
}

func found(text, pattern string) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	return n
}

// repeated returns a line for each of the names.
func repeated(line string) string {
	var b strings.Builder
	for n := range names {
		b.WriteString(strings.ReplaceAll(line, "%d", strconv.Itoa(n)))
	}
	return b.String()
}

// resolver gives a host an upstream that answers everything.
func resolver(t *testing.T, w *nettest.World) {
	ns := nettest.NewNamespace(t, "upstream")
	keepTo(t, ns, loadsProcessor)
	nettest.Connect(t, w.Host, "up1", ns, "eth0")
	w.Host.Address(t, "up1", "192.0.2.1/24")
	ns.Address(t, "eth0", upstream+"/24")
	w.Host.WriteFile(t, "/etc/resolv.conf", "nameserver "+upstream+"\n")
	play(t, ns, "upstream")
}

func vnetdDNS(t *testing.T, w *nettest.World) int {
	var reservations strings.Builder
	for n := range names {
		fmt.Fprintf(&reservations, "        - {mac: %q, address: 10.99.254.%d, hostname: h%d}\n", colons(n), n+1, n)
	}
	d := w.Daemon(t, nettest.DaemonConfig{Config: "logLevel: warn\ndefaultNetwork: false\n"})
	d.CtlInput(t, strings.Replace(definition, "\ndns:", "\n      reservations:\n"+reservations.String()+"dns:", 1), "network", "create", "-f", "-")
	return d.Pid()
}

// hosts is a file of the local names.
func hosts(t *testing.T) string {
	file := filepath.Join(nettest.TempDir(t), "hosts")
	write(t, file, repeated("10.99.254.1 h%d.lab.test\n"))
	return file
}

func dnsmasqDNS(t *testing.T, w *nettest.World) int {
	labBridge(t, w)
	conf := filepath.Join(nettest.TempDir(t), "lab0.conf")
	write(t, conf, libvirtsConfig("lab0", "10.99.1.0", "10.99.250.255")+"addn-hosts="+hosts(t)+"\n")
	p := w.Host.Start(t, "dnsmasq", "--keep-in-foreground", "--conf-file="+conf, "--leasefile-ro", "--dhcp-script=/bin/true", "--user=root", "--pid-file=")
	nettest.Eventually(t, "dnsmasq listens", listening(w.Host, "53"))
	return p.Pid()
}

// coreDNS builds CoreDNS, which takes minutes the first time. If it cannot be
// had here, that is in the output.
func coreDNS(t *testing.T, w *nettest.World) int {
	dir := nettest.TempDir(t)
	program, file := filepath.Join(dir, "coredns"), filepath.Join(dir, "Corefile")
	build := exec.Command("go", "build", "-C", "../../tools/coredns", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("CoreDNS is not measured, for it cannot be built: %v\n%s", err, out)
		return 0
	}
	fmt.Println(version(program, "-version"))
	labBridge(t, w)
	write(t, file, fmt.Sprintf(".:53 {\n bind 10.99.0.1\n hosts %s lab.test\n cache 3600\n forward . %s\n}\n", hosts(t), upstream))
	p := w.Host.Start(t, program, "-quiet", "-conf", file)
	nettest.Eventually(t, "CoreDNS listens", listening(w.Host, "53"))
	return p.Pid()
}

// unbounds is Debian's, less DNSSEC, of which the upstream knows nothing.
const unbounds = `server:
 interface: 10.99.0.1
 access-control: 10.99.0.0/16 allow
 chroot: ""
 username: ""
 pidfile: ""
 use-syslog: no
 module-config: "iterator"
 local-zone: "lab.test." static
 local-zone: "test." transparent
%s
forward-zone:
 name: "."
 forward-addr: %s
`

func unboundDNS(t *testing.T, w *nettest.World) int {
	labBridge(t, w)
	file := filepath.Join(nettest.TempDir(t), "unbound.conf")
	write(t, file, fmt.Sprintf(unbounds, repeated(" local-data: \"h%d.lab.test. A 10.99.254.1\"\n"), upstream))
	p := w.Host.Start(t, "unbound", "-d", "-c", file)
	nettest.Eventually(t, "unbound listens", listening(w.Host, "53"))
	return p.Pid()
}
