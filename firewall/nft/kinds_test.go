package nft

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

// reaches reports whether a TCP connection comes about.
func reaches(from *member, to netip.Addr) bool {
	c, err := from.dial(to, 0)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// With its uplink down and the host's default route by another link, a pinned
// network sends nothing out, where others go by the new route.
func TestPinnedDropsRatherThanLeaks(t *testing.T) {
	w := newWorld(t)
	far, outside := w.members["far"], w.members["outside"]
	// The far side takes the address that the outside had.
	for _, a := range []netip.Addr{outside.v4, outside.v6} {
		far.run(t, "ip", "addr", "add", a.String(), "dev", "lo")
	}
	w.host.run(t, "ip", "link", "set", "to-outside", "down")
	w.host.run(t, "ip", "route", "add", "default", "via", far.v4.String())
	w.host.run(t, "ip", "-6", "route", "add", "default", "via", far.v6.String())
	here := *far
	here.v4, here.v6 = outside.v4, outside.v6
	for _, family := range []int{4, 6} {
		for name, want := range map[string]bool{"a": true, "c": true, "p": false, "q": false} {
			from := w.members[name]
			// A NAT network's IPv6 is not known outside.
			if got := reaches(from, here.addr(family)); got != want {
				t.Errorf("IPv%d: %s gets out by the other link = %t, want %t", family, name, got, want)
			}
			if got := w.deliver(t, from, &here, family); got != want {
				t.Errorf("IPv%d: a datagram of %s gets out by the other link = %t, want %t", family, name, got, want)
			}
		}
	}
}

// with applies the world's networks with one of them changed.
func (w *world) with(t *testing.T, name string, change func(*netdrv.Network)) {
	t.Helper()
	var networks []netdrv.Network
	for _, n := range worldNetworks {
		if n.Name == name {
			change(&n)
		}
		networks = append(networks, n)
	}
	apply(t, w.driver, networks...)
	if drift := verify(t, w.driver); drift != "" {
		t.Error(drift)
	}
}

// Source addresses: a range of either family, the same one for a guest always,
// with ports of the range; and none of it towards a local network.
func TestSourceAddresses(t *testing.T) {
	w := newWorld(t)
	outside := w.members["outside"]
	w.address(t, "to-outside", "203.0.113.5/32", "203.0.113.6/32", "203.0.113.7/32", "2001:db8::5/128", "2001:db8::6/128")
	w.with(t, "alpha", func(n *netdrv.Network) {
		*n = example.WithPorts(example.WithNAT66(*n), 30000, 30999)
		*n = example.WithSources(*n, "203.0.113.5", "203.0.113.7", "2001:db8::5", "2001:db8::6")
	})
	for _, family := range []int{4, 6} {
		for _, guest := range []string{"a", "a2"} {
			g, seen := w.members[guest], map[netip.Addr]bool{}
			for range 8 {
				c, err := g.dial(outside.addr(family), 0)
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				first, last := outside.addr(family).Next().Next().Next(), map[int]string{4: "203.0.113.7", 6: "2001:db8::6"}[family]
				if a := c.seen.Addr(); a.Less(first) || netip.MustParseAddr(last).Less(a) || c.seen.Port() < 30000 || c.seen.Port() > 30999 {
					t.Errorf("%s is seen as %s, want %s to %s with ports 30000 to 30999", guest, c.seen, first, last)
				}
				seen[c.seen.Addr()] = true
			}
			if len(seen) != 1 {
				t.Errorf("%s is seen by %d addresses, want always the same", guest, len(seen))
			}
			c, err := g.dial(w.members["c"].addr(family), 0)
			if err != nil || c.seen.Addr() != g.addr(family) {
				t.Errorf("%s is seen by a local network as %s (%v)", guest, c.seen, err)
			}
		}
	}
	w.with(t, "alpha", func(n *netdrv.Network) { *n = example.WithSources(*n, "203.0.113.6", "203.0.113.6") })
	if c, err := w.members["a"].dial(outside.v4, 500); err != nil || c.seen.Addr().String() != "203.0.113.6" || c.seen.Port() < 1024 {
		t.Errorf("a is seen as %s (%v), want 203.0.113.6 and no port below 1024", c.seen, err)
	}
}

// Both ends of a connection receive the segment size of a path that is narrower than their
// links, in both directions, except on an open network.
func TestSegmentsAreClamped(t *testing.T) {
	w := newWorld(t)
	const mtu = 1320
	w.host.run(t, "ip", "route", "replace", "203.0.113.0/24", "dev", "to-outside", "mtu", "lock", fmt.Sprint(mtu))
	w.host.run(t, "ip", "-6", "route", "replace", "2001:db8::/64", "dev", "to-outside", "metric", "256", "mtu", "lock", fmt.Sprint(mtu))
	for _, family := range []int{4, 6} {
		headers := map[int]int{4: 40, 6: 60}[family]
		for _, c := range []struct {
			from, to string
			want     bool
		}{{"a", "outside", true}, {"c", "outside", true}, {"p", "outside", true}, {"outside", "c", true}, {"o", "outside", false}, {"a", "c", false}} {
			conn, err := w.members[c.from].dial(w.members[c.to].addr(family), 0)
			if err != nil {
				t.Fatal(c, err)
			}
			conn.Close()
			theirs, ours := conn.segment, conn.ours
			if got := theirs <= mtu-headers && ours <= mtu-headers; got != c.want {
				t.Errorf("IPv%d, %s to %s: segments of %d there and %d back, mtu %d: clamped = %t, want %t",
					family, c.from, c.to, ours, theirs, mtu, got, c.want)
			}
			t.Logf("IPv%d, %s to %s: segments of %d there and %d back", family, c.from, c.to, ours, theirs)
		}
	}
}

// A limited host: its services by its addresses on the network, and it is not
// there by any other.
func TestLimitedHostByPackets(t *testing.T) {
	w := newWorld(t)
	d, c := w.members["d"], w.members["c"]
	other, gateway, own6 := w.host.v4, netip.MustParseAddr("10.4.0.1"), netip.MustParseAddr("fd00:4::1")
	ping := func(m *member, to string) bool {
		_, err := m.try("ping", "-c", "1", "-W", "1", to)
		return err == nil
	}
	check := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %t, want %t", what, got, want)
		}
	}
	check("ping the gateway", ping(d, "10.4.0.1"), true)
	check("ping the gateway over IPv6", ping(d, "fd00:4::1"), true)
	check("ping another address", ping(d, other.String()), false)
	check("TCP to the gateway", reaches(d, gateway), false)
	check("the host to the guest", reaches(w.host, d.v4), true)
	check("the host to the guest over IPv6", reaches(w.host, d.v6), true)
	for _, name := range []string{"delta", "gamma"} {
		w.with(t, name, func(n *netdrv.Network) { *n = example.WithServices(*n, fmt.Sprint("tcp/", port)) })
		guest, gw, gw6 := d, gateway, own6
		if name == "gamma" {
			guest, gw, gw6 = c, netip.MustParseAddr("10.3.0.1"), netip.MustParseAddr("fd00:3::1")
		}
		check(name+": a service", reaches(guest, gw), true)
		check(name+": a service over IPv6", reaches(guest, gw6), true)
		check(name+": by another address", reaches(guest, other), false)
		check(name+": by another address over IPv6", reaches(guest, w.host.v6), false)
		check(name+": by another network's address", reaches(guest, netip.MustParseAddr("10.1.0.1")), false)
		w.with(t, name, func(n *netdrv.Network) { *n = example.WithServices(*n, fmt.Sprintf("tcp/%d-%d", port-10, port+10)) })
		check(name+": a range", reaches(guest, gw), true)
		w.with(t, name, func(n *netdrv.Network) { *n = example.WithServices(*n, fmt.Sprint("udp/", port)) })
		check(name+": over another protocol", reaches(guest, gw), false)
	}
}

