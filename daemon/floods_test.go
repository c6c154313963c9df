package daemon_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// roundsVar has TestFloods take its figures in so many rounds, of as many exchanges
// each (make floods).
const roundsVar = "VNETD_TEST_ROUNDS"

const (
	// honestClients come in turn.
	honestClients = 15

	// course is how long a flood lasts at least when figures are taken: its first
	// moments, before anything is done about it, are not the rule.
	course = 500 * time.Millisecond
)

// A service is what others want meanwhile: it is done once, for client n, and
// says how long it took.
type service func(f *floodWorld, n int) (time.Duration, error)

var (
	byDHCP service = func(f *floodWorld, n int) (time.Duration, error) {
		took, _, err := f.good.bind(honestMAC(n))
		return took, err
	}
	byDHCP6 service = func(f *floodWorld, n int) (time.Duration, error) { return f.good.bind6(honestMAC(n)) }
	// Other clients than those of our own link: a relay cannot move these away.
	byRelay service = func(f *floodWorld, n int) (time.Duration, error) {
		return f.good.bindRelayed(honestMAC(honestClients+n), "eth7")
	}
	byUDP service = func(f *floodWorld, n int) (time.Duration, error) { return f.ask("udp") }
	byTCP service = func(f *floodWorld, n int) (time.Duration, error) { return f.ask("tcp") }
)

func honestMAC(n int) net.HardwareAddr { return net.HardwareAddr{2, 0xaa, 0, 0, 0, byte(n)} }

// floodWorld is a host with a guest that behaves and one that does not.
type floodWorld struct {
	t               *testing.T
	d               *nettest.Daemon
	honest, hostile *nettest.Guest
	good, bad       *wire
	relay           *wire // on the port of the guest that behaves
	bridge          net.HardwareAddr
	honestAddr      netip.Addr
}

// A flood is what a hostile guest does, again and again, to whom it hurts.
type flood struct {
	name  string
	hurts service
	frame func(f *floodWorld) []byte // nil: attack
	// attack goes on until stop is closed, on the server's port or nobody's.
	attack func(f *floodWorld, port int, stop <-chan struct{}, sent *atomic.Int64)
	port   int // the server's, for attack
}

func invented() net.HardwareAddr {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64())
	return net.HardwareAddr{2, 0xee, b[0], b[1], b[2], b[3]}
}

// spoiled is a message with some of its octets changed, and perhaps cut.
func spoiled(b []byte, from int) []byte {
	for range 8 {
		b[from+rand.IntN(len(b)-from)] = byte(rand.Uint32())
	}
	return b[:rand.IntN(len(b))]
}

var oneMAC = net.HardwareAddr{2, 0xee, 0, 0, 0, 1}

// relayedBy is a message as a relay sends it on, from a circuit of its.
func relayedBy(mac net.HardwareAddr, circuit string, m *dhcpv4.DHCPv4) []byte {
	m.GatewayIPAddr = net.IP{192, 168, 30, 1}
	m.UpdateOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(1), []byte(circuit))))
	return udp4(mac, m.ToBytes())
}

func say6(typ dhcpv6.MessageType, mac net.HardwareAddr, mods ...dhcpv6.Modifier) *dhcpv6.Message {
	m, _ := dhcpv6.NewSolicit(mac, mods...)
	m.MessageType = typ
	return m
}

// server6 is the server's DUID: the type LL of its bridge's MAC.
func (f *floodWorld) server6() dhcpv6.Modifier {
	return dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: f.bridge})
}

func address6(n int) dhcpv6.Modifier {
	return dhcpv6.WithIANA(dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(fmt.Sprintf("fd00:10::%x", 0x1000+n%0xf000))})
}

func query(name string, typ uint16) []byte {
	b, _ := new(dns.Msg).SetQuestion(name, typ).Pack()
	return b
}

// asked is a frame with a query from some address of the network's.
func (f *floodWorld) asked(mac net.HardwareAddr, from byte, b []byte) []byte {
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 10, from}), uint16(1024+rand.IntN(60000)))
	return frame4(mac, f.bridge, src, netip.MustParseAddrPort("192.168.10.1:53"), b)
}

