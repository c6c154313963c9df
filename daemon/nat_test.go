package daemon_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A fresh daemon has the network that libvirt's users know, and a guest on it
// is at home.
func TestDefaultNetwork(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping", "curl")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{})
	if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "default") || !strings.Contains(got, "ready") || !strings.Contains(got, "virbr0") {
		t.Errorf("network list says\n%s", got)
	}
	g, l := guest(t, w, "web", "virbr0")
	if !netip.MustParsePrefix("192.168.122.0/24").Contains(l.Address.Addr()) || fmt.Sprint(l.Gateway) != "192.168.122.1" || fmt.Sprint(l.DNS) != "[192.168.122.1]" {
		t.Errorf("lease %+v", l)
	}
	g.Run(t, "ping -c 1 -W 5 203.0.113.1")
	if got := strings.TrimSpace(g.Run(t, "curl -sS -m 5 http://203.0.113.1/")); got != "203.0.113.2" && !strings.HasPrefix(got, "203.0.113.2:") {
		t.Errorf("the outside saw %s, want the host's 203.0.113.2", got)
	}
}

func TestDefaultNetworkMakesWay(t *testing.T) {
	w := nettest.New(t)
	w.Host.Run(t, "ip link add virbr0 type bridge")
	w.Host.Run(t, "ip addr add 192.168.122.7/24 dev virbr0")
	w.Host.Run(t, "ip link set virbr0 up")
	d := w.Daemon(t, nettest.DaemonConfig{})
	got := d.Ctl(t, "network", "list")
	if !strings.Contains(got, "virbr1") || !strings.Contains(got, "192.168.123.1/24") {
		t.Errorf("network list says\n%s\nwant virbr1 and 192.168.123.1/24", got)
	}
	for _, text := range []string{"a link virbr0 exists already", "192.168.122.0/24 is in use by the host"} {
		if !strings.Contains(d.Log(), text) {
			t.Errorf("the log does not say %q", text)
		}
	}
}

