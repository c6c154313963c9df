package kerneltest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/kernel"
	"github.com/vnetd/vnetd/netdrv/kerneltest"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// observed is the part of a kernel that the contract is about.
type observed interface {
	Observe(ctx context.Context) (netdrv.State, netdrv.Host, error)
	ObserveLinks(ctx context.Context, names []string, members []int) (netdrv.State, error)
	ObserveUplinks(ctx context.Context, names []string) (netdrv.UplinkSnapshot, error)
	Apply(ctx context.Context, s netdrv.Step) error
}

// The kernel in memory and the real one return the same after the same steps.
func TestContract(t *testing.T) {
	ns, guest := nettest.NewNamespace(t, "host"), nettest.NewNamespace(t, "guest")
	nettest.Connect(t, ns, "veth0", guest, "eth0")
	var real *kernel.Kernel
	err := ns.Do(func() (err error) {
		real, err = kernel.Open(slog.New(slog.DiscardHandler))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(real.Close)
	memory := kerneltest.New()
	memory.AddHostLink("veth0", netdrv.HostLink{Kind: "veth", Up: true, MTU: 1500})

	var want, got []string
	if err := ns.Do(func() error { want = play(real); return nil }); err != nil {
		t.Fatal(err)
	}
	got = play(memory)
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("line %d: the kernel in memory and the real one differ:\nmemory: %s\nreal:   %s", i, line(got, i), line(want, i))
		}
	}
	t.Logf("%d lines are the same", len(want))
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return strings.Join(lines[max(i-3, 0):i+1], "\n        ")
	}
	return "(none)"
}

// play applies steps and returns what each did, and what the kernel holds after it.
func play(k observed) (out []string) {
	ctx, say := context.Background(), func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	observe := func() (netdrv.State, netdrv.Host) {
		have, host, err := k.Observe(ctx)
		say("observe: %v", err)
		return have, host
	}
	dump := func() {
		have, host := observe()
		part, err := k.ObserveLinks(ctx, []string{"lab0", "none0"}, []int{indexOf(have, "veth0"), 9999})
		say("observe links: %v", err)
		uplinks, err := k.ObserveUplinks(ctx, []string{"lab0", "veth0", "none0"})
		say("observe uplinks: %v", err)
		for _, name := range []string{"lab0", "veth0"} {
			l, ok := uplinks.Links[name]
			say("uplink %s: %v %s %q %v %s", name, ok, l.Kind, l.Master, l.Ours, l.Network)
		}
		for name, l := range host.Links {
			if name == "veth0" {
				say("host link %s: %s %q %v %d", name, l.Kind, l.Master, l.Up, l.MTU)
			}
		}
		out = append(out, lines("all", have)...)
		out = append(out, lines("part", part)...)
	}
	apply := func(s netdrv.Step) {
		err := k.Apply(ctx, s)
		var code unix.Errno
		errors.As(err, &code)
		say("apply %s: %v %d", s, err != nil, code)
	}
	converge := func(in netdrv.Intent) {
		have, host := observe()
		for i := range in.Members {
			in.Members[i].Index = indexOf(have, in.Members[i].Link)
		}
		for _, p := range netdrv.Diff(netdrv.Compile(in, host), have) {
			for _, s := range p.Steps {
				apply(s)
				apply(s) // a step that was applied already is no error
			}
		}
		have, host = observe()
		for _, p := range netdrv.Diff(netdrv.Compile(in, host), have) {
			say("left to do: %s", p)
		}
		dump()
	}

	lab := netdrv.Network{
		Name: "lab", Mode: netdrv.Route, Bridge: netdrv.Bridge{Name: "lab0", MAC: netdrv.MAC{2, 0, 0, 0, 1, 1}, MTU: 1400},
		Subnets: []netdrv.Subnet{{Address: netip.MustParsePrefix("192.168.20.1/24")}, {Address: netip.MustParsePrefix("fd00:20::1/64")}},
		Routes:  []netdrv.StaticRoute{{Destination: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("192.168.20.9")}},
	}
	other := netdrv.Network{Name: "other", Mode: netdrv.Isolated, Bridge: netdrv.Bridge{Name: "other0", MAC: netdrv.MAC{2, 0, 0, 0, 1, 2}}}
	port := netdrv.Port{Network: "lab", Link: "tap0", MAC: netdrv.MAC{0x52, 0x54, 0, 0, 0, 1}}
	member := netdrv.Member{Network: "lab", Link: "veth0", MAC: netdrv.MAC{0x52, 0x54, 0, 0, 0, 2}}
	in := func(networks ...netdrv.Network) netdrv.Intent { return netdrv.Intent{Live: networks} }

	converge(in(lab))
	converge(in(lab, other))
	with := in(lab, other)
	with.Members, with.Ports = []netdrv.Member{member}, []netdrv.Port{port}
	converge(with)
	lab.Bridge.MTU, lab.Bridge.MAC, lab.Filter.Isolated = 1300, netdrv.MAC{2, 0, 0, 0, 1, 3}, true
	lab.Subnets[0].Address = netip.MustParsePrefix("192.168.21.1/24")
	lab.Routes = nil
	with.Live[0] = lab
	converge(with)
	with.Live[0].Bandwidth = netdrv.NetworkBandwidth{
		In: netdrv.Rate{Average: 8_000_000}, Out: netdrv.Rate{Average: 4_000_000}, PerPort: netdrv.Bandwidth{Out: netdrv.Rate{Average: 1_000_000}},
	}
	converge(with)
	with.Live[0].Bandwidth = netdrv.NetworkBandwidth{}
	converge(with)

	// What is not ours is refused, and what is gone is no error or ENODEV.
	apply(netdrv.LinkAdd{Link: netdrv.Link{Network: "lab", Name: "veth0", Kind: netdrv.KindBridge, MAC: netdrv.MAC{2, 0, 0, 0, 1, 9}, MTU: 1500}})
	apply(netdrv.LinkAdd{Link: netdrv.Link{Network: "else", Name: "lab0", Kind: netdrv.KindBridge, MAC: netdrv.MAC{2, 0, 0, 0, 1, 9}, MTU: 1500}})
	apply(netdrv.LinkDel{Name: "veth0"})
	apply(netdrv.LinkUp{Name: "none0"})
	apply(netdrv.AddrAdd{Addr: netdrv.Addr{Link: "veth0", Prefix: netip.MustParsePrefix("10.1.1.1/24")}})
	apply(netdrv.AddrAdd{Addr: netdrv.Addr{Link: "other0", Prefix: netip.MustParsePrefix("fd00:1::1/64")}}) // IPv6 is off there
	apply(netdrv.AddrDel{Addr: netdrv.Addr{Link: "none0", Prefix: netip.MustParsePrefix("10.1.1.1/24")}})
	apply(netdrv.AddrDel{Addr: netdrv.Addr{Link: "lab0", Prefix: netip.MustParsePrefix("10.1.1.1/24")}})
	apply(netdrv.RouteAdd{Route: netdrv.LinkRoute{Link: "lab0", Destination: netip.MustParsePrefix("10.8.0.0/16"), Via: netip.MustParseAddr("172.16.0.1")}})
	apply(netdrv.RouteDel{Route: netdrv.LinkRoute{Link: "lab0", Destination: netip.MustParsePrefix("10.8.0.0/16")}})
	apply(netdrv.MemberAdd{Member: netdrv.Member{Link: "none0", Index: 9999, Bridge: "lab0"}})
	apply(netdrv.MemberDel{Member: netdrv.Member{Link: "none0", Index: 9999}})
	apply(netdrv.QueueDel{Link: "none0"})
	apply(netdrv.RedirectDel{Link: "none0"})
	apply(netdrv.SysctlSet{Sysctl: netdrv.Sysctl{Link: "none0", Key: "net/ipv4/conf/none0/arp_ignore", Value: "1"}})
	apply(netdrv.UplinkUp{Uplink: "none0"})
	apply(netdrv.UplinkDel{Uplink: "none0", Bridge: "lab0"})
	apply(netdrv.LinkDown{Name: "lab0"})
	apply(netdrv.RouteAdd{Route: netdrv.LinkRoute{Link: "lab0", Destination: netip.MustParsePrefix("10.8.0.0/16"), Via: netip.MustParseAddr("192.168.21.9")}})
	dump()
	converge(with)
	have, _ := observe()
	apply(netdrv.MemberDel{Member: netdrv.Member{Link: "veth0", Index: indexOf(have, "veth0")}})
	dump()
	apply(netdrv.UplinkAdd{Uplink: "veth0", Bridge: "other0"})
	dump()
	apply(netdrv.UplinkDel{Uplink: "veth0", Bridge: "other0"})
	converge(in(other))
	converge(netdrv.Intent{})
	return out
}