// Nothing comes from a very isolated network, not even to the host's own stack; the
// guest knows the bridge's address already, so that address resolution does not fail first.
func TestVeryIsolatedReachesNothing(t *testing.T) {
	w := newWorld(t)
	var networks []netdrv.Network
	for _, n := range worldNetworks {
		if n.Name == "delta" {
			n.Subnets = nil
		}
		networks = append(networks, n)
	}
	apply(t, w.driver, networks...)
	d := w.members["d"]
	for _, family := range []int{4, 6} {
		for name, m := range w.members {
			if m == d {
				continue
			}
			if name == "host" {
				u := *m
				u.v4, u.v6 = netip.MustParseAddr("10.4.0.1"), netip.MustParseAddr("fd00:4::1")
				if w.deliver(t, d, &u, family) {
					t.Errorf("IPv%d: a datagram reaches the host by its bridge", family)
				}
			}
			if w.deliver(t, d, m, family) {
				t.Errorf("IPv%d: a datagram reaches %s", family, name)
			}
		}
	}
}

// The metadata service of a cloud, at a link-local address outside, is for the host: it
// would take a guest that is translated for the host. Others that are not translated reach
// it as any other address outside.
func TestLinkLocalIsNotTranslated(t *testing.T) {
	w := newWorld(t)
	metadata := netip.MustParseAddr("169.254.169.254")
	w.members["outside"].run(t, "ip", "addr", "add", metadata.String()+"/32", "dev", "lo")
	w.host.run(t, "ip", "route", "add", metadata.String(), "via", w.members["outside"].v4.String())
	for name, want := range map[string]bool{"a": false, "b": false, "p": false, "c": true, "host": true} {
		if got := reaches(w.members[name], metadata); got != want {
			t.Errorf("%s reaches %s = %t, want %t", name, metadata, got, want)
		}
	}
}
