package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/vnetd/vnetd/internal/batchio"
	"github.com/vnetd/vnetd/internal/limit"
)

// link6 serves IPv6 on one interface: DHCPv6, router advertisements, or both.
type link6 struct {
	network string
	log     *slog.Logger
	table   *lease.Table
	ifi     *net.Interface
	mac     lease.MAC
	local   netip.Addr // the interface's link-local address, our source
	conn    *packet.Conn
	in      *ingress       // of conn
	out     *batchio.Queue // of conn: replies to DHCPv6
	full    *fullPools
	tally   *tally
	groups  *memberships
	witness *witness
	prober  *prober
	inUse   *reservationsInUse
	closed  chan struct{}

	mu     sync.Mutex // guards the rest
	sinks  []net.PacketConn
	pool   *v6.Pool // nil: no DHCPv6
	router *ra.Advertiser
	timer  *time.Timer // of router; nil before start and after close
}

func (s *Server) openLink6(network string, ifi *net.Interface) (*link6, error) {
	local, err := linkLocal(ifi)
	if err != nil {
		return nil, err
	}
	l := &link6{
		network: network, log: s.log.With("network", network), table: s.leases, full: &s.full, tally: s.tallyLocked(network), ifi: ifi, mac: lease.MAC(ifi.HardwareAddr),
		local: local, closed: make(chan struct{}), witness: &witness{s.ports, ifi.Index}, inUse: &s.inUse,
	}
	l.prober = &prober{ifi: ifi, log: l.log, where: limit.DHCP6, six: true, source: local, closed: l.closed, open: map[netip.Addr]*question{}}
	if l.conn, err = packet.Listen(ifi, packet.Raw, etherIPv6, &packet.Config{Filter: request6Filter}); err != nil {
		return nil, err
	}
	if l.in, err = newIngress(l.conn, ifi, s.ports, limit.DHCP6, circuit6, l.log, l.unheard); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	if l.out, err = batchio.NewQueue(l.conn, batchSize, maxUnsent); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
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

// sameAs says whether a link's sockets serve for an interface.
func (l *link6) sameAs(ifi *net.Interface) bool {
	local, err := linkLocal(ifi)
	return err == nil && l.ifi.Index == ifi.Index && l.ifi.Name == ifi.Name && l.local == local &&
		string(l.ifi.HardwareAddr) == string(ifi.HardwareAddr)
}

// setDHCP serves DHCPv6, or changes how; nil ends it.
func (l *link6) setDHCP(svc *v6.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeSinksLocked()
	switch {
	case svc == nil:
		l.pool = nil
	case l.pool == nil:
		l.pool = v6.NewPool(svc, l.table.Network(l.network), time.Now())
	default:
		l.pool.SetService(svc, time.Now())
	}
	l.openSinksLocked(svc)
}

// openSinksLocked holds the port of the addresses that relays send to.
func (l *link6) openSinksLocked(svc *v6.Service) {
	for _, a := range svc.RelayServers() {
		sink, err := listenSink(l.ifi.Name, netip.AddrPortFrom(a, server6Port))
		if err != nil {
			l.log.Debug("port 547 is somebody else's; relays may meet an ICMP error", "err", err)
			continue
		}
		l.sinks = append(l.sinks, sink)
	}
}

func (l *link6) closeSinksLocked() {
	for _, s := range l.sinks {
		_ = s.Close()
	}
	l.sinks = nil
}

// setRouter advertises, or changes what; nil ends it with a last word.
func (l *link6) setRouter(cfg *ra.Config, now time.Time) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case cfg == nil:
		l.farewellLocked(now)
		return nil
	case l.router == nil:
		l.router, err = ra.New(*cfg)
	default:
		err = l.router.Set(*cfg, now)
	}
	l.wakeLocked(now)
	return err
}

