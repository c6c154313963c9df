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

// How many transfers there are at once. One more ends the oldest with a client that has
// acknowledged nothing yet, as requests in the name of others never do; if there is
// none, it is not answered, and the client asks again.
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

// A Server says how requests to one socket are served. Its functions may be
// called from several goroutines at once.
type Server struct {
	// Allowed says whether a client is served at all; others get no answer.
	Allowed func(netip.Addr) bool
	// Open opens what a client asks for, by the name that it uses. fs.ErrNotExist
	// is told as such, other errors as that it may not be read.
	Open func(name string) (File, error)
	// Dial makes a transfer's socket, connected to the client.
	Dial func(client netip.AddrPort) (net.Conn, error)
	// MaxBlock is the longest block that fits into a packet.
	MaxBlock func() int
	Log      *slog.Logger
	// Done is called with the end of each request: nil for a file that was sent,
	// ErrBusy, an error that is ErrEnded, or that of Open. nil is fine.
	Done func(error)
}

var (
	// ErrBusy says that there are too many transfers, of the client or in all.
	ErrBusy = errors.New("too many transfers")
	// ErrEnded says that a transfer that had begun did not come to its end.
	ErrEnded = errors.New("transfer ended")
)

// Serve answers until conn is closed. When it returns, all transfers have ended.
func (s *Server) Serve(conn *net.UDPConn) {
	ts := transfers{open: map[netip.AddrPort]*slot{}, clients: map[netip.Addr]int{}}
	var running sync.WaitGroup
	defer running.Wait()
	defer ts.closeAll()
	buf := make([]byte, 1500)
	for {
		n, client, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // an error that stays must not make us spin
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
		refuse(conn, client, err)
		return
	}
	if ts.has(client) {
		return // it asks again
	}
	place := ts.reserve(client)
	if place == nil {
		s.done(ErrBusy)
		return
	}
	running.Go(func() { s.serve(ts, place, &req) })
}

func refuse(conn *net.UDPConn, client netip.AddrPort, err error) {
	code := byte(codeIllegal)
	switch err {
	case errSilent:
		return
	case errWrite:
		code = codeAccess
	}
	_, _ = conn.WriteToUDPAddrPort(errorPacket(code, err.Error()), client)
}

// serve is one transfer, from its socket to its end.
func (s *Server) serve(ts *transfers, place *slot, req *request) {
	defer ts.release(place)
	client := place.client
	log := s.Log.With("client", client, "file", limit.Text(req.file))
	defer limit.Recover(log, limit.TFTP, nil)
	conn, err := s.Dial(client)
	if err != nil {
		log.Warn("TFTP client not answered", "err", err)
		return
	}
	defer conn.Close()
	if !ts.start(place, conn) {
		return
	}
	start := time.Now()
	size, err := s.send(conn, req, func() { ts.acknowledged(place) })
	s.done(err)
	switch gave := (refusal{}); {
	case err == nil:
		log.Info("boot file sent by TFTP", "bytes", size, "took", time.Since(start).Round(time.Millisecond))
	case errors.As(err, &gave): // many ask for the size only, and then anew
		log.Debug("boot file not sent by TFTP", "err", err)
	default:
		log.Info("boot file not sent by TFTP", "err", err)
	}
}

func (s *Server) send(conn net.Conn, req *request, acknowledged func()) (size int64, err error) {
	file, err := s.Open(req.file)
	if err != nil {
		code, message := byte(codeAccess), "this cannot be read"
		if errors.Is(err, fs.ErrNotExist) {
			code, message = codeNotFound, "there is no such file"
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

// A slot is the place of one transfer.
type slot struct {
	client netip.AddrPort
	number uint64   // later ones have higher ones
	conn   net.Conn // nil before it has its socket
	ended  bool     // to make room
	proven bool     // the client has acknowledged something
}

// has reports whether a client that asks again from the same port has its transfer
// already, which repeats itself.
func (ts *transfers) has(client netip.AddrPort) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	_, has := ts.open[client]
	return has
}

// reserve returns a place for one more, or nil.
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
		ts.forgetLocked(oldest)
	}
	ts.begun++
	p := &slot{client: client, number: ts.begun}
	ts.open[client] = p
	ts.clients[client.Addr()]++
	return p
}

// start notes a transfer's socket; false if it is to end.
func (ts *transfers) start(p *slot, conn net.Conn) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	p.conn = conn
	return !ts.closed && !p.ended
}

func (ts *transfers) acknowledged(p *slot) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	p.proven = true
}

func (ts *transfers) release(p *slot) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.forgetLocked(p)
}

func (ts *transfers) forgetLocked(p *slot) {
	if ts.open[p.client] != p {
		return
	}
	delete(ts.open, p.client)
	if ts.clients[p.client.Addr()]--; ts.clients[p.client.Addr()] <= 0 {
		delete(ts.clients, p.client.Addr())
	}
}

// closeAll ends all transfers, and those that have no socket yet.
func (ts *transfers) closeAll() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closed = true
	for _, p := range ts.open {
		if p.conn != nil {
			_ = p.conn.Close()
		}
	}
}