var floods = []flood{
	{name: "DISCOVER from invented MACs", hurts: byDHCP, frame: func(*floodWorld) []byte {
		mac := invented()
		m, _ := dhcpv4.NewDiscovery(mac)
		return from(mac, m)
	}},
	{name: "DISCOVER from one MAC for invented clients", hurts: byDHCP, frame: func(*floodWorld) []byte {
		m, _ := dhcpv4.NewDiscovery(invented())
		return from(oneMAC, m)
	}},
	{name: "REQUEST of every address in turn", hurts: byDHCP, frame: func(*floodWorld) []byte {
		mac := invented()
		m, _ := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithHwAddr(mac),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP{192, 168, 10, mac[5]})))
		return from(mac, m)
	}},
	{name: "DECLINE and RELEASE in others' names", hurts: byDHCP, frame: func(*floodWorld) []byte {
		m, _ := dhcpv4.New(dhcpv4.WithMessageType([]dhcpv4.MessageType{dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease}[rand.IntN(2)]),
			dhcpv4.WithHwAddr(honestMAC(rand.IntN(256))), dhcpv4.WithClientIP(net.IP{192, 168, 10, byte(rand.Uint32())}))
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(m.ClientIPAddr))
		return from(oneMAC, m)
	}},
	{name: "lengths that lie", hurts: byDHCP, frame: func(*floodWorld) []byte {
		m, _ := dhcpv4.NewDiscovery(invented())
		f := udp4(invented(), spoiled(m.ToBytes(), 236))
		binary.BigEndian.PutUint16(f[38:], uint16(rand.Uint32()))
		return f
	}},
	{name: "DISCOVER as a relay with invented circuits", hurts: byDHCP, frame: func(*floodWorld) []byte {
		m, _ := dhcpv4.NewDiscovery(invented())
		return relayedBy(oneMAC, fmt.Sprint(rand.Uint64()), m)
	}},
	{name: "the same, and others are behind a relay", hurts: byRelay, frame: func(*floodWorld) []byte {
		m, _ := dhcpv4.NewDiscovery(invented())
		return relayedBy(oneMAC, fmt.Sprint(rand.Uint64()), m)
	}},
	{name: "a guest behind the same relay", hurts: byRelay, port: 67, attack: func(f *floodWorld, port int, stop <-chan struct{}, sent *atomic.Int64) {
		m, _ := dhcpv4.NewDiscovery(invented())
		frame := relayedBy(relayMAC, "eth8", m)
		binary.BigEndian.PutUint16(frame[36:], uint16(port))
		for !over(stop) {
			f.relay.send(frame)
			sent.Add(1)
		}
	}},
	{name: "SOLICIT from invented clients, relayed or not, some of it garbage", hurts: byDHCP6, frame: func(*floodWorld) []byte {
		mac := invented()
		b := say6(dhcpv6.MessageTypeSolicit, mac).ToBytes()
		for range rand.IntN(9) {
			b = append(append(make([]byte, 34), 0, 9, byte(len(b)>>8), byte(len(b))), b...)
			b[0] = 12
		}
		if rand.IntN(2) == 0 {
			b[rand.IntN(len(b))] = byte(rand.Uint32())
		}
		return udp6(mac, b)
	}},
	{name: "SOLICIT from one MAC with invented DUIDs", hurts: byDHCP6, frame: func(*floodWorld) []byte {
		return udp6(oneMAC, say6(dhcpv6.MessageTypeSolicit, invented()).ToBytes())
	}},
	{name: "REQUEST of every address in turn, by IPv6", hurts: byDHCP6, frame: func(f *floodWorld) []byte {
		mac := invented()
		return udp6(mac, say6(dhcpv6.MessageTypeRequest, mac, f.server6(), address6(rand.IntN(1<<16))).ToBytes())
	}},
	{name: "DECLINE and RELEASE with others' DUIDs", hurts: byDHCP6, frame: func(f *floodWorld) []byte {
		typ := []dhcpv6.MessageType{dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeRelease}[rand.IntN(2)]
		return udp6(oneMAC, say6(typ, honestMAC(rand.IntN(256)), f.server6(), address6(rand.IntN(1<<16))).ToBytes())
	}},
	{name: "lengths that lie, by IPv6", hurts: byDHCP6, frame: func(f *floodWorld) []byte {
		b := udp6(oneMAC, spoiled(say6(dhcpv6.MessageTypeRequest, invented(), f.server6(), address6(1)).ToBytes(), 4))
		binary.BigEndian.PutUint16(b[58:], uint16(rand.Uint32()))
		return b
	}},
	{name: "router solicitations", hurts: byDHCP6, frame: func(*floodWorld) []byte {
		b := udp6(oneMAC, make([]byte, 0, 8))
		b[20], b[21] = 58, 255
		copy(b[54:], []byte{133, 0, 0, 0, 0, 0, 0, 0})
		return b
	}},
	{name: "queries for one name", hurts: byUDP, frame: func(f *floodWorld) []byte {
		return f.asked(f.hostileMAC(), 250, query("host.lab.test.", dns.TypeA))
	}},
	{name: "queries for new names that nobody answers", hurts: byUDP, frame: func(f *floodWorld) []byte {
		return f.asked(f.hostileMAC(), 250, query(fmt.Sprintf("r%d.example.net.", rand.Uint64()), dns.TypeA))
	}},
	{name: "queries from every address of the network", hurts: byUDP, frame: func(f *floodWorld) []byte {
		return f.asked(f.hostileMAC(), byte(2+rand.IntN(252)), query("host.lab.test.", dns.TypeA))
	}},
	{name: "queries in the name of who is served", hurts: byUDP, frame: func(f *floodWorld) []byte {
		return f.asked(f.hostileMAC(), f.honestAddr.As4()[3], query("host.lab.test.", dns.TypeA))
	}},
	{name: "queries from invented MACs and every address", hurts: byUDP, frame: func(f *floodWorld) []byte {
		return f.asked(invented(), byte(2+rand.IntN(252)), query("host.lab.test.", dns.TypeA))
	}},
	{name: "queries that lie about lengths", hurts: byUDP, frame: func(f *floodWorld) []byte {
		return f.asked(f.hostileMAC(), 250, spoiled(query("host.lab.test.", dns.TypeA), 0))
	}},
	{name: "a flood by UDP, and others ask by TCP", hurts: byTCP, frame: func(f *floodWorld) []byte {
		return f.asked(f.hostileMAC(), 250, query("host.lab.test.", dns.TypeA))
	}},
	{name: "a thousand connections that are opened again and again", hurts: byTCP, port: 53, attack: connect},
}

