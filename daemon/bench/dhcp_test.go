//go:build bench

package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	held   = 60_000
	few    = 128 // clients that have a pool for themselves
	window = 128 // exchanges at once, which fit the peers' socket buffers
	wide   = 512 // and more, for who can use them
	boot   = 200 // new clients at once
)

// A dhcpServer serves 10.99.0.0/16 on lab0.
type dhcpServer struct {
	name string
	pid  int
	*crowd
}

// dhcpServers start a server whose pool holds the leases of the first clients.
// It counts their leases before it returns.
var dhcpServers = []struct {
	name  string
	start func(t *testing.T, w *nettest.World, leases int) (pid int)
}{{"vnetd", vnetdDHCP}, {"dnsmasq", dnsmasqDHCP}, {"Kea", keaDHCP}}

func startDHCP(t *testing.T, leases int) []*dhcpServer {
	var all []*dhcpServer
	for _, s := range dhcpServers {
		w := nettest.New(t)
		keepTo(t, w.Host, serversProcessor)
		all = append(all, &dhcpServer{name: s.name, pid: s.start(t, w, leases), crowd: newCrowd(t, member(t, w))})
	}
	return all
}

func TestDHCP(t *testing.T) {
	nettest.Need(t, "dnsmasq", "kea-dhcp4")
	fmt.Println(version("dnsmasq", "--version"))
	fmt.Println(version("kea-dhcp4", "-V"))
	table := &table{}
	for _, s := range dhcpServers {
		table.servers = append(table.servers, s.name)
	}
	t.Run("held", func(t *testing.T) {
		servers := startDHCP(t, held)
		for _, s := range servers {
			if s.name == "vnetd" {
				s.fill(t, held)
			}
		}
		exchanges(t, table, servers, fmt.Sprintf("%d leases held", held), held, atLeast(10, "dnsmasq"), atLeast(2, "Kea"))
		memory := table.row(fmt.Sprintf("resident memory, %d leases", held), "MiB", below(100))
		for _, s := range servers {
			memory.add(s.name, resident(s.pid))
		}
	})
	t.Run("empty", func(t *testing.T) {
		servers := startDHCP(t, 0)
		newClients(t, table, servers)
		boots(t, table, servers)
		exchanges(t, table, servers, "pool empty", few, atLeast(10, "dnsmasq"), atLeast(1.5, "Kea"))
	})
	table.print()
}

// fill gives the first clients their leases. They have hostnames, while the peers are spared them: dnsmasq makes its DNS of all
// leases anew at each change of one, and needs a second for 60 000 names.
func (s *dhcpServer) fill(t *testing.T, leases int) {
	s.named = true
	defer func() { s.named = false }()
	r := s.run(t, job{clients: leases, window: wide, limit: time.Minute})
	if r.bound != leases {
		t.Fatalf("%s: %d of %d clients have a lease: %+v", s.name, r.bound, leases, r)
	}
	t.Logf("%s: %d leases given in %s", s.name, leases, r.took)
}

// exchanges has clients that have a lease come again and again, few at once and
// many. The load under which a server does more is the one that counts for it.
func exchanges(t *testing.T, table *table, servers []*dhcpServer, what string, clients int, wanted ...wish) {
	rate := table.row("DHCP four-way exchanges, "+what, "1/s", wanted...)
	cost := table.row("server's processor for one, "+what, "µs")
	lost := table.row("packets lost meanwhile", "")
	for range turns {
		for _, s := range servers {
			best, cpu := s.exchange(t, clients, window)
			if many, more := s.exchange(t, max(clients, wide), wide); many.perSecond() > best.perSecond() {
				best, cpu = many, more
			}
			rate.add(s.name, best.perSecond())
			cost.add(s.name, cpu.Seconds()*1e6/float64(max(best.bound, 1)))
			lost.add(s.name, float64(best.resent))
		}
	}
}

