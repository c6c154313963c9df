package kernel_test

import (
	"context"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// office is built on the links that groundHost has.
func office(uplinks ...string) netdrv.Network {
	return netdrv.Network{Name: "office", Mode: netdrv.ExistingBridge, Bridge: netdrv.Bridge{Name: "br0", Uplinks: uplinks}}
}

// groundHost is a host with two uplinks that hold about everything.
func groundHost(t *testing.T) *host {
	h := newHost(t)
	outside := nettest.NewNamespace(t, "outside")
	nettest.Connect(t, outside, "a", h.Namespace, "eno1")
	nettest.Connect(t, outside, "b", h.Namespace, "eno2")
	for _, line := range []string{
		"ip link set eno1 mtu 1400",
		"ip addr add 192.0.2.5/24 brd + dev eno1",
		"ip addr add 192.0.2.6/24 brd + dev eno1 label eno1:web",
		"ip addr add 198.51.100.1 peer 198.51.100.2/32 dev eno1",
		"ip addr add 10.1.1.1/24 dev eno1 metric 300",
		"ip addr add 10.2.2.2/24 dev eno1 noprefixroute",
		"ip route add 10.2.2.0/24 dev eno1 proto kernel scope link src 10.2.2.2 metric 100",
		"ip addr add 192.0.2.77/24 dev eno1 valid_lft 4000 preferred_lft 3000",
		"ip addr add 2001:db8::5/64 dev eno1 nodad",
		"ip addr add 2001:db8::6/64 dev eno1",
		"ip addr add 2001:db8:1::7/128 dev eno1 valid_lft 4000 preferred_lft 3000",
		"ip addr add fe80::1/64 dev eno1 nodad",
		"ip route add default via 192.0.2.1 dev eno1 proto static metric 50 mtu 1300 src 192.0.2.6",
		"ip route add 203.0.113.0/24 via 192.0.2.9 dev eno1",
		"ip route add 203.0.113.128/25 via 203.0.113.1 dev eno1 onlink",
		"ip route add default via 192.0.2.254 dev eno1 table 7",
		"ip route add default via 198.51.100.77 dev eno1 onlink table 8",
		"ip -6 route add default via fe80::99 dev eno1 metric 77",
		"ip -6 route add 2001:db8:98::/48 dev eno1 table 7",
		"ip neigh add 192.0.2.1 lladdr 02:00:00:00:aa:01 dev eno1 nud permanent",
		"sysctl -qw net.ipv4.conf.eno1.rp_filter=2",
		"sysctl -qw net.ipv6.conf.eno1.accept_ra=2",
		"ip addr add 10.55.0.55/24 dev eno2",
		"ip route add 203.0.114.0/24 dev eno2",
	} {
		h.Run(t, line)
	}
	// The second address of 2001:db8:: is there when its detection is over.
	nettest.Eventually(t, "no address is tentative", func() error {
		_, err := h.Try(t.Context(), "! ip -6 addr show tentative | grep -q inet6")
		return err
	})
	h.Run(t, "ip -6 route add 2001:db8:99::/48 via 2001:db8::1 dev eno1 src 2001:db8::6")
	return h
}

// grounded applies what is missing of built bridges.
func (h *host) grounded(networks ...netdrv.Network) []string {
	h.t.Helper()
	var steps []string
	h.in(func() error {
		have, _, err := h.k.Observe(context.Background())
		if err != nil {
			return err
		}
		names := []string{"br0"}
		for _, n := range networks {
			names = append(append(names, n.Bridge.Name), n.Bridge.Uplinks...)
		}
		g, err := h.k.ObserveUplinks(context.Background(), names)
		if err != nil {
			return err
		}
		for _, p := range netdrv.PlanUplinkBridges(netdrv.UplinkBridges{Live: networks, Have: have}, g) {
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

// shape is what the host has on its links, without what time changes.
func (h *host) shape() string {
	h.t.Helper()
	return h.Run(h.t, `{ ip -j addr; ip -j route show table all; ip -j -6 route show table all; ip -j neigh; } |
		sed -E 's/"(valid_life_time|preferred_life_time|expires)":[0-9]+/"\1":0/g; s/"(operstate|flags)":[^]}]*[]"],//g' | tr '{' '\n' | sed 's/,*$//'`)
}

// difference lists the lines of b that are not where they are in a.
func difference(a, b string) string {
	var out []string
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(as), len(bs)) {
		if i >= len(as) || i >= len(bs) || as[i] != bs[i] {
			out = append(out, "- "+strings.Join(as[min(i, len(as)):min(i+1, len(as))], ""), "+ "+strings.Join(bs[min(i, len(bs)):min(i+1, len(bs))], ""))
		}
	}
	return strings.Join(out, "\n")
}

func TestBuiltBridgeTakesEverythingAndGivesItBack(t *testing.T) {
	h := groundHost(t)
	before := h.shape()
	t.Logf("up:\n%s", strings.Join(h.grounded(office("eno1")), "\n"))
	if again := h.grounded(office("eno1")); again != nil {
		t.Errorf("a second look wants %q", again)
	}
	if left := h.Run(t, "{ ip -o addr show dev eno1; ip route show dev eno1 table all; ip -6 route show dev eno1 table all; } | grep -v -e fe80::[^1] -e ff:fe -e fe80::/ -e ff00 || true"); left != "" {
		t.Errorf("left on eno1:\n%s", left)
	}
	for _, c := range []string{
		"ip addr show dev br0 | grep -q '192.0.2.6/24 .* br0:web'", "ip route show table 7 | grep -q 'default via 192.0.2.254 dev br0'",
		"ip route get 203.0.113.200 | grep -q 'via 203.0.113.1 dev br0 src'", "ip -6 route show default | grep -q 'via fe80::99 dev br0 metric 77'",
		"ip route show default | grep -q 'proto static src 192.0.2.6 metric 50 mtu 1300'", "ip link show br0 | grep -q 'mtu 1400.*state UP'",
		"test $(cat /sys/class/net/br0/address 2>/dev/null || ip -o link show br0 | sed 's/.*ether //; s/ .*//') = $(ip -o link show eno1 | sed 's/.*ether //; s/ .*//')",
		"test $(cat /proc/sys/net/ipv6/conf/br0/accept_ra) = 2", "test $(cat /proc/sys/net/ipv4/conf/br0/rp_filter) = 2",
		"ip -6 addr show dev br0 | grep -q '2001:db8::6/64 scope global *$'",
	} {
		if out, err := h.Try(t.Context(), c); err != nil {
			t.Errorf("%s: %v %s", c, err, out)
		}
	}
	t.Logf("back:\n%s", strings.Join(h.grounded(), "\n"))
	if after := h.shape(); after != before {
		t.Errorf("before and after differ:\n%s", difference(before, after))
	}
	if again := h.grounded(); again != nil {
		t.Errorf("a second look wants %q", again)
	}
}

func TestEverythingOfTwoUplinksMoves(t *testing.T) {
	h := groundHost(t)
	h.grounded(office("eno1", "eno2"))
	if again := h.grounded(office("eno1", "eno2")); again != nil {
		t.Errorf("a second look wants %q", again)
	}
	h.Run(t, "ip addr show dev br0 | grep -q 10.55.0.55/24 && ip route show 203.0.114.0/24 | grep -q br0")
	// An uplink that is taken off the list is the host's own again.
	h.grounded(office("eno1"))
	h.Run(t, "! ip link show eno2 | grep -q master")
}

// Stopped after any step of either way, the next look finishes, and nothing is
// lost.
func TestCutShortAnywhere(t *testing.T) {
	h := groundHost(t)
	before := h.shape()
	total := len(h.grounded(office("eno1")))
	back := len(h.grounded())
	cut := func(n int, networks ...netdrv.Network) {
		h.in(func() error {
			g, err := h.k.ObserveUplinks(context.Background(), []string{"br0", "eno1"})
			if err != nil {
				return err
			}
			for _, p := range netdrv.PlanUplinkBridges(netdrv.UplinkBridges{Live: networks}, g) {
				for i, s := range p.Steps {
					if i == n {
						return nil
					}
					if err := h.k.Apply(context.Background(), s); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for i := range total {
		cut(i, office("eno1"))
		h.grounded()
		if after := h.shape(); after != before {
			t.Fatalf("built for %d of %d steps and taken back, before and after differ:\n%s", i, total, difference(before, after))
		}
	}
	for i := range back {
		h.grounded(office("eno1"))
		cut(i)
		h.grounded(office("eno1"))
		h.grounded()
		if after := h.shape(); after != before {
			t.Fatalf("taken back for %d of %d steps, before and after differ:\n%s", i, back, difference(before, after))
		}
	}
	t.Logf("cut after each of %d steps on the way up, and of %d on the way back", total, back)
}

// What cannot be moved is said before anything is touched.
func TestWhatCannotBeMoved(t *testing.T) {
	h := groundHost(t)
	h.Run(t, "ip route add 10.9.0.0/16 nexthop via 192.0.2.1 dev eno1 nexthop via 10.55.0.2 dev eno2")
	h.Run(t, "ip nexthop add id 3 via 192.0.2.1 dev eno1 && ip route add 10.10.0.0/16 nhid 3")
	h.Run(t, "ip rule add iif eno1 table 7 && ip -6 rule add oif eno1 table 8")
	var got string
	h.in(func() error {
		g, err := h.k.ObserveUplinks(context.Background(), []string{"eno1"})
		n := office("eno1")
		got = netdrv.UplinkConflicts(&n, g).Error() + "\n" + strings.Join(netdrv.LeasedAddresses(&n, g), "\n")
		return err
	})
	for _, want := range []string{"10.9.0.0/16 proto boot of eno1 cannot be moved: it is a multipath", "nexthop object", "iif eno1", "oif eno1", "192.0.2.77/24 of eno1 is leased (", "2001:db8:1::7/128 of eno1 is leased"} {
		if !strings.Contains(got, want) {
			t.Errorf("said nothing of %q:\n%s", want, got)
		}
	}
	t.Log(got)
}