func indexOf(s netdrv.State, link string) int {
	for _, m := range s.Members {
		if m.Link == link {
			return m.Index
		}
	}
	return 0
}

// lines returns the state without what differs between two hosts: indexes, bursts that
// the kernel rounds, and the addresses that it makes itself.
func lines(what string, s netdrv.State) (out []string) {
	for _, l := range s.Links {
		l.Index, l.FDBMaxLearned, l.Carrier = 0, 0, false
		out = append(out, fmt.Sprintf("%s link %+v", what, l))
	}
	kind := map[string]netdrv.Kind{}
	for _, l := range s.Links {
		kind[l.Name] = l.Kind
	}
	for _, a := range s.Addrs {
		if kind[a.Link] == netdrv.KindBridge || !a.Prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, fmt.Sprintf("%s addr %+v", what, a))
		}
	}
	for _, r := range s.Routes {
		out = append(out, fmt.Sprintf("%s route %+v", what, r))
	}
	for _, c := range s.Sysctls {
		out = append(out, fmt.Sprintf("%s sysctl %+v", what, c))
	}
	for _, m := range s.Members {
		m.Index = 0
		out = append(out, fmt.Sprintf("%s member %+v", what, m))
	}
	for _, q := range s.Queues {
		q.Burst, q.Cburst = 0, 0
		q.Classes = slices.Clone(q.Classes)
		for i := range q.Classes {
			q.Classes[i].Burst, q.Classes[i].Cburst = 0, 0
		}
		out = append(out, fmt.Sprintf("%s queue %+v", what, q))
	}
	for _, r := range s.Redirects {
		out = append(out, fmt.Sprintf("%s redirect %+v", what, r))
	}
	slices.Sort(out)
	return out
}
