package dnsd

import (
	"hash/maphash"
	"net"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

// A worker answers on one UDP socket. All it needs for a packet it has already.
type worker struct {
	n     *network
	udp   *udpListeners
	sock  *net.UDPConn // one of these
	batch *batch
	fair  fairness
	busy  coalescing
	query wire.Query
}

// serveUDP answers until the socket is closed.
func (n *network) serveUDP(l *udpListeners, sock *net.UDPConn) {
	b, err := newBatch(sock)
	if err != nil {
		return // closed before it began
	}
	w := &worker{n: n, udp: l, sock: sock, batch: b, fair: fairness{seed: maphash.MakeSeed()}}
	for {
		got, err := b.next()
		if err != nil {
			return
		}
		piled := b.piled()
		for i := range got {
			if w.hears(i, piled) {
				w.packet(i)
			} else {
				w.n.counts.query(Unheard)
			}
		}
		b.send()
		if w.busy.after(got, time.Now()) && got < batchSize {
			letCome()
		}
	}
}

// hears reports whether packet i is to be answered. Who sends packets is looked at
// while many come.
func (w *worker) hears(i int, piled bool) bool {
	if !piled && !w.busy.on && w.fair.rests() {
		return true
	}
	within := w.fair.admit(w.batch.from(i).Addr())
	if w.fair.full() {
		w.n.blockTopTalkers(w.udp)
	}
	return within || !piled
}

// packet answers packet i of the batch, now or later.
func (w *worker) packet(i int) {
	pkt := w.batch.data(i)
	defer limit.Recover(w.n.log, limit.DNS, pkt)
	svc := w.n.service.Load()
	out, ask := svc.packet(w.batch.room(i), pkt, &w.query, 0)
	if ask {
		from := w.batch.from(i)
		out, _ = svc.ask(out, &w.query, w.n.clients.client(from, time.Now()), w.later(from))
	}
	if len(out) > 0 {
		w.n.counts.reply(out)
		w.batch.queue(i, out)
	}
}

// later returns what sends the reply when it comes. It outlives the packet.
func (w *worker) later(to netip.AddrPort) func([]byte) {
	sock, counts := w.sock, w.n.counts
	return func(msg []byte) {
		if msg != nil {
			counts.reply(msg)
			_, _ = sock.WriteToUDPAddrPort(msg, to) // a client that is gone is no news
		}
	}
}