var relayMAC = net.HardwareAddr{2, 0xbb, 0, 0, 0, 1}

func (f *floodWorld) hostileMAC() net.HardwareAddr {
	mac, _ := net.ParseMAC(f.hostile.MAC)
	return mac
}

// connect has connections open from many addresses, and opens new ones.
func connect(f *floodWorld, port int, stop <-chan struct{}, sent *atomic.Int64) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var open []net.Conn
			for !over(stop) {
				ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
				c, err := f.hostile.DialContext(ctx, "tcp", fmt.Sprintf("192.168.10.1:%d", port))
				cancel()
				sent.Add(1)
				if err != nil {
					continue
				}
				if open = append(open, c); len(open) > 125 {
					_ = open[0].Close()
					open = open[1:]
				}
			}
			for _, c := range open {
				_ = c.Close()
			}
		})
	}
	all.Wait()
}

func over(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// repeat sends frames as fast as it can.
func repeat(frame func(*floodWorld) []byte) func(*floodWorld, int, <-chan struct{}, *atomic.Int64) {
	return func(f *floodWorld, port int, stop <-chan struct{}, sent *atomic.Int64) {
		// Made before, so that the test's own work is no part of the load.
		frames := make([][]byte, 4096)
		for i := range frames {
			frames[i] = frame(f)
			if port == nobodys {
				elsewhere(frames[i])
			}
		}
		for i := 0; !over(stop); i++ {
			f.bad.send(frames[i%len(frames)])
			sent.Add(1)
		}
	}
}

// nobodys is a port that nobody listens on.
const nobodys = 9

// elsewhere has a frame go to nobody's port; a router solicitation becomes an echo
// of the same size that is for others.
func elsewhere(f []byte) {
	switch {
	case f[12] == 0x86 && f[20] == 58:
		f[54] = 128
	case f[12] == 0x86:
		binary.BigEndian.PutUint16(f[56:], nobodys)
	default:
		binary.BigEndian.PutUint16(f[36:], nobodys)
	}
}

// during serves clients one after the other, in so many rounds, while the flood goes
// to a port, and returns how long each took, how many things were sent a second, and what part of
// a processor the server took.
func (f *floodWorld) during(x *flood, port, rounds int) (took []time.Duration, rate, busy float64) {
	f.t.Helper()
	attack := x.attack
	if attack == nil {
		attack = repeat(x.frame)
	}
	var sent atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); attack(f, port, stop, &sent) }()
	for sent.Load() < 100 {
		time.Sleep(10 * time.Millisecond)
	}
	start, before, cpu := time.Now(), sent.Load(), f.processor()
	for n := 0; n < rounds*honestClients || rounds > 1 && time.Since(start) < course; n++ {
		t, err := x.hurts(f, n%honestClients)
		if err != nil {
			f.t.Errorf("%s: %v", x.name, err)
		}
		took = append(took, t)
	}
	rate = float64(sent.Load()-before) / time.Since(start).Seconds()
	busy = (f.processor() - cpu).Seconds() / time.Since(start).Seconds()
	close(stop)
	<-done
	return took, rate, busy
}

