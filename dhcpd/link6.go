package dhcpd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/internal/limit"
)

// link6 serves IPv6 on one interface: DHCPv6, router advertisements, or both.
type link6 struct {
	*base
	local  netip.Addr // the interface's link-local address, our source
	groups *memberships

	mu     sync.Mutex // guards the rest
	pool   *v6.Pool   // nil: no DHCPv6
	router *ra.Advertiser
	timer  *time.Timer // of router; nil before start and after close
}

func (s *Server) openLink6(network string, ifi *net.Interface) (*link6, error) {
	local, err := linkLocal(ifi)
	if err != nil {
		return nil, err
	}
	b, err := s.open(network, ifi, 6, request6Filter, func(frame []byte) fair.Circuit {
		f, ok := parseFrame6(frame)
		if !ok {
			return 0
		}
		return v6.CircuitOf(f.dhcp)
	})
	if err != nil {
		return nil, err
	}
	b.prober.source = local
	l := &link6{base: b, local: local}
	if l.groups, err = join(ifi, askedGroups); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	return l, nil
}

// linkLocal returns the interface's link-local address, by which guests know
// their router (RFC 4861 §6.1.2).
func linkLocal(ifi *net.Interface) (netip.Addr, error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of %s: %w", ifi.Name, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no IPv6 link-local address", ifi.Name)
}

// fits reports whether the sockets serve an interface.
func (l *link6) fits(ifi *net.Interface) bool {
	local, err := linkLocal(ifi)
	return err == nil && l.local == local && l.base.fits(ifi)
}

// setDHCP serves DHCPv6, or changes how; nil ends it. Relays send to the server's addresses.
func (l *link6) setDHCP(svc *v6.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case svc == nil:
		l.pool = nil
	case l.pool == nil:
		l.pool = v6.NewPool(svc, l.table.Network(l.network), time.Now())
	default:
		l.pool.SetService(svc, time.Now())
	}
	l.holdPorts(svc.RelayServers(), server6Port)
}

// setRouter advertises, or changes what; nil ends it with a final advertisement.
func (l *link6) setRouter(cfg *ra.Config, now time.Time) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case cfg == nil:
		l.sendFinalRALocked(now)
		return nil
	case l.router == nil:
		l.router, err = ra.New(*cfg)
	default:
		err = l.router.Set(*cfg, now)
	}
	l.scheduleLocked(now)
	return err
}

// startRouter begins to advertise.
func (l *link6) startRouter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(time.Hour, func() { l.advertise(time.Now()) })
	l.scheduleLocked(time.Now())
}

func (l *link6) scheduleLocked(now time.Time) {
	if l.timer != nil && l.router != nil {
		l.timer.Reset(max(0, l.router.Next().Sub(now)))
	}
}

