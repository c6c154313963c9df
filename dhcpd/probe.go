package dhcpd

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// probeTime is how long an offer waits for somebody to say that the
	// address is in use. Neighbours on a bridge answer in 0.1 ms.
	probeTime = 10 * time.Millisecond
	// maxProbes bounds what is waited for at once; beyond it offers do not
	// wait.
	maxProbes = 1024

	arpLen = 28
)

// probe is an offer that waits for the answer to the question whether its
// address is in use.
type probe struct {
	req   v4.Request
	d     v4.Decision
	timer *time.Timer
}

// probeLocked asks for the address of an offer, and says whether the offer is
// to wait.
func (l *link) probeLocked(req *v4.Request, d *v4.Decision) bool {
	if l.probes[d.Address] != nil {
		return true // the client repeats itself
	}
	if len(l.probes) >= maxProbes {
		return false
	}
	if err := l.openARPLocked(); err != nil {
		l.log.Debug("addresses are offered without a look at who has them", "err", err)
		return false
	}
	frame := arpProbe(lease.MAC(l.ifi.HardwareAddr), d.Address)
	if _, err := l.arp.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		return false
	}
	addr := d.Address
	p := &probe{req: req.Clone(), d: *d}
	p.timer = time.AfterFunc(probeTime, func() { l.free(addr, p) })
	l.probes[addr] = p
	return true
}

// openARPLocked opens the socket when it is first needed: most of a host's networks get
// no new guest for days.
func (l *link) openARPLocked() (err error) {
	if l.arp != nil {
		return nil
	}
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}
	if l.arp, err = packet.Listen(l.ifi, packet.Raw, etherARP, &packet.Config{Filter: arpReplyFilter}); err != nil {
		return err
	}
	l.hear(l.arp)
	return nil
}

// free sends the offer of an address that nobody has claimed in time.
func (l *link) free(addr netip.Addr, p *probe) {
	defer limit.Recover(l.log, limit.DHCP4, nil)
	if l.vouched(addr, p) {
		l.out.put(l.replyFrame(&p.req, &p.d))
	}
}

// vouched ends a probe without a claim; false if it has ended already.
func (l *link) vouched(addr netip.Addr, p *probe) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probes[addr] != p {
		return false
	}
	delete(l.probes, addr)
	l.pool.Vouch(p.req.MAC, addr)
	return true
}

// listenARP hears who claims an address that is about to be offered.
func (l *link) listenARP(ctx context.Context, arp *packet.Conn) {
	buf := make([]byte, 128)
	for {
		n, _, err := arp.ReadFrom(buf)
		if err != nil {
			if rest(ctx, l.closed, l.log, err) {
				continue
			}
			return
		}
		if mac, addr, ok := parseARPReply(buf[:n]); ok {
			l.claimed(addr, mac)
		}
	}
}

// claimed keeps an address out that somebody uses, and offers the client
// another one.
func (l *link) claimed(addr netip.Addr, mac lease.MAC) {
	defer limit.Recover(l.log, limit.DHCP4, nil)
	now := time.Now()
	p := l.refused(addr, mac, now)
	if p == nil {
		return
	}
	l.log.Warn("address in use by another", "addr", addr, "mac", mac)
	l.table.Tell(lease.Event{Kind: lease.Declined, Lease: lease.Lease{Network: l.network, MAC: mac, Address: addr, Start: now}})
	l.answer(&p.req, now)
}

// refused ends the probe of an address that another client claims; nil if there is none,
// or the client itself has kept its address.
func (l *link) refused(addr netip.Addr, mac lease.MAC, now time.Time) *probe {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.probes[addr]
	if p == nil || mac == p.req.MAC {
		return nil
	}
	p.timer.Stop()
	delete(l.probes, addr)
	l.pool.Rest(addr, now)
	return p
}

// arpProbe asks who has addr without claiming an address for itself (RFC 5227
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

// parseARPReply returns who says to have which address.
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
