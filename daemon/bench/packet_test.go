//go:build bench

package bench

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	burst  = 200 * time.Millisecond // of datagrams, in one round
	rounds = 9
)

// router is a host that forwards for its first network, n0, with rules of
// somebody's making.
type router struct {
	who      string
	networks int
	world    *nettest.World
	flood    *net.UDPConn
	size     int // of a datagram; 64 octets if 0
	guest    *nettest.Guest
	cost     []time.Duration // of a packet, a round each
}

// What a forwarded packet costs with rules for 1 and for 500 networks: ours,
// libvirt's, and verdict maps written by hand. The guest's network is the oldest,
// which libvirt's rules come to last.
func TestForwardingCost(t *testing.T) {
	nettest.Need(t, "ip", "nft")
	var all []*router
	for _, networks := range []int{1, manyNetworks} {
		for who, rules := range map[string]func(*testing.T, *nettest.World, int){
			"vnetd": byVnetd, "libvirt's rules": byLibvirt, "verdict maps by hand": byHand,
		} {
			all = append(all, newRouter(t, who, networks, rules))
		}
	}
	for range rounds {
		for _, r := range all {
			r.cost = append(r.cost, r.burst(t))
		}
	}
	cost := map[string]map[int]float64{}
	for _, r := range all {
		if cost[r.who] == nil {
			cost[r.who] = map[int]float64{}
		}
		cost[r.who][r.networks] = float64(medianOf(r.cost).Nanoseconds()) / 1000
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "\nforwarded packet, NAT, µs of CPU\t1 network\t%d networks\tratio\n", manyNetworks)
	for _, who := range []string{"vnetd", "libvirt's rules", "verdict maps by hand"} {
		few, many := cost[who][1], cost[who][manyNetworks]
		fmt.Fprintf(out, "%s\t%.2f\t%.2f\t%.2f\n", who, few, many, many/few)
	}
	out.Flush()
}

func newRouter(t *testing.T, who string, networks int, rules func(*testing.T, *nettest.World, int)) *router {
	t.Helper()
	r := &router{who: who, networks: networks, world: nettest.New(t)}
	rules(t, r.world, networks)
	r.guest = r.world.Guest(t, "guest")
	r.guest.Attach(t, bridge(0))
	r.guest.Address(t, "eth0", "10.0.0.2/24")
	r.guest.Route(t, "0.0.0.0/0", "10.0.0.1", 0)
	// Nobody reads there: a full socket takes packets for nothing.
	sink, err := r.world.Internet.ListenPacket("udp", "203.0.113.1:5001")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	conn, err := r.guest.Dial("udp", "203.0.113.1:5001")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r.flood = conn.(*net.UDPConn)
	r.burst(t)
	from := sender(t, sink)
	if !strings.HasPrefix(from, "203.0.113.2:") {
		t.Fatalf("%s: datagrams come from %s: not translated", who, from)
	}
	return r
}

func sender(t *testing.T, sink net.PacketConn) string {
	t.Helper()
	_ = sink.SetReadDeadline(time.Now().Add(nettest.Patience))
	_, from, err := sink.ReadFrom(make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	return from.String()
}

// burst sends as fast as one processor can, and returns what a packet took from
// the guest's socket to the outside's: the kernel does all of it in the sender's
// time.
func (r *router) burst(t *testing.T) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		t.Fatal(err)
	}
	one.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &was) }()
	payload := make([]byte, cmp.Or(r.size, 64))
	start, n := time.Now(), 0
	for ; time.Since(start) < burst; n++ {
		if _, err := r.flood.Write(payload); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(start) / time.Duration(n)
}

func byVnetd(t *testing.T, w *nettest.World, networks int) {
	d := w.Daemon(t, nettest.DaemonConfig{Config: "logLevel: warn\ndefaultNetwork: false\n"})
	createMany(t, d, networks)
}

// byLibvirt lays out what libvirt 11.3 does with its nftables backend
// (libvirt.md 2.2): newer networks before older ones, links by index.
func byLibvirt(t *testing.T, w *nettest.World, networks int) {
	bridges(t, w, networks)
	var in, out, cross, nat strings.Builder
	for i := networks - 1; i >= 0; i-- {
		b, s := bridge(i), fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)
		fmt.Fprintf(&cross, "iif %s oif %s counter accept\n", b, b)
		fmt.Fprintf(&in, "oif %s ip daddr %s ct state related,established counter accept\noif %s counter reject\n", b, s, b)
		fmt.Fprintf(&out, "ip saddr %s iif %s counter accept\niif %s counter reject\n", s, b, b)
		fmt.Fprintf(&nat, "ip saddr %[1]s ip daddr 224.0.0.0/24 counter return\nip saddr %[1]s ip daddr 255.255.255.255 counter return\n"+
			"meta l4proto tcp ip saddr %[1]s ip daddr != %[1]s counter masquerade to :1024-65535\n"+
			"meta l4proto udp ip saddr %[1]s ip daddr != %[1]s counter masquerade to :1024-65535\n"+
			"ip saddr %[1]s ip daddr != %[1]s counter masquerade\n", s)
	}
	load(t, w, fmt.Sprintf(`table ip libvirt_network {
chain guest_cross { %s }
chain guest_input { %s }
chain guest_output { %s }
chain forward { type filter hook forward priority 0; policy accept; jump guest_cross; jump guest_input; jump guest_output; }
chain guest_nat { type nat hook postrouting priority 100; policy accept; %s }
}`, &cross, &in, &out, &nat))
}

// byHand is the least that rules of a NAT network can be, with a map for what
// differs between networks.
func byHand(t *testing.T, w *nettest.World, networks int) {
	bridges(t, w, networks)
	var leave, enter, subnets strings.Builder
	for i := range networks {
		b := bridge(i)
		fmt.Fprintf(&leave, "%s : jump out,", b)
		fmt.Fprintf(&enter, "%s : goto in,", b)
		fmt.Fprintf(&subnets, "10.%d.%d.0/24 . %s,", i/250, i%250, b)
	}
	load(t, w, fmt.Sprintf(`table ip hand {
set subnets { type ipv4_addr . ifname; flags interval; elements = { %s } }
chain out { ip saddr . iifname @subnets return; drop; }
chain in { ct state established,related accept; reject; }
chain forward { type filter hook forward priority 0; policy accept; iifname vmap { %s }; oifname vmap { %s }; }
chain nat { type nat hook postrouting priority 100; policy accept; ip saddr . iifname @subnets masquerade; }
}`, &subnets, &leave, &enter))
}

// bridges are what a network is without its rules.
func bridges(t *testing.T, w *nettest.World, networks int) {
	t.Helper()
	var batch strings.Builder
	for i := range networks {
		fmt.Fprintf(&batch, "link add %[1]s type bridge\naddr add 10.%[2]d.%[3]d.1/24 dev %[1]s\nlink set %[1]s up\n", bridge(i), i/250, i%250)
	}
	w.Host.WriteFile(t, "/run/batch", batch.String())
	w.Host.Run(t, "ip -batch /run/batch && sysctl -qw net.ipv4.ip_forward=1")
}

func load(t *testing.T, w *nettest.World, ruleset string) {
	t.Helper()
	file := filepath.Join(nettest.TempDir(t), "rules.nft")
	if err := os.WriteFile(file, []byte(ruleset), 0o644); err != nil {
		t.Fatal(err)
	}
	w.Host.Run(t, "nft -f "+file)
}
