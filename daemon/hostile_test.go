package daemon_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const contested = `
name: lab
mode: isolated
bridge: {name: lab0}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.2, end: 192.168.10.254}]
      relayed: [{subnet: 192.168.30.0/24, ranges: [{start: 192.168.30.2, end: 192.168.30.254}]}]
  - address: fd00:10::1/64
    dhcp: {ranges: [{start: "fd00:10::1000", end: "fd00:10::ffff"}]}
`

// wire speaks whole frames on a guest's link, under any name.
type wire struct {
	t    *testing.T
	conn *packet.Conn
	buf  []byte
}

func newWire(t *testing.T, g *nettest.Guest) *wire {
	t.Helper()
	w := &wire{t: t, buf: make([]byte, 2048)}
	if err := g.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		w.conn, err = packet.Listen(ifi, packet.Raw, 0x0003, &packet.Config{Filter: toClients})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.SetPromiscuous(true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	return w
}

// toClients lets UDP packets to clients' ports through, and to a relay's, as they
// do: they should not have to read the flood.
var toClients = func() []bpf.RawInstruction {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x86dd, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0800, SkipTrue: 9},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 7},
		bpf.LoadAbsolute{Off: 34, Size: 4}, // 67 to 68 or 67
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67<<16 | 68, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67<<16 | 67, SkipTrue: 3, SkipFalse: 4},
		bpf.LoadAbsolute{Off: 54, Size: 4}, // 547 to 546
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 547<<16 | 546, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 65535},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err)
	}
	return raw
}()

func (w *wire) send(frame []byte) {
	_, _ = w.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
}

// receive returns the next DHCPv4 message for a client, or nil at the deadline.
func (w *wire) receive(mac net.HardwareAddr, deadline time.Time) *dhcpv4.DHCPv4 {
	_ = w.conn.SetReadDeadline(deadline)
	for {
		n, _, err := w.conn.ReadFrom(w.buf)
		if err != nil {
			return nil
		}
		b := w.buf[:n]
		if n < 42+240 || b[12] != 8 || b[13] != 0 {
			continue
		}
		if m, err := dhcpv4.FromBytes(slices.Clone(b[42:])); err == nil && m.ClientHWAddr.String() == mac.String() {
			return m
		}
	}
}

// from makes the frame of a client's message.
func from(src net.HardwareAddr, m *dhcpv4.DHCPv4) []byte {
	return udp4(src, m.ToBytes())
}

func udp4(src net.HardwareAddr, payload []byte) []byte {
	return frame4(src, net.HardwareAddr{255, 255, 255, 255, 255, 255}, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), payload)
}

func frame4(srcMAC, dstMAC net.HardwareAddr, src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 42, 42+len(payload))
	copy(b, dstMAC)
	copy(b[6:], srcMAC)
	b[12] = 8
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	var sum uint32 // RFC 1071; the bridge drops what has none
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum))
	binary.BigEndian.PutUint16(b[34:], src.Port())
	binary.BigEndian.PutUint16(b[36:], dst.Port())
	binary.BigEndian.PutUint16(b[38:], uint16(8+len(payload)))
	return append(b, payload...)
}

func udp6(src net.HardwareAddr, payload []byte) []byte {
	b := make([]byte, 62, 62+len(payload))
	copy(b, []byte{0x33, 0x33, 0, 1, 0, 2})
	copy(b[6:], src)
	b[12], b[13], b[14] = 0x86, 0xdd, 0x60
	binary.BigEndian.PutUint16(b[18:], uint16(8+len(payload)))
	b[20], b[21] = 17, 64
	copy(b[22:], net.ParseIP("fe80::1234:5678"))
	copy(b[34:], src) // any source will do
	copy(b[38:], net.ParseIP("ff02::1:2"))
	binary.BigEndian.PutUint16(b[54:], 546)
	binary.BigEndian.PutUint16(b[56:], 547)
	binary.BigEndian.PutUint16(b[58:], uint16(8+len(payload)))
	return append(b, payload...)
}

