package dhcpd

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// probeTime is how long an offer or an ACK waits for a host that uses the address.
	// Neighbours on a bridge answer in 0.1 ms.
	probeTime = 10 * time.Millisecond
	// endProbeTime and endProbes are how long and how often a client is probed that has
	// released its address, if it is not certain that it has: it may be busy.
	endProbeTime = 300 * time.Millisecond
	endProbes    = 3
	// maxProbes bounds the probes under way; beyond it offers do not wait.
	maxProbes = 1024

	arpLen = 28
)

// prober probes which addresses are in use, by ARP (RFC 5227) or by neighbour
// solicitations (RFC 4861). It may be used from any goroutine.
type prober struct {
	ifi    *net.Interface
	log    *slog.Logger
	where  limit.Component
	ipv6   bool
	source netip.Addr // of neighbour solicitations
	closed <-chan struct{}
	start  func(func()) // runs the listener until the link is closed

	mu   sync.Mutex
	conn *packet.Conn // nil until the first probe
	open map[netip.Addr]*probe
}

// A probe waits for a reply.
type probe struct {
	retries int
	wait    time.Duration
	timer   *time.Timer
	// accept reports whether the reply of a host counts. One of used and unused is called.
	accept func(mac lease.MAC) bool
	used   func(mac lease.MAC)
	unused func()
}

// probe begins a probe, and reports whether it will have a result. A second one of the same
// address is the same one: the client repeats its message.
func (p *prober) probe(addr netip.Addr, q probe) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[addr] != nil {
		return true
	}
	if len(p.open) >= maxProbes {
		return false
	}
	if err := p.listenLocked(); err != nil {
		p.log.Debug("addresses are not probed", "err", err)
		return false
	}
	if !p.sendLocked(addr) {
		return false
	}
	q.timer = time.AfterFunc(q.wait, func() { p.timeout(addr, &q) })
	p.open[addr] = &q
	return true
}

// timeout sends again, or ends the probe: the address is unused.
func (p *prober) timeout(addr netip.Addr, q *probe) {
	defer limit.Recover(p.log, p.where, nil)
	p.mu.Lock()
	if p.open[addr] != q {
		p.mu.Unlock()
		return
	}
	if q.retries > 0 && p.sendLocked(addr) {
		q.retries--
		q.timer.Reset(q.wait)
		p.mu.Unlock()
		return
	}
	delete(p.open, addr)
	p.mu.Unlock()
	q.unused()
}

// replied is called for each host that claims an address.
func (p *prober) replied(addr netip.Addr, mac lease.MAC) {
	defer limit.Recover(p.log, p.where, nil)
	p.mu.Lock()
	q := p.open[addr]
	p.mu.Unlock()
	if q == nil || !q.accept(mac) {
		return
	}
	p.mu.Lock()
	if p.open[addr] != q {
		p.mu.Unlock()
		return
	}
	delete(p.open, addr)
	q.timer.Stop()
	p.mu.Unlock()
	q.used(mac)
}

// listenLocked opens the socket for the first probe: most networks of a host get
// no new guest for days.
func (p *prober) listenLocked() (err error) {
	if p.conn != nil {
		return nil
	}
	select {
	case <-p.closed:
		return net.ErrClosed
	default:
	}
	protocol, filter := etherARP, arpReplyFilter
	if p.ipv6 {
		protocol, filter = etherIPv6, advertisementFilter
	}
	if p.conn, err = packet.Listen(p.ifi, packet.Raw, protocol, &packet.Config{Filter: filter}); err != nil {
		return err
	}
	conn := p.conn
	p.start(func() { p.listen(conn) })
	return nil
}

func (p *prober) sendLocked(addr netip.Addr) bool {
	var frame []byte
	if p.ipv6 {
		frame = neighborSolicitation(lease.MAC(p.ifi.HardwareAddr), p.source, addr)
	} else {
		frame = arpProbe(lease.MAC(p.ifi.HardwareAddr), addr)
	}
	_, err := p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	return err == nil
}

// listen receives replies, until the link is closed.
func (p *prober) listen(conn *packet.Conn) {
	parse := parseARPReply
	if p.ipv6 {
		parse = parseAdvertisement
	}
	buf := make([]byte, 128)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			if retry(context.Background(), p.closed, p.log, err) {
				continue
			}
			return
		}
		if mac, addr, ok := parse(buf[:n]); ok {
			p.replied(addr, mac)
		}
	}
}

// close ends all probes without a result. The link is closed.
func (p *prober) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close()
	}
	for addr, q := range p.open {
		q.timer.Stop()
		delete(p.open, addr)
	}
}

// arpProbe is a request for addr that claims no address for its sender (RFC 5227
// §2.1.1).
func arpProbe(src lease.MAC, addr netip.Addr) []byte {
	b := make([]byte, ethLen+arpLen)
	copy(b, broadcastMAC[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], etherARP)
	arp := b[ethLen:]
	binary.BigEndian.PutUint16(arp, 1) // Ethernet
	binary.BigEndian.PutUint16(arp[2:], etherIPv4)
	arp[4], arp[5] = 6, 4
	binary.BigEndian.PutUint16(arp[6:], 1) // request
	copy(arp[8:], src[:])
	target := addr.As4()
	copy(arp[24:], target[:])
	return b
}

// parseARPReply returns the address that a reply claims, and its MAC.
func parseARPReply(b []byte) (mac lease.MAC, addr netip.Addr, ok bool) {
	if len(b) < ethLen+arpLen {
		return mac, addr, false
	}
	arp := b[ethLen:]
	if binary.BigEndian.Uint16(arp) != 1 || binary.BigEndian.Uint16(arp[2:]) != etherIPv4 || arp[4] != 6 || arp[5] != 4 ||
		binary.BigEndian.Uint16(arp[6:]) != 2 {
		return mac, addr, false
	}
	copy(mac[:], arp[8:14])
	return mac, netip.AddrFrom4([4]byte(arp[14:18])), true
}

// advertisementFilter lets neighbour advertisements through.
var advertisementFilter = assemble(
	bpf.LoadAbsolute{Off: ethLen + 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 3},
	bpf.LoadAbsolute{Off: payload6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: neighborAdvertisement, SkipTrue: 1},
	bpf.RetConstant{Val: 128},
	bpf.RetConstant{Val: 0},
)

const (
	neighborSolicit       = 135
	neighborAdvertisement = 136
)

// neighborSolicitation is a solicitation for addr (RFC 4861 §4.3): to its solicited-node
// group, with our MAC.
func neighborSolicitation(src lease.MAC, from, addr netip.Addr) []byte {
	target := addr.As16()
	group := [16]byte{0xff, 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]}
	message := append([]byte{neighborSolicit, 7: 0}, target[:]...)
	message = append(append(message, 1, 1), src[:]...)
	return neighborFrame(message, src, lease.MAC{0x33, 0x33, 0xff, target[13], target[14], target[15]}, from, netip.AddrFrom16(group))
}

// parseAdvertisement returns the address that an advertisement claims, and its MAC.
func parseAdvertisement(b []byte) (mac lease.MAC, addr netip.Addr, ok bool) {
	f, ok := parseFrame6(b)
	if !ok || f.hops != neighborHops || len(f.icmp) < 24 || f.icmp[0] != neighborAdvertisement {
		return mac, addr, false
	}
	return f.mac, netip.AddrFrom16([16]byte(f.icmp[8:24])), true
}
