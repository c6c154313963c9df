package dnsd

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// maxQuery is the longest query that is read. Queries with all their options
// stay under 1232 bytes.
const maxQuery = 4096

// A worker reads one UDP socket. All it needs for a packet it has already.
type worker struct {
	n     *network
	sock  *net.UDPConn
	query wire.Query
	in    [maxQuery]byte
	out   []byte
}

// serveUDP answers until the socket is closed.
func (n *network) serveUDP(sock *net.UDPConn) {
	w := &worker{n: n, sock: sock, out: make([]byte, 0, maxQuery)}
	for {
		size, from, err := sock.ReadFromUDPAddrPort(w.in[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && from.Port() != 0 {
			w.packet(w.in[:size], from)
		}
	}
}

func (w *worker) packet(pkt []byte, from netip.AddrPort) {
	defer survive(w.n.log, pkt)
	svc := w.n.service.Load()
	out, ask := svc.packet(w.out[:0], pkt, &w.query, 0)
	if ask {
		out, _ = svc.ask(out, &w.query, from, w.later(from))
	}
	if len(out) > 0 {
		_, _ = w.sock.WriteToUDPAddrPort(out, from) // a client that is gone is no news
		w.out = out
	}
}

// later returns what sends the reply when it comes. It outlives the packet.
func (w *worker) later(to netip.AddrPort) func([]byte) {
	sock := w.sock
	return func(msg []byte) {
		if msg != nil {
			_, _ = sock.WriteToUDPAddrPort(msg, to)
		}
	}
}

// survive keeps a packet that breaks us from taking the others along.
func survive(log *slog.Logger, pkt []byte) {
	if v := recover(); v != nil {
		log.Error("packet broke the name server", "panic", v, "packet", pkt, "stack", string(debug.Stack()))
	}
}
