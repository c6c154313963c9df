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

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/internal/batchio"
	"github.com/vnetd/vnetd/internal/limit"
)

// pause is how long a loop rests after an error of its socket: a link that is
// down must not make it spin.
const pause = 100 * time.Millisecond

// link serves one interface.
type link struct {
	network string
	log     *slog.Logger
	table   *lease.Table
	full    *fullPools
	tally   *tally
	ifi     *net.Interface
	servers []netip.Addr // ours on it
	conn    *packet.Conn // IPv4 frames to port 67
	in      *ingress     // of conn
	witness *witness
	prober  *prober
	inUse   *reservationsInUse
	out     *batchio.Queue // of conn
	sinks   []net.PacketConn
	closed  chan struct{}

	mu     sync.Mutex // guards the rest; Pool has no lock of its own
	pool   *v4.Pool
	claims pool.Claims
}

func (s *Server) openLink(network string, ifi *net.Interface, svc *v4.Service) (*link, error) {
	log := s.log
	l := &link{
		network: network, log: log.With("network", network), ifi: ifi, servers: svc.Servers(),
		table: s.leases, full: &s.full, tally: s.tallyLocked(network), closed: make(chan struct{}),
		witness: &witness{s.ports, ifi.Index}, inUse: &s.inUse, claims: pool.Claims{},
	}
	l.prober = &prober{ifi: ifi, log: l.log, where: limit.DHCP4, closed: l.closed, open: map[netip.Addr]*question{}}
	var err error
	if l.conn, err = packet.Listen(ifi, packet.Raw, etherIPv4, &packet.Config{Filter: requestFilter}); err != nil {
		return nil, err
	}
	if l.in, err = newIngress(l.conn, ifi, s.ports, limit.DHCP4, circuit4, l.log, l.unheard); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	if l.out, err = batchio.NewQueue(l.conn, batchSize, maxUnsent); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	for _, a := range l.servers {
		sink, err := listenSink(ifi.Name, netip.AddrPortFrom(a, serverPort))
		if err != nil {
			l.log.Debug("port 67 is somebody else's; unicast renewals may meet an ICMP error", "err", err)
			continue
		}
		l.sinks = append(l.sinks, sink)
	}
	return l, nil
}

// sameAs says whether a link's sockets serve for an interface and addresses.
func (l *link) sameAs(ifi *net.Interface, svc *v4.Service) bool {
	return l.ifi.Index == ifi.Index && l.ifi.Name == ifi.Name && slices.Equal(l.servers, svc.Servers()) &&
		string(l.ifi.HardwareAddr) == string(ifi.HardwareAddr)
}

// configure swaps the configuration; packets before it see the old one, those
// after it the new.
func (l *link) configure(svc *v4.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.SetService(svc, time.Now())
}

// start begins to serve, until the link is closed.
func (l *link) start(ctx context.Context, wg *sync.WaitGroup) {
	l.prober.start = wg.Go
	wg.Go(func() { l.in.serve(ctx, l.closed, l.handle) })
	wg.Go(func() { l.out.Run(l.closed) })
}

func (l *link) close() {
	close(l.closed)
	_ = l.conn.Close()
	for _, s := range l.sinks {
		_ = s.Close()
	}
	l.prober.close()
}

