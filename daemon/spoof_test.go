package daemon_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// cable is a packet socket on a link: it sends frames, and notes the marks of those
// that come.
type cable struct {
	fd   int
	mu   sync.Mutex
	seen map[string]bool
}

// openCable opens a packet socket on a link in a namespace.
func openCable(t *testing.T, ns *nettest.Namespace, link string) *cable {
	t.Helper()
	c := &cable{seen: map[string]bool{}}
	index := ns.Ifindex(t, link)
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	err := ns.Do(func() (err error) {
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all)); err != nil {
			return err
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	})
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(c.fd), "packets")
	t.Cleanup(func() { f.Close() })
	go c.listen(f)
	return c
}

func (c *cable) listen(f *os.File) {
	b := make([]byte, 4096)
	for {
		n, err := f.Read(b)
		if err != nil {
			return
		}
		if _, mark, ok := strings.Cut(string(b[:n]), "<lie "); ok {
			mark, _, _ = strings.Cut(mark, ">")
			c.mu.Lock()
			c.seen[mark] = true
			c.mu.Unlock()
		}
	}
}

func (c *cable) send(frame []byte) error { return unix.Send(c.fd, frame, 0) }

func (c *cable) saw(mark string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[mark]
}

func hw(s string) []byte {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

const everybody = "ff:ff:ff:ff:ff:ff"

func ethernet(to, from string, typ uint16, payload ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(append(hw(to), hw(from)...), typ)
	return append(b, slices.Concat(payload...)...)
}

// arp is a request or an announcement; what is behind its 28 octets is padding.
func arp(from string, sender string, address, target string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, hw(sender)...), netip.MustParseAddr(address).AsSlice()...)
	b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(target).AsSlice()...)
	return ethernet(everybody, from, unix.ETH_P_ARP, b)
}

func ipv4(from, src, dst string, protocol byte, payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0}
	// The mark that is appended is part of the packet.
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)+markLen))
	b = append(append(b, netip.MustParseAddr(src).AsSlice()...), netip.MustParseAddr(dst).AsSlice()...)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	return ethernet(everybody, from, unix.ETH_P_IP, b, payload)
}

func ipv6(from, src, dst string, next byte, payload []byte) []byte {
	b := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)+markLen))
	b = append(append(b, netip.MustParseAddr(src).AsSlice()...), netip.MustParseAddr(dst).AsSlice()...)
	return ethernet("33:33:00:00:00:01", from, unix.ETH_P_IPV6, b, payload)
}

func udp(src, dst uint16) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
	return append(b, 0, byte(8+markLen), 0, 0)
}

