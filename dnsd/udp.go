package dnsd

import (
	"hash/maphash"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/batchio"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// batchSize packets are read, and their replies sent, with one system call.
	batchSize = 16

	// maxDatagram is the longest query that is read over UDP; what is longer
	// is cut and so malformed. Queries with all their options are far shorter.
	maxDatagram = 1500
)

var batches = batchio.NewPool(batchSize, maxDatagram, wire.MaxPayload)

// A worker answers on one UDP socket.
type worker struct {
	n     *network
	udp   *udpListeners
	sock  *net.UDPConn // one of these
	batch *batchio.Reader
	fair  fairness
	burst coalescing
	query wire.Query
}

// serveUDP answers until the socket is closed.
func (n *network) serveUDP(l *udpListeners, sock *net.UDPConn) {
	b, err := batchio.NewReader(sock, batches)
	if err != nil {
		return // already closed
	}
	w := &worker{n: n, udp: l, sock: sock, batch: b, fair: fairness{seed: maphash.MakeSeed()}}
	for {
		got, err := b.Read(true)
		if errno, ok := err.(unix.Errno); err != nil && (!ok || errno == unix.EBADF || errno == unix.ENOTSOCK) {
			return
		}
		backlogged := got == batchSize && b.Backlog() > maxBacklog
		for i := range got {
			if w.admit(i, backlogged) {
				w.packet(i)
			} else {
				n.counts.query(Throttled)
			}
		}
		b.Flush()
		if w.burst.after(got, time.Now()) && got < batchSize {
			waitForBatch()
		}
	}
}

// admit reports whether packet i is to be answered. Clients are counted only during bursts
// and when there is a backlog.
func (w *worker) admit(i int, backlogged bool) bool {
	f := &w.fair
	if !backlogged && !w.burst.on {
		if f.seen > 0 && time.Since(f.since) > windowTime {
			f.reset()
		}
		if f.seen == 0 {
			return true
		}
	}
	within := f.admit(w.batch.From(i).Addr())
	if f.seen == window {
		w.n.blockTopTalkers(w.udp)
	}
	return within || !backlogged
}

// packet answers packet i of the batch, now or later.
func (w *worker) packet(i int) {
	pkt, counts := w.batch.Data(i), w.n.counts
	defer limit.Recover(w.n.log, limit.DNS, pkt)
	svc := w.n.service.Load()
	out, ask := svc.packet(w.batch.Room(i), pkt, &w.query, 0)
	if ask {
		from, sock := w.batch.From(i), w.sock
		out, _ = svc.ask(out, &w.query, w.n.clients.client(from, time.Now()), func(msg []byte) { // outlives the packet
			if msg != nil {
				counts.reply(msg)
				_, _ = sock.WriteToUDPAddrPort(msg, from) // the client may be gone
			}
		})
	}
	if len(out) > 0 {
		counts.reply(out)
		w.batch.Reply(i, out)
	}
}
