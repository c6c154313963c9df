package dhcpd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/internal/batchio"
	"github.com/vnetd/vnetd/internal/limit"
)

// retryPause is how long a loop waits after an error of its socket: an interface that is
// down must not make it spin.
const retryPause = 100 * time.Millisecond

// base is what the IPv4 and IPv6 servers of an interface share.
type base struct {
	network   string
	log       *slog.Logger
	table     *lease.Table
	exhausted *exhaustedPools
	inUse     *reservationsInUse
	counters  *counters
	ifi       *net.Interface
	mac       lease.MAC
	conn      *packet.Conn   // of frames
	in        *ingress       // of conn
	out       *batchio.Queue // of conn
	fdb       *fdb
	prober    *prober
	holders   []net.PacketConn // sockets that hold our ports
	closed    chan struct{}
}

// open opens the sockets of one family. The server is locked.
func (s *Server) open(network string, ifi *net.Interface, family int, filter []bpf.RawInstruction, circuit func([]byte) fair.Circuit) (*base, error) {
	if s.counters[network] == nil {
		s.counters[network] = &counters{counts: map[Event]uint64{}}
	}
	b := &base{
		network: network, log: s.log.With("network", network), table: s.leases, exhausted: &s.exhausted, inUse: &s.inUse,
		counters: s.counters[network], ifi: ifi, mac: lease.MAC(ifi.HardwareAddr), fdb: &fdb{s.ports, ifi.Index}, closed: make(chan struct{}),
	}
	protocol, where := etherIPv4, limit.DHCP4
	if family == 6 {
		protocol, where = etherIPv6, limit.DHCP6
	}
	b.prober = &prober{ifi: ifi, log: b.log, where: where, ipv6: family == 6, closed: b.closed, open: map[netip.Addr]*probe{}}
	var err error
	if b.conn, err = packet.Listen(ifi, packet.Raw, protocol, &packet.Config{Filter: filter}); err != nil {
		return nil, err
	}
	drop := func() { b.counters.add(Event{family, noMessage, noReply, rateLimited}) }
	if b.in, err = newIngress(b.conn, ifi, s.ports, where, circuit, b.log, drop); err != nil {
		return nil, errors.Join(err, b.conn.Close())
	}
	if b.out, err = batchio.NewQueue(b.conn, batchSize, maxUnsent); err != nil {
		return nil, errors.Join(err, b.conn.Close())
	}
	return b, nil
}

// fits reports whether the sockets serve an interface.
func (b *base) fits(ifi *net.Interface) bool {
	return b.ifi.Index == ifi.Index && b.ifi.Name == ifi.Name && string(b.ifi.HardwareAddr) == string(ifi.HardwareAddr)
}

// start begins to serve, until the link is closed.
func (b *base) start(ctx context.Context, wg *sync.WaitGroup, handle func(fair.Origin, []byte) bool) {
	b.prober.start = wg.Go
	wg.Go(func() { b.in.serve(ctx, b.closed, handle) })
	wg.Go(func() { b.out.Run(b.closed) })
}

func (b *base) close() {
	close(b.closed)
	_ = b.conn.Close()
	b.prober.close()
}

// holdPorts opens a port holder on each of our addresses.
func (b *base) holdPorts(addrs []netip.Addr, port uint16) {
	b.releasePorts()
	for _, a := range addrs {
		h, err := holdPort(b.ifi.Name, netip.AddrPortFrom(a, port))
		if err != nil {
			b.log.Debug("port in use by another program; the kernel may answer unicast with an ICMP error", "port", port, "err", err)
			continue
		}
		b.holders = append(b.holders, h)
	}
}

func (b *base) releasePorts() {
	for _, h := range b.holders {
		_ = h.Close()
	}
	b.holders = nil
}

// retry waits after an error, and reports whether to go on. When its interface is down, a
// socket returns one error, and works again when it is up.
func retry(ctx context.Context, closed <-chan struct{}, log *slog.Logger, err error) bool {
	select {
	case <-closed:
		return false
	default:
	}
	log.Debug("DHCP socket error", "err", err)
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-closed:
		return false
	case <-timer.C:
		return true
	}
}

