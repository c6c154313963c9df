package dhcpd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mdlayher/packet"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
)

// pause is how long a loop rests after an error of its socket: a link that is
// down must not make it spin.
const pause = 100 * time.Millisecond

// link serves one interface.
type link struct {
	network string
	log     *slog.Logger
	table   *lease.Table
	ifi     *net.Interface
	server  netip.Prefix
	conn    *packet.Conn // IPv4 frames to port 67
	in      *inbox       // of conn
	out     *outbox      // of conn
	arp     *packet.Conn // ARP replies
	sink    net.PacketConn
	closed  chan struct{}

	mu     sync.Mutex // guards the rest; Pool has no lock of its own
	pool   *v4.Pool
	probes map[netip.Addr]*probe
}

func openLink(cfg Config, ifi *net.Interface, log *slog.Logger) (*link, error) {
	l := &link{
		network: cfg.Network, log: log.With("network", cfg.Network), ifi: ifi, server: cfg.Server,
		closed: make(chan struct{}), probes: map[netip.Addr]*probe{},
	}
	var err error
	if l.conn, err = packet.Listen(ifi, packet.Raw, etherIPv4, &packet.Config{Filter: requestFilter}); err != nil {
		return nil, err
	}
	if l.in, err = newInbox(l.conn); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	if l.out, err = newOutbox(l.conn); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	if l.arp, err = packet.Listen(ifi, packet.Raw, etherARP, &packet.Config{Filter: arpReplyFilter}); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	if l.sink, err = listenSink(ifi.Name, cfg.Server.Addr()); err != nil {
		l.log.Debug("port 67 is somebody else's; unicast renewals may meet an ICMP error", "err", err)
	}
	return l, nil
}

// sameAs says whether a link's sockets serve for an interface and an address.
func (l *link) sameAs(ifi *net.Interface, server netip.Prefix) bool {
	return l.ifi.Index == ifi.Index && l.ifi.Name == ifi.Name && l.server == server &&
		string(l.ifi.HardwareAddr) == string(ifi.HardwareAddr)
}

// configure swaps the configuration; packets before it see the old one, those
// after it the new.
func (l *link) configure(sub *v4.Subnet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.SetSubnet(sub, time.Now())
}

// start begins to serve, until the link is closed.
func (l *link) start(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { l.serve(ctx) })
	wg.Go(func() { l.out.run(l.closed) })
	wg.Go(func() { l.listenARP(ctx) })
}

func (l *link) close() {
	close(l.closed)
	_ = l.conn.Close()
	_ = l.arp.Close()
	if l.sink != nil {
		_ = l.sink.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.probes {
		p.timer.Stop()
	}
}

// serve answers until the link is closed.
func (l *link) serve(ctx context.Context) {
	for {
		n, err := l.in.next(true)
		if err != nil {
			if rest(ctx, l.closed, l.log, err) {
				continue
			}
			return
		}
		for i := range n {
			l.handle(l.in.frame(i))
		}
	}
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

// handle answers one frame. A bug met by one frame costs that frame.
func (l *link) handle(frame []byte) {
	defer func() {
		if v := recover(); v != nil {
			l.log.Error("panic in DHCP", "panic", v, "frame", frame, "stack", string(debug.Stack()))
		}
	}()
	dst, payload, ok := parseFrame(frame)
	if !ok {
		return
	}
	req, err := v4.Parse(payload)
	if err != nil {
		l.log.Debug("DHCP request ignored", "err", err)
		return
	}
	req.Unicast = dst == l.server.Addr()
	l.answer(&req, time.Now())
}

// answer decides and does what was decided.
func (l *link) answer(req *v4.Request, now time.Time) {
	l.mu.Lock()
	d := l.pool.Answer(req, now)
	sub := l.pool.Subnet()
	delayed := d.Check && l.probeLocked(req, &d)
	l.mu.Unlock()
	l.note(req, &d)
	if d.End != 0 {
		l.table.End(d.End, l.network, req.MAC, d.Address, now, nil)
	}
	if d.Reply == 0 || delayed {
		return
	}
	frame := l.replyFrame(sub, req, &d)
	if !d.Bind {
		l.out.put(frame)
		return
	}
	d.Lease.Network = l.network
	addr, mac := d.Address, req.MAC
	l.table.Bind(d.Lease, func(err error) { l.bound(frame, addr, mac, err) })
}

// bound sends the ACK of a lease that is on stable storage. A client that
// merely extends what it has is not cut off by a full disk.
func (l *link) bound(frame []byte, addr netip.Addr, mac lease.MAC, err error) {
	if err != nil && !errors.Is(err, lease.ErrNotExtended) {
		l.log.Error("lease not given", "addr", addr, "mac", mac, "err", err)
		return
	}
	l.out.put(frame)
}

func (l *link) replyFrame(sub *v4.Subnet, req *v4.Request, d *v4.Decision) []byte {
	to, broadcast := d.Destination(req)
	mac := req.MAC
	if broadcast {
		mac = broadcastMAC
	}
	b := make([]byte, headersLen, headersLen+600)
	b = sub.AppendReply(b, req, d)
	fillHeaders(b, lease.MAC(l.ifi.HardwareAddr), mac, l.server.Addr(), to)
	return b
}

// note logs in the words that people grep for.
func (l *link) note(req *v4.Request, d *v4.Decision) {
	level := slog.LevelDebug
	if d.Bind && d.Why == v4.Bound || d.Why == v4.Exhausted {
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
		"hostname", d.Lease.Hostname, "why", d.Why.String())
}