// exchange returns also what the server's processor spent.
func (s *dhcpServer) exchange(t *testing.T, clients, window int) (result, time.Duration) {
	if clients <= wide {
		s.run(t, job{clients: clients, window: window, limit: time.Minute}) // everybody has a lease now
	}
	before := spent(s.pid)
	r := s.run(t, job{clients: clients, window: window, again: true, limit: measure})
	if r.naks > 0 || r.bound == 0 {
		t.Errorf("%s: %d clients, %d at once: %+v", s.name, clients, window, r)
	}
	return r, spent(s.pid) - before
}

// newClients times clients that nobody knows yet, one after the other. It is
// the first to be measured, on a quiet server: dnsmasq stops looking whether an
// address is in use, which takes it three seconds, once it did so six times in
// thirty.
func newClients(t *testing.T, table *table, servers []*dhcpServer) {
	took := table.row("DISCOVER to bound, new client", "ms", atMost(0.01, "dnsmasq"))
	for round := range turns {
		for _, s := range servers {
			r := s.run(t, job{first: 1000 + round, clients: 1, window: 1, limit: time.Minute, patience: 10 * time.Second})
			if r.bound != 1 {
				t.Errorf("%s: a new client is not bound: %+v", s.name, r)
			}
			took.add(s.name, r.took.Seconds()*1000)
		}
	}
}

// boots has new clients come all at once. They repeat themselves after four
// seconds, as RFC 2131 §4.1 has it.
func boots(t *testing.T, table *table, servers []*dhcpServer) {
	took := table.row(fmt.Sprintf("%d new clients booting at once, all bound within", boot), "s", below(1))
	lost := table.row("packets lost meanwhile", "", below(0))
	for round := range turns {
		for _, s := range servers {
			r := s.run(t, job{first: 2000 + round*boot, clients: boot, window: boot, limit: 2 * time.Minute, patience: 4 * time.Second})
			if r.bound != boot {
				t.Errorf("%s: not all are bound: %+v", s.name, r)
			}
			took.add(s.name, r.took.Seconds())
			lost.add(s.name, float64(r.resent))
		}
	}
}

const definition = `
name: lab
mode: nat
bridge: {name: lab0}
subnets:
  - address: 10.99.0.1/16
    dhcp:
      ranges: [{start: 10.99.1.0, end: 10.99.250.255}]
dns: {domain: lab.test}
`

// member is a guest of lab0, where the load comes from.
func member(t *testing.T, w *nettest.World) *nettest.Guest {
	g := w.Guest(t, "load")
	g.Attach(t, "lab0")
	g.Address(t, "eth0", "10.99.255.7/16")
	keepTo(t, g.Namespace, loadsProcessor)
	return g
}

func vnetdDHCP(t *testing.T, w *nettest.World, _ int) int {
	d := w.Daemon(t, nettest.DaemonConfig{Config: "logLevel: warn\ndefaultNetwork: false\n"})
	d.CtlInput(t, definition, "network", "create", "-f", "-")
	return d.Pid()
}