// note counts a message, and returns the logger's level for it; false if it is not logged.
func (b *base) note(e Event) (slog.Level, bool) {
	b.counters.add(e)
	level := slog.LevelDebug
	if e.Why == string(pool.Bound) {
		level = slog.LevelInfo
	}
	return level, b.log.Enabled(context.Background(), level)
}

// logMessage logs a message with the names that people grep for: DHCPACK to DHCPREQUEST.
func (b *base) logMessage(level slog.Level, e Event, prefix string, attrs ...any) {
	reply := "no reply"
	if e.Reply != noReply {
		reply = prefix + e.Reply
	}
	b.log.Log(context.Background(), level, reply, append([]any{"to", prefix + e.Message, "why", e.Why}, attrs...)...)
}

// link serves DHCPv4 on one interface.
type link struct {
	*base
	servers []netip.Addr // our addresses on it

	mu     sync.Mutex // guards the rest; Pool has no lock of its own
	pool   *v4.Pool
	claims pool.Claims
}

func (s *Server) openLink(network string, ifi *net.Interface, svc *v4.Service) (*link, error) {
	b, err := s.open(network, ifi, 4, requestFilter, func(frame []byte) fair.Circuit {
		f, ok := parseFrame(frame)
		if !ok {
			return 0
		}
		return v4.CircuitOf(f.payload)
	})
	if err != nil {
		return nil, err
	}
	l := &link{base: b, servers: svc.Servers(), claims: pool.Claims{}}
	l.holdPorts(l.servers, serverPort)
	return l, nil
}

func (l *link) close() {
	l.base.close()
	l.releasePorts()
}

// withPool has f use the pool.
func (l *link) withPool(f func(*v4.Pool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.pool)
}

// handle answers one frame, and reports whether it accepts an offer. A panic over
// one frame costs that frame.
func (l *link) handle(from fair.Origin, frame []byte) (accepts bool) {
	defer limit.Recover(l.log, limit.DHCP4, frame)
	f, ok := parseFrame(frame)
	if !ok {
		return false
	}
	req, err := v4.Parse(f.payload)
	if err != nil {
		l.counters.add(Event{4, noMessage, noReply, malformed})
		l.log.Debug("DHCP request ignored", "err", err)
		return false
	}
	req.Unicast, req.From, req.Source, req.Origin, req.FDB = slices.Contains(l.servers, f.dst), f.mac, f.src, from, l.fdb
	return l.answer(&req, 0, time.Now())
}

// answer decides about a request and carries out the decision, and reports whether the client
// accepts an offer. inUse is how many addresses turned out to be in use since it asked.
func (l *link) answer(req *v4.Request, inUse int, now time.Time) (accepts bool) {
	d, waits := l.decide(req, inUse, now)
	if d.InUse.IsValid() {
		l.base.inUse.note(l.network, d.InUse, req.MAC.String(), d.Address, now)
	}
	switch {
	case waits && (d.End != 0 || d.Bind):
		return false // it is noted after the probe
	case d.End != 0 && d.Probe:
		d = v4.Decision{Why: v4.Forged} // the address cannot be probed
	case d.End != 0:
		l.table.End(d.End, l.network, req.MAC, d.Address, now, nil)
	}
	l.note(req, &d)
	if d.Reply == 0 || waits {
		return false
	}
	frame := l.replyFrame(req, &d)
	if !d.Bind {
		l.out.Put(frame)
		return false
	}
	if d.Why == pool.Bound {
		l.exhausted.bound(l.network, d.Subnet.Prefix)
	}
	d.Lease.Network = l.network
	if d.Refused != "" {
		l.table.PublishNameRefused(d.Lease, d.Refused)
	}
	addr, mac := d.Address, req.MAC
	l.table.Bind(d.Lease, func(err error) {
		// A client that extends its lease keeps it while the disk is full.
		if err != nil && !errors.Is(err, lease.ErrNotExtended) {
			l.log.Error("lease not bound", "addr", addr, "mac", mac, "err", err)
			return
		}
		l.out.Put(frame)
	})
	return d.Accepts
}