// bind takes a client from DISCOVER to its lease, and says how long that took. It
// repeats itself after a second.
func (w *wire) bind(mac net.HardwareAddr) (time.Duration, *dhcpv4.DHCPv4, error) {
	return w.exchange(mac, func(m *dhcpv4.DHCPv4) []byte { return from(mac, m) })
}

// bindRelayed is bind for a client behind a relay's circuit.
func (w *wire) bindRelayed(mac net.HardwareAddr, circuit string) (time.Duration, error) {
	took, _, err := w.exchange(mac, func(m *dhcpv4.DHCPv4) []byte { return relayedBy(relayMAC, circuit, m) })
	return took, err
}

func (w *wire) exchange(mac net.HardwareAddr, frame func(*dhcpv4.DHCPv4) []byte) (time.Duration, *dhcpv4.DHCPv4, error) {
	start := time.Now()
	for range 5 {
		m, _ := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(false))
		w.send(frame(m))
		again := time.Now().Add(time.Second)
		offer := w.receive(mac, again)
		if offer == nil || offer.MessageType() != dhcpv4.MessageTypeOffer {
			continue
		}
		m, _ = dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithBroadcast(false))
		w.send(frame(m))
		if ack := w.receive(mac, again); ack != nil && ack.MessageType() == dhcpv4.MessageTypeAck {
			return time.Since(start), ack, nil
		}
	}
	return 0, nil, fmt.Errorf("%s is not bound after %s", mac, time.Since(start))
}

// receive6 returns the next DHCPv6 message with a transaction's number, or nil at
// the deadline.
func (w *wire) receive6(id dhcpv6.TransactionID, deadline time.Time) *dhcpv6.Message {
	_ = w.conn.SetReadDeadline(deadline)
	for {
		n, _, err := w.conn.ReadFrom(w.buf)
		if err != nil {
			return nil
		}
		if n < 62 || w.buf[12] != 0x86 {
			continue
		}
		if m, err := dhcpv6.MessageFromBytes(slices.Clone(w.buf[62:n])); err == nil && m.TransactionID == id {
			return m
		}
	}
}

// bind6 is bind in IPv6, from SOLICIT to REPLY.
func (w *wire) bind6(mac net.HardwareAddr) (time.Duration, error) {
	start := time.Now()
	for range 5 {
		m, _ := dhcpv6.NewSolicit(mac)
		w.send(udp6(mac, m.ToBytes()))
		again := time.Now().Add(time.Second)
		advertise := w.receive6(m.TransactionID, again)
		if advertise == nil {
			continue
		}
		m, err := dhcpv6.NewRequestFromAdvertise(advertise)
		if err != nil {
			return 0, err
		}
		w.send(udp6(mac, m.ToBytes()))
		if reply := w.receive6(m.TransactionID, again); reply != nil && reply.Options.OneIANA() != nil && reply.Options.OneIANA().Options.OneAddress() != nil {
			return time.Since(start), nil
		}
	}
	return 0, fmt.Errorf("%s is not bound after %s", mac, time.Since(start))
}

func residentMiB(t *testing.T, d *nettest.Daemon) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// A guest that invents clients, each of which takes its lease, gets most of the
// pool at most; the rest is for others. What it declines does not rest for long.
func TestStarvation(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, contested, "network", "create", "-f", "-")
	honest, hostile := w.Guest(t, "honest"), w.Guest(t, "hostile")
	honest.Attach(t, "lab0")
	hostile.Attach(t, "lab0")
	good, bad := newWire(t, honest), newWire(t, hostile)
	taken := 0
	for n := range 400 {
		mac := net.HardwareAddr{2, 0xee, 0, 0, byte(n >> 8), byte(n)}
		m, _ := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(false))
		bad.send(from(mac, m))
		offer := bad.receive(mac, time.Now().Add(300*time.Millisecond))
		if offer == nil {
			break
		}
		m, _ = dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithBroadcast(false))
		bad.send(from(mac, m))
		if ack := bad.receive(mac, time.Now().Add(time.Second)); ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
			break
		}
		taken++
	}
	t.Logf("one port took %d of 253 addresses", taken)
	if taken < 200 || taken > 238 {
		t.Errorf("one port took %d of 253 addresses", taken)
	}
	if _, _, err := good.bind(net.HardwareAddr{2, 0xaa, 0, 0, 0, 1}); err != nil {
		t.Error(err)
	}
	if out := d.Ctl(t, "status"); strings.Contains(out, "is exhausted") {
		t.Errorf("status: %s", out)
	}
}