// libvirts is what libvirt 11.3 writes for a network.
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
`

func libvirtsConfig(link, first, last string) string { return fmt.Sprintf(libvirts, link, first, last) }

// dnsmasqDHCP is dnsmasq as libvirt runs it, which keeps no leases itself: it
// runs a helper, which prints them when dnsmasq starts and stores every change.
// libvirt's reads and writes all leases each time; true is the fastest that
// there can be.
func dnsmasqDHCP(t *testing.T, w *nettest.World, leases int) int {
	dir := nettest.TempDir(t)
	labBridge(t, w)
	conf, helper := filepath.Join(dir, "lab0.conf"), filepath.Join(dir, "helper")
	write(t, conf, libvirtsConfig("lab0", "10.99.1.0", "10.99.250.255"))
	var list strings.Builder
	for n := range leases {
		fmt.Fprintf(&list, "%d %s %s * 01:%[2]s\n", inAnHour(), colons(n), dotted(n))
	}
	write(t, filepath.Join(dir, "leases"), list.String())
	write(t, helper, "#!/bin/sh\ncat "+dir+"/leases; ln -sf /bin/true $0\n")
	if err := os.Chmod(helper, 0o755); err != nil {
		t.Fatal(err)
	}
	p := w.Host.Start(t, "dnsmasq", "--keep-in-foreground", "--conf-file="+conf, "--leasefile-ro", "--dhcp-script="+helper, "--user=root", "--pid-file=")
	quiet(t, p.Pid()) // it tells its helper every lease that the helper told it
	nettest.Eventually(t, "dnsmasq listens", listening(w.Host, "67"))
	return p.Pid()
}

// quiet waits until a server has nothing more to do.
func quiet(t *testing.T, pid int) {
	before := time.Duration(-1)
	for range 600 {
		now := spent(pid)
		if now == before {
			return
		}
		before = now
		time.Sleep(time.Second)
	}
	t.Fatal("a server did not come to rest in ten minutes")
}

// keas is what Debian's package suggests, less what needs other daemons:
// leases in memory and appended to a file, which is cleaned up every hour.
const keas = `{"Dhcp4": {
  "interfaces-config": {"interfaces": ["lab0"]},
  "lease-database": {"type": "memfile", "persist": true, "name": %q, "lfc-interval": 3600},
  "expired-leases-processing": {"reclaim-timer-wait-time": 10, "flush-reclaimed-timer-wait-time": 25,
    "hold-reclaimed-time": 3600, "max-reclaim-leases": 100, "max-reclaim-time": 250, "unwarned-reclaim-cycles": 5},
  "valid-lifetime": 3600, "renew-timer": 1800, "rebind-timer": 3150,
  "subnet4": [{"id": 1, "subnet": "10.99.0.0/16", "pools": [{"pool": "10.99.1.0 - 10.99.250.255"}],
    "option-data": [{"name": "routers", "data": "10.99.0.1"}, {"name": "domain-name-servers", "data": "10.99.0.1"},
      {"name": "domain-name", "data": "lab.test"}]}],
  "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stderr"}], "severity": "WARN"}]
}}`

func keaDHCP(t *testing.T, w *nettest.World, leases int) int {
	dir := nettest.TempDir(t)
	labBridge(t, w)
	var list strings.Builder
	list.WriteString("address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n")
	for n := range leases {
		fmt.Fprintf(&list, "%s,%s,01:%[2]s,3600,%d,1,0,0,,0,\n", dotted(n), colons(n), inAnHour())
	}
	conf, file := filepath.Join(dir, "kea.json"), filepath.Join(dir, "leases.csv")
	write(t, file, list.String())
	write(t, conf, fmt.Sprintf(keas, file))
	cmd := w.Host.Command(t.Context(), "kea-dhcp4", "-c", conf)
	cmd.Env = append(cmd.Env, "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR="+dir)
	p := w.Host.Launch(t, cmd)
	nettest.Eventually(t, "Kea listens", listening(w.Host, "67"))
	return p.Pid()
}

func labBridge(t *testing.T, w *nettest.World) {
	w.Host.Bridge(t, "lab0", "10.99.0.1/16")
	w.Host.Run(t, "echo 1 > /proc/sys/net/ipv4/ip_forward")
}

// listening says whether somebody has a UDP port of a host.
func listening(ns *nettest.Namespace, port string) func() error {
	return func() error {
		out, err := ns.Try(context.Background(), "ss -Hlun sport = :"+port)
		if err == nil && out == "" {
			err = fmt.Errorf("nobody has port %s", port)
		}
		return err
	}
}

func write(t *testing.T, path, text string) {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func inAnHour() int64 { return time.Now().Add(time.Hour).Unix() }

func dotted(n int) string {
	a := home(n)
	return fmt.Sprintf("%d.%d.%d.%d", a[0], a[1], a[2], a[3])
}

func colons(n int) string {
	hw := mac(n)
	return net.HardwareAddr(hw[:]).String()
}