func quantile(all []time.Duration, part float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(float64(len(sorted)-1)*part)]
}

// While one guest floods a server, another is served, and memory stays bounded; how
// long it takes is printed beside what it takes while the same goes to a port that
// nobody listens on. Figures are taken in turns, and are better with more of them.
func TestFloods(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv(roundsVar))
	rounds = max(rounds, 1)
	f := newFloodWorld(t)
	for i := range floods {
		x := &floods[i]
		_, _ = x.hurts(f, 0)
		for n := range honestClients {
			_, _ = x.hurts(f, n) // new clients wait for the wire
		}
		var usual, now []time.Duration
		var rate, busy float64
		for range rounds {
			there, _, _ := f.during(x, nobodys, rounds)
			here, r, b := f.during(x, x.port, rounds)
			usual, now, rate, busy = append(usual, there...), append(now, here...), max(rate, r), max(busy, b)
		}
		rss := residentMiB(t, f.d)
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		t.Logf("%-66s %6.0f/s  median %6.2f ms, else %6.2f: %4.2f  p95 %6.2f ms, else %6.2f: %4.2f  processor %3.0f %%  %d MiB", x.name, rate,
			ms(quantile(now, 0.5)), ms(quantile(usual, 0.5)), ms(quantile(now, 0.5))/ms(quantile(usual, 0.5)),
			ms(quantile(now, 0.95)), ms(quantile(usual, 0.95)), ms(quantile(now, 0.95))/ms(quantile(usual, 0.95)), 100*busy, rss)
		// How fast is for the figures, where nothing else runs; that all are served is
		// for every machine.
		if m, u := quantile(now, 0.5), quantile(usual, 0.5); m > 2*u+200*time.Millisecond {
			t.Errorf("%s: served in %s, else in %s", x.name, m, u)
		}
		if rss > 100 {
			t.Errorf("%s: %d MiB are resident", x.name, rss)
		}
	}
	if strings.Contains(f.d.Log(), "panic") {
		t.Error(f.d.Log())
	}
}

func newFloodWorld(t *testing.T) *floodWorld {
	t.Helper()
	w := nettest.New(t)
	f := &floodWorld{t: t, d: w.Daemon(t, nettest.DaemonConfig{Config: "logLevel: warn\ndefaultNetwork: false\n"})}
	f.d.CtlInput(t, contested+"dns: {domain: lab.test}\n", "network", "create", "-f", "-")
	var lease nettest.Lease
	f.honest, lease = guest(t, w, "honest", "lab0")
	f.honestAddr = lease.Address.Addr()
	f.hostile, _ = guest(t, w, "hostile", "lab0")
	f.good, f.bad, f.relay = newWire(t, f.honest), newWire(t, f.hostile), newWire(t, f.honest)
	if err := w.Host.Do(func() error {
		ifi, err := net.InterfaceByName("lab0")
		if err == nil {
			f.bridge = ifi.HardwareAddr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// processor is the time that the server has had so far.
func (f *floodWorld) processor() time.Duration {
	f.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.d.Pid()))
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ
}

// ask asks for a name, over a connection of its own, and again after a second.
func (f *floodWorld) ask(network string) (time.Duration, error) {
	start := time.Now()
	for range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c, err := f.honest.DialContext(ctx, network, "192.168.10.1:53")
		cancel()
		if err != nil {
			continue
		}
		conn := &dns.Conn{Conn: c}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		err = conn.WriteMsg(new(dns.Msg).SetQuestion("host.lab.test.", dns.TypeA))
		if err == nil {
			_, err = conn.ReadMsg()
		}
		_ = c.Close()
		if err == nil {
			return time.Since(start), nil
		}
	}
	return time.Since(start), fmt.Errorf("no answer by %s", network)
}
