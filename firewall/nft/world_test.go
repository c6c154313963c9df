package nft

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

// port is where every member of a world listens, TCP and UDP.
const port = 7000

// member is a host that sends packets: a guest, the outside, or vnetd's host.
type member struct {
	*namespace
	name   string
	party  firewall.Party
	link   string // the host's, to it
	v4, v6 netip.Addr
	got    chan string // payloads of datagrams that came
}

// world is a host with networks, guests on them, and an outside that has routes
// to every guest, so that nothing but the firewall keeps it out.
type world struct {
	host    *member
	members map[string]*member
	driver  *Driver
}

// worldNetworks: guests a and b are on networks with NAT, b's of both families, c
// is on a routed one, d on an isolated one and o on an open one; p is on a network
// with NAT and q on a routed one that are pinned to the link to outside.
var worldNetworks = []netdrv.Network{
	example.Network("alpha", netdrv.NAT, "vbra", "10.1.0.1/24", "10.1.1.1/24", "fd00:1::1/64"),
	example.WithNAT66(example.WithPorts(example.Network("beta", netdrv.NAT, "vbrb", "10.2.0.1/24", "fd00:2::1/64"), 20000, 20999)),
	example.Network("gamma", netdrv.Route, "vbrc", "10.3.0.1/24", "fd00:3::1/64"),
	example.Network("delta", netdrv.Isolated, "vbrd", "10.4.0.1/24", "fd00:4::1/64"),
	example.Network("omega", netdrv.Open, "vbro", "10.5.0.1/24", "fd00:5::1/64"),
	example.Pinned(example.Network("pi", netdrv.NAT, "vbrp", "10.6.0.1/24", "fd00:6::1/64"), "to-outside"),
	example.Pinned(example.Network("koppa", netdrv.Route, "vbrq", "10.7.0.1/24", "fd00:7::1/64"), "to-outside"),
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{members: map[string]*member{}}
	w.host = w.add(t, "host", newNamespace(t), "203.0.113.1", "2001:db8::1")
	w.host.party = firewall.HostOther
	for _, sysctl := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		w.sysctl(t, sysctl, "1")
	}
	for _, n := range worldNetworks {
		w.host.run(t, "ip", "link", "add", n.Bridge.Name, "type", "bridge", "forward_delay", "0")
		w.host.run(t, "ip", "link", "set", n.Bridge.Name, "up")
		for _, s := range n.Subnets {
			w.address(t, n.Bridge.Name, s.Address.String())
		}
	}
	w.guest(t, "a", "vbra", "10.1.0.2/24", "10.1.0.1", "fd00:1::2/64", "fd00:1::1")
	w.guest(t, "a2", "vbra", "10.1.0.3/24", "10.1.0.1", "fd00:1::3/64", "fd00:1::1")
	w.guest(t, "a3", "vbra", "10.1.1.2/24", "10.1.1.1", "fd00:1::4/64", "fd00:1::1")
	w.guest(t, "b", "vbrb", "10.2.0.2/24", "10.2.0.1", "fd00:2::2/64", "fd00:2::1")
	w.guest(t, "c", "vbrc", "10.3.0.2/24", "10.3.0.1", "fd00:3::2/64", "fd00:3::1")
	w.guest(t, "d", "vbrd", "10.4.0.2/24", "10.4.0.1", "fd00:4::2/64", "fd00:4::1")
	w.guest(t, "o", "vbro", "10.5.0.2/24", "10.5.0.1", "fd00:5::2/64", "fd00:5::1")
	w.guest(t, "p", "vbrp", "10.6.0.2/24", "10.6.0.1", "fd00:6::2/64", "fd00:6::1")
	w.guest(t, "q", "vbrq", "10.7.0.2/24", "10.7.0.1", "fd00:7::2/64", "fd00:7::1")
	w.guest(t, "outside", "", "203.0.113.2/24", "203.0.113.1", "2001:db8::2/64", "2001:db8::1")
	w.address(t, "to-outside", "203.0.113.1/24", "2001:db8::1/64")
	w.guest(t, "far", "", "198.51.100.2/24", "198.51.100.1", "2001:db8:1::2/64", "2001:db8:1::1")
	w.address(t, "to-far", "198.51.100.1/24", "2001:db8:1::1/64")
	w.driver = w.host.open(t)
	apply(t, w.driver, worldNetworks...)
	return w
}

// address gives the host addresses.
func (w *world) address(t testing.TB, link string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		args := []string{"ip", "addr", "add", a, "dev", link}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		w.host.run(t, args...)
	}
}

