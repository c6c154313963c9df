package kernel_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/kernel"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

var dual = netdrv.Network{
	Name:   "dual",
	Mode:   netdrv.Route,
	Bridge: netdrv.Bridge{Name: "dual.0", MAC: netdrv.MAC{2, 0, 0, 0, 20, 1}, MTU: 1400},
	Subnets: []netdrv.Subnet{
		{Address: netip.MustParsePrefix("192.168.20.1/24")},
		{Address: netip.MustParsePrefix("fd00:20::1/64")},
	},
}

var quiet = netdrv.Network{
	Name: "quiet", Mode: netdrv.Isolated,
	Bridge: netdrv.Bridge{Name: "quiet0", MAC: netdrv.MAC{2, 0, 0, 0, 30, 1}},
}

// host is a namespace with a Kernel in it. /proc/sys/net follows the thread, so
// every call goes through the namespace's own.
type host struct {
	*nettest.Namespace
	t *testing.T
	k *kernel.Kernel
}

func newHost(t *testing.T) *host {
	h := &host{nettest.NewNamespace(t, "host"), t, nil}
	h.in(func() (err error) {
		h.k, err = kernel.Open(slog.New(slog.DiscardHandler))
		return err
	})
	t.Cleanup(h.k.Close)
	return h
}

func (h *host) in(f func() error) {
	h.t.Helper()
	if err := h.Do(f); err != nil {
		h.t.Fatal(err)
	}
}

