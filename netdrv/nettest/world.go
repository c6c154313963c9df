package nettest

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// A World is an internet, a host with one uplink to it, and guests on bridges
// of the host.
//
//	internet  203.0.113.1/24  2001:db8:ff::1/64
//	   |
//	  up0     203.0.113.2/24  2001:db8:ff::2/64   default routes to the internet
//	 host     /etc/resolv.conf: nameserver 203.0.113.1
//	 vnet0 vnet1 ...
//	   |     |
//	  eth0  eth0        02:00:00:00:00:01, :02, ...
//	 guests
//
// The internet knows no way back to any network behind the host: what guests
// send without NAT gets no answer. More internets come by [NewInternet] and
// [Internet.Connect].
type World struct {
	Internet *Internet
	Host     *Namespace

	mu     sync.Mutex
	guests int
}

// New makes a world without guests. When the test fails, the host's links,
// addresses, routes and rules are logged.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{Internet: NewInternet(t, "internet"), Host: NewNamespace(t, "host")}
	w.Internet.Connect(t, w.Host, Uplink{
		Name:    "up0",
		Gateway: []string{"203.0.113.1/24", "2001:db8:ff::1/64"},
		Address: []string{"203.0.113.2/24", "2001:db8:ff::2/64"},
	})
	w.Host.WriteFile(t, "/etc/resolv.conf", "nameserver 203.0.113.1\n")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.Host.picture())
		}
	})
	return w
}

// picture describes a namespace to who has to find out what went wrong.
func (ns *Namespace) picture() string {
	ctx, cancel := bounded(context.Background())
	defer cancel()
	var b strings.Builder
	for _, line := range []string{
		"ip -d -brief link", "ip -brief address", "ip route; ip -6 route", "bridge fdb show state permanent | head -50",
		"nft list ruleset | head -300",
	} {
		out, _ := ns.Try(ctx, line)
		fmt.Fprintf(&b, "--- %s# %s\n%s", ns.Name, line, out)
	}
	return b.String()
}

// A Guest is a namespace on the other end of a port of the host.
type Guest struct {
	*Namespace
	MAC  string // of its eth0
	Port string // the host's end of its cable

	world *World
}

// Guest adds a guest that is attached to no bridge yet. Its name is its host
// name too.
func (w *World) Guest(t testing.TB, name string) *Guest {
	t.Helper()
	w.mu.Lock()
	n := w.guests
	w.guests++
	w.mu.Unlock()
	g := &Guest{
		Namespace: NewNamespace(t, name),
		MAC:       fmt.Sprintf("02:00:00:00:%02x:%02x", (n+1)>>8, (n+1)&0xff),
		Port:      fmt.Sprintf("vnet%d", n),
		world:     w,
	}
	Join(t, End{NS: w.Host, Name: g.Port}, End{NS: g.Namespace, Name: "eth0", MAC: g.MAC})
	return g
}

// Attach enslaves the guest's port to a bridge of the host, and waits for one
// that has yet to be made.
func (g *Guest) Attach(t testing.TB, bridge string) {
	t.Helper()
	g.world.Host.Enslave(t, g.Port, bridge)
}

// Detach takes the guest's port out of its bridge.
func (g *Guest) Detach(t testing.TB) {
	t.Helper()
	g.world.Host.Release(t, g.Port)
}

// useDNS lets the guest's programs ask the name servers of its lease.
func (g *Guest) useDNS(l Lease) error {
	var b strings.Builder
	if l.Domain != "" {
		fmt.Fprintf(&b, "search %s\n", l.Domain)
	}
	for _, addr := range l.DNS {
		if addr != (netip.Addr{}) {
			fmt.Fprintf(&b, "nameserver %s\n", addr)
		}
	}
	return g.Do(func() error { return replaceFile("/etc/resolv.conf", b.String()) })
}