func (w *world) sysctl(t testing.TB, key, value string) {
	t.Helper()
	var err error
	w.host.do(func() { err = os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
	if err != nil {
		t.Fatal(err)
	}
}

// guest adds a namespace with a cable to a bridge of the host, or if that is
// empty to the host itself.
func (w *world) guest(t testing.TB, name, bridge, v4, gw4, v6, gw6 string) {
	t.Helper()
	m := w.add(t, name, newNamespace(t), netip.MustParsePrefix(v4).Addr().String(), netip.MustParsePrefix(v6).Addr().String())
	m.link, m.party = "to-"+name, map[string]firewall.Party{"outside": firewall.AtUplink, "far": firewall.Elsewhere}[name]
	for _, n := range worldNetworks {
		if n.Bridge.Name == bridge {
			m.link, m.party = bridge, firewall.PartyOf(n)
		}
	}
	w.host.run(t, "ip", "link", "add", "to-"+name, "type", "veth", "peer", "name", "eth0", "netns", m.path)
	if bridge != "" {
		w.host.run(t, "ip", "link", "set", "to-"+name, "master", bridge)
	}
	w.host.run(t, "ip", "link", "set", "to-"+name, "up")
	m.run(t, "ip", "link", "set", "eth0", "up")
	m.run(t, "ip", "addr", "add", v4, "dev", "eth0")
	m.run(t, "ip", "addr", "add", v6, "dev", "eth0", "nodad")
	m.run(t, "ip", "route", "add", "default", "via", gw4)
	m.run(t, "ip", "-6", "route", "add", "default", "via", gw6)
}

// add makes a member listen: over TCP it sends the client's address as it sees it and the
// segment size of the connection, and echoes; datagrams it records.
func (w *world) add(t testing.TB, name string, ns *namespace, v4, v6 string) *member {
	t.Helper()
	m := &member{
		namespace: ns, name: name, got: make(chan string, 1000),
		v4: netip.MustParseAddr(v4), v6: netip.MustParseAddr(v6),
	}
	w.members[name] = m
	var l net.Listener
	var u *net.UDPConn
	var lerr, uerr error
	ns.do(func() {
		// No duplicate address detection for link-local addresses, which takes seconds.
		os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
		l, lerr = net.Listen("tcp", fmt.Sprintf(":%d", port))
		u, uerr = net.ListenUDP("udp", &net.UDPAddr{Port: port})
	})
	if lerr != nil || uerr != nil {
		t.Fatal(lerr, uerr)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go serveTCP(l)
	go func() {
		b := make([]byte, 1500)
		for {
			n, _, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			m.got <- string(b[:n])
		}
	}()
	return m
}

func serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintln(c, c.RemoteAddr(), segment(c))
			b := make([]byte, 1500)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				c.Write(b[:n])
			}
		}()
	}
}

func (m *member) addr(family int) netip.Addr {
	if family == 6 {
		return m.v6
	}
	return m.v4
}

// segment returns the size of the largest segment that a connection sends.
func segment(c net.Conn) int {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) })
	return n
}

// call is a connection, our address as the other end sees it, and the segment size of both
// ends.
type call struct {
	net.Conn
	seen          netip.AddrPort
	segment, ours int
}

// dial connects from a local port, or any if 0.
func (m *member) dial(to netip.Addr, from int) (call, error) {
	var c call
	var err error
	m.do(func() {
		d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{Port: from}}
		c.Conn, err = d.Dial("tcp", netip.AddrPortFrom(to, port).String())
	})
	if err != nil {
		return c, err
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	var seen string
	if _, err := fmt.Fscanln(c, &seen, &c.segment); err != nil {
		c.Close()
		return c, err
	}
	c.seen, c.ours = netip.MustParseAddrPort(strings.TrimSpace(seen)), segment(c.Conn)
	return c, nil
}

var token atomic.Int64

// deliver sends one datagram, and behind it another one from the host, which
// reaches everybody. It reports whether the first came. The answer no is given
// when the second came alone.
func (w *world) deliver(t testing.TB, from, to *member, family int) bool {
	t.Helper()
	probe := fmt.Sprintf("%s to %s, %d", from.name, to.name, token.Add(1))
	from.send(t, to.addr(family), probe)
	behind := "behind " + probe
	w.host.send(t, to.addr(family), behind)
	came := false
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		select {
		case s := <-to.got:
			came = came || s == probe
			if s == behind {
				return came
			}
		case <-ctx.Done():
			t.Fatalf("the host's own datagram does not reach %s", to.name)
		}
	}
}

func (m *member) send(t testing.TB, to netip.Addr, payload string) {
	t.Helper()
	var err error
	m.do(func() {
		var c net.Conn
		if c, err = net.Dial("udp", netip.AddrPortFrom(to, port).String()); err == nil {
			_, err = c.Write([]byte(payload))
			c.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
