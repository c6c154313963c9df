//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	manyNetworks = 500
	atEachEnd    = 10 // of them, whose creation is averaged
)

// figure is a line of the scale table, with what the issue says of libvirt 11.3,
// measured once on such a machine, where it is not measured here.
type figure struct{ what, vnetd, libvirt string }

// A host with five hundred NAT networks that serve DHCP and DNS: created one
// after the other by the API, and found again after a restart.
func TestScale(t *testing.T) {
	nettest.Need(t, "ip", "nft")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: "logLevel: warn\ndefaultNetwork: false\n"})
	took := createMany(t, d, manyNetworks)
	sum := func(some []time.Duration) (total time.Duration) {
		for _, s := range some {
			total += s
		}
		return total
	}
	figures := []figure{
		{"define and start 500, one after the other", seconds(sum(took)), "218 s"},
		{"  the first of them", seconds(sum(took[:atEachEnd]) / atEachEnd), "0.15 s"},
		{"  the last of them", seconds(sum(took[len(took)-atEachEnd:]) / atEachEnd), "0.84 s"},
	}
	was := standing(t, w)
	ready, noticed := restart(t, w, d)
	if touched := changed(was, standing(t, w)); touched != nil {
		t.Errorf("a restart changed\n%s", strings.Join(touched, "\n"))
	}
	figures = append(figures,
		figure{"restart to ready", seconds(ready), "391 s"},
		figure{"  changes that ip monitor saw", strconv.Itoa(noticed), "all of it"},
		figure{"processes", strconv.Itoa(processes(t, w.Host)), "1001"},
		figure{"resident memory", fmt.Sprintf("%d MB", statusKB(t, d.Pid(), "VmRSS")/1000), "293 MB"},
	)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "\n500 networks\tvnetd\tlibvirt 11.3 (measured once)")
	for _, f := range figures {
		fmt.Fprintf(out, "%s\t%s\t%s\n", f.what, f.vnetd, f.libvirt)
	}
	out.Flush()
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', 3, 64) + " s" }

// createMany returns how long each took.
func createMany(t *testing.T, d *nettest.Daemon, networks int) []time.Duration {
	t.Helper()
	c, err := client.New(d.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var took []time.Duration
	for i := range networks {
		start := time.Now()
		_, err := c.CreateNetwork(context.Background(), &vnetv1.CreateNetworkRequest{Network: nth(i)})
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	return took
}

// nth is a network like any other, on the bridge nI.
func nth(i int) *vnetv1.Network {
	subnet := fmt.Sprintf("10.%d.%d.", i/250, i%250)
	return &vnetv1.Network{
		Name: fmt.Sprintf("net%d", i), Mode: vnetv1.Mode_MODE_NAT, Bridge: &vnetv1.Bridge{Name: bridge(i)},
		Subnets: []*vnetv1.Subnet{{
			Address: subnet + "1/24",
			Dhcp:    &vnetv1.DHCP{Ranges: []*vnetv1.AddressRange{{Start: subnet + "2", End: subnet + "254"}}},
		}},
	}
}

func bridge(i int) string { return fmt.Sprintf("n%d", i) }

var counted = regexp.MustCompile(`packets \d+ bytes \d+|pid \d+, state directory`)

// standing is what the daemon made, as ip and nft print it. The comment of its lock
// names the process.
func standing(t *testing.T, w *nettest.World) string {
	t.Helper()
	text := w.Host.Run(t, "ip -o link; ip -o addr; ip route; nft list ruleset")
	return counted.ReplaceAllString(text, "")
}

// changed returns the lines that are in one text and not in the other.
func changed(before, after string) []string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var out []string
	for line, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", n, strings.TrimSpace(line)))
		}
	}
	return out
}

// restart ends the daemon and starts it again. It returns how long it takes until
// it is ready, and how many changes of links, addresses and routes there were.
func restart(t *testing.T, w *nettest.World, d *nettest.Daemon) (time.Duration, int) {
	t.Helper()
	d.Stop()
	monitor := w.Host.Start(t, "ip", "monitor", "link", "address", "route")
	nettest.Eventually(t, "ip monitor listens", func() error {
		w.Host.Run(t, "ip link set lo down; ip link set lo up") // a change that it is to see
		if !strings.Contains(monitor.Output(), "lo:") {
			return errors.New("it has seen no change")
		}
		return nil
	})
	time.Sleep(100 * time.Millisecond)
	before := strings.Count(monitor.Output(), "\n")
	start := time.Now()
	d.Start()
	took := time.Since(start)
	time.Sleep(time.Second) // what comes late counts, too
	return took, strings.Count(monitor.Output(), "\n") - before
}

// processes counts those of a host that run vnetd or anything that it started.
func processes(t *testing.T, host *nettest.Namespace) int {
	t.Helper()
	return len(strings.Fields(host.Run(t, `for p in /proc/[0-9]*; do
		[ "$(readlink $p/ns/net)" = "$(readlink /proc/self/ns/net)" ] && grep -qz '/vnetd$' $p/cmdline && echo $p; done; true`)))
}

// statusKB reads a line of /proc/PID/status, in units of 1024 bytes.
func statusKB(t *testing.T, pid int, key string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in /proc/%d/status", key, pid)
	return 0
}

func medianOf(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