// Every client gets, renews and releases a lease; vnetctl and the client agree
// on it, and the name is known as long as the lease.
func TestRealClients(t *testing.T) {
	for _, c := range nettest.Clients {
		t.Run(c.Name, func(t *testing.T) {
			nettest.Need(t, append(c.Programs, "dig")...)
			w, d := labWorld(t)
			g := w.Guest(t, "web")
			g.Attach(t, "lab0")
			client := c.New(g, t, nettest.ClientConfig{Hostname: "web"})
			l, err := client.Lease(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(l.Gateway) != "192.168.10.1" || fmt.Sprint(l.DNS) != "[192.168.10.1]" || l.Domain != "lab.test" {
				t.Errorf("lease %+v", l)
			}
			address := l.Address.Addr().String()
			if got := d.Ctl(t, "lease", "list"); !strings.Contains(got, address) || !strings.Contains(got, g.MAC) || !strings.Contains(got, "web") {
				t.Errorf("lease list lacks %s %s web:\n%s", address, g.MAC, got)
			}
			g.Run(t, "ping -c 1 -W 5 203.0.113.1")
			dig(t, g, "web.lab.test", address)

			again, err := client.Renew(t.Context())
			if err != nil || again.Address != l.Address {
				t.Errorf("renewed: %+v, %v; want %s", again, err, l.Address)
			}
			if again, err = client.Reboot(t.Context()); err != nil || again.Address != l.Address {
				t.Errorf("after a reboot: %+v, %v; want %s", again, err, l.Address)
			}
			if err := client.Release(t.Context()); err != nil {
				t.Error(err)
			}
			nettest.Eventually(t, "the lease is gone", func() error {
				if got := d.Ctl(t, "lease", "list"); strings.Contains(got, address) {
					return fmt.Errorf("lease list still says\n%s", got)
				}
				return nil
			})
		})
	}
}

// dig asks the gateway, and wants exactly these answers.
func dig(t *testing.T, g *nettest.Guest, question string, want ...string) {
	t.Helper()
	got := strings.Fields(g.Run(t, "dig +short +time=3 +tries=2 @192.168.10.1 "+question))
	if !slices.Equal(got, want) {
		t.Errorf("dig %s: got %q, want %q", question, got, want)
	}
}

func TestNames(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig")
	w, _ := labWorld(t)
	a, la := guest(t, w, "alpha", "lab0")
	_, lb := guest(t, w, "beta", "lab0")
	addrA, addrB := la.Address.Addr().String(), lb.Address.Addr().String()

	dig(t, a, "beta.lab.test", addrB)
	dig(t, a, "BETA.lab.test", addrB)
	dig(t, a, "+tcp beta.lab.test", addrB)
	dig(t, a, "alpha", addrA)
	dig(t, a, "-x "+addrB, "beta.lab.test.")
	dig(t, a, "printer.lab.test", "192.168.10.15")
	dig(t, a, "-x 192.168.10.15", "printer.lab.test.")
	dig(t, a, "host.lab.test", "192.168.10.1")
	dig(t, a, "www.example.org", "203.0.113.1")

	// The network's own names never leave the host.
	w.Internet.Forget()
	for _, q := range []string{"nobody.lab.test", "nobody", "-x 192.168.10.99", "beta.lab.test AAAA"} {
		dig(t, a, q)
	}
	for _, v := range w.Internet.Visits() {
		t.Errorf("leaked upstream: %+v", v)
	}
	for q, want := range map[string]string{"nobody.lab.test": "NXDOMAIN", "beta.lab.test AAAA": "NOERROR", "gone.example.org": "NXDOMAIN"} {
		if got := a.Run(t, "dig +time=3 @192.168.10.1 "+q); !strings.Contains(got, "status: "+want) {
			t.Errorf("dig %s: want %s:\n%s", q, want, got)
		}
	}
}

func TestResolvConfIsFollowed(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig")
	w, _ := labWorld(t)
	g, _ := guest(t, w, "web", "lab0")
	dig(t, g, "www.example.org", "203.0.113.1")
	w.Internet.DNS.Add(t, "new.example.org. 60 A 203.0.113.77")
	ask := func(want string) func() error {
		return func() error {
			got := strings.TrimSpace(g.Run(t, "dig +short +time=1 +tries=1 @192.168.10.1 new.example.org || true"))
			if strings.Contains(got, "203.0.113.77") != (want != "") {
				return fmt.Errorf("dig says %q", got)
			}
			return nil
		}
	}
	// As resolvconf and NetworkManager do it: a new file, renamed over the old.
	replace := func(server string) {
		w.Host.Run(t, "echo nameserver "+server+" > /etc/resolv.conf.new && mv /etc/resolv.conf.new /etc/resolv.conf")
	}
	replace("203.0.113.99") // where nobody is
	nettest.Eventually(t, "the old resolver is not asked any more", ask(""))
	replace("203.0.113.1")
	nettest.Eventually(t, "the new resolver is asked", ask("203.0.113.77"))
}

// NAT as the outside sees it: the host's address, no privileged port, and
// nothing comes in uninvited.
func TestNATFromOutside(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, _ := labWorld(t)
	g, l := guest(t, w, "web", "lab0")
	dialEcho(t, g).works("a connection to the outside")
	v := w.Internet.Await(t, func(v nettest.Visit) bool { return v.Peer.Addr() == netip.MustParseAddr("203.0.113.2") })
	if v.Peer.Port() < 1024 {
		t.Errorf("the outside saw port %d", v.Peer.Port())
	}

	ln, err := g.Listen("tcp", l.Address.Addr().String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w.Internet.Run(t, "ip route add 192.168.10.0/24 via 203.0.113.2")
	if c, err := w.Internet.Dial("tcp", l.Address.Addr().String()+":80"); err == nil {
		c.Close()
		t.Error("the outside got in uninvited")
	}
	// The host itself may.
	c, err := w.Host.Dial("tcp", l.Address.Addr().String()+":80")
	if err != nil {
		t.Fatalf("the host cannot reach its guest: %v", err)
	}
	c.Close()
}

// Guests of one network talk as themselves, also where br_netfilter sends
// bridged packets through the host's rules.
func TestGuestsTalkUnmasqueraded(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, _ := labWorld(t)
	a, la := guest(t, w, "alpha", "lab0")
	b, lb := guest(t, w, "beta", "lab0")
	for _, calls := range []string{"0", "1"} {
		w.Host.Run(t, "for f in /proc/sys/net/bridge/bridge-nf-call-*tables; do [ ! -e $f ] || echo "+calls+" > $f; done")
		ln, err := b.Listen("tcp", lb.Address.Addr().String()+":8080")
		if err != nil {
			t.Fatal(err)
		}
		seen := make(chan string, 1)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				seen <- err.Error()
				return
			}
			host, _ := netip.ParseAddrPort(c.RemoteAddr().String())
			c.Close()
			seen <- host.Addr().String()
		}()
		c, err := a.Dial("tcp", lb.Address.Addr().String()+":8080")
		if err != nil {
			t.Fatalf("bridge-nf-call %s: %v", calls, err)
		}
		c.Close()
		if got := <-seen; got != la.Address.Addr().String() {
			t.Errorf("bridge-nf-call %s: beta saw %s, want %s", calls, got, la.Address.Addr())
		}
		ln.Close()
	}
}
