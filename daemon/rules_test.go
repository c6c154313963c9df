package daemon_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// street is a network of both families, and farm another one, whose guests are not
// translated.
const (
	street = `
name: street
mode: nat
bridge: {name: street0, mac: "02:00:00:00:0a:01"}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.100, end: 192.168.10.200}]
      reservations: [{mac: "02:00:00:00:0b:02", address: 192.168.10.12, hostname: db}]
  - address: fd00:10::1/64
dns: {domain: street.test}
`
	farm = `
name: farm
mode: route
bridge: {name: farm0, mac: "02:00:00:00:0a:02"}
subnets:
  - address: 192.168.20.1/24
  - address: fd00:20::1/64
`
)

// resident is a guest with an address of either family, who echoes on some ports.
type resident struct {
	*nettest.Guest
	v4, v6 string
}

// moveIn adds a guest with the last number of its addresses.
func moveIn(t *testing.T, w *nettest.World, name, bridge, net4, net6 string, n int) resident {
	t.Helper()
	r := resident{w.Guest(t, name), fmt.Sprintf("%s.%d", net4, n), fmt.Sprintf("%s::%d", net6, n)}
	r.Attach(t, bridge)
	r.Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0; ip -6 addr add %s/64 dev eth0 nodad; ip route add default via %s.1; ip -6 route add default via %s::1",
		r.v4, r.v6, net4, net6))
	echoOn(t, r.Namespace)
	return r
}

// echoOn echoes TCP and UDP on ports 7000 and 7001.
func echoOn(t *testing.T, ns *nettest.Namespace) {
	t.Helper()
	for _, port := range []string{":7000", ":7001"} {
		l, err := ns.Listen("tcp", port)
		if err != nil {
			t.Fatal(err)
		}
		u, err := ns.ListenPacket("udp", port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		go echoTCP(l)
		go echoUDP(u)
	}
}

func echoTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				_, _ = c.Write(b[:n])
			}
		}()
	}
}

func echoUDP(u net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := u.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = u.WriteTo(b[:n], from)
	}
}

// talks reports whether something is echoed: by tcp, udp, or icmp, which is ping.
func talks(t *testing.T, from *nettest.Namespace, network, to string, port int) bool {
	t.Helper()
	if network == "icmp" {
		_, err := from.Try(t.Context(), "ping -c 1 -W 1 "+to)
		return err == nil
	}
	for range 2 { // the first may be for a neighbour that is not known yet
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		c, err := from.DialContext(ctx, network, netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port)).String())
		cancel()
		if err != nil {
			continue
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(700 * time.Millisecond))
		if _, err := c.Write([]byte("hello")); err != nil {
			continue
		}
		if _, err := c.Read(make([]byte, 5)); err == nil {
			return true
		}
	}
	return false
}

// attempt is one to talk, and whether that is to go well.
type attempt struct {
	from    *nettest.Namespace
	network string
	to      string
	port    int
	want    bool
}

func try(t *testing.T, what string, attempts []attempt) {
	t.Helper()
	type answer struct {
		attempt
		got bool
	}
	answers := make(chan answer, len(attempts))
	for _, a := range attempts {
		go func() { answers <- answer{a, talks(t, a.from, a.network, a.to, a.port)} }()
	}
	for range attempts {
		if a := <-answers; a.got != a.want {
			t.Errorf("%s: %s to %s port %d = %t, want %t", what, a.network, a.to, a.port, a.got, a.want)
		}
	}
}

// neighbourhood is two guests of street and one of farm.
type neighbourhood struct {
	w            *nettest.World
	d            *nettest.Daemon
	web, db, far resident
}

func newNeighbourhood(t *testing.T, filter string) neighbourhood {
	t.Helper()
	nettest.Need(t, "ping")
	w := nettest.New(t)
	h := neighbourhood{w: w, d: w.Daemon(t, nettest.DaemonConfig{Config: quietly})}
	h.d.CtlInput(t, farm, "network", "create", "-f", "-")
	h.d.CtlInput(t, street+filter, "network", "create", "-f", "-")
	h.web = moveIn(t, w, "web", "street0", "192.168.10", "fd00:10", 11)
	h.db = moveIn(t, w, "db", "street0", "192.168.10", "fd00:10", 12)
	h.far = moveIn(t, w, "far", "farm0", "192.168.20", "fd00:20", 11)
	for _, r := range []resident{h.web, h.db} {
		awaitRule(t, w, r.Port)
	}
	return h
}

// awaitRule waits until a port is ruled.
func awaitRule(t *testing.T, w *nettest.World, port string) {
	t.Helper()
	nettest.Eventually(t, "port "+port+" has rules", func() error {
		if out := w.Host.Run(t, "nft list map bridge vnetd rules_out || true"); !strings.Contains(out, port) {
			return fmt.Errorf("it has not:\n%s", out)
		}
		return nil
	})
}

func (h *neighbourhood) apply(t *testing.T, filter string) {
	t.Helper()
	h.d.CtlInput(t, street+filter, "network", "apply", "-f", "-")
}

// Rules of both directions, between guests of one bridge and by way of the host, for
// both families; what they let begin is answered, and nothing else passes.
func TestRules(t *testing.T) {
	h := newNeighbourhood(t, `
filter:
  in: drop
  rules:
    - {direction: in, action: accept, protocol: tcp, ports: ["7000"]}
    - {direction: in, action: accept, protocol: udp, ports: [7000], remote: 192.168.20.0/24}
    - {direction: out, action: drop, protocol: tcp, ports: [7001, 8000-8100], remote: 192.168.20.0/24}
`)
	web, db, far := h.web.Namespace, h.db.Namespace, h.far.Namespace
	host := h.w.Host
	try(t, "at first", []attempt{
		{web, "tcp", h.db.v4, 7000, true},
		{web, "tcp", h.db.v6, 7000, true},
		{web, "tcp", h.db.v4, 7001, false},
		{web, "tcp", h.db.v6, 7001, false},
		{web, "udp", h.db.v4, 7000, false},
		{web, "icmp", h.db.v4, 0, false},
		{web, "icmp", h.db.v6, 0, false},
		{host, "tcp", h.db.v4, 7000, true},
		{host, "tcp", h.db.v4, 7001, false},
		{host, "icmp", h.db.v6, 0, false},
		{web, "tcp", "203.0.113.1", 7, true},
		{web, "udp", "203.0.113.1", 7, true},
		{web, "icmp", "203.0.113.1", 0, true},
		{web, "icmp", "fd00:10::1", 0, true},
		{db, "tcp", h.far.v4, 7000, true},
		{db, "udp", h.far.v4, 7001, true},
		{db, "tcp", h.far.v4, 7001, false},
		{db, "icmp", h.far.v4, 0, true},
	})
	_ = far
}