// converge applies what is missing and returns the steps that it took.
func (h *host) converge(networks ...netdrv.Network) []string {
	h.t.Helper()
	var steps []string
	h.in(func() error {
		have, outside, err := h.k.Observe(context.Background())
		if err != nil {
			return err
		}
		for _, p := range netdrv.Diff(netdrv.Compile(netdrv.Intent{Live: networks}, outside), have) {
			for _, s := range p.Steps {
				steps = append(steps, s.String())
				if err := h.k.Apply(context.Background(), s); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return steps
}

// ipLink is what `ip -j -d addr show` says of a link.
type ipLink struct {
	Address, Operstate, Ifalias string
	MTU                         int
	Flags                       []string
	Linkinfo                    struct {
		Kind string `json:"info_kind"`
		Data struct {
			STP int `json:"stp_state"`
		} `json:"info_data"`
	}
	AddrInfo []struct {
		Local     string
		Prefixlen int
		Broadcast string
		Tentative bool
		Scope     string
	} `json:"addr_info"`
}

func (h *host) ip(link string) ipLink {
	h.t.Helper()
	var out []ipLink
	if err := json.Unmarshal([]byte(h.Run(h.t, "ip -j -d addr show dev "+link)), &out); err != nil || len(out) != 1 {
		h.t.Fatalf("ip -j addr show dev %s: %v, %d links", link, err, len(out))
	}
	return out[0]
}

func TestNetworksStandAsIPSees(t *testing.T) {
	h := newHost(t)
	h.converge(dual, quiet)

	l := h.ip("dual.0")
	if l.Linkinfo.Kind != "bridge" || l.Linkinfo.Data.STP != 0 || l.Address != "02:00:00:00:14:01" || l.MTU != 1400 || l.Ifalias != "vnetd:dual" {
		t.Errorf("got %+v", l)
	}
	if !strings.Contains(strings.Join(l.Flags, " "), "UP") {
		t.Errorf("dual.0 is not up: %v", l.Flags)
	}
	var addrs []string
	for _, a := range l.AddrInfo {
		addrs = append(addrs, a.Local)
		if a.Tentative {
			t.Errorf("%s is tentative on a bridge without ports", a.Local)
		}
	}
	if got := strings.Join(addrs, " "); got != "192.168.20.1 fd00:20::1 fe80::ff:fe00:1401" {
		t.Errorf("addresses %q", got)
	}
	if q := h.ip("quiet0"); len(q.AddrInfo) != 0 {
		t.Errorf("a very isolated bridge has addresses: %+v", q.AddrInfo)
	}
	for key, want := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
		"net/ipv6/conf/quiet0/disable_ipv6": "1", "net/ipv6/conf/dual.0/accept_ra": "0",
	} {
		if got := strings.TrimSpace(h.Run(t, "cat /proc/sys/"+key)); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
}

// The kernel gives a bridge the smallest MTU of its ports, unless somebody set it.
func TestPortsDoNotChangeTheMTU(t *testing.T) {
	h := newHost(t)
	h.converge(dual, quiet)
	for i, mtu := range []string{"1300", "9000"} {
		link := "tap" + string(rune('0'+i))
		h.Run(t, "ip link add "+link+" mtu "+mtu+" type veth peer name peer"+link)
		h.Run(t, "ip link set "+link+" master dual.0")
		h.Run(t, "ip link set peer"+link+" up")
		h.Run(t, "ip link set "+link+" up")
		if got := h.ip("dual.0").MTU; got != 1400 {
			t.Errorf("with a port of %s, the bridge's MTU is %d, want 1400", mtu, got)
		}
	}
}

func TestASecondLookFindsNothingToDo(t *testing.T) {
	h := newHost(t)
	h.converge(dual, quiet)
	if steps := h.converge(dual, quiet); steps != nil {
		t.Errorf("a second round would do %q", steps)
	}
}

func TestGoneMeansGone(t *testing.T) {
	h := newHost(t)
	before := h.Run(t, "ip -br link")
	h.converge(dual, quiet)
	h.converge()
	if after := h.Run(t, "ip -br link"); after != before {
		t.Errorf("links before:\n%s\nafter:\n%s", before, after)
	}
}

func TestForeignBridgeIsNotTouched(t *testing.T) {
	h := newHost(t)
	h.Run(t, "ip link add quiet0 type bridge")
	before := h.ip("quiet0")
	err := h.Do(func() error {
		return h.k.Apply(context.Background(), netdrv.LinkAdd{Link: netdrv.Compile(netdrv.Intent{Live: []netdrv.Network{quiet}}, netdrv.Host{}).Links[0]})
	})
	if err == nil || !strings.Contains(err.Error(), "quiet0 exists already and is not vnetd's") {
		t.Errorf("got %v, want an error about a bridge that is not ours", err)
	}
	if after := h.ip("quiet0"); after.Address != before.Address || after.Ifalias != "" {
		t.Errorf("the foreign bridge was changed: %+v", after)
	}
	h.in(func() error {
		have, outside, err := h.k.Observe(context.Background())
		if len(have.Links) != 0 || !outside.HasLink("quiet0") {
			t.Errorf("taken for ours: %+v, %+v", have.Links, outside.Links)
		}
		return err
	})
}

func TestWhatTheHostUses(t *testing.T) {
	h := newHost(t)
	h.Run(t, "ip link add up0 type veth peer name up1")
	h.Run(t, "ip link set up0 up")
	h.Run(t, "ip link set up1 up")
	h.Run(t, "ip addr add 203.0.113.2/24 dev up0")
	h.Run(t, "ip route add 10.0.0.0/8 via 203.0.113.1")
	h.Run(t, "ip route add default via 203.0.113.1")
	h.Run(t, "ip route add 198.51.100.0/24 via 203.0.113.1 table 77")
	h.converge(dual)
	var got []string
	h.in(func() error {
		_, outside, err := h.k.Observe(context.Background())
		for _, p := range outside.Prefixes {
			got = append(got, p.String())
		}
		return err
	})
	slices.Sort(got)
	want := "address 203.0.113.2/24 on up0; route to 10.0.0.0/8 by up0; route to 198.51.100.0/24 by up0"
	if strings.Join(got, "; ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "; "), want)
	}
}

// The host's own IPv6 default route, learned from a router, must survive that
// forwarding is switched on for a network (RFC 4861 hosts ignore RAs then).
func TestLearnedDefaultRouteSurvives(t *testing.T) {
	h := newHost(t)
	h.Run(t, "ip link add up0 type veth peer name up1")
	h.Run(t, "ip link set up0 up")
	h.Run(t, "ip link set up1 up")
	h.Run(t, "ip -6 route add default via fe80::1 dev up0 proto ra")
	steps := h.converge(dual)
	if len(steps) < 2 || steps[0] != "sysctl -w net/ipv4/ip_forward=1" || steps[1] != "sysctl -w net/ipv6/conf/up0/accept_ra=2" {
		t.Errorf("steps %q, want accept_ra=2 before forwarding", steps)
	}
	if got := strings.TrimSpace(h.Run(t, "cat /proc/sys/net/ipv6/conf/up0/accept_ra")); got != "2" {
		t.Errorf("accept_ra is %s, want 2", got)
	}
	if got := h.Run(t, "ip -6 route show default"); !strings.Contains(got, "fe80::1") {
		t.Errorf("the default route is gone: %q", got)
	}
}

func TestWatchWakes(t *testing.T) {
	h := newHost(t)
	var run func(context.Context, func(string)) error
	h.in(func() (err error) { run, err = h.k.Watch(); return err })
	ctx, cancel := context.WithCancel(context.Background())
	woken, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- run(ctx, func(string) {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	h.Run(t, "ip link add eve type bridge")
	<-woken
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A burst that the socket cannot hold is a wake-up too, and not the end.
func TestOverflowWakes(t *testing.T) {
	h := newHost(t)
	var run func(context.Context, func(string)) error
	h.in(func() (err error) { run, err = h.k.Watch(); return err })
	h.Run(t, "ip link add eve type bridge")
	h.Run(t, "for i in $(seq 20000); do echo link set eve mtu $((1000 + i % 2)); done | ip -batch -")
	ctx, cancel := context.WithCancel(context.Background())
	woken, ended := make(chan struct{}, 1), make(chan error, 1)
	wake := func(string) {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	go func() { ended <- run(ctx, wake) }()
	<-woken
	for quiet := false; !quiet; { // all that the socket held
		select {
		case <-woken:
		case <-time.After(200 * time.Millisecond):
			quiet = true
		}
	}
	h.Run(t, "ip link set eve mtu 1200")
	select {
	case <-woken:
	case err := <-ended:
		t.Fatalf("the watch ended: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What is ours to change is no change of the host's; everything else is.
func TestHostChanges(t *testing.T) {
	h := newHost(t)
	h.Run(t, "ip link add up0 type veth peer name up1")
	h.converge(dual)
	var run func(context.Context, func(string)) error
	h.in(func() (err error) { run, err = h.k.Watch(); return err })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	woken := make(chan struct{}, 1)
	go func() {
		_ = run(ctx, func(string) {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	settled := func() uint64 {
		for {
			select {
			case <-woken:
			case <-time.After(200 * time.Millisecond):
				return h.k.HostChanges()
			}
		}
	}
	before := settled()
	h.converge(dual, quiet)
	h.converge(quiet)
	h.Run(t, "ip link set quiet0 down; ip addr add 10.9.9.9/24 dev quiet0; ip link set quiet0 up")
	h.converge(quiet)
	if after := settled(); after != before {
		t.Errorf("changes of our own links count as %d of the host's", after-before)
	}
	for _, command := range []string{
		"ip link add eve type bridge", "ip link set up0 up", "ip addr add 10.8.8.8/24 dev up0", "ip link set eve address 02:00:00:00:99:99",
		"ip addr add fd00:8::8/64 dev up0", "ip route add blackhole 10.7.0.0/16", "ip link set up1 up", "ip route add 10.6.0.0/16 dev up0", "ip link del eve",
		"ip link set quiet0 group 0", "ip addr add 10.5.5.5/24 dev quiet0",
	} {
		was := h.k.HostChanges()
		h.Run(t, command)
		if now := settled(); now == was {
			t.Errorf("%s: not seen", command)
		}
	}
}

// Links come and go between one question and the next: that is no error.
func TestLinksThatGoWhileTheyAreLookedAt(t *testing.T) {
	h := newHost(t)
	h.Run(t, "for i in $(seq 60); do echo link add gone0 group 1986946420 type bridge; echo link del gone0; done >/run/batch")
	flicker := h.Start(t, "ip", "-batch", "/run/batch")
	ended := make(chan error, 1)
	go func() { ended <- flicker.Wait(t.Context()) }()
	for looks := 0; ; looks++ {
		select {
		case err := <-ended:
			if err != nil || looks < 20 {
				t.Fatalf("%d looks: %v", looks, err)
			}
			return
		default:
		}
		h.in(func() error {
			if _, _, err := h.k.Observe(context.Background()); err != nil {
				return err
			}
			_, err := h.k.ObserveLinks(context.Background(), []string{"gone0"}, nil)
			return err
		})
	}
}
