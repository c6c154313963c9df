package tftp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

// Limits of concurrent transfers. One more ends the oldest one without an acknowledgement,
// which forged requests never have; if there is none, it is not answered, and the client
// tries again.
const (
	maxTransfers = 256
	maxOfClient  = 16
)

// A File is open for reading, and does not change its size.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// A Server serves requests to one socket. Its functions may be
// called from several goroutines at once.
type Server struct {
	// Allowed reports whether a client is served; others get no answer.
	Allowed func(netip.Addr) bool
	// Open opens a file by the name that a client uses. The client gets the error "not
	// found" for fs.ErrNotExist, and "access violation" for others.
	Open func(name string) (File, error)
	// Dial opens the socket of a transfer, connected to the client.
	Dial func(client netip.AddrPort) (net.Conn, error)
	// MaxBlock is the longest block that fits into a packet.
	MaxBlock func() int
	Log      *slog.Logger
	// Done is called with the end of each request: nil for a file that was sent,
	// ErrBusy, an error that is ErrEnded, or that of Open. nil is fine.
	Done func(error)
}

var (
	// ErrBusy: there are too many transfers, of the client or in all.
	ErrBusy = errors.New("too many transfers")
	// ErrEnded: a transfer that had begun was not completed.
	ErrEnded = errors.New("transfer ended")
)

// Serve answers until conn is closed. When it returns, all transfers have ended.
func (s *Server) Serve(conn *net.UDPConn) {
	ts := transfers{open: map[netip.AddrPort]*slot{}, clients: map[netip.Addr]int{}}
	var running sync.WaitGroup
	defer running.Wait()
	defer func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.closed = true // for transfers without a socket yet
		for _, p := range ts.open {
			if p.conn != nil {
				_ = p.conn.Close()
			}
		}
	}()
	buf := make([]byte, 1500)
	for {
		n, client, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // a persistent error must not make the loop spin
			continue
		}
		s.take(conn, &ts, &running, client, buf[:n])
	}
}

// take begins the transfer that a packet requests.
func (s *Server) take(conn *net.UDPConn, ts *transfers, running *sync.WaitGroup, client netip.AddrPort, pkt []byte) {
	defer limit.Recover(s.Log, limit.TFTP, pkt)
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	if !s.Allowed(client.Addr().WithZone("")) {
		return
	}
	req, err := parseRequest(pkt)
	if err != nil {
		switch err {
		case errSilent:
		case errWrite:
			_, _ = conn.WriteToUDPAddrPort(errorPacket(codeAccess, err.Error()), client)
		default:
			_, _ = conn.WriteToUDPAddrPort(errorPacket(codeIllegal, err.Error()), client)
		}
		return
	}
	ts.mu.Lock()
	_, repeated := ts.open[client]
	ts.mu.Unlock()
	if repeated {
		return // its transfer retransmits
	}
	slot := ts.reserve(client)
	if slot == nil {
		s.done(ErrBusy)
		return
	}
	running.Go(func() { s.serve(ts, slot, &req) })
}

// serve is one transfer, from its socket to its end.
func (s *Server) serve(ts *transfers, slot *slot, req *request) {
	defer ts.release(slot)
	client := slot.client
	log := s.Log.With("client", client, "file", limit.Text(req.file))
	defer limit.Recover(log, limit.TFTP, nil)
	conn, err := s.Dial(client)
	if err != nil {
		log.Warn("TFTP client not served", "err", err)
		return
	}
	defer conn.Close()
	ts.mu.Lock()
	slot.conn = conn
	ended := ts.closed || slot.ended
	ts.mu.Unlock()
	if ended {
		return
	}
	start := time.Now()
	size, err := s.send(conn, req, func() { ts.acknowledged(slot) })
	s.done(err)
	switch aborted := (abort{}); {
	case err == nil:
		log.Info("boot file sent by TFTP", "bytes", size, "took", time.Since(start).Round(time.Millisecond))
	case errors.As(err, &aborted): // many ask for the size first, and then again
		log.Debug("boot file not sent by TFTP", "err", err)
	default:
		log.Info("boot file not sent by TFTP", "err", err)
	}
}

func (s *Server) send(conn net.Conn, req *request, acknowledged func()) (size int64, err error) {
	file, err := s.Open(req.file)
	if err != nil {
		code, message := byte(codeAccess), "the file cannot be read"
		if errors.Is(err, fs.ErrNotExist) {
			code, message = codeNotFound, "no such file"
		}
		_, _ = conn.Write(errorPacket(code, message))
		return 0, err
	}
	defer file.Close()
	size = file.Size()
	t := transfer{terms: req.negotiate(size, s.MaxBlock()), conn: conn, file: file, size: size, acknowledged: acknowledged}
	if err := t.run(); err != nil {
		return size, fmt.Errorf("%w: %w", ErrEnded, err)
	}
	return size, nil
}

func (s *Server) done(err error) {
	if s.Done != nil {
		s.Done(err)
	}
}

// transfers are those under way on one socket.
type transfers struct {
	mu      sync.Mutex
	closed  bool
	begun   uint64
	open    map[netip.AddrPort]*slot
	clients map[netip.Addr]int
}

// A slot is that of one transfer.
type slot struct {
	client netip.AddrPort
	number uint64   // later ones have higher ones
	conn   net.Conn // nil before it has its socket
	ended  bool     // evicted for a new one
	proven bool     // the client has acknowledged something
}

// reserve returns a slot for a new transfer, or nil.
func (ts *transfers) reserve(client netip.AddrPort) *slot {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	own := ts.clients[client.Addr()] >= maxOfClient
	if own || len(ts.open) >= maxTransfers {
		var oldest *slot
		for _, p := range ts.open {
			if !p.proven && (!own || p.client.Addr() == client.Addr()) && (oldest == nil || p.number < oldest.number) {
				oldest = p
			}
		}
		if oldest == nil {
			return nil
		}
		oldest.ended = true
		if oldest.conn != nil {
			_ = oldest.conn.Close()
		}
		ts.removeLocked(oldest)
	}
	ts.begun++
	p := &slot{client: client, number: ts.begun}
	ts.open[client] = p
	ts.clients[client.Addr()]++
	return p
}

func (ts *transfers) acknowledged(p *slot) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	p.proven = true
}

func (ts *transfers) release(p *slot) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.removeLocked(p)
}

func (ts *transfers) removeLocked(p *slot) {
	if ts.open[p.client] != p {
		return
	}
	delete(ts.open, p.client)
	if ts.clients[p.client.Addr()]--; ts.clients[p.client.Addr()] <= 0 {
		delete(ts.clients, p.client.Addr())
	}
}