// rest waits a little after an error, and says whether to go on. A socket whose
// link is down says so once and works again when it is up.
func rest(ctx context.Context, closed <-chan struct{}, log *slog.Logger, err error) bool {
	select {
	case <-closed:
		return false
	default:
	}
	log.Debug("DHCP socket error", "err", err)
	timer := time.NewTimer(pause)
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

// handle answers one frame, and says whether it takes up an offer. A bug met by
// one frame costs that frame.
func (l *link) handle(g fair.Origin, frame []byte) (takesUp bool) {
	defer limit.Recover(l.log, limit.DHCP4, frame)
	f, ok := parseFrame(frame)
	if !ok {
		return false
	}
	req, err := v4.Parse(f.payload)
	if err != nil {
		l.tally.add(event4(0, 0, malformed))
		l.log.Debug("DHCP request ignored", "err", err)
		return false
	}
	req.Unicast, req.From, req.Source, req.Origin, req.FDB = slices.Contains(l.servers, f.dst), f.mac, f.src, g, l.witness
	return l.answer(&req, 0, time.Now())
}

// circuit4 says from where behind a relay a frame comes.
func circuit4(frame []byte) fair.Circuit {
	f, ok := parseFrame(frame)
	if !ok {
		return 0
	}
	return v4.CircuitOf(f.payload)
}

// answer decides and does what was decided, and says whether the client takes up an offer.
// claimed is how many addresses turned out to be in use since the client asked.
func (l *link) answer(req *v4.Request, claimed int, now time.Time) (takesUp bool) {
	d, delayed := l.decide(req, claimed, now)
	if d.InUse.IsValid() {
		l.inUse.note(l.network, d.InUse, req.MAC.String(), d.Address, now)
	}
	switch {
	case d.End == 0:
	case delayed:
		return false
	case d.Probe:
		d = v4.Decision{Why: v4.Forged} // it cannot be looked for
	default:
		l.table.End(d.End, l.network, req.MAC, d.Address, now, nil)
	}
	if delayed && d.Bind {
		return false // noted when it is known what becomes of it, as an end is
	}
	l.note(req, &d)
	if d.Reply == 0 || delayed {
		return false
	}
	frame := l.replyFrame(req, &d)
	if !d.Bind {
		l.out.Put(frame)
		return false
	}
	if d.Why == pool.Bound {
		l.full.gave(l.network, d.Subnet.Prefix)
	}
	d.Lease.Network = l.network
	if d.Refused != "" {
		l.table.TellRefused(d.Lease, d.Refused)
	}
	addr, mac := d.Address, req.MAC
	l.table.Bind(d.Lease, func(err error) { l.bound(frame, addr, mac, err) })
	return d.Accepts
}

// decide returns the decision about a request, and whether it waits for a probe.
func (l *link) decide(req *v4.Request, claimed int, now time.Time) (d v4.Decision, delayed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d = l.pool.Answer(req, now)
	delayed = d.Probe && (d.End != 0 || claimed < pool.MaxClaims) && l.probe(req.Clone(), d, claimed)
	if d.Probe && d.Bind && !delayed {
		l.pool.ConfirmUnused(req.MAC, d.Address) // it cannot be looked for
		d = l.pool.Answer(req, now)
		d.Accepts = false
	}
	if d.Why == pool.Exhausted {
		l.full.note(l.network, l.pool.Reach(req), now)
	}
	return d, delayed
}

// withPool has f use the pool.
func (l *link) withPool(f func(*v4.Pool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.pool)
}

// probe has the address of a decision looked for on the wire, and reports whether the
// decision is to wait.
func (l *link) probe(req v4.Request, d v4.Decision, claimed int) bool {
	if d.End != 0 {
		return l.prober.ask(d.Address, question{
			wait: endProbeTime, left: endProbes - 1,
			believe: func(mac lease.MAC) bool { return mac == req.MAC },
			claimed: func(lease.MAC) { l.note(&req, &v4.Decision{Why: v4.Forged, Address: d.Address}) }, // its holder uses it
			silent:  func() { l.end(&req, &d, time.Now()) },
		})
	}
	return l.prober.ask(d.Address, question{
		wait:    probeTime,
		believe: func(mac lease.MAC) bool { return mac != req.MAC && l.believe(d.Address, mac) },
		claimed: func(mac lease.MAC) { l.taken(&req, d.Address, mac, claimed) },
		silent: func() {
			l.withPool(func(p *v4.Pool) { p.ConfirmUnused(req.MAC, d.Address) })
			if d.Bind {
				l.answer(&req, claimed, time.Now())
			} else {
				l.out.Put(l.replyFrame(&req, &d))
			}
		},
	})
}

// end ends a lease that its client does not use any more.
func (l *link) end(req *v4.Request, d *v4.Decision, now time.Time) {
	if d.End == lease.Declined {
		l.withPool(func(p *v4.Pool) { p.Quarantine(d.Address, now) })
	}
	l.note(req, d)
	l.table.End(d.End, l.network, req.MAC, d.Address, now, nil)
}

// believe reports whether a guest may have the address that it claims.
func (l *link) believe(addr netip.Addr, mac lease.MAC) bool {
	port, _ := l.witness.Lookup(mac)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.claims.Accept(port, mac, addr, time.Now())
}

// taken keeps an address out that is in use, and offers the client another one.
func (l *link) taken(req *v4.Request, addr netip.Addr, mac lease.MAC, claimed int) {
	now := time.Now()
	l.withPool(func(p *v4.Pool) { p.Quarantine(addr, now) })
	l.log.Warn("address in use by another", "addr", addr, "mac", mac)
	l.table.Tell(lease.Event{Kind: lease.Declined, Lease: lease.Lease{Network: l.network, MAC: mac, Address: addr, Start: now}})
	l.answer(req, claimed+1, now)
}

// bound sends the ACK of a lease that is on stable storage. A client that
// merely extends what it has is not cut off by a full disk.
func (l *link) bound(frame []byte, addr netip.Addr, mac lease.MAC, err error) {
	if err != nil && !errors.Is(err, lease.ErrNotExtended) {
		l.log.Error("lease not given", "addr", addr, "mac", mac, "err", err)
		return
	}
	l.out.Put(frame)
}

func (l *link) replyFrame(req *v4.Request, d *v4.Decision) []byte {
	to, broadcast := d.Destination(req)
	mac, port := req.MAC, uint16(clientPort)
	switch {
	case broadcast:
		mac = broadcastMAC
	case req.Relayed():
		mac, port = req.From, serverPort
	case req.Unicast: // a router may stand between
		mac = req.From
	}
	b := make([]byte, headersLen, headersLen+600)
	b = d.Subnet.AppendReply(b, req, d)
	fillHeaders(b, lease.MAC(l.ifi.HardwareAddr), mac, netip.AddrPortFrom(d.Subnet.Server, serverPort), netip.AddrPortFrom(to, port))
	return b
}

// unheard counts a frame whose port has asked too much.
func (l *link) unheard() { l.tally.add(event4(0, 0, unheard)) }

// note counts, and logs in the words that people grep for.
func (l *link) note(req *v4.Request, d *v4.Decision) {
	l.tally.add(event4(req.Type, d.Reply, string(d.Why)))
	level := slog.LevelDebug
	if d.Bind && d.Why == pool.Bound {
		level = slog.LevelInfo
	}
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	reply := "silence"
	if d.Reply != 0 {
		reply = "DHCP" + d.Reply.String()
	}
	l.log.Log(ctx, level, reply, "to", "DHCP"+req.Type.String(), "mac", req.MAC, "addr", d.Address,
		"hostname", limit.Text(d.Lease.Hostname), "why", string(d.Why))
}
