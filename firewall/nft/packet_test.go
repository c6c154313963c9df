package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// Every ordered pair, by a TCP connection and by one datagram, in both families,
// with br_netfilter's switches in both positions.
func TestWhoReachesWhom(t *testing.T) {
	w := newWorld(t)
	for _, bridged := range []string{"0", "1"} {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprintf("bridge-nf=%s,ipv%d", bridged, family), func(t *testing.T) {
				w.sysctl(t, "net/bridge/bridge-nf-call-iptables", bridged)
				w.sysctl(t, "net/bridge/bridge-nf-call-ip6tables", bridged)
				for _, from := range w.members {
					for _, to := range w.members {
						if from != to {
							w.tryPair(t, from, to, family)
						}
					}
				}
			})
		}
	}
}

func (w *world) tryPair(t *testing.T, from, to *member, family int) {
	t.Helper()
	answer := firewall.Policy(from.party, to.party)
	if from.link == to.link {
		answer = firewall.Yes
	}
	want := answer != firewall.No
	c, err := from.dial(to.addr(family), 0)
	if (err == nil) != want {
		t.Errorf("TCP from %s to %s works = %t (%v), want %t", from.name, to.name, err == nil, err, want)
	}
	if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("TCP from %s to %s: %v, want it refused at once", from.name, to.name, err)
	}
	if err == nil {
		c.Close()
		as := from.addr(family)
		if answer == firewall.Translated && (family == 4 || from.name == "b") {
			as = to.addr(family).Prev() // the host's on that link
		}
		if from != w.host && c.seen.Addr() != as {
			t.Errorf("%s sees %s as %s, want %s", to.name, from.name, c.seen, as)
		}
	}
	if got := w.deliver(t, from, to, family); got != want {
		t.Errorf("one datagram from %s to %s arrives = %t, want %t", from.name, to.name, got, want)
	}
}

// Guests get no source port below 1024, which some servers trust, and a network
// with a range gets ports of that.
func TestMasqueradePorts(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		guest    string
		from     int
		min, max uint16
	}{
		{"a", 500, 1024, 65535},
		{"b", 500, 20000, 20999},
		{"b", 30000, 20000, 20999},
	} {
		conn, err := w.members[c.guest].dial(w.members["outside"].v4, c.from)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if seen := conn.seen; seen.Addr() != w.host.v4 || seen.Port() < c.min || seen.Port() > c.max {
			t.Errorf("from port %d of %s the outside sees %s, want %s with port %d to %d",
				c.from, c.guest, conn.seen, w.host.v4, c.min, c.max)
		}
	}
}

// A guest with a source address of another network, or of the outside, reaches nothing.
func TestSpoofedSourceIsDropped(t *testing.T) {
	w := newWorld(t)
	outside := w.members["outside"]
	for _, c := range []struct{ guest, source string }{
		{"a", "10.2.0.2"}, {"a", "198.51.100.7"}, {"c", "10.1.0.2"}, {"c", "198.51.100.7"}, {"c", "fd00:1::2"},
	} {
		guest, family := *w.members[c.guest], 4
		if a := netip.MustParseAddr(c.source); a.Is6() {
			family = 6
		}
		add := []string{"ip", "addr", "add", c.source, "dev", "eth0", "nodad"}
		guest.run(t, add[:6+(family-4)/2]...)
		guest.run(t, "ip", fmt.Sprintf("-%d", family), "route", "replace", "default", "via",
			map[string]string{"a4": "10.1.0.1", "c4": "10.3.0.1", "c6": "fd00:3::1"}[fmt.Sprint(c.guest, family)], "src", c.source)
		if w.deliver(t, &guest, outside, family) {
			t.Errorf("%s reaches the outside as %s", c.guest, c.source)
		}
		guest.run(t, "ip", "addr", "del", c.source, "dev", "eth0")
	}
	if n := w.host.run(t, "nft", "list", "chain", "inet", "vnetd", "leave_route"); !regexp.MustCompile(`counter packets ([45]) .* drop`).MatchString(n) {
		// The IPv6 one may still wait for its neighbour.
		t.Errorf("not four or five packets were dropped for their source:\n%s", n)
	}
}

// What runs goes on: through an edit, through a replacement of the whole table,
// and through a new Driver that adopts it.
func TestConnectionSurvivesChanges(t *testing.T) {
	w := newWorld(t)
	conn, err := w.members["a"].dial(w.members["outside"].v4, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo := func(when string) {
		t.Helper()
		b := make([]byte, len(when))
		if _, err := conn.Write([]byte(when)); err != nil {
			t.Fatal(when, err)
		}
		if _, err := conn.Read(b); err != nil || string(b) != when {
			t.Fatalf("%s: got %q, %v", when, b, err)
		}
	}
	echo("at first")
	rules := firewall.Compile(worldNetworks[1:]) // alpha is away, and back
	apply(t, w.driver, worldNetworks[1:]...)
	apply(t, w.driver, worldNetworks...)
	echo("after an edit")
	rules = firewall.Compile(worldNetworks)
	rules.Tables[0].Chains[0].Rules[0].Comment = "another rule"
	if change := firewall.Diff(w.driver.last, rules); len(change.Replace) != 1 {
		t.Fatalf("this is no replacement: %s", change)
	}
	if err := w.driver.Apply(context.Background(), rules); err != nil {
		t.Fatal(err)
	}
	echo("after a replacement")
	w.driver.Close()
	echo("without a driver")
	w.driver = w.host.open(t)
	apply(t, w.driver, worldNetworks...)
	echo("with a new driver")
}