// close ends serving, without a final advertisement.
func (l *link6) close() {
	l.base.close()
	l.groups.leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releasePorts()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// adopt continues the advertisements of another link, which is closed, and takes its pool:
// the interface is a new one, and the guests may be the same.
func (l *link6) adopt(old *link6) {
	old.mu.Lock()
	defer old.mu.Unlock()
	l.router, old.router = old.router, nil
	if l.router != nil {
		l.router.Restart()
	}
	l.pool, old.pool = old.pool, nil
}

// sendFinalRA advertises that there is no router any more.
func (l *link6) sendFinalRA(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sendFinalRALocked(now)
}

func (l *link6) sendFinalRALocked(now time.Time) {
	if l.router != nil {
		l.sendRA(l.router.Final(now), allNodesMAC, allNodes)
	}
	l.router = nil
}

// advertise sends the advertisement that is due.
func (l *link6) advertise(now time.Time) {
	defer limit.Recover(l.log, limit.DHCP6, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil || l.router == nil {
		return
	}
	if l.router.Due(now, rand.Float64()) {
		l.sendRA(l.router.Message(now), allNodesMAC, allNodes)
	}
	l.scheduleLocked(now)
}

// sendRA has sent the message when it returns, for the final one is sent before the
// socket is closed.
func (l *link6) sendRA(message []byte, mac lease.MAC, to netip.Addr) {
	frame := neighborFrame(message, l.mac, mac, l.local, to)
	if _, err := l.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		l.log.Debug("IPv6 frame not sent", "err", err)
	}
}

// handle answers one frame, and reports whether it accepts an offer. A panic over
// one frame costs that frame.
func (l *link6) handle(from fair.Origin, frame []byte) (accepts bool) {
	defer limit.Recover(l.log, limit.DHCP6, frame)
	now := time.Now()
	f, ok := parseFrame6(frame)
	switch {
	case !ok:
	case f.icmp != nil:
		l.answerSolicitation(&f, now)
	default:
		return l.answer(&f, from, now)
	}
	return false
}

// answerSolicitation answers a router solicitation.
func (l *link6) answerSolicitation(f *frame6, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.router == nil || ra.CheckSolicitation(f.icmp, f.src, f.hops) != nil {
		return
	}
	if l.router.Solicited(!f.src.IsUnspecified(), now) {
		l.sendRA(l.router.Message(now), f.mac, f.src)
		return
	}
	l.scheduleLocked(now)
}

// answer decides about a DHCPv6 message and carries out the decision, and reports whether the
// client accepts an offer.
func (l *link6) answer(f *frame6, from fair.Origin, now time.Time) (accepts bool) {
	req, err := v6.Parse(f.dhcp)
	if err != nil {
		l.counters.add(Event{6, noMessage, noReply, malformed})
		l.log.Debug("DHCPv6 request ignored", "err", err)
		return false
	}
	req.Origin, req.Sender, req.Source, req.FDB = from, f.mac, f.src, l.fdb
	if !req.Relayed() {
		req.From, req.FrameMAC, req.Unicast = f.src, f.mac, !f.dst.IsMulticast()
	}
	d, svc := l.decide(f, &req, now)
	if svc == nil {
		return false
	}
	l.note(&req, &d)
	if d.Refused != "" {
		refused := d.Bind[0]
		refused.Network = l.network
		l.table.PublishNameRefused(refused, d.Refused)
	}
	if d.Why == pool.Exhausted {
		l.exhausted.note(l.network, svc.Reach(&req), now)
	}
	if d.InUse.IsValid() {
		l.inUse.note(l.network, d.InUse, req.MAC().String(), d.Given(), now)
	}
	for _, e := range d.End {
		e.Network = l.network
		l.table.EndLease(d.EndKind, e, now, nil)
	}
	for _, e := range d.EndUnused {
		e.Network = l.network
		l.endUnused(d.EndKind, e)
	}
	if d.Reply == 0 {
		return false
	}
	if d.Why == pool.Bound {
		l.exhausted.bound(l.network, svc.Subnet(d.Bind[0].Address).Prefix)
	}
	b := svc.AppendReply(make([]byte, headers6Len, headers6Len+600), &req, &d)
	// A relay is answered from the address that it sent to, if that is one, and on the servers'
	// port (RFC 8415 §7.2).
	source, port := l.local, uint16(client6Port)
	if req.Relayed() {
		port = server6Port
		if !f.dst.IsMulticast() {
			source = f.dst
		}
	}
	fillDHCPv6(b, l.mac, f.mac, source, netip.AddrPortFrom(f.src, port))
	l.sendWhenStored(b, d.Bind)
	return d.Accepts
}

// decide returns the decision about a request, and the service that made it; nil if there
// is no DHCPv6, or the decision waits for a probe.
func (l *link6) decide(f *frame6, req *v6.Request, now time.Time) (v6.Decision, *v6.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pool == nil {
		return v6.Decision{}, nil
	}
	d := l.pool.Answer(req, now)
	if d.Probe.IsValid() {
		if l.probe(*f, req.MAC(), d.Probe) {
			return d, nil
		}
		l.pool.ConfirmUnused(req.MAC(), d.Probe) // it cannot be probed
		d = l.pool.Answer(req, now)
	}
	return d, l.pool.Service()
}

// withPool has f use the pool, if there is DHCPv6.
func (l *link6) withPool(f func(*v6.Pool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pool != nil {
		f(l.pool)
	}
}

func (l *link6) quarantine(a netip.Addr, now time.Time) {
	l.withPool(func(p *v6.Pool) { p.Quarantine(a, now) })
}

// probe probes an address before a client's message is answered, and reports whether the
// message is to wait: it is parsed again then.
func (l *link6) probe(f frame6, client lease.MAC, addr netip.Addr) bool {
	f.dhcp = slices.Clone(f.dhcp)
	again := func() {
		port, _ := l.fdb.Lookup(f.mac)
		l.answer(&f, fair.Origin{Port: port, Circuit: v6.CircuitOf(f.dhcp)}, time.Now())
	}
	return l.prober.probe(addr, probe{
		wait:   probeTime,
		accept: func(mac lease.MAC) bool { return mac != f.mac },
		used: func(mac lease.MAC) {
			l.log.Warn("address in use by another host; quarantined", "addr", addr, "mac", mac)
			l.quarantine(addr, time.Now())
			again()
		},
		unused: func() {
			l.withPool(func(p *v6.Pool) { p.ConfirmUnused(client, addr) })
			again()
		},
	})
}

// endUnused ends a lease if its client does not use it any more.
func (l *link6) endUnused(kind lease.Kind, e lease.Lease) {
	l.prober.probe(e.Address, probe{
		wait: endProbeTime, retries: endProbes - 1,
		accept: func(mac lease.MAC) bool { return mac == e.MAC },
		used: func(lease.MAC) {
			l.log.Debug("lease not ended: its client uses it", "addr", e.Address, "mac", e.MAC)
		},
		unused: func() {
			now := time.Now()
			if kind == lease.Declined {
				l.quarantine(e.Address, now)
			}
			l.table.EndLease(kind, e, now, nil)
		},
	})
}

// sendWhenStored sends a frame when all of its leases are on stable storage. A
// client that extends its lease keeps it while the disk is full.
func (l *link6) sendWhenStored(frame []byte, leases []lease.Lease) {
	if len(leases) == 0 {
		l.out.Put(frame)
		return
	}
	var left atomic.Int32
	var failed atomic.Bool
	left.Store(int32(len(leases)))
	for i := range leases {
		bound := leases[i]
		bound.Network = l.network
		l.table.Bind(bound, func(err error) {
			if err != nil && !errors.Is(err, lease.ErrNotExtended) {
				failed.Store(true)
				l.log.Error("lease not bound", "addr", bound.Address, "mac", bound.MAC, "err", err)
			}
			if left.Add(-1) == 0 && !failed.Load() {
				l.out.Put(frame)
			}
		})
	}
}

func (l *link6) note(req *v6.Request, d *v6.Decision) {
	e := Event{6, req.Type.String(), noReply, string(d.Why)}
	if d.Reply != 0 {
		e.Reply = d.Reply.String()
	}
	level, on := l.base.note(e)
	if !on {
		return
	}
	var addrs []netip.Addr
	for i := range d.IAs {
		if a := d.IAs[i].Address; a.IsValid() {
			addrs = append(addrs, a)
		}
	}
	l.logMessage(level, e, "DHCPv6 ", "mac", req.MAC(), "addrs", addrs, "hostname", limit.Text(d.Hostname))
}