// decide returns the decision about a request, and whether it waits for a probe.
func (l *link) decide(req *v4.Request, inUse int, now time.Time) (d v4.Decision, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d = l.pool.Answer(req, now)
	waits = d.Probe && (d.End != 0 || inUse < pool.MaxClaims) && l.probe(req.Clone(), d, inUse)
	if d.Probe && d.Bind && !waits {
		l.pool.ConfirmUnused(req.MAC, d.Address) // it cannot be probed
		d = l.pool.Answer(req, now)
		d.Accepts = false
	}
	if d.Why == pool.Exhausted {
		l.exhausted.note(l.network, l.pool.Reach(req), now)
	}
	return d, waits
}

// probe probes the address of a decision, and reports whether the decision is to wait.
func (l *link) probe(req v4.Request, d v4.Decision, inUse int) bool {
	if d.End != 0 {
		return l.prober.probe(d.Address, probe{
			wait: endProbeTime, retries: endProbes - 1,
			accept: func(mac lease.MAC) bool { return mac == req.MAC },
			used:   func(lease.MAC) { l.note(&req, &v4.Decision{Why: v4.Forged, Address: d.Address}) },
			unused: func() {
				now := time.Now()
				if d.End == lease.Declined {
					l.withPool(func(p *v4.Pool) { p.Quarantine(d.Address, now) })
				}
				l.note(&req, &d)
				l.table.End(d.End, l.network, req.MAC, d.Address, now, nil)
			},
		})
	}
	return l.prober.probe(d.Address, probe{
		wait: probeTime,
		accept: func(mac lease.MAC) bool {
			port, _ := l.fdb.Lookup(mac)
			l.mu.Lock()
			defer l.mu.Unlock()
			return mac != req.MAC && l.claims.Accept(port, mac, d.Address, time.Now())
		},
		used: func(mac lease.MAC) {
			now := time.Now()
			l.withPool(func(p *v4.Pool) { p.Quarantine(d.Address, now) })
			l.log.Warn("address in use by another host; quarantined", "addr", d.Address, "mac", mac)
			l.table.Publish(lease.Event{Kind: lease.Declined, Lease: lease.Lease{Network: l.network, MAC: mac, Address: d.Address, Start: now}})
			l.answer(&req, inUse+1, now)
		},
		unused: func() {
			l.withPool(func(p *v4.Pool) { p.ConfirmUnused(req.MAC, d.Address) })
			if d.Bind {
				l.answer(&req, inUse, time.Now())
			} else {
				l.out.Put(l.replyFrame(&req, &d))
			}
		},
	})
}

func (l *link) replyFrame(req *v4.Request, d *v4.Decision) []byte {
	to, broadcast := d.Destination(req)
	mac, port := req.MAC, uint16(clientPort)
	switch {
	case broadcast:
		mac = broadcastMAC
	case req.Relayed():
		mac, port = req.From, serverPort
	case req.Unicast: // there may be a router between
		mac = req.From
	}
	b := make([]byte, headersLen, headersLen+600)
	b = d.Subnet.AppendReply(b, req, d)
	fillHeaders(b, l.mac, mac, netip.AddrPortFrom(d.Subnet.Server, serverPort), netip.AddrPortFrom(to, port))
	return b
}

func (l *link) note(req *v4.Request, d *v4.Decision) {
	e := Event{4, req.Type.String(), noReply, string(d.Why)}
	if d.Reply != 0 {
		e.Reply = d.Reply.String()
	}
	if level, on := l.base.note(e); on {
		l.logMessage(level, e, "DHCP", "mac", req.MAC, "addr", d.Address, "hostname", limit.Text(d.Lease.Hostname))
	}
}
