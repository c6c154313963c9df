package files

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

// Bounds on HTTP, see the package's doc.
const (
	maxConns       = 256
	maxClientConns = 16
	requestTime    = 10 * time.Second
	writeTime      = 30 * time.Second
	maxHeader      = 16 << 10 // bytes
)

// httpServer is the HTTP server of a share.
type httpServer struct {
	sock   *net.TCPListener
	http   *http.Server
	counts *counts
}

func openHTTP(at netip.AddrPort, from *source, sock socket, counts *counts, log *slog.Logger) (*httpServer, error) {
	l, err := sock.listenTCP(at)
	if err != nil {
		return nil, err
	}
	return &httpServer{sock: l, counts: counts, http: &http.Server{
		Handler:           handler{open: from.open, counts: counts, log: log},
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       requestTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          limit.StdLog(log, "HTTP server of boot files"),
	}}, nil
}

func (s *httpServer) serve()                  { _ = s.http.Serve(newDoor(s.sock, s.counts)) }
func (s *httpServer) refilter(f filter) error { return refilter(s.sock, f) }

func (s *httpServer) close() {
	_ = s.http.Close()
	_ = s.sock.Close() // which Serve may not have seen yet
}

// A handler serves files to GET and HEAD, whole or in ranges (RFC 9110 §14).
type handler struct {
	open   func(string) (*file, error)
	counts *counts
	log    *slog.Logger
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			limit.Report(h.log, limit.BootHTTP, v, nil)
			panic(http.ErrAbortHandler) // it ends the connection, and is not logged
		}
	}()
	log := h.log.With("client", r.RemoteAddr, "file", limit.Text(r.URL.Path))
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.counts.add(Refused)
		http.Error(w, "files are for reading", http.StatusMethodNotAllowed)
		return
	}
	f, err := h.open(r.URL.Path)
	if err != nil {
		h.counts.add(outcomeOf(err))
		log.Info("boot file not sent by HTTP", "err", cause(err))
		h.refuse(w, err)
		return
	}
	defer f.Close()
	// Not by extension or content: .efi and .ipxe would be guessed at.
	w.Header().Set("Content-Type", "application/octet-stream")
	start := time.Now()
	http.ServeContent(w, r, "", f.info.ModTime(), f)
	h.counts.add(Sent)
	level := slog.LevelInfo
	if r.Method != http.MethodGet || r.Header.Get("Range") != "" { // a loader may read a file in a thousand parts
		level = slog.LevelDebug
	}
	log.Log(r.Context(), level, "boot file sent by HTTP", "method", limit.Text(r.Method), "took", time.Since(start).Round(time.Millisecond))
}

func (h handler) refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	http.Error(w, "this cannot be read", http.StatusForbidden)
}

// A door lets in no more connections than there may be, and no client that does
// not take what it is sent.
type door struct {
	*net.TCPListener
	counts *counts

	mu      sync.Mutex
	all     int
	clients map[netip.Addr]int
}

func newDoor(l *net.TCPListener, c *counts) *door {
	return &door{TCPListener: l, counts: c, clients: map[netip.Addr]int{}}
}

// Accept returns the next connection for which there is room.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.AcceptTCP()
		if err != nil {
			return nil, err
		}
		client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if d.enter(client) {
			return &visitor{Conn: c, leave: sync.OnceFunc(func() { d.leave(client) })}, nil
		}
		d.counts.add(Busy)
		_ = c.Close()
	}
}

func (d *door) enter(client netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= maxConns || d.clients[client] >= maxClientConns {
		return false
	}
	d.all++
	d.clients[client]++
	return true
}

func (d *door) leave(client netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	if d.clients[client]--; d.clients[client] <= 0 {
		delete(d.clients, client)
	}
}

// A visitor is a connection that was let in.
type visitor struct {
	net.Conn
	leave func()
}

// Write waits for the client for writeTime at most.
func (v *visitor) Write(b []byte) (int, error) {
	if err := v.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return v.Conn.Write(b)
}

// Close gives the place free.
func (v *visitor) Close() error {
	v.leave()
	return v.Conn.Close()
}