// start begins to serve, until the link is closed.
func (l *link6) start(ctx context.Context, wg *sync.WaitGroup) {
	l.prober.start = wg.Go
	wg.Go(func() { l.in.serve(ctx, l.closed, l.handle) })
	wg.Go(func() { l.out.Run(l.closed) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(time.Hour, func() { l.advertise(time.Now()) })
	l.wakeLocked(time.Now())
}

func (l *link6) wakeLocked(now time.Time) {
	if l.timer != nil && l.router != nil {
		l.timer.Reset(max(0, l.router.Next().Sub(now)))
	}
}

// close ends serving, without a word to the guests.
func (l *link6) close() {
	close(l.closed)
	_ = l.conn.Close()
	l.prober.close()
	l.groups.leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeSinksLocked()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// takeOver goes on with what another link, which is closed, was advertising:
// the interface is a new one, and the guests may be the same.
func (l *link6) takeOver(old *link6) {
	old.mu.Lock()
	defer old.mu.Unlock()
	l.router, old.router = old.router, nil
	if l.router != nil {
		l.router.Restart()
	}
	l.pool, old.pool = old.pool, nil
}

// farewell tells the guests that there is no router any more.
func (l *link6) farewell(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.farewellLocked(now)
}

func (l *link6) farewellLocked(now time.Time) {
	if l.router != nil {
		l.sendRA(l.router.Farewell(now), allNodesMAC, allNodes)
	}
	l.router = nil
}

// advertise sends what is due to all.
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
	l.wakeLocked(now)
}

// sendRA has sent the message when it returns, for the last one is sent before the
// socket is closed.
func (l *link6) sendRA(message []byte, mac lease.MAC, to netip.Addr) {
	frame := neighborFrame(message, l.mac, mac, l.local, to)
	if _, err := l.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		l.log.Debug("IPv6 frame not sent", "err", err)
	}
}

// handle answers one frame, and says whether it takes up an offer. A bug met by
// one frame costs that frame.
func (l *link6) handle(g fair.Origin, b []byte) (takesUp bool) {
	defer limit.Recover(l.log, limit.DHCP6, b)
	now := time.Now()
	f, ok := parseFrame6(b)
	switch {
	case !ok:
	case f.icmp != nil:
		l.solicited(&f, now)
	default:
		return l.request(&f, g, now)
	}
	return false
}

// circuit6 says from where behind a relay a frame comes.
func circuit6(b []byte) fair.Circuit {
	f, ok := parseFrame6(b)
	if !ok {
		return 0
	}
	return v6.CircuitOf(f.dhcp)
}

// solicited answers a router solicitation.
func (l *link6) solicited(f *frame6, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.router == nil || ra.CheckSolicitation(f.icmp, f.src, f.hops) != nil {
		return
	}
	if l.router.Solicited(!f.src.IsUnspecified(), now) {
		l.sendRA(l.router.Message(now), f.mac, f.src)
		return
	}
	l.wakeLocked(now)
}

// request answers a DHCPv6 message, and says whether it takes up an offer.
func (l *link6) request(f *frame6, g fair.Origin, now time.Time) (takesUp bool) {
	req, err := v6.Parse(f.dhcp)
	if err != nil {
		l.tally.add(event6(0, 0, malformed))
		l.log.Debug("DHCPv6 request ignored", "err", err)
		return false
	}
	req.Origin, req.Sender, req.Source, req.FDB = g, f.mac, f.src, l.witness
	if !req.Relayed() {
		req.From, req.FrameMAC, req.Unicast = f.src, f.mac, !f.dst.IsMulticast()
	}
	return l.answer(f, &req, now)
}

// answer decides and does what was decided, and reports whether the client takes up an offer.
func (l *link6) answer(f *frame6, req *v6.Request, now time.Time) (takesUp bool) {
	d, svc := l.decide(f, req, now)
	if svc == nil {
		return false
	}
	l.note(req, &d)
	if d.Refused != "" {
		refused := d.Bind[0]
		refused.Network = l.network
		l.table.TellRefused(refused, d.Refused)
	}
	if d.Why == pool.Exhausted {
		l.full.note(l.network, svc.Reach(req), now)
	}
	if d.InUse.IsValid() {
		l.inUse.note(l.network, d.InUse, req.MAC().String(), d.Given(), now)
	}
	for _, e := range d.End {
		e.Network = l.network
		l.table.EndLease(d.EndKind, e, now, nil)
	}
	for _, e := range d.EndUnused {
		l.endUnused(d.EndKind, e)
	}
	if d.Reply == 0 {
		return false
	}
	if d.Why == pool.Bound {
		l.full.gave(l.network, svc.Subnet(d.Bind[0].Address).Prefix)
	}
	b := svc.AppendReply(make([]byte, headers6Len, headers6Len+600), req, &d)
	l.fillReply(b, f, req)
	l.sendWhenStored(b, d.Bind)
	return d.Accepts
}

// decide returns the decision about a request, and what it follows from; nil if there
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
		l.pool.ConfirmUnused(req.MAC(), d.Probe) // it cannot be looked for
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

// probe has an address looked for on the wire before a message is answered, and reports
// whether the message is to wait: it is read again then.
func (l *link6) probe(f frame6, client lease.MAC, addr netip.Addr) bool {
	f.dhcp = slices.Clone(f.dhcp)
	again := func(note func(*v6.Pool)) {
		l.withPool(note)
		port, _ := l.witness.Lookup(f.mac)
		l.request(&f, fair.Origin{Port: port, Circuit: v6.CircuitOf(f.dhcp)}, time.Now())
	}
	return l.prober.ask(addr, question{
		wait:    probeTime,
		believe: func(mac lease.MAC) bool { return mac != f.mac },
		claimed: func(mac lease.MAC) {
			l.log.Warn("address in use by another", "addr", addr, "mac", mac)
			again(func(p *v6.Pool) { p.Quarantine(addr, time.Now()) })
		},
		silent: func() { again(func(p *v6.Pool) { p.ConfirmUnused(client, addr) }) },
	})
}

// endUnused ends a lease if its client does not use it any more.
func (l *link6) endUnused(kind lease.Kind, e lease.Lease) {
	e.Network = l.network
	l.prober.ask(e.Address, question{
		wait: endProbeTime, left: endProbes - 1,
		believe: func(mac lease.MAC) bool { return mac == e.MAC },
		claimed: func(lease.MAC) {
			l.log.Debug("lease not ended, for its client uses it", "addr", e.Address, "mac", e.MAC)
		},
		silent: func() {
			now := time.Now()
			if kind == lease.Declined {
				l.withPool(func(p *v6.Pool) { p.Quarantine(e.Address, now) })
			}
			l.table.EndLease(kind, e, now, nil)
		},
	})
}

// fillReply writes the headers of the answer to a frame. A relay is answered from
// the address that it asked, if there was one, and on the servers' port (RFC 8415
// §7.2).
func (l *link6) fillReply(b []byte, f *frame6, req *v6.Request) {
	from, port := l.local, uint16(client6Port)
	if req.Relayed() {
		port = server6Port
		if !f.dst.IsMulticast() {
			from = f.dst
		}
	}
	fillDHCPv6(b, l.mac, f.mac, from, netip.AddrPortFrom(f.src, port))
}

// sendWhenStored sends a frame when all of its leases are on stable storage. A
// client that merely extends what it has is not cut off by a full disk.
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
				l.log.Error("lease not given", "addr", bound.Address, "mac", bound.MAC, "err", err)
			}
			if left.Add(-1) == 0 && !failed.Load() {
				l.out.Put(frame)
			}
		})
	}
}

// unheard counts a frame whose port has asked too much.
func (l *link6) unheard() { l.tally.add(event6(0, 0, unheard)) }

// note counts, and logs in the words that people grep for.
func (l *link6) note(req *v6.Request, d *v6.Decision) {
	l.tally.add(event6(req.Type, d.Reply, string(d.Why)))
	level := slog.LevelDebug
	if d.Why == pool.Bound {
		level = slog.LevelInfo
	}
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	reply := "silence"
	if d.Reply != 0 {
		reply = "DHCPv6 " + d.Reply.String()
	}
	var addrs []netip.Addr
	for i := range d.IAs {
		if a := d.IAs[i].Address; a.IsValid() {
			addrs = append(addrs, a)
		}
	}
	l.log.Log(ctx, level, reply, "to", "DHCPv6 "+req.Type.String(), "mac", req.MAC(), "addrs", addrs,
		"hostname", limit.Text(d.Hostname), "why", string(d.Why))
}
