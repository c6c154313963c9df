package files

import (
	"context"
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
	return newHTTP(l, from.open, counts, log), nil
}

func newHTTP(l *net.TCPListener, open func(string) (*file, error), counts *counts, log *slog.Logger) *httpServer {
	return &httpServer{sock: l, counts: counts, http: &http.Server{
		Handler:           handler{open: open, counts: counts, log: log},
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       requestTime,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, visitorKey{}, c) },
		ErrorLog:          limit.StdLog(log, "HTTP server of boot files"),
	}}
}

func (s *httpServer) serve()                  { _ = s.http.Serve(newDoor(s.sock, s.counts)) }
func (s *httpServer) refilter(f filter) error { return refilter(s.sock, f) }

func (s *httpServer) close() {
	_ = s.http.Close()
	_ = s.sock.Close() // which Serve may not have seen yet
}

// visitorKey is that of a request's connection.
type visitorKey struct{}

// A handler serves files to GET and HEAD, whole or in ranges (RFC 9110 §14).
type handler struct {
	open   func(string) (*file, error)
	counts *counts
	log    *slog.Logger
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v, ok := r.Context().Value(visitorKey{}).(*visitor); ok {
		v.note(true)
		defer v.note(false)
	}
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
// not take what it is sent. One more ends the oldest that has no request under way.
type door struct {
	*net.TCPListener
	counts *counts

	mu      sync.Mutex
	let     uint64
	open    map[*visitor]bool
	clients map[netip.Addr]int
}

func newDoor(l *net.TCPListener, c *counts) *door {
	return &door{TCPListener: l, counts: c, open: map[*visitor]bool{}, clients: map[netip.Addr]int{}}
}

// Accept returns the next connection for which there is room.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.AcceptTCP()
		if err != nil {
			return nil, err
		}
		v := &visitor{Conn: c, door: d, client: c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()}
		if d.enter(v) {
			return v, nil
		}
		d.counts.add(Busy)
		_ = c.Close()
	}
}

func (d *door) enter(v *visitor) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := d.clients[v.client] >= maxClientConns
	if own || len(d.open) >= maxConns {
		var oldest *visitor
		for o := range d.open {
			if !o.busy && (!own || o.client == v.client) && (oldest == nil || o.number < oldest.number) {
				oldest = o
			}
		}
		if oldest == nil {
			return false
		}
		_ = oldest.Conn.Close()
		d.forgetLocked(oldest)
	}
	d.let++
	v.number = d.let
	d.open[v] = true
	d.clients[v.client]++
	return true
}

func (d *door) leave(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetLocked(v)
}

func (d *door) forgetLocked(v *visitor) {
	if !d.open[v] {
		return
	}
	delete(d.open, v)
	if d.clients[v.client]--; d.clients[v.client] <= 0 {
		delete(d.clients, v.client)
	}
}

// A visitor is a connection that was let in.
type visitor struct {
	net.Conn
	door   *door
	client netip.Addr
	number uint64 // later ones have higher ones
	busy   bool   // its request is complete; guarded by door.mu
}

// note records whether a request of the connection is under way.
func (v *visitor) note(busy bool) {
	v.door.mu.Lock()
	defer v.door.mu.Unlock()
	v.busy = busy
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
	v.door.leave(v)
	return v.Conn.Close()
}