// Nobody ends another's lease by speaking in its name, whatever he forges.
func TestForgedWords(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, contested, "network", "create", "-f", "-")
	honest, hostile := w.Guest(t, "honest"), w.Guest(t, "hostile")
	honest.Attach(t, "lab0")
	hostile.Attach(t, "lab0")
	good, bad := newWire(t, honest), newWire(t, hostile)
	victim, own := net.HardwareAddr{2, 0xaa, 0, 0, 0, 1}, net.HardwareAddr{2, 0xee, 0, 0, 0, 1}
	_, ack, err := good.bind(victim)
	if err != nil {
		t.Fatal(err)
	}
	say := func(typ dhcpv4.MessageType, as net.HardwareAddr) []byte {
		m, _ := dhcpv4.New(dhcpv4.WithMessageType(typ), dhcpv4.WithHwAddr(as), dhcpv4.WithClientIP(ack.YourIPAddr),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 168, 10, 1})),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ack.YourIPAddr)),
			dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{1}, victim...))))
		return m.ToBytes()
	}
	for _, typ := range []dhcpv4.MessageType{dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline} {
		bad.send(udp4(own, say(typ, victim)))    // in the victim's name
		bad.send(udp4(own, say(typ, own)))       // with its client identifier
		bad.send(udp4(victim, say(typ, victim))) // and even with its MAC
	}
	// What comes after has been seen after.
	if _, _, err := bad.bind(own); err != nil {
		t.Fatal(err)
	}
	all := leases(t, d, "--mac", victim.String())
	if len(all) != 1 || all[0].Address != ack.YourIPAddr.String() {
		t.Errorf("the victim has %+v", all)
	}
	good.send(udp4(victim, say(dhcpv4.MessageTypeRelease, victim)))
	nettest.Eventually(t, "the victim's own release", func() error {
		if all := leases(t, d, "--mac", victim.String()); len(all) != 0 {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}

// Declining whatever one is offered keeps a part of the pool from others, for a
// while, and no more.
func TestDeclineStorm(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, contested, "network", "create", "-f", "-")
	honest, hostile := w.Guest(t, "honest"), w.Guest(t, "hostile")
	honest.Attach(t, "lab0")
	hostile.Attach(t, "lab0")
	good, bad := newWire(t, honest), newWire(t, hostile)
	declined := 0
	for n := range 300 {
		mac := net.HardwareAddr{2, 0xee, 1, 0, byte(n >> 8), byte(n)}
		_, ack, err := bad.bind(mac)
		if err != nil {
			break
		}
		m, _ := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline), dhcpv4.WithHwAddr(mac),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 168, 10, 1})),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ack.YourIPAddr)))
		bad.send(from(mac, m))
		declined++
	}
	served := 0
	for n := range 20 {
		if _, _, err := good.bind(net.HardwareAddr{2, 0xaa, 0, 0, 0, byte(n)}); err == nil {
			served++
		}
	}
	t.Logf("%d addresses were declined by one guest; of 20 others %d were served", declined, served)
	if served != 20 || declined < 100 {
		t.Errorf("%d addresses were declined by one guest; of 20 others %d were served", declined, served)
	}
}