// icmp6 is a message about a target; for a router's, the octets mean otherwise and
// do no harm.
func icmp6(typ byte, target string) []byte {
	return append([]byte{typ, 0, 0, 0, 0x20, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
}

const markLen = 24

// marked appends a mark of a fixed length, by which the frame is known again.
func marked(frame []byte, mark string) []byte {
	return append(frame, fmt.Sprintf("%-*s", markLen, "<lie "+mark+">")...)
}

// fragment6 is the first fragment of an IPv6 packet, or with more = 0 the only one.
func fragment6(from, src, dst string, next, more byte, payload []byte) []byte {
	return ipv6(from, src, dst, 44, append([]byte{next, 0, 0, more, 0, 0, 0, 7}, payload...))
}

const cleanLab = `
name: lab
mode: nat
bridge: {name: lab0, mac: "02:00:00:00:0a:01"}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.100, end: 192.168.10.200}]
      leaseTime: 1h
      reservations: [{mac: "02:00:00:00:77:77", address: 192.168.10.9}]
  - address: fd00:10::1/64
    slaac: true
    dhcp:
      ranges: [{start: "fd00:10::100", end: "fd00:10::200"}]
      reservations: [{mac: "02:00:00:00:77:77", address: "fd00:10::9"}]
dns: {domain: lab.test}
`

// liar is a guest with a lease, its neighbour with another, and who listens.
type liar struct {
	guest, neighbour     *nettest.Guest
	own, other           string // their IPv4 addresses
	wire                 *cable
	atNeighbour, atHost  *cable
	ownLocal, otherLocal string
}

func newLiar(t *testing.T, w *nettest.World) *liar {
	t.Helper()
	g, lg := guest(t, w, "liar", "lab0")
	n, ln := guest(t, w, "neighbour", "lab0")
	return &liar{
		guest: g, neighbour: n, own: lg.Address.Addr().String(), other: ln.Address.Addr().String(),
		wire: openCable(t, g.Namespace, "eth0"), atNeighbour: openCable(t, n.Namespace, "eth0"), atHost: openCable(t, w.Host, "lab0"),
		ownLocal: "fe80::ff:fe00:1", otherLocal: "fe80::ff:fe00:2",
	}
}

// lies are frames, by what is wrong with them.
func (l *liar) lies() map[string][]byte {
	const gateway, gateway6, hosts = "192.168.10.1", "fd00:10::1", "02:00:00:00:0a:01"
	me, other, all := l.guest.MAC, l.neighbour.MAC, "ff02::1"
	return map[string][]byte{
		"mac":             ipv4(other, l.own, "192.168.10.255", 17, udp(9, 9)),
		"host's mac":      ipv4(hosts, l.own, "192.168.10.255", 17, udp(9, 9)),
		"a made-up mac":   arp("02:00:00:00:66:66", "02:00:00:00:66:66", l.own, gateway),
		"source":          ipv4(me, l.other, "192.168.10.255", 17, udp(9, 9)),
		"free source":     ipv4(me, "192.168.10.99", "192.168.10.255", 17, udp(9, 9)),
		"foreign source":  ipv4(me, "203.0.113.77", "192.168.10.255", 17, udp(9, 9)),
		"no source":       ipv4(me, "0.0.0.0", "192.168.10.255", 17, udp(9, 9)),
		"arp mac":         arp(me, other, l.own, gateway),
		"arp sender":      arp(me, me, l.other, gateway),
		"arp gateway":     arp(me, me, gateway, gateway),
		"dhcp offer":      ipv4(me, l.own, "255.255.255.255", 17, udp(67, 68)),
		"offer, no port":  ipv4(me, l.own, "255.255.255.255", 17, udp(9, 68)),
		"probes other":    arp(me, me, "0.0.0.0", l.other),
		"probes gateway":  arp(me, me, "0.0.0.0", gateway),
		"probes reserved": arp(me, me, "0.0.0.0", "192.168.10.9"),
		"redirect":        ipv4(me, l.own, "192.168.10.255", 1, []byte{5, 1, 0, 0, 0, 0, 0, 0}),
		"source6":         ipv6(me, "fd00:10::ff:fe00:2", all, 17, udp(9, 9)),
		"local6":          ipv6(me, l.otherLocal, all, 17, udp(9, 9)),
		"gateway6":        ipv6(me, gateway6, all, 17, udp(9, 9)),
		"foreign6":        ipv6(me, "2001:db8::77", all, 17, udp(9, 9)),
		"advertises":      ipv6(me, l.ownLocal, all, 58, icmp6(136, l.otherLocal)),
		"advertises gw":   ipv6(me, l.ownLocal, all, 58, icmp6(136, gateway6)),
		"router":          ipv6(me, l.ownLocal, all, 58, icmp6(134, "::")),
		"dad":             ipv6(me, "::", all, 58, icmp6(135, l.otherLocal)),
		"dad slaac":       ipv6(me, "::", all, 58, icmp6(135, "fd00:10::ff:fe00:2")),
		"dad gateway":     ipv6(me, "::", all, 58, icmp6(135, gateway6)),
		"dad reserved":    ipv6(me, "::", all, 58, icmp6(135, "fd00:10::9")),
		"router atomic":   fragment6(me, l.ownLocal, all, 58, 0, icmp6(134, "::")),
		"router first":    fragment6(me, l.ownLocal, all, 58, 1, icmp6(134, "::")),
		"solicit first":   fragment6(me, l.ownLocal, all, 58, 1, icmp6(135, l.otherLocal)),
		"no header":       fragment6(me, l.ownLocal, all, 60, 1, []byte{58, 15, 1, 100, 0, 0, 0, 0}),
		"reply, no port":  ipv6(me, l.ownLocal, all, 17, udp(9, 546)),
		"redirect6":       ipv6(me, l.ownLocal, all, 58, icmp6(137, l.ownLocal)),
		"dhcpv6 reply":    ipv6(me, l.ownLocal, all, 17, udp(547, 546)),
		"ethertype":       ethernet(everybody, me, 0x88b5),
		"double vlan":     ethernet(everybody, me, 0x8100, []byte{0, 5, 0x81, 0, 0, 6, 8, 0}),
	}
}

// truths are frames that a guest has to be able to send.
func (l *liar) truths() map[string][]byte {
	me, all := l.guest.MAC, "ff02::1"
	return map[string][]byte{
		"address":       ipv4(me, l.own, "192.168.10.255", 17, udp(9, 9)),
		"discover":      ipv4(me, "0.0.0.0", "255.255.255.255", 17, udp(68, 67)),
		"arp":           arp(me, me, l.own, "192.168.10.1"),
		"arp probe":     arp(me, me, "0.0.0.0", "192.168.10.77"),
		"own arp probe": arp(me, me, "0.0.0.0", l.own),
		"local6":        ipv6(me, l.ownLocal, all, 17, udp(9, 9)),
		"slaac":         ipv6(me, "fd00:10::ff:fe00:1", all, 17, udp(9, 9)),
		"private slaac": ipv6(me, "fd00:10::1234:5678:9abc:def0", all, 17, udp(9, 9)),
		"dad":           ipv6(me, "::", all, 58, icmp6(135, "fd00:10::1234:5678:9abc:def0")),
		"own dad":       ipv6(me, "::", all, 58, icmp6(135, l.ownLocal)),
		"mld":           ipv6(me, "::", "ff02::16", 58, icmp6(143, "::")),
		"advertises":    ipv6(me, l.ownLocal, all, 58, icmp6(136, l.ownLocal)),
		"solicits":      ipv6(me, l.ownLocal, "ff02::2", 58, icmp6(133, "::")),
	}
}

// fragments are truths that br_netfilter keeps until all of a packet is there.
func (l *liar) fragments() map[string][]byte {
	me, all := l.guest.MAC, "ff02::1"
	return map[string][]byte{
		"fragment":      fragment6(me, l.ownLocal, all, 17, 1, udp(9, 9)),
		"last fragment": ipv6(me, l.ownLocal, all, 44, []byte{17, 0, 0, 8, 0, 0, 0, 7}),
		"big ping":      fragment6(me, l.ownLocal, all, 58, 1, []byte{128, 0, 0, 0, 0, 1, 0, 1}),
		"header":        fragment6(me, l.ownLocal, all, 60, 1, []byte{17, 0, 1, 4, 0, 0, 0, 0, 0, 9, 0, 9, 0, 32, 0, 0}),
	}
}

// tell sends frames, and then one that arrives in any case: what has not come by
// then does not come. It returns which came to the neighbour, and which to the
// host.
func (l *liar) tell(t *testing.T, round string, frames map[string][]byte) (neighbour, host map[string]bool) {
	t.Helper()
	for mark, f := range frames {
		if err := l.wire.send(marked(f, round+mark)); err != nil {
			t.Fatalf("%s: %v", mark, err)
		}
	}
	end := round + "end"
	nettest.Eventually(t, "a true frame arrives", func() error {
		if err := l.wire.send(marked(arp(l.guest.MAC, l.guest.MAC, l.own, "192.168.10.1"), end)); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
		if !l.atNeighbour.saw(end) || !l.atHost.saw(end) {
			return fmt.Errorf("nothing yet")
		}
		return nil
	})
	neighbour, host = map[string]bool{}, map[string]bool{}
	for mark := range frames {
		neighbour[mark], host[mark] = l.atNeighbour.saw(round+mark), l.atHost.saw(round+mark)
	}
	return neighbour, host
}

// A guest lies in every way there is, and is stopped in each, with br_netfilter on
// and off; the same frames arrive where nobody asked for clean traffic, so that it
// is for no other reason. Its neighbour does not notice.
func TestCleanTraffic(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping", "nft")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, cleanLab, "network", "create", "-f", "-")
	l := newLiar(t, w)
	w.Host.Sysctl(t, "net/bridge/bridge-nf-call-ip6tables", "0") // which keeps fragments
	neighbour, _ := l.tell(t, "1", l.lies())
	for lie, came := range neighbour {
		if !came {
			t.Errorf("without a filter, %q does not arrive: the test proves nothing about it", lie)
		}
	}
	l.guest.Run(t, "ping -c1 -W3 "+l.other) // mends what the lies have spoilt
	d.Ctl(t, "network", "set", "lab", "filter.preset=clean-traffic")
	for i, bridged := range []string{"0", "1"} {
		for _, table := range []string{"iptables", "ip6tables"} {
			w.Host.Sysctl(t, "net/bridge/bridge-nf-call-"+table, bridged)
		}
		pings := l.neighbour.Start(t, "ping", "-i", "0.05", "-c", "20", "-W", "3", "192.168.10.1")
		neighbour, host := l.tell(t, fmt.Sprint(2+2*i), l.lies())
		for lie := range neighbour {
			if neighbour[lie] || host[lie] {
				t.Errorf("bridge-nf=%s: %q arrives at the neighbour %t, at the host %t", bridged, lie, neighbour[lie], host[lie])
			}
		}
		truths := l.truths()
		if bridged == "0" {
			maps.Copy(truths, l.fragments())
		}
		neighbour, host = l.tell(t, fmt.Sprint(3+2*i), truths)
		for truth := range neighbour {
			if !neighbour[truth] || !host[truth] {
				t.Errorf("bridge-nf=%s: %q arrives at the neighbour %t, at the host %t", bridged, truth, neighbour[truth], host[truth])
			}
		}
		if err := pings.Wait(t.Context()); err != nil || !strings.Contains(pings.Output(), " 0% packet loss") {
			t.Errorf("the neighbour's pings (%v):\n%s", err, pings.Output())
		}
	}
}

// Nothing that is said about addresses reaches a link behind which no guest is known yet,
// here as the daemon is away: its guest would take it for an answer to its own duplicate
// address detection.
func TestClaimsDoNotReachUnknownGuests(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, cleanLab+"filter: {preset: clean-traffic}\n", "network", "create", "-f", "-")
	w.Host.Sysctl(t, "net/bridge/bridge-nf-call-ip6tables", "0")
	l := newLiar(t, w)
	d.Kill()
	unknown := w.Guest(t, "unknown")
	unknown.Attach(t, "lab0")
	l.atNeighbour = openCable(t, unknown.Namespace, "eth0")
	frames := map[string][]byte{
		"dad":        ipv6(l.guest.MAC, "::", "ff02::1", 58, icmp6(135, "fd00:10::ff:fe00:3")),
		"advertises": ipv6(l.guest.MAC, l.ownLocal, "ff02::1", 58, icmp6(136, l.ownLocal)),
		"local6":     l.truths()["local6"],
	}
	at, _ := l.tell(t, "1", frames)
	if at["dad"] || at["advertises"] || !at["local6"] {
		t.Errorf("at the unknown guest arrived %v, want local6 only", at)
	}
}

// A guest that invents an address for each packet fills neither the host's neighbour table
// nor a table of ours, and goes on with those that it has.
func TestInventedIPv6AddressesAreLimited(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, cleanLab+"filter: {preset: clean-traffic}\n", "network", "create", "-f", "-")
	l := newLiar(t, w)
	frames := map[string][]byte{}
	for i := range 200 {
		prefix := []string{"fe80::", "fd00:10::"}[i%2]
		frames[fmt.Sprint(i)] = ipv6(l.guest.MAC, fmt.Sprintf("%sbeef:%x", prefix, i+1), "ff02::1", 17, udp(9, 9))
	}
	began := time.Now()
	neighbour, host := l.tell(t, "1", frames)
	came := map[string][]byte{}
	for mark := range frames {
		if host[mark] != neighbour[mark] {
			t.Errorf("%s arrives at the neighbour %t, at the host %t", mark, neighbour[mark], host[mark])
		}
		if host[mark] {
			came[mark] = frames[mark]
		}
	}
	if most := 33 + int(time.Since(began).Seconds()) + 1; len(came) < 20 || len(came) > most {
		t.Errorf("%d of 200 invented addresses are used, want at most %d", len(came), most)
	}
	_, host = l.tell(t, "2", came)
	for mark := range came {
		if !host[mark] {
			t.Errorf("an address that was in use is dropped: %s", mark)
		}
	}
}
