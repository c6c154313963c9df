package dnsd

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkBesideDnsmasq asks both servers for 1000 static names, 1000 cached
// ones and 1000 that have to be asked upstream, with dnsperf, by turns, over lo, and reports CPU per query: the
// figure that dnsperf's own hunger does not touch. On one processor each:
//
//	taskset -c 0 go test -run - -bench Beside -benchtime 1x ./dnsd
func BenchmarkBesideDnsmasq(b *testing.B) {
	for _, tool := range []string{"dnsmasq", "dnsperf", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil || !apart {
			b.Skip("needs dnsmasq, dnsperf, taskset and namespaces")
		}
	}
	names, hosts := manyNames(b)
	peer := peerDnsmasq(b, "127.0.0.10", "5310", "--addn-hosts="+hosts, "--server=127.0.0.2#5302", "--server=/example.net/127.0.0.3#5303",
		"--cache-size=10000", "--dns-forward-max=1000", "--local=/lab.test/", "--domain=lab.test", "--domain-needed")
	peerDnsmasq(b, "127.0.0.3", "5303", "--address=/example.net/192.0.2.1") // with TTL 0: nobody keeps it
	up := newUpstream(b, "127.0.0.2:5302")
	up.ttl.Store(86400)
	cfg := lab()
	cfg.Interface, cfg.Port, cfg.Listen = "lo", 5309, []netip.Addr{addr("127.0.0.9")}
	cfg.Forwarders = []Forwarder{{Address: mustAddrPort(up.addr)}, {Domain: "example.net", Address: mustAddrPort("127.0.0.3:5303")}}
	cfg.Hosts = nil
	for i := range 1000 {
		cfg.Hosts = append(cfg.Hosts, Host{Name: fmt.Sprint("h", i), Addrs: []netip.Addr{addr("192.168.10.10")}})
	}
	start(b, resolvConf(b), cfg)

	servers := map[string]func() time.Duration{
		"dnsd":    ownCPU,
		"dnsmasq": func() time.Duration { return processCPU(b, peer) },
	}
	at := map[string][]string{"dnsd": {"-s", "127.0.0.9", "-p", "5309"}, "dnsmasq": {"-s", "127.0.0.10", "-p", "5310"}}
	for b.Loop() {
		for kind, file := range names {
			perQuery := map[string][]float64{}
			for round := range 4 {
				for server, cpu := range servers {
					before := cpu()
					n, qps := dnsperf(b, append(at[server], "-d", file)...)
					used := float64((cpu() - before).Nanoseconds()) / 1000 / n
					if round == 0 {
						continue // fills caches
					}
					b.Logf("%-7s %-7s %8.0f q/s %6.2f µs CPU a query", kind, server, qps, used)
					perQuery[server] = append(perQuery[server], used)
				}
			}
			ours, theirs := median(perQuery["dnsd"]), median(perQuery["dnsmasq"])
			b.ReportMetric(ours/theirs, kind+"-ratio")
		}
	}
}

// peerDnsmasq runs until the benchmark ends, and returns its process id.
func peerDnsmasq(b *testing.B, at, port string, args ...string) int {
	b.Helper()
	cmd := exec.Command("dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root",
		"--no-hosts", "--no-resolv", "--bind-interfaces", "--listen-address=" + at, "--port=" + port,
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

func manyNames(b *testing.B) (files map[string]string, hosts string) {
	b.Helper()
	dir := b.TempDir()
	var local, cached, uncached, table strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&local, "h%d.lab.test A\n", i)
		fmt.Fprintf(&cached, "h%d.example.org A\n", i)
		fmt.Fprintf(&uncached, "h%d.example.net A\n", i)
		fmt.Fprintf(&table, "192.168.10.10 h%d.lab.test\n", i)
	}
	files = map[string]string{}
	for _, kind := range []string{"local", "cached", "uncached"} {
		files[kind] = filepath.Join(dir, kind)
	}
	hosts = filepath.Join(dir, "hosts")
	for path, text := range map[string]string{files["local"]: local.String(), files["cached"]: cached.String(), files["uncached"]: uncached.String(), hosts: table.String()} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return files, hosts
}

var completedRE = regexp.MustCompile(`Queries completed:\s+(\d+) \((\d+)`)

// dnsperf asks for three seconds from the second processor, and fails on a
// single error.
func dnsperf(b *testing.B, args ...string) (completed, qps float64) {
	b.Helper()
	out, err := exec.Command("taskset", append([]string{"-c", "1", "dnsperf", "-l", "3", "-q", "100", "-c", "4"}, args...)...).CombinedOutput()
	m := completedRE.FindSubmatch(out)
	if err != nil || m == nil || m[2][0] != '1' || !strings.Contains(string(out), "NOERROR") || strings.Contains(string(out), "SERVFAIL") {
		b.Fatalf("%v\n%s", err, out)
	}
	completed, _ = strconv.ParseFloat(string(m[1]), 64)
	return completed, completed / 3
}

func ownCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func processCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
