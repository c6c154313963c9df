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

// How many transfers there are at once. What is more is not answered: the
// client asks again.
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
	ts := transfers{open: map[netip.AddrPort]net.Conn{}, clients: map[netip.Addr]int{}}
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
	if !ts.reserve(client) {
		s.done(ErrBusy)
		return
	}
	running.Go(func() { s.serve(ts, client, &req) })
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
func (s *Server) serve(ts *transfers, client netip.AddrPort, req *request) {
	defer ts.release(client)
	log := s.Log.With("client", client, "file", limit.Text(req.file))
	defer limit.Recover(log, limit.TFTP, nil)
	conn, err := s.Dial(client)
	if err != nil {
		log.Warn("TFTP client not answered", "err", err)
		return
	}
	defer conn.Close()
	if !ts.start(client, conn) {
		return
	}
	start := time.Now()
	size, err := s.send(conn, req)
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

func (s *Server) send(conn net.Conn, req *request) (size int64, err error) {
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
	t := transfer{terms: req.negotiate(size, s.MaxBlock()), conn: conn, file: file, size: size}
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
	open    map[netip.AddrPort]net.Conn // nil before it has its socket
	clients map[netip.Addr]int
}

// has reports whether a client that asks again from the same port has its transfer
// already, which repeats itself.
func (ts *transfers) has(client netip.AddrPort) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	_, has := ts.open[client]
	return has
}

// reserve says whether there is room for one more, and enters it.
func (ts *transfers) reserve(client netip.AddrPort) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.open) >= maxTransfers || ts.clients[client.Addr()] >= maxOfClient {
		return false
	}
	ts.open[client] = nil
	ts.clients[client.Addr()]++
	return true
}

// start notes a transfer's socket; false if everything is ending.
func (ts *transfers) start(client netip.AddrPort, conn net.Conn) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open[client] = conn
	return !ts.closed
}

func (ts *transfers) release(client netip.AddrPort) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, client)
	if ts.clients[client.Addr()]--; ts.clients[client.Addr()] <= 0 {
		delete(ts.clients, client.Addr())
	}
}

// closeAll ends all transfers, and those that have no socket yet.
func (ts *transfers) closeAll() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closed = true
	for _, conn := range ts.open {
		if conn != nil {
			_ = conn.Close()
		}
	}
}
